r"""A user's own fingerprints in Wappalyzer's format, read into the same table as ours.

What needs a browser (`js`, `css`, `xhr`, a node's `properties`) or another question to the network
(`dns`, `robots`, `certIssuer`, `probe`) is passed over. A pattern is written
`regex\;version:\1\;confidence:50`.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser

from domainsched.errors import ConfigError
from domainsched.extract.encoding import clean
from domainsched.extract.technology import literals
from domainsched.extract.technology.table import CATEGORIES, Match, Sign, Technology
from domainsched.files import contents

_MAX_FILE_BYTES = 32 * 1024 * 1024
_MAX_COMPILED = 1_000
_REGEX_MEMORY_BYTES = 1024 * 1024
"""Of one regex in RE2, at most; most take a hundredth of it."""

_TEXTS = {
    "html": "markup",
    "text": "text",
    "url": "url",
    "scriptSrc": "script",
    "script": "script",
    "scripts": "inline",
}
_MAPS = {"meta": "meta", "headers": "header", "cookies": "cookie-name"}
_KNOWN = frozenset({*_TEXTS, *_MAPS, "cats", "dom", "js", "css", "dns", "implies", "icon"})
_NO_TABLES = frozenset({"categories.json", "groups.json", "package.json", "schema.json"})

_OUR_CATEGORIES = {
    "Blogs": "Blog",
    "Cookie compliance": "Cookie consent",
    "Font scripts": "Font",
    "JavaScript libraries": "JavaScript library",
    "Marketing automation": "Marketing",
    "Message boards": "Forum",
    "PaaS": "Hosting",
    "Payment processors": "Payment",
    "Video players": "Video",
}
"""What we call the same; for the rest a plural's s makes the difference, if there is any."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fingerprints:
    """A table, and what of a user's file or folder could not become part of it."""

    technologies: Mapping[str, Technology]
    no_selectors: tuple[str, ...]

    def refused(self) -> list[str]:
        """Try every pattern, and give those that cannot be used: RE2 knows no look-around."""
        signs = (sign for row in self.technologies.values() for sign in row.signs)
        regexes = (sign.pattern for sign in signs if isinstance(sign.pattern, Re2))
        return [*self.no_selectors, *(regex.text for regex in regexes if not regex.is_usable)]


def read(path: Path, own: Mapping[str, Technology]) -> Fingerprints:
    """Read a file or a folder, and lay it beside our table.

    Of what both know, the signs of either count; name, categories and needs are ours.

    Raises:
        ConfigError: it cannot be read, is not of this format, or google-re2 is not installed.
    """
    _require_re2()
    rows, categories = _rows_and_categories(path)
    reader = _Reader({name.casefold(): name for name in own}, categories)
    table = dict(own)
    for name, row in rows.items():
        technology = reader.technology(name, row)
        ours = own.get(technology.name)
        table[technology.name] = _joined(ours, technology) if ours else technology
    return Fingerprints(table, tuple(reader.no_selectors))


def _joined(ours: Technology, theirs: Technology) -> Technology:
    return Technology(
        name=ours.name,
        categories=ours.categories,
        signs=(*ours.signs, *theirs.signs),
        implies={**theirs.implies, **ours.implies},
        excludes=ours.excludes | theirs.excludes,
        requires=ours.requires,
    )


# --- files ------------------------------------------------------------------------------------


def _rows_and_categories(path: Path) -> tuple[dict[str, Row], dict[str, str]]:
    rows: dict[str, Row] = {}
    categories: dict[str, Any] = {}
    for file in _files(path):
        content = _object(file)
        if file.name == "categories.json":
            categories |= content
            continue
        categories |= _mapping(content.get("categories"))
        table = content.get("technologies") or content.get("apps") or content
        rows |= {name: row for name, row in _mapping(table).items() if isinstance(row, dict)}
    rows = {name: row for name, row in rows.items() if clean(name) and row.keys() & _KNOWN}
    if not rows:
        raise _unusable(path, "there is no technology in Wappalyzer's format in it")
    names = {key: _mapping(value).get("name") for key, value in categories.items()}
    return rows, {key: clean(name) for key, name in names.items() if isinstance(name, str)}


def _files(path: Path) -> list[Path]:
    """List the files of a table: a folder may hold them, or a folder `technologies` that does."""
    if not path.exists():
        raise _unusable(path, "there is no such file or folder")
    if not path.is_dir():
        return [path]
    folder = path / "technologies"
    folder = folder if folder.is_dir() else path
    places = (folder, path, *([path.parent] if path.name == "technologies" else []))
    named = (place / "categories.json" for place in places)
    files = sorted(file for file in folder.glob("*.json") if file.name not in _NO_TABLES)
    return [*[file for file in named if file.is_file()][:1], *files]


def _object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(contents(file, _MAX_FILE_BYTES))
    except OSError as error:
        raise _unusable(file, error.strerror or "it cannot be read") from None
    except (ValueError, RecursionError):
        raise _unusable(file, "it is not JSON") from None
    if not isinstance(content, dict):
        raise _unusable(file, "it is not a JSON object")
    return content


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"cannot use the fingerprints of {path}",
        why=why,
        hint="--fingerprints takes a file or folder in Wappalyzer's format (technologies/*.json)",
    )


# --- rows -------------------------------------------------------------------------------------


class _Written(NamedTuple):
    """A pattern with what is written behind it."""

    regex: str
    version: str
    confidence: int


class _Reader:
    """Reads rows, and notes what it had to leave out."""

    def __init__(self, own_names: Mapping[str, str], categories: Mapping[str, str]) -> None:
        self.no_selectors: list[str] = []
        self._own_names = own_names
        self._categories = categories

    def technology(self, name: str, row: Row) -> Technology:
        name = self._name(name)
        implied = [_written(text) for text in _texts(row.get("implies"))]
        return Technology(
            name=name,
            categories=tuple(self._category(key) for key in _texts(row.get("cats"))) or ("Other",),
            signs=tuple(self._signs(name, row)),
            implies={self._name(other.regex): other.confidence for other in implied},
            excludes=self._names(row.get("excludes")),
            requires=self._names(row.get("requires")),
            requires_categories=frozenset(map(self._category, _texts(row.get("requiresCategory")))),
        )

    def _names(self, value: object) -> frozenset[str]:
        return frozenset(self._name(_written(text).regex) for text in _texts(value))

    def _name(self, name: str) -> str:
        """Call a technology as we do, if we know it."""
        return self._own_names.get(clean(name).casefold(), clean(name))

    def _category(self, key: str) -> str:
        name = self._categories.get(key, "Other")
        name = _OUR_CATEGORIES.get(name, name)
        return name.removesuffix("s") if name.removesuffix("s") in CATEGORIES else name

    def _signs(self, name: str, row: Row) -> Iterator[Sign]:
        for kind, place in _TEXTS.items():
            for text in _texts(row.get(kind)):
                yield from self._sign(name, kind, place, "", text)
        for kind, place in _MAPS.items():
            for key, value in _mapping(row.get(kind)).items():
                key = key if kind == "cookies" else key.lower()  # noqa: PLW2901 - read only so
                for text in _texts(value):
                    yield from self._sign(name, kind, place, key, text)
        for selector, part, text in _selected(row.get("dom")):
            yield from self._select(name, selector, part, text)

    def _sign(self, name: str, kind: str, place: str, key: str, text: str) -> Iterator[Sign]:
        """Yield the sign, unless its pattern cannot be used, or says nothing."""
        written = _written(text)
        if not key and not written.regex:
            return  # it would be found in every page
        yield Sign(
            technology=name,
            kind=kind,
            place=place,
            key=key,
            pattern=Re2(written.regex) if written.regex else None,
            version=partial(_version, written.version),
            confidence=written.confidence,
            needs=literals.of_regex(written.regex),
            is_foreign=True,
        )

    def _select(self, name: str, selector: str, part: str, text: str) -> Iterator[Sign]:
        if not _is_selector(selector):
            self.no_selectors.append(selector)
            return
        for sign in self._sign(name, "dom", "select", selector, text):
            yield replace(sign, part=part, needs=literals.of_selector(selector))


def _selected(value: object) -> Iterator[tuple[str, str, str]]:
    """Yield selector, part and pattern, see `Sign`."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            selector, _, tags = item.partition("\\;")
            yield selector, "", f"\\;{tags}"
        for selector, wanted in _mapping(item).items():
            yield from ((selector, part, text) for part, text in _wanted(_mapping(wanted)))


def _wanted(wanted: Row) -> Iterator[tuple[str, str]]:
    if "exists" in wanted:
        yield "", "\\;" + str(wanted["exists"]).partition("\\;")[2]
    for text in _texts(wanted.get("text")):
        yield "text", text
    for name, value in _mapping(wanted.get("attributes")).items():
        yield from ((f"@{name.lower()}", text) for text in _texts(value))


# --- patterns ---------------------------------------------------------------------------------

_BACK_REFERENCE = re.compile(r"\\(\d)")
_TERNARY = re.compile(r"\\(\d)\?([^:]*):(.*)", re.DOTALL)
_JAVASCRIPT = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(/)|.)|\[\^\]", re.DOTALL)


class Re2:
    """A regex that takes linear time, whatever it is and whatever the text."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def is_usable(self) -> bool:
        """Whether RE2 accepts it."""
        return _compiled(self.text) is not None

    def search(self, text: str) -> Match | None:
        """Give the first place that matches, in any case of letters."""
        regex = _compiled(self.text)
        found = regex and regex.search(_encoded(text))
        return _Found(found) if found else None


class _Found:
    """A match in bytes, read as text."""

    def __init__(self, match: Any) -> None:  # noqa: ANN401 - RE2 comes without types
        self._match = match

    def group(self) -> str:
        """Give what matched."""
        return str(self._match.group().decode("utf-8", "replace"))

    def groups(self) -> tuple[str | None, ...]:
        """Give what each group matched."""
        return tuple(group and group.decode("utf-8", "replace") for group in self._match.groups())


@lru_cache(4)
def _encoded(text: str) -> bytes:
    """Encode a text that many patterns are looked for in."""
    return text.encode("utf-8", "replace")


@lru_cache(_MAX_COMPILED)
def _compiled(text: str) -> Any:  # noqa: ANN401 - RE2 comes without types
    re2 = _re2()
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    try:
        return re2.compile(_JAVASCRIPT.sub(_as_re2, text).encode("utf-8", "replace"), options)
    except re2.error:
        return None


def _as_re2(match: re.Match[str]) -> str:
    """Write in RE2's words what JavaScript writes in its own."""
    if match[0] == "[^]":
        return r"[\s\S]"
    return rf"\x{{{match[1]}}}" if match[1] else match[2] or match[0]


def _require_re2() -> None:
    try:
        _re2()
    except ImportError:
        raise ConfigError(
            "--fingerprints needs google-re2",
            why="other people's patterns are safe to run only in linear time",
            hint="pip install 'domainsched[fingerprints]'",
        ) from None


def _re2() -> Any:  # noqa: ANN401 - it comes without types
    return importlib.import_module("re2")


def _written(text: str) -> _Written:
    regex, *tags = text.split("\\;")
    values = dict(tag.partition(":")[::2] for tag in tags)
    confidence = values.get("confidence", "")
    percent = int(confidence) if re.fullmatch(r"\d{1,3}", confidence, re.ASCII) else 100
    return _Written(regex, values.get("version", ""), min(percent, 100))


def _version(template: str, match: Match | None) -> str:
    r"""Fill in `\1`, and decide `\1?one:other` by whether the group matched."""
    groups = ("", *(group or "" for group in (match.groups() if match else ())))

    def group(number: str) -> str:
        return groups[int(number)] if int(number) < len(groups) else ""

    if ternary := _TERNARY.fullmatch(template):
        template = ternary[2] if group(ternary[1]) else ternary[3]
    return _BACK_REFERENCE.sub(lambda reference: group(reference[1]), template)


def _is_selector(text: str) -> bool:
    try:
        LexborHTMLParser("<p>").css_first(text)
    except Exception:  # noqa: BLE001 - whatever the parser of selectors says of a foreign text
        return False
    return bool(text.strip())


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(item) for item in values if isinstance(item, str | int) and item is not True]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
