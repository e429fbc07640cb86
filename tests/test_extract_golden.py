"""Whole pages, written for this purpose, against all that is expected of them.

After a wanted change: `python tests/test_extract_golden.py` writes the expectations anew; read the
difference before you keep it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domainsched import extract_page

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.html"))


def extracted(name: str) -> dict[str, Any]:
    url, *lines = (GOLDEN / f"{name}.headers").read_text().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return extract_page((GOLDEN / f"{name}.html").read_bytes(), url, headers)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_page_yields_what_is_expected_in_the_same_order(name: str) -> None:
    expected = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert json.dumps(extracted(name), indent=1, ensure_ascii=False) + "\n" == expected


if __name__ == "__main__":
    for name in NAMES:
        text = json.dumps(extracted(name), indent=1, ensure_ascii=False) + "\n"
        (GOLDEN / f"{name}.json").write_text(text, encoding="utf-8")
