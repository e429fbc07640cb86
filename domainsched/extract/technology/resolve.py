"""From the signs that a page shows to the technologies that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from domainsched.extract.technology.match import Hit
from domainsched.extract.technology.table import Technology

_VERSION = re.compile(r"\d+(?:\.\d+){0,3}(?:-?(?:alpha|beta|rc)\.?\d*)?", re.IGNORECASE)
_MAX_FOREIGN_VERSION = 30


@dataclass(frozen=True, slots=True)
class Found:
    """A technology that is there, and why."""

    confidence: int
    sign: str
    where: str
    version: str = ""
    implied_by: str | None = None


def resolve(hits: Iterable[Hit], technologies: Mapping[str, Technology]) -> dict[str, Found]:
    """Weigh the signs, add what is implied, and leave out what is excluded or lacks its ground."""
    by_name: dict[str, list[Hit]] = {}
    for hit in hits:
        by_name.setdefault(hit.sign.technology, []).append(hit)
    shown = {name: _weighed(its_hits) for name, its_hits in by_name.items()}
    excluded: set[str] = set()
    while True:
        found = _closed(shown, technologies, excluded)
        victim = next(_excluded(found, technologies), None)
        if victim is None:
            return found
        excluded.add(victim)


def _weighed(hits: list[Hit]) -> Found:
    """Add the signs up to at most 100; the surest is the one that is told."""
    signs = {id(hit.sign): hit.sign.confidence for hit in hits}
    best = max(hits, key=lambda hit: hit.sign.confidence)
    versions = ((not hit.sign.is_foreign, _version(hit)) for hit in hits)
    _, version = max(versions, key=lambda pair: (bool(pair[1]), pair[0], _precision(pair[1])))
    return Found(min(sum(signs.values()), 100), best.sign.kind, best.where, version)


def _version(hit: Hit) -> str:
    text = hit.version.strip().strip(".")
    if hit.sign.is_foreign:
        return text if len(text) <= _MAX_FOREIGN_VERSION else ""
    return text if _VERSION.fullmatch(text) else ""


def _precision(version: str) -> tuple[int, int]:
    return version.count("."), len(version)


def _closed(
    shown: Mapping[str, Found], technologies: Mapping[str, Technology], excluded: set[str]
) -> dict[str, Found]:
    """Add what is implied, step by step, and whatever then has what it requires."""
    found: dict[str, Found] = {}
    waiting = sorted(shown.keys() - excluded, key=str.lower)
    while ready := _ready(waiting, found, technologies):
        waiting = [name for name in waiting if name not in ready]
        found |= {name: shown[name] for name in ready}
        _add_implied(found, ready, technologies, excluded)
    return found


def _ready(
    waiting: list[str], found: Mapping[str, Found], technologies: Mapping[str, Technology]
) -> list[str]:
    """Give those that have what they require."""
    categories = {category for name in found for category in technologies[name].categories}
    return [
        name
        for name in waiting
        if technologies[name].requires <= found.keys()
        and technologies[name].requires_categories <= categories
    ]


def _add_implied(
    found: dict[str, Found],
    names: list[str],
    technologies: Mapping[str, Technology],
    excluded: set[str],
) -> None:
    names = list(names)
    while names:
        by = names.pop(0)
        for name, confidence in technologies[by].implies.items():
            if name in technologies and name not in found and name not in excluded:
                ground = found[by]
                sure = min(confidence, ground.confidence)
                found[name] = Found(sure, ground.sign, ground.where, implied_by=by)
                names.append(name)


def _excluded(found: Mapping[str, Found], technologies: Mapping[str, Technology]) -> Iterator[str]:
    """Yield what something surer excludes."""
    for name in sorted(found, key=lambda name: (-found[name].confidence, name.lower())):
        yield from sorted((technologies[name].excludes & found.keys()) - {name})
