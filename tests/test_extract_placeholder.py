"""Pages that stand where a site's own would be, and the sites that only look like them."""

from __future__ import annotations

from typing import Any

import pytest

from domainsched import extract_page

URL = "https://acme-tools.com/"


def metadata(markup: str, url: str = URL) -> dict[str, Any]:
    found = extract_page(markup.encode(), url, {"content-type": "text/html; charset=utf-8"})
    page: dict[str, Any] = found["domain_metadata"]
    return page


PARKED = {
    "Sedo, a frame": "<frameset><frame src='https://sedoparking.com/frmpark/acme-tools.com/x'>",
    "ParkingCrew": "<title>acme-tools.com</title><script src='//c.parkingcrew.net/scripts/js3.js'>",
    "Bodis": "<script src='https://www.bodiscdn.com/parking/2.1.js'></script><div id=target></div>",
    "Bodis' data": '<div id=target></div><script>window.park = "eyJ1dWlkIjoi";</script>',
    "AdSense for Domains": (
        "<title>acme-tools.com</title>"
        "<script src='https://www.google.com/adsense/domains/caf.js?abp=1'></script>"
    ),
    "GoDaddy, before its redirect": (
        "<!DOCTYPE html><html><head><script>window.onload=function(){"
        'window.location.href="/lander"}</script></head></html>'
    ),
    "GoDaddy": (
        "<title>acme-tools.com</title><div id=root></div>"
        "<script>window.LANDER_SYSTEM='PW'</script>"
        "<script src='https://img1.wsimg.com/parking-lander/static/js/main.js'></script>"
    ),
    "GoDaddy, old": (
        "<title>acme-tools.com</title><h1>Welcome to: acme-tools.com</h1>"
        "<p>This Web page is parked for FREE, courtesy of GoDaddy.com. <p>480-505-8877"
    ),
    "Namecheap": (
        "<title>Registrant WHOIS contact</title><p>This domain has recently been registered with"
        " Namecheap"
    ),
    "a market's own page": (
        "<title>acme-tools.com is for sale</title><h1>acme-tools.com</h1>"
        + "<p>Why a good name matters to your business, and what a broker does. " * 20
        + "<p>The domain name acme-tools.com is for sale!"
    ),
    "an offer by link": (
        "<title>Premium</title>" + "<p>Names make brands, and brands make names. " * 20 + "<p>"
        "Domain for sale: <a href='https://www.afternic.com/forsale/acme-tools.com'>offer</a>"
    ),
    "de": "<title>acme-tools.com</title><p>Diese Domain steht zum Verkauf!",
    "de, registered": "<p>Die Domain acme-tools.com wurde im Kundenauftrag registriert.",
    "fr": "<p>Ce nom de domaine est à vendre",
    "es": "<p>Este dominio está en venta",
    "it": "<p>Questo dominio è in vendita",
    "nl": "<p>Deze domeinnaam is geregistreerd",
    "pl": "<p>Domena acme-tools.com jest na sprzedaż",
    "pt": "<p>Este domínio está à venda",
    "ru": "<p>Домен acme-tools.com продаётся",
    "tr": "<p>Bu alan adı satılıktır",  # noqa: RUF001 - Turkish letters
}
SITES = {
    "an estate agent's": (
        "<title>Miller Estates: houses for sale</title><h1>This house is for sale</h1>"
        "<p>Two bedrooms in the public domain of Kent"
    ),
    "a car park's": "<title>City parking</title><p>You parked here. Parking is free on Sundays",
    "a page about domain names": (
        "<title>How to buy a name</title>"
        + "<p>Names change hands every day, and a broker knows whom to ask and how much. " * 10
        + "<p>You will read: this domain is for sale. Buy this domain? Think first."
    ),
    "one with a link to a market": (
        "<title>Acme</title><p>Tools. <a href='https://sedo.com/search/?x=1'>our other names</a>"
    ),
    "one with a counter": "<script>var at='/landers'; window.parked = 'ey'</script><p>Tools",
    "one built with GoDaddy": (
        "<title>Acme</title><p>Tools<script>window._trfd=[];_trfd.push({'ap':'cpbh-mt'})</script>"
        "<script src='https://img1.wsimg.com/blobby/go/x/script.js'></script>"
    ),
    "a builder's": "<title>Miller: construction and maintenance</title><p>Roads under construction"
    + "<p>We build roads, and keep them: call us for winter maintenance, day or night. " * 12,
    "a cinema's": "<title>Odeon - coming soon</title>" + "<p>Dune, part three, from Friday. " * 40,
    "a server's maker": "<title>nginx</title><h1>Welcome to nginx!</h1><p>Download the server",
    "a page about a server": (
        "<title>Welcome to nginx! What the page means</title>"
        + "<p>You see it if the server was successfully installed and no site is there. " * 90
    ),
    "a school's": "<title>News</title><p>The account of last week: two pupils were suspended",
    "an album's": "<title>Index of / Possibilities</title><h1>New album</h1><p>Out now",
    "one that works": "<title>It works! Marketing</title><p>It works! We promise. Call us.",
}
OTHERS = {
    "default": {
        "nginx": (
            "<title>Welcome to nginx!</title><h1>Welcome to nginx!</h1><p>If you see this page, the"
            " nginx web server is successfully installed and working. Further configuration is"
            " required.<p>Commercial support is available at <a href='http://nginx.com/'>nginx.com"
        ),
        "OpenResty": (
            "<title>Welcome to OpenResty!</title><p>If you see this page, the OpenResty web"
            " platform is successfully installed and working."
        ),
        "Apache": "<html><body><h1>It works!</h1></body></html>",
        "Apache on Ubuntu": (
            "<title>Apache2 Ubuntu Default Page: It works</title><p>This is the default welcome"
            " page used to test the correct operation of the Apache2 server"
        ),
        "Apache on CentOS": (
            "<title>Apache HTTP Server Test Page powered by CentOS</title><p>This page is used to"
            " test the proper operation of the Apache HTTP server after it has been installed."
        ),
        "nginx on Fedora": (
            "<title>Test Page for the Nginx HTTP Server on Fedora</title><p>This page is used to"
            " test the proper operation of the nginx HTTP server"
        ),
        "IIS": (
            "<title>IIS Windows Server</title><a href='http://go.microsoft.com/fwlink/?linkid=6'>"
            "<img src='iisstart.png' alt='IIS'></a>"
        ),
        "Caddy": (
            "<title>Caddy works!</title><h1>Congratulations!</h1><p>Your web server is working."
        ),
        "Tomcat": (
            "<title>Apache Tomcat/9.0.31</title><h2>If you're seeing this, you've successfully"
            " installed Tomcat. Congratulations!</h2>"
        ),
        "XAMPP": (
            "<title>Welcome to XAMPP</title><p>You have successfully installed XAMPP on this"
            " system! info@apachefriends.org"
        ),
        "Plesk": "<title>Domain Default page</title><p>If you are seeing this, Plesk made it",
        "cPanel": (
            "<title>Default Web Site Page</title><h1>SORRY!</h1><p>If you are the owner of this"
            " website, please contact your hosting provider: webmaster@acme-tools.com"
        ),
        "ISPConfig": (
            "<title>Welcome!</title><p>Welcome to your website!<p>This is the default index page"
            " of your website."
        ),
        "Synology": "<title>Hello! Welcome to Synology Web Station!</title><p>Web Station is on",
        "WordPress": "<title>WordPress &rsaquo; Installation</title><p>Welcome to the famous",
    },
    "listing": {
        "Apache": (
            "<title>Index of /</title><h1>Index of /</h1><pre><a href='?C=N'>Name</a> Size</pre>"
            "<address>Apache at <a href='mailto:root@host.net'>acme-tools.com</a> Port 80"
        ),
        "nginx": "<title>Index of /</title><h1>Index of /</h1><hr><pre><a href='../'>../</a>",
        "Python": "<title>Directory listing for /</title><h1>Directory listing for /</h1>",
    },
    "suspended": {
        "cPanel": (
            "<title>Account Suspended</title><h1>Account Suspended</h1><p>This Account has been"
            " suspended. Contact your hosting provider for more information."
        ),
        "a registrar": (
            "<title>Domain suspended</title><p>This domain was suspended: the contact was not"
            " verified."
        ),
    },
    "under_construction": {
        "en": "<title>Acme - Coming Soon</title><h1>Coming soon</h1><p>We open in May. a@acme.com",
        "de": "<title>Acme</title><h1>Unsere Seite ist im Aufbau</h1>",
        "fr": "<title>Acme</title><h1>Site en construction</h1>",
        "es": "<title>Acme: próximamente</title><p>Próximamente nuestra nueva web",
        "WordPress": (
            "<title>Maintenance</title><p>Briefly unavailable for scheduled maintenance. Check"
            " back in a minute."
        ),
    },
}


@pytest.mark.parametrize("name", PARKED)
def test_a_parked_page_is_told(name: str) -> None:
    found = metadata(PARKED[name])
    assert (found["page"], found["parked"]) == ("parked", True)


@pytest.mark.parametrize("name", SITES)
def test_a_site_with_the_words_of_another_page_is_a_site(name: str) -> None:
    found = metadata(SITES[name])
    assert (found["page"], found["parked"]) == ("site", False)


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page, samples in OTHERS.items() for name in samples]
)
def test_what_stands_for_a_site_is_named(page: str, name: str) -> None:
    found = metadata(OTHERS[page][name])
    assert (found["page"], found["parked"]) == (page, False)


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://www.hugedomains.com/domain_profile.cfm?d=acme-tools.com", "parked"),
        ("https://www.afternic.com/forsale/acme-tools.com?utm_source=TDFS", "parked"),
        ("https://acme-tools.com/cgi-sys/suspendedpage.cgi", "suspended"),
        ("https://acme-tools.com/cgi-sys/defaultwebpage.cgi", "default"),
        ("https://acme-tools.com/wp-admin/install.php", "default"),
        ("https://www.hugedomains.com/", "site"),
        ("https://www.bodis.com/", "site"),
    ],
)
def test_where_a_visit_ends_tells_too_but_parkers_have_sites_of_their_own(
    url: str, page: str
) -> None:
    host = url.split("/")[2]
    assert metadata(f"<title>Welcome</title><script src='//{host}/a.js'></script>", url)[
        "page"
    ] == (page)


CONTACTS = """<img class="logo" src="/logo.png"><meta property="og:site_name" content="Host Inc">
    <p>Call +1 480-505-8877, help@host-inc.com <a href="https://www.facebook.com/hostinc">f</a>
    <a href="/contact">Contact</a>"""


@pytest.mark.parametrize(
    "markup",
    [
        PARKED["GoDaddy, old"],
        OTHERS["default"]["nginx"],
        OTHERS["listing"]["Apache"],
        OTHERS["suspended"]["cPanel"],
    ],
)
def test_a_hosts_telephone_is_not_the_sites(markup: str) -> None:
    found = extract_page((markup + CONTACTS).encode(), URL)
    assert (found["email_addresses"], found["phone_numbers"]) == ([], [])
    assert (found["facebook_url"], found["logo_url"]) == (None, None)
    page = found["domain_metadata"]
    assert (page["emails"], page["phones"], page["social_links"]) == ([], [], {})
    assert (page["site_name"], page["contact_pages"]) == (None, [])
    assert found["title"] == page["title"]
    assert (found["title"] is None) == ("<title>" not in markup)


def test_contacts_on_a_page_under_construction_are_the_sites() -> None:
    found = extract_page((OTHERS["under_construction"]["en"] + CONTACTS).encode(), URL)
    assert found["domain_metadata"]["page"] == "under_construction"
    assert sorted(found["email_addresses"]) == ["a@acme.com", "help@host-inc.com"]
    assert found["phone_numbers"] == ["+14805058877"]
