"""What is written for users names every setting, and says the truth about its default."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from domainsched.config import Settings, environment, known, unknown
from domainsched.models import Kind

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

ASSIGNMENT = re.compile(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
SETTINGS = {field.metadata["env"]: field for field in Settings.__dataclass_fields__.values()}
ALIASES = [alias for field in SETTINGS.values() for alias in field.metadata["aliases"]]
OUTSIDE_SETTINGS = (
    "DOMAINSCHED_HOME",
    "DOMAINSCHED_PG_BIN",
    "DOMAINSCHED_ENV_FILE",
    "SUPABASE_POOLER_HOST",
    "SUPABASE_POOLER_PORT",
    "SUPABASE_POOLER_USER",
    "SUPABASE_DB_PASSWORD",
    "SUPABASE_URL",
)
VARIABLES = (*SETTINGS, *ALIASES, *OUTSIDE_SETTINGS)
OF_TESTS = {"DOMAINSCHED_TEST_URL", "DOMAINSCHED_SOAK_MINUTES", "DOMAINSCHED_STORM_SEED"}
OF_THE_MACHINE = {"DOMAINSCHED_PROCESSES", "DOMAINSCHED_USER_AGENT"}
"""Their defaults differ from machine to machine or version to version: left empty."""


def uncommented() -> str:
    return ASSIGNMENT.sub(r"\1=\2", EXAMPLE)


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_setting_is_in_the_example_and_in_the_readme(variable: str) -> None:
    assert variable in dict(ASSIGNMENT.findall(EXAMPLE))
    assert re.search(rf"\b{variable}\b", README)


def test_the_example_holds_nothing_else_and_nothing_twice() -> None:
    assert sorted(name for name, _ in ASSIGNMENT.findall(EXAMPLE)) == sorted(VARIABLES)
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


def test_each_variable_of_the_example_is_explained_and_each_line_is_short() -> None:
    lines = EXAMPLE.splitlines()
    for before, line in itertools.pairwise(lines):
        if ASSIGNMENT.match(line):
            assert before.startswith("# ")
            assert not ASSIGNMENT.match(before)
        assert len(line) <= 100


@pytest.mark.parametrize("variable", SETTINGS)
def test_the_example_shows_the_default(variable: str) -> None:
    shown = dict(ASSIGNMENT.findall(EXAMPLE))[variable]
    default = "" if variable in OF_THE_MACHINE else SETTINGS[variable].metadata["default"]
    assert shown == default


@pytest.mark.parametrize("text", [EXAMPLE, uncommented()], ids=["as it is", "uncommented"])
def test_the_example_changes_no_setting(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".env"
    path.write_text(text, encoding="utf-8")
    assert Settings.load({}, environment({}, path)) == Settings.load({}, {})


def test_a_shell_reads_the_uncommented_example_as_we_do(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(uncommented(), encoding="utf-8")
    read = subprocess.run(
        ["sh", "-c", "set -a; . ./.env; env -0"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    by_shell = dict(entry.decode().split("=", 1) for entry in read.stdout.split(b"\0") if entry)
    by_us = environment({}, path)
    assert by_us == {name: by_shell[name] for name in by_us}
    assert by_us.keys() == set(VARIABLES)


def test_what_is_known_is_what_is_written_of() -> None:
    assert known() == set(VARIABLES)
    assert unknown(dict.fromkeys((*VARIABLES, *OF_TESTS), "x")) == {}


def test_neither_names_a_setting_that_does_not_exist() -> None:
    for text in (EXAMPLE, README):
        assert set(re.findall(r"\bDOMAINSCHED_[A-Z_]*[A-Z]\b", text)) <= {*VARIABLES, *OF_TESTS}


KINDS = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no) \| `test_", README, re.MULTILINE))


def test_the_readme_knows_every_kind_of_failure_and_whether_it_is_tried_again() -> None:
    assert {kind.value: "yes" if kind.is_transient else "no" for kind in Kind} == KINDS


def options_of(command: str) -> set[str]:
    """The long options of a command, as its help lists them."""
    shown = subprocess.run(
        [sys.executable, "-m", "domainsched", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    "command", ["", "add", "process", "inspect", "reset", "watch", "init", "demo"]
)
def test_each_option_is_in_the_readme(command: str) -> None:
    options = options_of(command) - {"--help"}
    assert options
    assert sorted(option for option in options if option not in NAMED) == []


def test_the_readme_s_sections_and_commands_stand_in_their_order() -> None:
    """What a reader needs first comes first; each command of many options has a heading."""
    wanted = [
        "## Thirty seconds",
        *("## Commands", "### add", "### process", "### inspect", "### reset", "### watch"),
        *("## Scheduling", "## Configuration", "## Exit codes", "## Your own database"),
        *("## How it works", "## When something is wrong", "## Security"),
        *("## Glossary", "## Developing"),
    ]
    assert [line for line in README.splitlines() if line in wanted] == wanted


NAMED = set(re.findall(r"(?<![\w-])--[a-z-]+", README))
SHOWN_BY = re.findall(r"`(test_\w+\.py)::(\w+)`", README)


@pytest.mark.parametrize(("file", "name"), SHOWN_BY)
def test_each_guarantee_s_test_is_there(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
