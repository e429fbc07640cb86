"""Decoding as browsers do it, text as readers see it, and the guard before the parser."""

from __future__ import annotations

import codecs
import random
import time
from collections.abc import Iterator
from itertools import pairwise, product
from urllib.parse import urljoin

import pytest
from ahocorasick_rs import BytesAhoCorasick
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from domainsched.extract import guard
from domainsched.extract.document import (
    _FOREIGN,
    _INLINE,
    _INVISIBLE,
    _TEXT,
    host_of,
    join,
    parse,
    path_of,
    split,
)
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


OLD = {
    # country: a sentence of the kind home pages have, and the encodings it used to come in
    "bg": ("Добре дошли на нашия сайт за дома и градината", ["cp1251"]),
    "cn": ("欢迎来到我们的网站 联系我们 公司简介", ["gb18030"]),
    "cz": ("Vítejte na našich stránkách o žluťoučkých koních", ["cp1250", "iso8859-2"]),
    "de": ("Willkommen! Unsere Öffnungszeiten über die Feiertage für Sie", ["cp1252"]),
    "gr": ("Καλώς ήρθατε στην ιστοσελίδα μας, επικοινωνία", ["iso8859-7", "cp1253"]),
    "hu": ("Üdvözöljük honlapunkon, tűzifa és őrzés", ["iso8859-2"]),
    "il": ("ברוכים הבאים לאתר שלנו, צור קשר", ["cp1255"]),
    "jp": ("私たちのサイトへようこそ。お問い合わせはこちらまで", ["cp932", "euc_jp"]),
    "kr": ("저희 홈페이지에 오신 것을 환영합니다", ["cp949"]),
    "lt": ("Sveiki atvykę į mūsų svetainę, žmonės", ["cp1257"]),
    "pl": ("Witamy na naszej stronie, źródło, żółć, ogłoszenia", ["cp1250", "iso8859-2"]),
    "ru": ("Добро пожаловать на наш сайт, пишите нам", ["cp1251", "koi8-r"]),
    "sa": ("مرحبا بكم في موقعنا، اتصل بنا", ["cp1256"]),
    "th": ("ยินดีต้อนรับสู่เว็บไซต์ของเรา ติดต่อเรา", ["cp874"]),
    "tr": ("Web sitemize hoş geldiniz, iletişim, görüşmek üzere", ["cp1254"]),
    "tw": ("歡迎來到我們的網站 聯絡我們 公司簡介", ["big5hkscs"]),
    "ua": ("Ласкаво просимо на наш сайт, зв'яжіться з нами", ["cp1251", "koi8-u"]),
}
UNDECLARED = [(tld, encoding) for tld, (_, encodings) in OLD.items() for encoding in encodings]
EVERYWHERE = [
    (tld, encoding) for tld, encoding in UNDECLARED if tld in {"de", "ru", "jp", "kr", "th"}
]


@pytest.mark.parametrize(("tld", "encoding"), UNDECLARED)
def test_an_undeclared_page_is_read_as_its_country_writes(tld: str, encoding: str) -> None:
    markup = f"<title>{OLD[tld][0]}</title><p class=big><a href='/'>Home</a>"
    assert decode(markup.encode(encoding), "text/html", f"www.acme.{tld}")[0] == markup


@pytest.mark.parametrize(("tld", "encoding"), UNDECLARED)
def test_the_language_tells_where_the_country_does_not(tld: str, encoding: str) -> None:
    languages = {"cn": "zh-CN", "cz": "cs", "gr": "el", "il": "he", "jp": "ja", "kr": "ko-KR"}
    languages |= {"sa": "ar", "ua": "uk", "tw": "zh"}
    markup = f'<html dir=ltr lang="{languages.get(tld, tld)}"><title>{OLD[tld][0]}</title>'
    assert decode(markup.encode(encoding), "text/html", "acme.com")[0] == markup


@pytest.mark.parametrize(("tld", "encoding"), EVERYWHERE)
def test_a_script_of_its_own_tells_itself(tld: str, encoding: str) -> None:
    markup = f"<title>{OLD[tld][0]}</title><p class=big><a href='/'>Home</a>"
    assert decode(markup.encode(encoding), "text/html", "acme.com")[0] == markup


def test_few_accents_say_nothing_and_are_western() -> None:
    for text in ("Crème brûlée à Zürich", "“Ça va?” £5", "Año nuevo, niño", "É"):
        assert decode(f"<title>{text}</title>".encode("cp1252"))[0] == f"<title>{text}</title>"


@pytest.mark.parametrize("declared", ["text/html; charset=utf-8", "text/html"])
def test_a_page_that_calls_itself_utf8_and_is_not_is_read_as_what_it_is(declared: str) -> None:
    markup = "<meta charset=utf-8><p>Приём заказов круглосуточно"
    assert decode(markup.encode("cp1251"), declared, "acme.ru") == (markup, "cp1251")
    accents = "<meta charset=utf-8><p>Crème brûlée"
    assert decode(accents.encode("cp1252"), declared) == (accents, "cp1252")


def test_a_few_broken_letters_do_not_belie_utf8() -> None:
    body = "<meta charset=utf-8><p>Crème brûlée à".encode() + b" <p>caf\xe9 noir"
    text, name = decode(body, "text/html; charset=utf-8")
    assert (text[-9:], name) == ("caf\ufffd noir", "utf-8")
    cut = "<meta charset=utf-8><p>Ж".encode()[:-1]
    assert decode(cut)[1] == "utf-8"


def test_a_servers_latin_default_yields_to_what_is_plainly_utf8() -> None:
    latin = "text/html; charset=ISO-8859-1"
    assert decode("<p>Zürich".encode(), latin) == ("<p>Zürich", "utf-8")
    assert decode("<p>Zürich".encode("cp1252"), latin) == ("<p>Zürich", "cp1252")
    # What somebody chose stays: these two letters are valid in both, and GBK's.
    both = "联".encode("gbk")
    assert decode("鑱".encode("gbk") + both, "text/html; charset=gbk")[1] == "gb18030"


@given(st.binary(max_size=400), st.sampled_from(["acme.com", "acme.ru", "acme.jp", "acme.pl", ""]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_without_nul_and_in_an_encoding_that_is_known(
    body: bytes, host: str
) -> None:
    text, name = decode(body, "", host)
    assert "\x00" not in text
    assert codecs.lookup(name).name == codecs.lookup(name.lower()).name
    assert (text, name) == decode(body, "", host)


@pytest.mark.parametrize("filler", [b"<\xe9>", b"\xe9 ", b" " * 5000 + b"\xe9", b"<html "])
def test_detection_is_bounded(filler: bytes) -> None:
    body = b"\xe9" + filler * (2 * MEGABYTE // len(filler))
    began = time.process_time()
    decode(body, "", "acme.jp")
    assert time.process_time() - began < 5


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


def test_every_name_that_text_depends_on_is_one_the_parser_knows_and_no_text() -> None:
    """What it does not know gets another number in each page."""
    pages = [LexborHTMLParser(page) for page in ("<x-y>", "<x-z><x-y>")]
    first, second = ({node.tag_id for node in page.css("x-y")} for page in pages)
    unknown = min(first | second)
    assert max(_INVISIBLE | _INLINE | _FOREIGN) < 1000 < unknown
    assert len(_INVISIBLE) == 18
    assert len(_INLINE) == 32
    (paragraph,) = LexborHTMLParser("<p>text").css("p")
    (text,) = paragraph.iter(include_text=True)
    assert text.tag_id == _TEXT
    assert _TEXT not in _INVISIBLE | _INLINE


def test_attributes_are_read_once_and_in_the_order_asked_for() -> None:
    document = parse(b"<img id=a><a id=b><img id=c>", "https://a.com/", {})
    ids = [attributes["id"] for _, attributes in document.read("a", "img", "p")]
    assert ids == ["b", "a", "c"]
    assert document.read("img")[0][1] is document.read("a", "img")[1][1]


def test_a_first_look_finds_the_lines_with_a_text_and_those_that_may_hold_digits() -> None:
    document = parse("<p>é 12<p>a@b@c<p>@ 日<p>1 2".encode(), "https://a.com/", {})
    assert document.lines_with(BytesAhoCorasick([b"@", "日".encode()])) == [1, 2]
    assert document.lines_with_digits(2) == [0, 2, 3]
    assert parse(b"", "https://a.com/", {}).lines_with(BytesAhoCorasick([b"@"])) == []


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


PIECES = [
    *"ab0.:/?#;%[]!-_~&=@\\ ",
    "..",
    "./",
    "//",
    "http://",
    "https://",
    "h.de",
    "\u00e9",
    ":80",
]
ORIGINS = ["https://h.de", "http://H.de:8080/a/", "https://u@h.de/", "https://[::1]"]


def references(number: int) -> Iterator[str]:
    """Yield all that are made of at most two pieces, and longer ones by chance, always the same."""
    yield from ("".join(pieces) for length in range(3) for pieces in product(PIECES, repeat=length))
    dice = random.Random(1)  # noqa: S311 - the same ones each time
    yield from ("".join(dice.choices(PIECES, k=dice.randrange(3, 10))) for _ in range(number))


def urls(number: int) -> Iterator[str]:
    yield from (origin + end for end in references(number) for origin in ORIGINS)


def test_a_reference_is_resolved_the_short_way_as_the_long_way() -> None:
    """A tab, which browsers pass over, makes it the long way."""
    dice = random.Random(2)  # noqa: S311 - the same ones each time
    bases = list(urls(100))
    pairs = [(dice.choice(bases), href) for href in references(10_000)]
    assert [
        (base, href)
        for base, href in pairs
        if join(base, href) != join(base, f"{href[:1]}\t{href[1:]}")
    ] == []


@pytest.mark.parametrize(
    "base", ["https://h.de", "https://h.de/a/../b/c;d?e#f", "http://h.de:80/?"]
)
@pytest.mark.parametrize(
    "href",
    [
        *("x", "x/y/?a=b#c", "/x", "/x/?a:b", "//i.de", "//i.de/x#y", "https://i.de/x", "../x"),
        *("./x", "/a/../b", "/a//b", "a//b", "a/.", "x;", "x?", "x#", "?x", "#x", "a;b?c", "/;"),
        "//i.de?",
    ],
)
def test_a_reference_is_resolved_as_urljoin_does(base: str, href: str) -> None:
    assert join(base, href) == urljoin(base, href)


def test_a_host_and_a_path_are_those_of_the_parts() -> None:
    for url in urls(2_000):
        assert host_of(url) == (split(url).hostname or "").removeprefix("www."), url
        assert path_of(url) == split(url).path, url


def test_no_character_is_cleaned_another_way_where_the_text_seems_clean() -> None:
    """A line break makes it the long way, as does anything that is not printable."""
    texts = [f"a{chr(code)} b" for code in range(0x3000)]
    printable = [chr(code) for code in range(0x21, 0x110000) if chr(code).isprintable()]
    texts += [f"a{''.join(printable)} b", " ".join(printable)]
    assert [text for text in texts if clean(text) != clean(f"\n{text}")] == []
