"""Bytes to text as a browser would read them, and back to text that is safe to keep."""

from __future__ import annotations

import codecs
import re

# WHATWG Encoding, section 4.2: label -> encoding, with Python's names for the encodings. What a
# label there means to browsers is kept: latin-1 and ascii are windows-1252, gb2312 is gb18030.
_LABELS = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1"
    " iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 latin-1 us-ascii windows-1252 x-cp1252",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5",
    "iso8859-6": "arabic asmo-708 csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i"
    " iso-ir-127 iso8859-6 iso88596 iso_8859-6",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7"
    " iso88597 iso_8859-7 sun_eu_greek",
    "iso8859-8": "csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-8859-8-i iso-ir-138 iso8859-8"
    " iso88598 iso_8859-8 logical visual",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "cp866": "866 cp866 csibm866 ibm866",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251 win-1251",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 l5 latin5"
    " windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb18030 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58"
    " x-gbk",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601"
    " ksc_5601 windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
}
_ENCODINGS = {label: name for name, labels in _LABELS.items() for label in labels.split()}

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_PRESCAN_BYTES = 8 * 1024
"""How far a declaration in the markup is looked for. HTML, section 13.2.3.2, asks for at least
the first 1,024 bytes; long comments and scripts before the declaration are common."""

_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_META = re.compile(rb"<meta\b[^>]{0,300}", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,100}encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE)

_LOCALES = {
    # Languages and country codes -> the encodings their old pages are in, the usual one first.
    "cp1250 iso8859-2": "cs sk hr .cz .sk .hr",
    "iso8859-2 cp1250": "pl hu sl ro bs .pl .hu .si .ro .ba",
    "cp1251 koi8-r": "ru be .ru .su .by .xn--p1ai",
    "cp1251 koi8-u": "uk .ua .xn--j1amh",
    "cp1251": "bg mk sr kk ky .bg .mk .rs .kz .kg",
    "iso8859-7 cp1253": "el .gr",
    "cp1254": "tr az .tr .az",
    "cp1255": "he iw .il",
    "cp1256": "ar fa ur .sa .ae .eg .ir .jo .kw .ma .pk",
    "cp1257": "et lt lv .ee .lt .lv",
    "cp1258": "vi .vn",
    "cp874": "th .th",
    "cp932 euc_jp": "ja .jp",
    "cp949": "ko .kr",
    "gb18030 big5hkscs": "zh .cn",
    "big5hkscs gb18030": ".tw .hk",
}
"""HTML, section 13.2.3.2, names the first of each as its locale's default."""

_CANDIDATES = {place: names.split() for names, all_ in _LOCALES.items() for place in all_.split()}
_FOREIGN = [
    *("cp1251", "koi8-r", "cp1253", "cp1255", "cp1256", "cp874"),
    *("cp932", "euc_jp", "cp949", "gb18030", "big5hkscs"),
]
"""Encodings of other scripts than Latin, which can be told from each other by the bytes alone."""

_LANG = re.compile(rb"<html\b[^>]{0,300}?\blang\s*=\s*[\"']?([a-z]{2})(?![a-z])", re.IGNORECASE)
_ENOUGH_BYTES = 8
"""Beyond ASCII; fewer say nothing about a script."""

_NO_LETTERS = bytes(byte for byte in range(0x80) if not chr(byte).isalpha())
_SEARCHED_BYTES = 512 * 1024
_SAMPLE_BYTES = 4 * 1024
"""Of text that is not ASCII: enough to know a script by, in a millisecond."""

_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def decode(body: bytes, content_type: str = "", host: str = "") -> tuple[str, str]:
    """Give the text of `body` and the encoding it was read in.

    In the order of HTML, section 13.2.3: byte order mark, HTTP header, `<meta>`, then the bytes
    themselves, with a look at the `lang` and the country of `host`. A declaration that the bytes
    plainly belie is passed over. Never fails: what does not fit becomes U+FFFD.
    """
    marked = _from_bom(body)
    name = marked or _from_header(content_type, body) or _from_markup(body)
    name = name or _from_bytes(body, host)
    text = body.decode(name, errors="replace")
    if name == "utf-8" and not marked and _is_belied(text, body):
        name = _detected(body, host)
        text = body.decode(name, errors="replace")
    if b"\x00" in body:  # no other byte becomes one, and bytes are searched faster
        text = text.replace("\x00", "")
    return text.removeprefix("\ufeff"), name


def clean(text: str) -> str:
    """Collapse white space; drop controls, surrogates and the marks that reorder a terminal."""
    if text.isprintable():
        if "  " not in text and text[:1] != " " != text[-1:]:
            return text  # as most are: what is printable has no white space but blanks
    elif not text.replace("\n", " ").replace("\t", " ").replace("\xa0", " ").isprintable():
        text = _UNSAFE.sub("", text)  # few have more than line ends, and this is slow
    return " ".join(text.split())


def _from_bom(body: bytes) -> str | None:
    return next((name for bom, name in _BOMS if body.startswith(bom)), None)


def _from_header(content_type: str, body: bytes) -> str | None:
    found = _CHARSET.search(content_type)
    name = _ENCODINGS.get(found[1].lower()) if found else None
    # Servers add their default to pages that they know nothing of; text in it is never UTF-8.
    return "utf-8" if name == "cp1252" and _is_utf8_beyond_ascii(body) else name


def _from_markup(body: bytes) -> str | None:
    name = _declared(body[:_PRESCAN_BYTES])
    if name is None or name == "utf-8":
        return name
    # Markup that was read as text cannot be UTF-16; and proxies recode pages but not their <meta>.
    return "utf-8" if name.startswith("utf-16") or _is_utf8_beyond_ascii(body) else name


def _declared(head: bytes) -> str | None:
    xml = _XML.match(head)
    labels = [xml[1].decode("ascii", "replace")] if xml else []
    for meta in _META.findall(head):
        labels += _CHARSET.findall(meta.decode("ascii", "replace"))
    known = (_ENCODINGS.get(label.lower()) for label in labels)
    return next((name for name in known if name), None)


def _from_bytes(body: bytes, host: str) -> str:
    return "utf-8" if _is_utf8(body) else _detected(body, host)


def _is_belied(text: str, body: bytes) -> bool:
    """Whether more of what was read as UTF-8 is broken than is not."""
    if "\ufffd" not in text or _is_utf8(body):
        return False
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return 2 * text.count("\ufffd") > beyond_ascii


def _detected(body: bytes, host: str) -> str:
    """Tell one of the old encodings by where the page is from, and by its bytes.

    Latin letters in one encoding are as good as others in the next: only the country tells.
    """
    sample = _sample(body)
    candidates = _candidates(body, host)
    if not candidates:
        return (_closest(sample, _FOREIGN) if _is_foreign(sample) else None) or "cp1252"
    if "iso8859-2" in candidates:
        return "cp1250" if _has_c1(sample) else "iso8859-2"
    return candidates[0] if len(candidates) == 1 else _closest(sample, candidates) or candidates[0]


def _candidates(body: bytes, host: str) -> list[str]:
    """Give the encodings of the country, or else of the language that is declared."""
    found = _LANG.search(body[:_PRESCAN_BYTES])
    language = found[1].decode("ascii").lower() if found else ""
    country = "." + host.rstrip(".").rpartition(".")[2].lower()
    return _CANDIDATES.get(country) or _CANDIDATES.get(language) or []


def _sample(body: bytes) -> bytes:
    """Give the first pieces of text that are not ASCII, without the markup that is."""
    pieces, size = [], 0
    for piece in re.split(rb"[<>]", body[:_SEARCHED_BYTES]):
        if not piece.isascii() and size < _SAMPLE_BYTES:
            pieces.append(piece)
            size += len(piece)
    sample = b" ".join(pieces)
    words = sample[:_SAMPLE_BYTES].rsplit(maxsplit=1)
    # The last word may end in the middle of a character.
    return words[0] if size > _SAMPLE_BYTES and words else sample


def _is_foreign(sample: bytes) -> bool:
    """Whether the text is not in Latin letters: a third of it is beyond ASCII."""
    beyond = sum(byte > 0x7F for byte in sample)  # noqa: PLR2004 - where ASCII ends
    return beyond >= _ENOUGH_BYTES and 3 * beyond > len(sample.translate(None, _NO_LETTERS))


def _has_c1(sample: bytes) -> bool:
    """Whether there are bytes that are letters in Windows' encodings and controls in ISO's."""
    return any(0x80 <= byte <= 0x9F for byte in sample)  # noqa: PLR2004 - C1 of ISO 6429


def _closest(sample: bytes, candidates: list[str]) -> str | None:
    """Let the detector choose; it is loaded (0.04 s) for the few pages that need it."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=candidates).best()
    return codecs.lookup(best.encoding).name if best else None


def _is_utf8_beyond_ascii(body: bytes) -> bool:
    return not body.isascii() and _is_utf8(body)


def _is_utf8(body: bytes) -> bool:
    try:  # a character cut in two at the end of a truncated body is no fault
        codecs.getincrementaldecoder("utf-8")().decode(body, final=False)
    except UnicodeDecodeError:
        return False
    return True
