"""Pages written for this purpose, against what is expected of them.

In `golden` stand whole pages, each with all that it yields; in `golden/traps` small ones, each with
one trap and what must come of it. After a wanted change: `python tests/test_extract_golden.py`
writes the expectations of the whole pages anew and raises the floors; read the difference before
you keep it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from domainsched import extract_page

GOLDEN = Path(__file__).parent / "golden"
TRAPS = GOLDEN / "traps"
FLOORS = GOLDEN / "floors.json"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.html"))
TRAP_NAMES = sorted(path.stem for path in TRAPS.glob("*.html"))
WHOLE = frozenset({"security_headers", "technologies", "plugins", "open_graph", "twitter"})
"""Objects that are compared as a whole; of others only the keys that are expected."""


def extracted(name: str) -> dict[str, Any]:
    url, *lines = (GOLDEN / f"{name}.headers").read_text().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return extract_page((GOLDEN / f"{name}.html").read_bytes(), url, headers)


def trap(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what is expected of a trap and what it yields."""
    about = json.loads((TRAPS / f"{name}.json").read_text(encoding="utf-8"))
    body = (TRAPS / f"{name}.html").read_bytes()
    return about["expected"], extract_page(body, about["url"], about["headers"])


def compared(
    expected: Mapping[str, Any], got: object, at: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each expectation: where it stands, what is expected, and what came."""
    for key, value in expected.items():
        found = got.get(key, "missing") if isinstance(got, dict) else "missing"
        if isinstance(value, dict) and value and key not in WHOLE:
            yield from compared(value, found, f"{at}{key}.")
        else:
            yield f"{at}{key}", value, found


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_page_yields_what_is_expected_in_the_same_order(name: str) -> None:
    expected = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert json.dumps(extracted(name), indent=1, ensure_ascii=False) + "\n" == expected


@pytest.mark.parametrize("name", TRAP_NAMES)
def test_a_trap_catches_nobody(name: str) -> None:
    expected, got = trap(name)
    missed = [(at, value, found) for at, value, found in compared(expected, got) if value != found]
    assert not missed


def test_no_field_is_asked_less_often_or_answered_worse_than_it_was() -> None:
    """The floors only rise: a trap that is taken away, or made easier, shows here."""
    floors = json.loads(FLOORS.read_text(encoding="utf-8"))
    reached = right_answers()
    fallen = {field: (reached[field], floor) for field, floor in floors.items()
              if reached[field] < floor}  # fmt: skip
    assert not fallen, "right answers by field, and how many there must be"


@pytest.mark.parametrize("name", [*NAMES, *TRAP_NAMES])
def test_the_columns_of_wordpress_agree_with_the_technologies(name: str) -> None:
    got = extracted(name) if name in NAMES else trap(name)[1]
    found = got["tech_stack"]["technologies"]
    assert got["is_wordpress"] is ("WordPress" in found)
    assert got["has_elementor"] is ("Elementor" in found)
    assert got["wordpress_version"] == found.get("WordPress", {}).get("version")


def right_answers() -> Counter[str]:
    """Count, over all pages, the expectations of each field that are met."""
    right: Counter[str] = Counter()
    whole = [(json.loads((GOLDEN / f"{name}.json").read_text()), extracted(name)) for name in NAMES]
    for expected, got in [*whole, *map(trap, TRAP_NAMES)]:
        right.update(at for at, value, found in compared(expected, got) if value == found)
    return right


if __name__ == "__main__":
    for page in NAMES:
        text = json.dumps(extracted(page), indent=1, ensure_ascii=False) + "\n"
        (GOLDEN / f"{page}.json").write_text(text, encoding="utf-8")
    old = Counter(json.loads(FLOORS.read_text("utf-8")) if FLOORS.exists() else {})
    risen = dict(sorted((old | right_answers()).items()))
    FLOORS.write_text(json.dumps(risen, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
