"""E-mail addresses: every form in which pages show them, and what only looks like one."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from domainsched import extract_page

URL = "https://www.acme-tools.com/"
OWN = "info@acme-tools.com"


def emails(markup: str, url: str = URL) -> dict[str, dict[str, str]]:
    page = extract_page(markup.encode(), url, {"content-type": "text/html; charset=utf-8"})
    contacts = page["domain_metadata"]["contacts"]["emails"]
    assert isinstance(contacts, dict)
    assert list(contacts) == page["email_addresses"] == page["domain_metadata"]["emails"]
    return contacts


def xored(address: str) -> str:
    return bytes([0x42, *(byte ^ 0x42 for byte in address.encode())]).hex()


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


JOOMLA = (
    "<span id='c'></span><script>document.getElementById('c').innerHTML='';"
    "var prefix='&#109;a'+'i&#108;'+'&#116;o';var path='hr'+'ef'+'=';"
    "var addy1 = '&#105;nf&#111;' + '&#64;'; addy1 = addy1 + 'acme-tools' + '&#46;' + 'com';"
    "document.getElementById('c').innerHTML += '<a '+path+'\\''+prefix+':'+addy1+'\\'>';</script>"
)
CODES = ",".join(str(ord(character)) for character in OWN)


@pytest.mark.parametrize(
    ("markup", "rule"),
    [
        ("<a href='mailto:%20Info@acme-tools.com?subject=Hi'>", "mailto"),
        ("<a href='mailto:?to=info@acme-tools.com'>", "mailto"),
        ("<a href='MAILTO:&#105;nfo&#64;acme-tools.com'>", "mailto"),
        ("<p>Mail: INFO@ACME-TOOLS.COM", "text"),
        ("<p>info&#64;acme-tools&#46;com", "text"),
        ("<p>info<b>@</b>acme-tools<i>.com</i>", "text"),
        ("<p>info\uff20acme-tools.com", "text"),
        ("<p>info [at] acme-tools [dot] com", "at-form"),
        ("<p>info(at)acme-tools.com", "at-form"),
        ("<p>info (a) acme-tools.com", "at-form"),
        ("<p>info{ät}acme-tools.com", "at-form"),
        ("<p>info [chiocciola] acme-tools [punto] com", "at-form"),
        ("<p>info (собака) acme-tools.com", "at-form"),
        ("<p>info at acme-tools dot com", "at-form"),
        ("<p>INFO AT ACME-TOOLS DOT COM", "at-form"),
        ("<p>info at acme-tools Punkt com", "at-form"),
        ("<p>info arroba acme-tools punto com", "at-form"),
        ("<p>info@acme-tools[.]com", "at-form"),
        ("<p>info @ acme-tools.com", "at-form"),
        ("<p>info_at_acme-tools.com", "at-form"),
        ("<p>infoATacme-toolsDOTcom", "at-form"),
        ("<p>info★acme-tools.com （★を@に変えてください）", "at-form"),  # noqa: RUF001 - Japanese
        ("<p>moc.sloot-emca@ofni", "reversed"),
        (f"<a href='/cdn-cgi/l/email-protection#{xored(OWN)}'>x</a>", "cfemail"),
        (f"<span data-cfemail='{xored(OWN)}'>x</span>", "cfemail"),
        ("<a href='#' data-mailto-token='ocknvq,kphqBceog/vqqnu0eqo'>x", "typo3"),
        ("<a href=\"javascript:linkTo_UnCryptMailto('ocknvq,kphqBceog/vqqnu0eqo');\">x", "typo3"),
        ("<a data-enc-email='vasb[at]npzr-gbbyf.pbz' href='javascript:;'>x", "rot13"),
        ("<span data-user='info' data-domain='acme-tools.com'>", "data attribute"),
        ("<span data-user='ofni' data-website='moc.sloot-emca'>", "data attribute"),
        ("<b data-name='info' data-domain='acme-tools' data-tld='com'>", "data attribute"),
        (f"<a data-email='{in_base64(OWN)}'>", "data attribute"),
        ("<joomla-hidden-mail first='aW5mbw==' last='YWNtZS10b29scy5jb20='>", "joomla"),
        (JOOMLA, "script"),
        ("<script>document.write('<a href=\"mailto:'+'info'+'@'+'acme-tools.com'+'\">')</script>",
         "script"),
        ("<script>var u='info',d='acme-tools.com';document.write(u+'\\x40'+d)</script>", "script"),
        (f"<script>document.write(String.fromCharCode({CODES}))</script>", "script"),
        ("<script>a.innerHTML=eval(decodeURIComponent('%27%69nfo%40acme-tools.com%27'))</script>",
         "script"),
        ('<script type="application/ld+json">{"email":"mailto:info@acme-tools.com"}</script>',
         "json-ld"),
        ("<meta itemprop=email content=info@acme-tools.com>", "meta"),
    ],
)  # fmt: skip
def test_an_address_is_read_in_the_form_that_pages_give_it(markup: str, rule: str) -> None:
    found = emails(markup)
    assert list(found) == [OWN]
    assert found[OWN]["rule"] == rule


@pytest.mark.parametrize(
    "text",
    [
        "look at the dot com boom, meet us at acme-tools.com, more info at acme-tools.com",
        "icon@2x.png hero@3x.webp script@3.7.1.min.js pkg@1.2.3 vue@next user@example",
        "you@example.com name@domain.com info@yourcompany.com email@ihre-domain.de",
        "max@mustermann.de max.mustermann@web.de ejemplo@ejemplo.com jean.dupont@exemple.fr",
        "0123456789abcdef01234567@sentry.io x@o1.ingest.sentry.io a@sentry-next.wixpress.com",
        "8c7d3a10-1111-2222-3333-444455556666@acme-tools.com 00000000000000001@acme-tools.com",
        "noreply@acme-tools.com do-not-reply@acme-tools.com xxx@acme-tools.com",
        "s***n@acme-tools.com inf...@acme-tools.com",
        "@user@mastodon.social https://medium.com/@acme //host/@domain.com",
        "info@acme-tools.om info@acme-tools.con x@gmail.con x@gmial.com",
        "a@b a@b.c @b.com a@ a@.com a@b..com",
    ],
)
def test_what_reaches_nobody_is_no_address(text: str) -> None:
    assert emails(f"<p>{text}") == {}


@pytest.mark.parametrize(
    "markup",
    [
        "<script>var config = {email: 'dev@vendor.com'}; document.write('x')</script>",
        "<script>var config = 'dev@vendor.com'; a.innerHTML = b + c</script>",
        "<input placeholder='you@acme-tools.com' value='a@acme-tools.com'>",
        "<textarea>a@acme-tools.com</textarea><!-- a@acme-tools.com -->",
        "<template>a@acme-tools.com</template><style>/* a@acme-tools.com */</style>",
        "<a href='mailto:?subject=x&body=see me@acme-tools.com'>share</a>",
        "<a href='https://user@acme-tools.com/'>x</a>",
        "<script data-domain='acme-tools.com' src='/js/script.js'></script>",
    ],
)
def test_what_readers_do_not_see_is_no_address(markup: str) -> None:
    assert emails(markup) == {}


def test_words_that_stick_to_an_address_are_cut_off() -> None:
    found = emails(
        "<p>Emailinfo@acme-tools.com <p>sales@acme-tools.com.We reply"
        "<p>jobs@acme-tools.comTelephone <p>post@acme-tools.comwww.acme-tools.com"
        "<p>212-555-0142hello@acme-tools.com"
    )
    assert sorted(address.split("@")[0] for address in found) == [
        *("hello", "info", "jobs", "post", "sales"),
    ]


def test_great_mail_hosts_are_no_placeholders() -> None:
    found = emails("<p>acme@mail.ru <p>acme@web.de <p>acme@me.com <p>acme@live.com")
    assert list(found) == ["acme@mail.ru", "acme@web.de", "acme@me.com", "acme@live.com"]


def test_a_style_that_turns_text_round_shows_other_domains_too() -> None:
    turned = "<span style='unicode-bidi:bidi-override;direction:rtl'>moc.liamg@emca</span>"
    assert list(emails(turned)) == ["acme@gmail.com"]
    assert emails("<span>moc.liamg@emca</span>") == {}


def test_international_domains_are_given_as_readers_see_them_and_once() -> None:
    assert list(emails("<p>info@müller.de <p>info@xn--mller-kva.de")) == ["info@müller.de"]


def test_the_sites_own_addresses_come_first_and_its_agency_last() -> None:
    found = emails(
        "<p>dev@agency.net <p>privacy@acme-tools.com <p>acme.tools@gmail.com"
        "<p>jane@acme-tools.com <p>contact@acme-tools.de"
        "<footer>info@acme-tools.com</footer>"
    )
    assert list(found) == [
        "info@acme-tools.com",
        "jane@acme-tools.com",
        "contact@acme-tools.de",
        "privacy@acme-tools.com",
        "acme.tools@gmail.com",
        "dev@agency.net",
    ]


@pytest.mark.parametrize(
    ("around", "where"),
    [
        ("<footer><p>{}</p></footer>", "footer"),
        ("<div class='site-footer'><p>{}</p></div>", "footer"),
        ("<header>{}</header>", "header"),
        ("<nav>{}</nav>", "navigation"),
        ("<div role='contentinfo'>{}</div>", "footer"),
        ("<section id='Kontakt'>{}</section>", "contact section"),
        ("<address>{}</address>", "contact section"),
        ("<blockquote class='testimonial'>{}</blockquote>", "testimonial"),
        ("<main><div id='intro'><p>{}</p></div></main>", "div#intro"),
        ("<main>{}</main>", "body"),
    ],
)
def test_the_evidence_names_the_part_of_the_page(around: str, where: str) -> None:
    assert emails(around.format(OWN)) == {OWN: {"rule": "text", "where": where}}


HOSTILE: dict[str, Callable[[int], str]] = {
    "at signs": lambda n: "@" * n,
    "addresses": lambda n: "<p>" + "".join(f"a{i}@b{i}.com " for i in range(n // 12)),
    "one local part": lambda n: "<p>" + "a" * n + "@b.com",
    "one domain": lambda n: "<p>a@" + "a." * (n // 2) + "!",
    "hyphens": lambda n: "<p>a@" + "a-" * (n // 2) + "!",
    "brackets": lambda n: "<p>" + "a[at]" * (n // 5),
    "spoken": lambda n: "<p>" + "a at a dot " * (n // 11),
    "dots": lambda n: "<p>a [at] " + "a . " * (n // 4),
    "spaces": lambda n: "<p>" + "a @ a." * (n // 6),
    "stand-ins": lambda n: "<p>★を@" + "★" * n,
    "mailto": lambda n: "<a href='mailto:" + "a@b.c," * (n // 6) + "'>",
    "percent": lambda n: "<a href='mailto:" + "%25" * (n // 3) + "'>",
    "cfemail": lambda n: f"<a data-cfemail='{'42' * (n // 2)}'>",
    "strings": lambda n: "<script>write mailto " + "a='a'+" * (n // 6) + "</script>",
    "quotes": lambda n: "<script>write mailto " + "a='\\" * (n // 4) + "</script>",
    "growing": lambda n: "<script>write mailto a='a@';" + "a=a+a+a;" * (n // 8) + "</script>",
    "scripts": lambda n: "<script>mailto</script>" * (n // 24),
    "typo3": lambda n: "<a href=\"javascript:UnCryptMailto('abcdefghijkl')\">" * (n // 48),
    "marks": lambda n: "<a data-domain=a data-user=b data-email=c>" * (n // 42),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_page_costs_more_than_its_length(kind: str) -> None:
    """Twice the length, at most three times the work: no rule is quadratic."""

    def seconds(size: int) -> float:
        body = HOSTILE[kind](size).encode()
        began = time.process_time()
        extract_page(body, URL)
        return time.process_time() - began

    seconds(1000)
    times = [min(seconds(size) for _ in range(2)) for size in (40_000, 80_000, 160_000)]
    assert all(later < 4 * earlier + 0.1 for earlier, later in pairwise(times)), times
