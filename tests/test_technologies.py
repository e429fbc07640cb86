"""The table of technologies: each entry is well formed, safe to run, and finds what it is for.

`pytest tests/test_technologies.py -k "Shopify"` checks one entry.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from re import _parser as sre  # type: ignore[attr-defined] # to see how a regex is built
from typing import Any

import pytest

import domainsched
from domainsched import extract_page
from domainsched.extract.document import parse
from domainsched.extract.technology import literals
from domainsched.extract.technology.index import index
from domainsched.extract.technology.match import hits
from domainsched.extract.technology.signs import Page
from domainsched.extract.technology.table import CATEGORIES, CONFIDENCE, own_table

TABLE = Path(domainsched.__file__).parent / "extract" / "technologies"
EXAMPLES = Path(__file__).parent / "technologies"
URL = "https://www.example.com/"


def read(folder: Path) -> list[tuple[str, str, Any]]:
    return [
        (file.name, name, row)
        for file in sorted(folder.glob("*.json"))
        for name, row in json.loads(file.read_text(encoding="utf-8")).items()
    ]


ROWS = {name: row for _, name, row in read(TABLE)}
CASES = {name: cases for _, name, cases in read(EXAMPLES) if name != "_not"}
NEAR_MISSES = [case for _, name, cases in read(EXAMPLES) if name == "_not" for case in cases]
OWN = own_table()
NAMES = sorted(OWN)

LISTS = {"hosts", "links", "files", "cookies", "inline", "code", "select"}
NAMES_OF_OTHERS = {"implies", "excludes", "requires"}
MAPS = {"metas", "headers"}
TEXTS = {"generator", "comment"}
SIGNS = LISTS | MAPS | TEXTS
FIELDS = SIGNS | NAMES_OF_OTHERS | {"categories", "website", "confidence"}


def is_list_of_texts(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(text, str) and text.strip() == text != "" for text in value)
        and len(set(value)) == len(value)
    )


def is_mapping(value: object) -> bool:
    return isinstance(value, dict) and all(
        key == key.lower() and isinstance(regex, str) for key, regex in value.items()
    )


# --- form -------------------------------------------------------------------------------------


def an_entry_has_known_fields_of_the_right_form_and_names_what_exists(name: str) -> None:
    row = ROWS[name]
    assert set(row) <= FIELDS
    assert SIGNS & set(row), "it has no sign"
    assert [
        field
        for field in LISTS | NAMES_OF_OTHERS | {"categories"}
        if field in row and not is_list_of_texts(row[field])
    ] == []
    assert [field for field in MAPS & set(row) if not is_mapping(row[field])] == []
    assert [field for field in TEXTS & set(row) if not row[field]] == []
    assert set(row.get("confidence", {})) <= SIGNS & set(row)
    assert all(percent in range(1, 100 + 1) for percent in row.get("confidence", {}).values())
    assert set(row["categories"]) <= set(CATEGORIES)
    assert re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(?:/\S*)?", row["website"])
    others = {other for field in NAMES_OF_OTHERS for other in row.get(field, [])}
    assert others - set(NAMES) == set(), "there is no such technology"
    assert name not in others


def an_entry_has_hosts_cookies_and_texts_that_can_be_looked_up(name: str) -> None:
    row = ROWS[name]
    for address in row.get("hosts", []) + row.get("links", []):
        assert re.fullmatch(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[^\s?#A-Z]*[^\s?#/A-Z])?", address)
    assert all(re.fullmatch(r"[!-~]{3,}", cookie) for cookie in row.get("cookies", []))
    assert all(len(text) >= 5 for text in row.get("inline", []))
    assert not [text for text in row.get("inline", []) if text.isalpha() and text.islower()]


def test_no_name_is_there_twice() -> None:
    counts = Counter(name.lower() for _, name, _ in read(TABLE))
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("file", sorted(TABLE.glob("*.json")), ids=lambda file: file.name)
def test_a_file_is_sorted_by_name(file: Path) -> None:
    names = list(json.loads(file.read_text(encoding="utf-8")))
    assert names == sorted(names, key=str.lower)


# --- cost -------------------------------------------------------------------------------------

MAX_WAYS = 1000
"""Of bounded repetitions: how many steps one beginning may cost."""
ASCII = frozenset(string.printable)
Parsed = Any
"""What Python's parser of regexes gives; it is private."""
ITEMS = {"LITERAL", "NOT_LITERAL", "ANY", "IN"}
TESTS: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
}


def regexes(name: str) -> list[tuple[str, str]]:
    """Give an entry's regexes with the fields they are in."""
    row = ROWS[name]
    found = [(field, regex) for field in ("files", "code") for regex in row.get(field, [])]
    found += [(field, regex) for field in MAPS for regex in row.get(field, {}).values() if regex]
    return found + [(field, row[field]) for field in TEXTS if field in row]


def accepted(op: object, value: Parsed) -> frozenset[str]:
    """Give the characters that one item of a regex stands for."""
    kind = str(op)
    if kind == "LITERAL":
        return frozenset({chr(value).lower(), chr(value).upper()})
    if kind == "NOT_LITERAL":
        return ASCII - {chr(value)}
    if kind == "IN":
        is_negated = str(value[0][0]) == "NEGATE"
        found = frozenset().union(*(member(*item) for item in value[is_negated:]))
        return ASCII - found if is_negated else found
    return ASCII


def member(op: object, value: Parsed) -> frozenset[str]:
    """Give what one member of a class of characters stands for."""
    if str(op) == "RANGE":
        return frozenset(c for c in ASCII if value[0] <= ord(c) <= value[1])
    if str(op) == "CATEGORY":
        test = TESTS[str(value).replace("_NOT", "")]
        return frozenset(c for c in ASCII if test(c) == ("_NOT" not in str(value)))
    return accepted(op, value)


Chars = frozenset[str]


def _parse(regex: str) -> Parsed:
    return sre.parse(regex)


class Checker:
    """Reads a regex and notes what may make it slow: many beginnings, or many ways to match."""

    def __init__(self, regex: str, *, anchored: bool = False) -> None:
        self.faults: list[str] = []
        self._anchored = anchored
        self._ways = 1
        self._walk(_parse(regex), frozenset(), [])
        if self._ways > MAX_WAYS:
            self.faults.append("its repetitions multiply")

    def _walk(self, tokens: Parsed, before: Chars, loops: list[Chars]) -> tuple[Chars, list[Chars]]:
        """Follow the items, given what stands before for certain, and the loops not yet ended."""
        for op, value in tokens:
            kind = str(op)
            if kind in {"ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS"}:
                self.faults.append(f"{kind.lower()} is not allowed")
            elif kind == "BRANCH":
                ends = [self._walk(branch, before, loops) for branch in value[1]]
                before = frozenset.intersection(*(chars for chars, _ in ends))
                loops = [loop for _, its_loops in ends for loop in its_loops]
            elif kind == "SUBPATTERN":
                before, loops = self._walk(value[-1], before, loops)
            elif kind.endswith("REPEAT"):
                before, loops = self._repeat(value, before, loops)
            elif kind == "AT":
                self._anchored |= str(value) in {"AT_BEGINNING", "AT_BEGINNING_STRING"}
            else:
                chars = accepted(op, value)
                before |= chars if kind == "LITERAL" else frozenset()
                loops = [loop for loop in loops if chars & loop]
        return before, loops

    def _repeat(
        self, value: Parsed, before: Chars, loops: list[Chars]
    ) -> tuple[Chars, list[Chars]]:
        least, most, item = value
        if str(most) != "MAXREPEAT":
            self._ways *= max(most, 1)
            once, its_loops = self._walk(item, before, loops)
            if most > 1:
                _, its_loops = self._walk(item, once, its_loops)
            return (once, its_loops) if least else (before, loops + its_loops)
        if len(item) != 1 or str(item[0][0]) not in ITEMS:
            self.faults.append("a repetition without end is of more than one character")
            return before, loops
        chars = accepted(*item[0])
        if not self._anchored and not before - chars:
            self.faults.append("a repetition without end may begin anywhere")
        if any(chars & loop for loop in loops):
            self.faults.append("two repetitions without end may share what they match")
        return before, [*loops, chars]


def an_entry_costs_little_and_only_where_its_texts_occur(name: str) -> None:
    shortest = {"files": 4, "code": 5, "comment": 5}
    needed = [(literals.of_selector(text), 4, text) for text in ROWS[name].get("select", [])]
    for field, regex in regexes(name):
        assert field != "files" or not re.search(r"(?<!\\)[A-Z]", regex), "URLs are in lower case"
        faults = Checker(regex, anchored=field in MAPS | {"generator"}).faults
        assert not faults, f"{field}: {regex}: {faults}"
        if field in shortest:
            needed.append((literals.of_regex(regex), shortest[field], regex))
    for needs, least, text in needed:
        assert needs, f"{text} needs no text for certain"
        assert min(map(len, needs)) >= least, f"{text} needs only {needs}"


@pytest.mark.parametrize(
    ("regex", "fault"),
    [
        (r"/(?:a+)+", "more than one"),
        (r"/\w+\d+", "share"),
        (r"/abc\d*(\d[\d.]*)", "share"),
        (r".*foo", "anywhere"),
        (r"/a\S*b", "anywhere"),
        (r"/a(?=b)", "not allowed"),
        (r"/(a)\1", "not allowed"),
        (r"/a.{0,99}b.{0,99}c", "multiply"),
    ],
)
def test_the_check_of_regexes_refuses(regex: str, fault: str) -> None:
    assert fault in " ".join(Checker(regex).faults)


@pytest.mark.parametrize(
    "regex", [r"/abc(?:[.-]v?(\d[\d.]*))?(?:\.min)?\.js", r"^A(?:b|c) (\d+(?:\.\d+){0,3})"]
)
def test_the_check_of_regexes_allows(regex: str) -> None:
    assert Checker(regex).faults == []


# --- what it finds ----------------------------------------------------------------------------


def found(case: dict[str, Any]) -> dict[str, Any]:
    body = f"<!doctype html><title>Acme</title>{case.get('html', '')}".encode()
    headers = {"Content-Type": "text/html; charset=utf-8"} | case.get("headers", {})
    technologies = extract_page(body, case.get("url", URL), headers)["tech_stack"]["technologies"]
    assert isinstance(technologies, dict)
    return technologies


def each_example_of_an_entry_is_found_with_its_version(name: str) -> None:
    assert CASES.get(name), "it has no example"
    for case in CASES[name]:
        assert set(case) <= {"html", "headers", "url", "version"}
        assert name in (seen := found(case)), f"not found, but {list(seen)}, in {case}"
        assert seen[name]["version"] == case.get("version"), case


def each_regex_that_gives_a_version_has_an_example(name: str) -> None:
    table = index({name: OWN[name]})
    shown = set()
    for case in CASES.get(name, []):
        headers = {key.lower(): text for key, text in case.get("headers", {}).items()}
        document = parse(case.get("html", "").encode(), case.get("url", URL), headers)
        for hit in hits(Page(document), table):
            if hit.version:
                shown.add(hit.sign.pattern)
    wanted = [regex for _, regex in regexes(name) if re.compile(regex).groups]
    patterns = {getattr(pattern, "text", "") for pattern in shown}
    assert [regex for regex in wanted if regex not in patterns] == []


@pytest.mark.parametrize("case", NEAR_MISSES, ids=lambda case: ", ".join(case["not"]))
def test_a_near_miss_is_not_found(case: dict[str, Any]) -> None:
    assert set(case["not"]) <= set(NAMES)
    assert set(case["not"]) & set(found(case)) == set()


def test_each_example_is_of_an_entry() -> None:
    assert [name for name in CASES if name not in ROWS] == []


def test_each_kind_of_sign_has_a_confidence() -> None:
    assert set(CONFIDENCE) == SIGNS


CHECKS: tuple[Callable[[str], None], ...] = (
    an_entry_has_known_fields_of_the_right_form_and_names_what_exists,
    an_entry_has_hosts_cookies_and_texts_that_can_be_looked_up,
    an_entry_costs_little_and_only_where_its_texts_occur,
    each_example_of_an_entry_is_found_with_its_version,
    each_regex_that_gives_a_version_has_an_example,
)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_entry_is_well_formed_costs_little_and_finds_its_examples(name: str) -> None:
    for check in CHECKS:
        check(name)
