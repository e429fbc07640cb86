"""Pages that nobody wrote: pieces of real constructions, put together and broken at random.

The long run is `pytest -m soak -n0 tests/test_extract_fuzz.py`.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from domainsched import extract_page
from domainsched.extract.encoding import clean

GOLDEN = Path(__file__).parent / "golden"
PAGES = 10_000
SHORT = 150
SEED = 5
LIMIT_SECONDS = 1.0
"""Of processor time, for a page: what the issue of every rule's cost comes down to."""

PIECES = [
    *(b"<a href='tel:", b"<a href='mailto:", b"+44 (0)20 7946 0958", b"(212) 555-0142 ext. 7"),
    *(b"1-800-FLOWERS", b"Fax: ", b"info@acme.com", b" [at] ", b" (dot) ", b"@", b".", b"-", b"+"),
    *(b"<span data-cfemail='", b"deadbeef", b"data-user=a data-domain=b", b"moc.emca@ofni"),
    *(b"<script>document.write('a'+'@'+", b"</script>", b'<script type="application/ld+json">'),
    *(b'{"email":', b'["sameAs",', b'{"telephone":[1,null,"030 901820"]}', b"[[[[[[[[", b"null"),
    *(b"<footer>", b"<header>", b"</div>", b"<svg>", b"<template>", b"<select>", b"<!--", b"-->"),
    *(b"https://x.com/", b"//facebook.com/", b"http://[", b"https://wa.me/", b"?phone=%2", b"#!/"),
    *(b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"&#x202e;", b"&#64;", b"\xe2\x80\xae", b"\x1e"),
    *(b"<meta charset=utf-16>", b"<base href='//['>", b"<html lang='", b"<div class='contact'>"),
]
URLS = ["https://acme.com/", "https://acme.de/en-gb/", "https://x.com/a", "http://[::1]/", "", "?"]


def originals() -> list[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.html"))]


def mutants(count: int, random: Random) -> Iterator[tuple[bytes, str]]:
    """Yield pages that were cut, doubled, swapped, overwritten and interlarded."""
    pages = originals()
    for _ in range(count):
        page = bytearray(random.choice(pages))
        for _ in range(random.randrange(1, 30)):
            mutate(page, random)
        yield bytes(page), random.choice(URLS)


def mutate(page: bytearray, random: Random) -> None:
    start = random.randrange(len(page) + 1)
    end = min(len(page), start + random.randrange(1, 200))
    match random.randrange(5):
        case 0:
            del page[start:end]
        case 1:
            page[start:start] = page[start:end] * random.randrange(1, 20)
        case 2:
            page[start:start] = random.choice(PIECES) * random.choice([1, 1, 1, 2, 50])
        case 3:
            page[start:end] = random.randbytes(end - start)
        case _:
            page[start:end] = bytes(reversed(page[start:end]))


def judge(body: bytes, url: str) -> None:
    began = time.process_time()
    found = extract_page(body, url)
    assert time.process_time() - began < LIMIT_SECONDS
    assert found == extract_page(body, url), "the same bytes give the same result"
    assert json.loads(json.dumps(found)) == found
    for text in strings(found):
        assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs"}], text
        assert clean(text) == text, "what is clean stays as it is"
    metadata = found["domain_metadata"]
    contacts = metadata["contacts"]
    assert list(contacts["emails"]) == found["email_addresses"]
    assert list(contacts["phones"]) == found["phone_numbers"]
    assert list(contacts["social_links"]) == list(metadata["social_links"])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.items():
            yield from strings(list(item))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def run(count: int, seed: int) -> None:
    extract_page(b"<p>info@acme.com 212-555-0142", URLS[0])  # loads the tables
    for number, (body, url) in enumerate(mutants(count, Random(seed))):  # noqa: S311 - repeatable
        try:
            judge(body, url)
        except Exception as error:
            error.add_note(f"page {number} of seed {seed} at {url!r}: {body!r}")
            raise


def test_broken_pages_are_read_all_the_same() -> None:
    run(SHORT, SEED)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_broken_pages_are_read_all_the_same() -> None:
    run(PAGES, SEED + 1)
