"""Which site a text stands for, and what is said of a text that stands for none."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tldextract import TLDExtract

from domainsched.errors import InvalidName
from domainsched.names import (
    RejectedLine,
    SourcedName,
    canonical,
    read_lines,
    read_names,
    spellings,
)

LDH_NAME = re.compile(
    r"(?=.{3,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
PORT = "a port other than 80 and 443, and only these are visited"
SLASH = "a slash where the host should be"
USERINFO = "a user name or password in the URL"

labels = st.text("abcxyz019-", min_size=1, max_size=12) | st.sampled_from(
    [
        "www",
        "com",
        "uk",
        "co",
        "xn--mnchen-3ya",
        "münchen",
        "пример",
        "\uff25\uff38",
        "faß",
        "a--b",
        "WWW",
        "ck",
    ]
)
hosts = st.lists(labels, min_size=1, max_size=5).map(".".join)
urls = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "http://", "HTTPS://", "//", " <https://", "ftp://", "https:/"]),
    hosts,
    st.sampled_from(["", ".", ":443", ":80", ":8080", ":"]),
    st.sampled_from(["", "/", "/a?b#c", "?q=1", "#f", "/https://other.com", ">\n"]),
)


def is_site(text: str) -> bool:
    return isinstance(next(read_names([text])), SourcedName)


def reason(text: str) -> str:
    with pytest.raises(InvalidName) as caught:
        canonical(text)
    assert re.fullmatch(r'".*" is not a domain name', caught.value.what)
    assert caught.value.hint
    return caught.value.why


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  EXAMPLE.com \n", "example.com"),
        ("https://www.example.com/path?q=1#f", "example.com"),
        ("www.www.example.com", "example.com"),
        ("example.com/path?x=y", "example.com"),
        ("https://example.com?x=y", "example.com"),
        ("https://example.com#f", "example.com"),
        ("sub.example.co.uk", "sub.example.co.uk"),
        ("crystalcm.co.uk", "crystalcm.co.uk"),
        ("shop.www.example.com", "shop.www.example.com"),
        ("awww.example.com", "awww.example.com"),
        ("1and1.com", "1and1.com"),
        ("9.9.com", "9.9.com"),
        ("brokensite.invalid", "brokensite.invalid"),
        ("foo.local", "foo.local"),
        ("clinic.test", "clinic.test"),
        ("https://example.com/https://other.com", "example.com"),
        ("example.com/https://other.com", "example.com"),
        ("//example.com/", "example.com"),
        ("HTTP://Example.COM/", "example.com"),
        ("example.com.", "example.com"),
        ("https://example.com./", "example.com"),
        ("example.com?x=y", "example.com"),
        ("example.com#f", "example.com"),
        ("example.com/@user", "example.com"),
        ("example.com:443", "example.com"),
        ("http://example.com:80/", "example.com"),
        ("http://example.com:", "example.com"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de"),
        ("xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("mu\u0308nchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.de", "xn--mnchen-3ya.de"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("faß.de", "xn--fa-hia.de"),
        ("\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\u3002com", "example.com"),
        ("exam\u00adple.com", "example.com"),
        ("a--b.example.com", "a--b.example.com"),
        ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com"),
        ("ab--c.münchen.de", "ab--c.xn--mnchen-3ya.de"),
        ("www.com", "www.com"),
        ("www.co", "www.co"),
        ("https://www.com/", "www.com"),
        ("www.co.uk", "www.co.uk"),
        ("www.www.com", "www.com"),
        ("www.ck", "www.ck"),
        ("www.www.ck", "www.ck"),
        ("www.test", "www.test"),
        ("www.gov.uk", "www.gov.uk"),
        ("user.github.io", "user.github.io"),
        ("github.io", "github.io"),
        ("city.kawasaki.jp", "city.kawasaki.jp"),
        ("\ufeffexample.com\u200b", "example.com"),
        ("<https://example.com/>", "example.com"),
        ("“example.com”", "example.com"),
        ("'example.com'", "example.com"),
        ('"example.com" # ours', "example.com"),
        ("example.com  # ours", "example.com"),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
        ("www." + "a." * 125 + "com", "a." * 125 + "com"),
    ],
)
def test_a_name_or_url_stands_for_a_site(text: str, name: str) -> None:
    assert canonical(text) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http//acme.com", SLASH),
        ("http:/acme.com", SLASH),
        ("http:///acme.com", SLASH),
        ("https://https://acme.com", SLASH),
        ("/acme.com", SLASH),
        ("http:acme.com", "no // after the scheme"),
        ("https:\\\\acme.com", "no // after the scheme"),
        ("http://", "no host"),
        ("münchen..example", "an empty label between two dots"),
        ("example.com..", "an empty label between two dots"),
        (".example.com", "a dot at the beginning"),
        ("", "nothing there"),
        ("  ", "nothing there"),
        ("''", "nothing there"),
        ("ftp://example.com", "a scheme other than http and https"),
        ("hxxp://example.com", "a scheme other than http and https"),
        ("example.com:8080", PORT),
        ("https://example.com:8080/", PORT),
        ("example.com:4430", PORT),
        ("example.com:" + "9" * 5000, "longer than 253 characters"),
        ("example.com:http", "a port that is not a number"),
        ("example.com:²", "a port that is not a number"),
        ("https://user:pw@example.com/", USERINFO),
        ("http://example.com@evil.com/", USERINFO),
        ("user:pw@example.com", USERINFO),
        ("user:pw\uff20example.com", USERINFO),
        ("http://good.com\\@evil.com/", USERINFO),
        ("user@example.com", "an e-mail address"),
        ("mailto:user@example.com", "an e-mail address"),
        ("<user@example.com>", "an e-mail address"),
        ("localhost", "no dot"),
        ("http", "no dot"),
        ("test", "no dot"),
        ("com", "a public suffix alone"),
        ("co.uk", "a public suffix alone"),
        ("CO.UK.", "a public suffix alone"),
        ("foo.ck", "a public suffix alone"),
        ("公司.cn", "a public suffix alone"),
        ("xn--p1ai", "a public suffix alone"),
        ("192.168.1.1", "an IP address"),
        ("http://127.0.0.1/", "an IP address"),
        ("192.168.1.1.", "an IP address"),
        ("127.1", "an IP address"),
        ("0177.0.0.1", "an IP address"),
        ("0x7f.0.0.1", "an IP address"),
        ("0X7F000001", "an IP address"),
        ("2130706433", "an IP address"),
        ("999.999.999.999", "an IP address"),
        ("\uff11\uff12\uff17.0.0.1", "an IP address"),
        ("[::1]", "an IP address"),
        ("https://[2001:db8::1]:8443/", "an IP address"),
        ("::1", "an IP address"),
        ("fe80::1%eth0", "an IP address"),
        ("::ffff:10.0.0.1", "an IP address"),
        ("example.123", "a top-level domain that is a number"),
        ("example.0x1f", "a top-level domain that is a number"),
        ("a" * 64 + ".com", "a label longer than 63 characters"),
        ("ü" * 60 + ".de", "a label longer than 63 characters"),
        ("a." * 126 + "com", "longer than 253 characters"),
        ("a." * 5000 + "com", "longer than 253 characters"),
        ("ex_ample.com", "an underscore, which host names cannot have"),
        ("mün_chen.de", "an underscore, which host names cannot have"),
        ("mün chen.de", "white space inside"),
        ("a\u2100.com", "a character that domain names cannot have (U+2100 ACCOUNT OF)"),
        ("-a.com", "a label that begins or ends with a hyphen"),
        ("a-.com", "a label that begins or ends with a hyphen"),
        ("exa mple.com", "white space inside"),
        ("a.com\tb.com", "white space inside"),
        ("a,b.com", "a character that domain names cannot have (U+002C COMMA)"),
        ("a.com\x00", "a character that domain names cannot have (U+0000)"),
        ("ex%61mple.com", "a character that domain names cannot have (U+0025 PERCENT SIGN)"),
        ("i❤.ws", "a character that domain names cannot have (U+2764 HEAVY BLACK HEART)"),
        ("xn--i-7iq.ws", "a character that domain names cannot have (U+2764 HEAVY BLACK HEART)"),
        ("a\udcff.com", "bytes that are not UTF-8"),
        ("xn--.com", "a label that IDNA 2008 does not allow"),
        ("xn--abc-.com", "a label that IDNA 2008 does not allow"),
        ("ab--ü.com", "a label that IDNA 2008 does not allow"),
    ],
)
def test_a_text_that_is_no_site_is_refused_with_the_reason(text: str, expected: str) -> None:
    assert reason(text) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http//acme.com", "http//acme.com"),
        ("https://user:pw@exa mple.com/a", "https://***@exa mple.com/a"),
        ("user:p/w@example.com", "***@example.com"),
        ("https://user:p?w#x@example.com:1", "https://***@example.com:1"),
        ("https://example.com:1/?api_key=abc", "https://example.com:1/"),
        (" a_b.com\n", "a_b.com"),
        ("\x1b]0;owned\x07_.com", "\\x1b]0;owned\\x07_.com"),
        ("a_b\u202emoc.com", "a_b\\u202emoc.com"),
        ("a_\udcff", "a_\\xff"),
        ("a_\ud800", "a_\\ud800"),
        ("x_" + "y" * 100, "x_" + "y" * 77 + "…"),
    ],
)
def test_what_a_refusal_repeats_is_safe_to_print(text: str, shown: str) -> None:
    with pytest.raises(InvalidName) as caught:
        canonical(text)
    assert caught.value.what == f'"{shown}" is not a domain name'


@settings(deadline=None, max_examples=500, database=None)
@given(urls | st.text())
@example("www.com")
@example("www.www.co.uk")
@example("a." * 126 + "b")
def test_a_canonical_name_stands_for_itself_in_any_url(text: str) -> None:
    try:
        name = canonical(text)
    except InvalidName:
        return
    assert LDH_NAME.fullmatch(name)
    assert canonical(name) == name
    assert canonical(f"https://www.{name}/path?x=1") == name
    assert canonical(f"{name.upper()}.:443#www") == name


@settings(deadline=None, max_examples=500, database=None)
@given(st.text() | urls.flatmap(lambda url: st.text(max_size=2).map(lambda dirt: url + dirt + url)))
def test_a_refusal_is_one_short_printable_line(text: str) -> None:
    try:
        canonical(text)
    except InvalidName as error:
        said = [error.what, error.why, error.hint]
    else:
        return
    assert all(line.isprintable() and 0 < len(line) <= 120 for line in said)


@settings(deadline=None, max_examples=500, database=None)
@given(
    st.sampled_from(
        ["https://u:{}@a.com", "u:{}@a.com:1", "{}@", "ftp://{}@a.com/x", " <x:{}@y.de>"]
    ),
    st.sampled_from(["Zq9Xk7w", "Zq9/Xk", "Zq9?Xk#w", "Zq9 Xk", "Zq9:Xk", "Zq9\\Xk", "Zq9" * 2000]),
    st.text(st.characters(codec="utf-8", exclude_characters="{"), max_size=3),
    st.integers(min_value=0),
)
@example("{}@", "Zq9Xk7w", "://", 2)
def test_no_refusal_repeats_a_password(form: str, secret: str, dirt: str, where: int) -> None:
    place = where % (len(form) + 1)
    text = (form[:place] + dirt + form[place:]).replace("{}", secret)
    try:
        canonical(text)
    except InvalidName as error:
        said = f"{error.what} {error.why} {error.hint} {error.__context__!r}"
    else:
        return  # a "/" or "#" of dirt before it has made a path of it
    assert "Zq9" not in said


def _named(text: str) -> str:
    try:
        return canonical(text)
    except InvalidName as error:
        return str(error.why)


SUFFIX_RULES = TLDExtract(cache_dir=None, suffix_list_urls=()).tlds


@pytest.mark.parametrize("prefix", ["", "a.", "www.", "a.b."])
def test_a_name_that_is_passed_at_a_glance_is_what_a_closer_look_would_say(prefix: str) -> None:
    for rule in SUFFIX_RULES:
        name = prefix + rule.removeprefix("!").replace("*", "city")
        assert _named(name) == _named(f"{name}.")  # whose last dot wants a closer look


@settings(deadline=None, max_examples=500, database=None)
@given(st.from_regex(r"(www\.|xn--)?[a-z0-9-]{1,65}(\.[a-z0-9-]{1,9}){0,3}\n?", fullmatch=True))
def test_so_is_a_name_of_plain_letters(text: str) -> None:
    assert _named(text) == _named(f"{text.rstrip()}.")


def test_spellings_are_what_older_programs_stored() -> None:
    assert set(spellings("example.com")) == {
        "example.com",
        "www.example.com",
        "http://example.com",
        "http://www.example.com",
        "https://example.com",
        "https://www.example.com",
        "http://example.com/",
        "http://www.example.com/",
        "https://example.com/",
        "https://www.example.com/",
    }


def test_an_international_name_was_also_stored_as_it_is_written() -> None:
    found = spellings("xn--mnchen-3ya.de")
    assert len(found) == 20
    assert {"münchen.de", "www.münchen.de", "https://münchen.de/"} < set(found)


@settings(deadline=None, max_examples=300, database=None)
@given(hosts.filter(is_site))
@example("ab--c.münchen.de")
def test_every_spelling_stands_for_the_name_and_the_first_is_it(host: str) -> None:
    name = canonical(host)
    found = spellings(name)
    assert found[0] == name
    assert {canonical(form) for form in found} == {name}
    assert len(set(found)) == len(found)


def test_lines_carry_their_number_and_comments_are_passed_over() -> None:
    lines = ["\ufeff# sites\n", "Example.com\n", "\n", "  # no\n", "http//acme.com\n", "b.de # ok"]
    assert list(read_lines(lines, "new.txt")) == [
        SourcedName("example.com", "new.txt:2"),
        RejectedLine("new.txt:5", "http//acme.com", "a slash where the host should be"),
        SourcedName("b.de", "new.txt:6"),
    ]


def test_arguments_are_all_read() -> None:
    assert list(read_names(["www.Example.com", "", "u:pw@b.de"])) == [
        SourcedName("example.com", "argument"),
        RejectedLine("argument", "", "nothing there"),
        RejectedLine("argument", "***@b.de", "a user name or password in the URL"),
    ]


def test_lines_are_read_one_at_a_time() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "example.com\n"

    found = read_lines(endless(), "stdin")
    assert next(found) == SourcedName("example.com", "stdin:1")
    assert next(found) == SourcedName("example.com", "stdin:2")


@pytest.mark.parametrize(
    "piece", ["a", "a.", "www.", "-", "ü", "@", "://", "/", "[", ":", "1.", "?"]
)
def test_a_very_long_line_costs_nothing_but_its_own_length(piece: str) -> None:
    canonical("example.com")
    line = piece * (4_000_000 // len(piece))
    tracemalloc.start()
    try:
        (found,) = read_lines([line], "stdin")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, RejectedLine)
    assert len(found.text) <= 80
    assert peak_bytes < 1_000_000


def test_a_url_with_a_very_long_query_is_fine() -> None:
    assert canonical("https://example.com/?" + "q" * 1_000_000) == "example.com"


def test_neither_the_network_nor_a_cache_file_is_needed() -> None:
    program = """
import builtins, io, os, sys
import domainsched.names as names
assert "tldextract" not in sys.modules, "slow import at start-up"
def audit(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event in {"socket.connect", "socket.getaddrinfo", "os.mkdir"} or writes:
        print(event, args)
sys.addaudithook(audit)
print(names.canonical("www.example.co.uk"))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "example.co.uk\n"
