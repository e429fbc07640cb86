"""Decoding as browsers do it, text as readers see it, and the guard before the parser."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.extract import guard
from domainsched.extract.document import parse
from domainsched.extract.encoding import clean, decode

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "content_type", "text", "name"),
    [
        ("é€".encode(), "text/html", "é€", "utf-8"),
        (b"\x80\xe9", "text/html", "€é", "cp1252"),
        (b"\x80", "text/html; charset=ISO-8859-1", "€", "cp1252"),
        ("Привет".encode("cp1251"), "text/html; charset=windows-1251", "Привет", "cp1251"),
        ("\ufeffé".encode("utf-16-le"), "text/html; charset=latin1", "é", "utf-16-le"),
        (b"\xef\xbb\xbfx", "text/html; charset=koi8-r", "x", "utf-8"),
        ("日本".encode("cp932"), 'text/html; charset="Shift_JIS"', "日本", "cp932"),
        (b"x", "text/html; charset=rot13", "x", "utf-8"),
        (b"x", "text/html; charset=zlib_codec", "x", "utf-8"),
        (b"x", "text/html; charset=idna", "x", "utf-8"),
        ("é".encode()[:1], "text/html", "\ufffd", "utf-8"),
    ],
)
def test_bytes_become_text_by_mark_header_and_content(
    body: bytes, content_type: str, text: str, name: str
) -> None:
    assert decode(body, content_type) == (text, name)


def test_the_meta_counts_without_a_header_and_yields_to_what_the_bytes_plainly_are() -> None:
    meta = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">'
    assert decode(meta.encode() + "Привет".encode("cp1251"))[0].endswith("Привет")
    assert decode(meta.encode() + "Привет".encode())[0].endswith("Привет")
    assert decode(b"<meta charset=utf-16>x")[1] == "utf-8"


@given(st.text())
def test_clean_text_is_one_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert "\n" not in cleaned
    assert clean(cleaned) == cleaned


def test_text_is_what_a_reader_sees_one_line_a_block() -> None:
    document = parse(
        b"<title>t</title><style>s</style><p>in<b>fo</b>@a.com<div>x<br>y</div><template>z</template>"
        b"<noscript>n</noscript><textarea>q</textarea><td>1<td>2",
        "https://a.com/",
        {},
    )
    assert document.text.split("\n") == ["info@a.com", "x", "y", "n", "12"]


def test_a_frameset_and_an_empty_page_are_documents_too() -> None:
    for body in (b"", b"<frameset><frame src=a></frameset>", b"\x00", b"<"):
        assert parse(body, "https://a.com/", {}).text in {"", "<"}


# --- the guard --------------------------------------------------------------------------------

ORDINARY = (
    "<html><body class=a>"
    + "<div><p>text <a href='/'>link</a><ul><li>one<li>two</ul></div>" * 5_000
    + "</body></html>"
)
BOMBS = {
    "deep": "<div>" * (2 * MEGABYTE // 5),
    "attributes": "<p " + " ".join(f"a{n}=1" for n in range(200_000)) + ">",
    "attributes in many tags": ("<p " + " ".join(f"a{n}" for n in range(900)) + ">") * 400,
    "formatting": "".join(f"<b a={n}><i>" for n in range(100_000)),
    "formatting and paragraphs": "".join(f"<b a={n}>" for n in range(9_000)) + "<p>x" * 200_000,
    "adoption": "".join(f"<b a={n}><p>" for n in range(9_000)) + "</b>" * 9_000,
    "anchors": "<a><div>" * 200_000,
    "options": "<select>" + "<option selected>x" * 100_000,
    "root attributes": "".join(f"<html a{n}=1></html>" for n in range(50_000)),
    "ruby": "<rt>" * 400_000,
    "disguise in comments": "<!-- <a title=' -->" + "<div>" * 300_000 + "<!-- '> -->",
}


def test_an_ordinary_page_passes_uncut_however_long() -> None:
    assert guard.cut(ORDINARY) == ORDINARY


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_page_that_would_stall_the_parser_is_read_in_bounded_time(bomb: str) -> None:
    body = BOMBS[bomb][: 2 * MEGABYTE].encode()
    began = time.process_time()
    parse(body, "https://a.com/", {})
    assert time.process_time() - began < 5


@pytest.mark.parametrize("bomb", ["deep", "attributes", "formatting", "adoption"])
def test_the_beginning_before_a_bomb_is_kept(bomb: str) -> None:
    document = parse(("<title>Acme</title>" + BOMBS[bomb]).encode(), "https://a.com/", {})
    assert document.cut
    assert [node.text() for node in document.all("title")] == ["Acme"]


def test_the_guard_looks_at_a_page_once() -> None:
    def seconds(markup: str) -> float:
        began = time.process_time()
        guard.cut(markup)
        return time.process_time() - began

    times = [min(seconds("<p a='" * n) for _ in range(3)) for n in (20_000, 40_000, 80_000)]
    assert all(later < 6 * earlier + 0.01 for earlier, later in pairwise(times))


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="<>/ab='\" \n", max_size=300))
def test_what_is_kept_is_a_beginning(markup: str) -> None:
    assert markup.startswith(guard.cut(markup))
