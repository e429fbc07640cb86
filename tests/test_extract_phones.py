"""Telephone numbers: as their country writes them, without being told the country."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise, permutations

import pytest

from domainsched import extract_page
from domainsched.extract.document import parse
from domainsched.extract.regions import _COUNTRY_OF_NAME, regions

URL = "https://www.acme-tools.com/"
GERMAN, FRENCH, DANISH = "https://acme.de/", "https://acme.fr/", "https://acme.dk/"


def phones(markup: str, url: str = URL) -> dict[str, dict[str, str]]:
    page = extract_page(markup.encode(), url, {"content-type": "text/html; charset=utf-8"})
    contacts = page["domain_metadata"]["contacts"]["phones"]
    assert isinstance(contacts, dict)
    assert list(contacts) == page["phone_numbers"] == page["domain_metadata"]["phones"]
    return contacts


def json_ld(text: str) -> str:
    return f'<script type="application/ld+json">{text}</script>'


@pytest.mark.parametrize(
    ("markup", "url", "number", "origin"),
    [
        ("<p>+49 (0)30 901820", URL, "+4930901820", "country code"),
        ("<p>+ 49 30 / 90 18 20", URL, "+4930901820", "country code"),
        ("<a href='tel:+44(0)2079460958'>", URL, "+442079460958", "country code"),
        ("<a href='tel:0049 30 901820'>", URL, "+4930901820", "country code"),
        ("<a href='tel:442079460958'>", URL, "+442079460958", "country code"),
        ("<p>0049 30 901820", GERMAN, "+4930901820", "country code"),
        ("<p>Tel.030/901820", GERMAN, "+4930901820", "ccTLD"),
        ("<a href='callto:030901820;ext=1'>", GERMAN, "+4930901820", "ccTLD"),
        ("<p>電話：03-3210-4567", "https://a.co.jp/", "+81332104567", "ccTLD"),  # noqa: RUF001
        ("<p>０３（３２１０）４５６７", "https://a.co.jp/", "+81332104567", "ccTLD"),  # noqa: RUF001
        ("<p>8 (495) 123-45-67", "https://a.ru/", "+74951234567", "ccTLD"),
        ("<html lang=en-GB><p>020 7946 0958", URL, "+442079460958", "language"),
        ("<html lang=de><p>Telefon 030 901820", URL, "+4930901820", "language"),
        ("<p>020 7946 0958", "https://acme.com/en-gb/", "+442079460958", "URL"),
        ("<p>London SW1A 1AA <p>020 7946 0958", URL, "+442079460958", "address"),
        ("<p>Perth WA 6000 <p>(08) 9444 1234", URL, "+61894441234", "address"),
        ("<p>D-10115 Berlin <p>030 901820", URL, "+4930901820", "address"),
        ("<p>Cape Town, South Africa <p>021 508 2222", URL, "+27215082222", "country name"),
        ("<p>+44 20 7946 0000, 020 7946 0958", URL, "+442079460958", "other numbers"),
        ("<p>(212) 555-0142", URL, "+12125550142", "language"),
    ],
)
def test_the_country_is_told_from_the_site_itself(
    markup: str, url: str, number: str, origin: str
) -> None:
    assert phones(markup, url)[number]["region_from"] == origin


def test_a_countrys_name_is_a_whole_word_and_those_that_are_told_most_come_first() -> None:
    text = "Indiana, NewIndia, UKs, Singapore, \u00a35, \u00a3 5, Kenya and Kenya"
    document = parse(f"<p>{text}".encode(), "https://acme.com/", {})
    told = [code for code, source in regions(document, "de", Counter) if source == "country name"]
    assert told == ["KE", "SG", "GB"]


def test_no_countrys_name_is_part_of_anothers() -> None:
    names = sorted(_COUNTRY_OF_NAME)
    assert [(a, b) for a, b in permutations(names, 2) if a in b] == []


def test_json_ld_names_the_country_of_its_own_address_and_the_fax() -> None:
    found = phones(
        json_ld(
            '{"@type": "LocalBusiness", "telephone": "030 901820", "faxNumber": "030 901821",'
            '"address": {"addressCountry": {"name": "DE"}}}'
        )
        + "<p>030 901821"
    )
    evidence = {"rule": "json-ld", "where": "head", "region_from": "address"}
    assert found == {"+4930901820": evidence}


def test_each_branch_is_read_as_its_country_writes() -> None:
    found = phones("<p>UK: 020 7946 0958 US: 212-555-0142, London SW1A 1AA")
    assert list(found) == ["+442079460958", "+12125550142"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1-800-FLOWERS", "+18003569377"),
        ("Call 1-800-GOT-JUNK", "+18004685865"),
        ("1-888-4MY-TEAM", "+18884698326"),
        ("303.333.PAUL", "+13033337285"),
        ("<a href='tel:1-800-FLOWERS'>", "+18003569377"),
    ],
)
def test_words_are_dialled_where_that_is_the_custom(text: str, number: str) -> None:
    assert list(phones(f"<p>{text}")) == [number]
    assert phones("<p>ACME 800 SERIES TOOLS, MODEL 303 333 PAULA") == {}


def test_an_extension_is_evidence_and_no_part_of_the_number() -> None:
    for text in ("(212) 555-0142 ext. 12", "212-555-0142x12", "212.555.0142 Ext 12"):
        assert phones(f"<p>{text}")["+12125550142"]["extension"] == "12"


@pytest.mark.parametrize(
    "text",
    [
        "Fax: 030 901820",
        "Telefax 030 901820",
        "030 901820 (Fax)",
        "<td>Fax</td><td>030 901820</td>",
        "<a href='fax:030901820'>030 901820</a>",
        "<a href='tel:030901820'>Fax</a>",
        "USt-IdNr.: DE 309 018 200",
        "IBAN: DE89 3704 0044 0532 0130 00",
        "Mo-Fr 08.00 - 17.00 09.00-13.00",
        "vom 12.06.2015 09:30",
        "500/600/1200",
        "30901820 und mehr Worte",
        "www.0800123456.de",
        "192.168.100.125",
        "ISBN 978-3-16-148410-0",
        "Bestellnummer: order no. 030 901820",
        "HRB 030 901820",
        "030 901 820,00 €",
    ],
)
def test_what_has_many_digits_and_is_not_dialled_is_no_telephone(text: str) -> None:
    assert phones(f"<table><tr><p>{text}", GERMAN) == {}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("01 02 03 04 05", FRENCH),
        ("Siret 732 829 320 00074 RCS Paris 732 829 320", FRENCH),
        ("Cvr 12345678", DANISH),
        ("40.712776, 74.005974", DANISH),
        ("SKU list 2125550142 and other things", URL),
        ("1 2 3 4 5 6 7 8 9 10 11 12", URL),
        ("$2,125,550,142", URL),
    ],
)
def test_other_countries_other_numbers(text: str, url: str) -> None:
    assert phones(f"<p>{text}", url) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Tel/Fax: 030 901820",
        "Telefon und Fax 030 901820",
        "030 901821 (Fax) 030 901820 (Tel)",
        "<p>Tel: 030 901820<p>Fax: 030 901820",
        "Fax 030 901821 Tel 030 901820",
        "Tel030 901820",
        "To order: 030 901820",
        "<td>Fax<td>030 901821<td>Tel<td>030 901820",
        "030 901820Fax: 030 901821",
    ],
)
def test_a_telephone_stays_one_next_to_a_fax(text: str) -> None:
    assert list(phones(f"<table><tr><p>{text}", GERMAN)) == ["+4930901820"]


def test_numbers_in_neighbouring_cells_do_not_run_together() -> None:
    found = phones("<table><tr><td>212-555-0142</td><td>212-555-0143</td></tr></table>")
    assert list(found) == ["+12125550142", "+12125550143"]


def test_many_branches_are_kept_in_their_order_and_repeats_once() -> None:
    numbers = [f"(212) 555-{number:04}" for number in range(100, 140)]
    found = phones("".join(f"<li>{number}</li>" for number in numbers * 2))
    assert list(found) == [f"+1212555{number:04}" for number in range(100, 140)]


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1 ",
        "1-",
        "+",
        "+1",
        "(1",
        "212-555-0142 ",
        "030/",
        "1-800-A-",
        "12.34.",
        "Fax: ",
        "DE89 ",
    ],
)
def test_no_text_costs_more_than_its_length(unit: str) -> None:
    def seconds(size: int) -> float:
        body = f"<html lang=de><p>{unit * (size // len(unit))}".encode()
        began = time.process_time()
        extract_page(body, GERMAN)
        return time.process_time() - began

    seconds(1000)
    times = [min(seconds(size) for _ in range(2)) for size in (40_000, 80_000, 160_000)]
    assert all(later < 4 * earlier + 0.1 for earlier, later in pairwise(times)), times
    assert times[-1] < 3
