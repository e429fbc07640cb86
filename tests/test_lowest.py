from __future__ import annotations

import re
import tomllib
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_lowest_versions_that_are_tested_are_the_lower_bounds_that_are_promised() -> None:
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    promised = {*project["dependencies"], *(each for extra in extras for each in extra)}
    pins = (TESTS / "lowest.txt").read_text().splitlines()
    assert pins == sorted(_pin(each) for each in promised)


def _pin(dependency: str) -> str:
    """Of `psycopg[binary]>=3.3.9,<4` give `psycopg==3.3.9`, as a constraint has no extras."""
    return re.sub(r"\[.*\]|,.*", "", dependency).replace(">=", "==")
