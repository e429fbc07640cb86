"""Which links of a page lead to where the site keeps its contacts."""

from __future__ import annotations

import time

import pytest

from domainsched import extract_page
from domainsched.extract import contact_pages

URL = "https://www.acme-tools.co.uk/"


def pages(markup: str, url: str = URL) -> list[str]:
    found: list[str] = extract_page(markup.encode(), url)["domain_metadata"]["contact_pages"]
    return found


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ('<a href="/kontakt.html">Hier', "/kontakt.html"),
        ('<a href="/?page=contact">x', "/?page=contact"),
        ('<a href="/p/17">Contact us', "/p/17"),
        ('<a href="/17.php"> » Über uns « ', "/17.php"),
        ('<a href="/de/ueber-uns/">x', "/de/ueber-uns/"),
        ('<a href="/Contact_Us.aspx">x', "/Contact_Us.aspx"),
        ('<a href="contactus#form"><img src=a>', "/contactus"),
        ('<area href="/impressum">', "/impressum"),
        ('<a href="/mentions-legales">x', "/mentions-legales"),
        ('<a href="/1">Qui sommes-nous ?', "/1"),
        ('<a href="/1">CONTÁCTENOS', "/1"),
        ('<a href="/1">Contatti', "/1"),
        ('<a href="/1">Fale conosco', "/1"),
        ('<a href="/1">Over ons', "/1"),
        ('<a href="/1">Skontaktuj się', "/1"),
        ('<a href="/o-n%C3%A1s">x', "/o-n%C3%A1s"),
        ('<a href="/1">Контакты', "/1"),
        ('<a href="/1">Επικοινωνία', "/1"),
        ('<a href="/1">İletişim', "/1"),
        ('<a href="/1">お問い合わせ', "/1"),
        ('<a href="/1">联系我们', "/1"),
        ('<a href="/1">اتصل بنا', "/1"),
        ('<a href="/1">צור קשר', "/1"),
        ('<a href="https://help.acme-tools.co.uk/contact">x', None),
        ('<a href="http://acme-tools.co.uk/contact">x', None),
    ],
)
def test_a_page_is_known_by_its_text_or_its_path(link: str, url: str | None) -> None:
    expected = URL.rstrip("/") + url if url else link.split('"')[1]
    assert pages(link) == [expected]


@pytest.mark.parametrize(
    "link",
    [
        '<a href="mailto:contact">Contact',
        '<a href="tel:+15550100">Contact',
        '<a href="javascript:contact()">Contact',
        '<a href="#contact">Contact',
        '<a href="/#contact">Contact',
        '<a href="https://www.acme-tools.co.uk">About us',
        '<a href="https://other.co.uk/contact">Contact',
        '<a href="https://acme-tools.com/contact">Contact',
        '<a href="/contact.pdf">Contact',
        '<a href="/team.jpg">Our team',
        '<a href="/cdn-cgi/l/email-protection#0a">Contact us',
        '<a href="/blog/contact-lenses">Contact lenses',
        '<a href="/about-turn-in-the-news">An about-turn',
        '<a hreflang="de" href="/kontakt">Deutsch',
        '<link rel=alternate hreflang=de href="/kontakt"><a href="/kontakt">Deutsch',
        "<a>Contact",
        '<a href="http://[/contact">Contact',
    ],
)
def test_what_is_no_page_of_the_site_or_no_contact_is_left_out(link: str) -> None:
    assert pages(link) == []


def test_the_page_itself_is_left_out_in_all_its_spellings() -> None:
    links = """<a href="/contact">Contact</a> <a href="/contact/#map">Contact</a>
    <a href="http://acme-tools.co.uk/Contact">Contact</a><a href="/de/contact">Contact</a>"""
    assert pages(links, "https://www.acme-tools.co.uk/contact/") == []


def test_contact_comes_first_then_imprint_then_about_and_five_are_enough() -> None:
    found = pages(
        """<a href="/team">x</a><a href="/about">About</a><a href="/impressum">Impressum</a>
        <a href="/contact-form">x</a><a href="/contact">Contact</a><a href="/contacts">x</a>
        <a href="/legal">Legal</a>"""
    )
    paths = ["/contact", "/contact-form", "/contacts", "/impressum", "/legal"]
    assert found == [URL.rstrip("/") + path for path in paths]


def test_one_page_counts_once_however_it_is_linked() -> None:
    found = pages(
        """<a href="/en/contact?ref=nav">x</a><a href="/contact#map">Contact</a>
        <a href="/de/contact">Contact</a><a href="http://acme-tools.co.uk/contact/?a=b">Contact</a>
        <a href="/index.php?page=contact">x</a><a href="/index.php?page=about">x</a>"""
    )
    paths = ["/en/contact?ref=nav", "/index.php?page=contact", "/index.php?page=about"]
    assert found == [URL.rstrip("/") + path for path in paths]


def test_relative_links_follow_the_base() -> None:
    assert pages('<base href="/shop/"><a href="contact">Contact') == [f"{URL}shop/contact"]


def test_a_page_of_links_is_looked_at_from_both_ends_and_in_bounded_time() -> None:
    menu = '<a href="/contact">Contact</a>'
    foot = '<a href="/impressum">Impressum</a>'
    body = "<a href='/contact'>Contact us today</a>" * 40_000
    began = time.process_time()
    assert pages(menu + body + foot) == [f"{URL}contact", f"{URL}impressum"]
    assert time.process_time() - began < 10


def test_long_links_are_not_kept_in_memory() -> None:
    kept = contact_pages._promise_of_short.cache_info  # noqa: SLF001 - what grows is not seen otherwise
    before = kept().currsize
    for number in range(3):
        link = f'<a href="/x">{number}{"contact " * 10_000}</a>'
        extract_page(link.encode(), "https://example.com/")
    assert kept().currsize - before <= 1, "its path alone"
