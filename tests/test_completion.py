"""Completion in a shell: it can be installed, it knows the words, and it asks nobody."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import Ended, Surroundings
from test_cli import COMMANDS, HEAVY, LOADED

BASH = shutil.which("bash")
with_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")

PRESS_TAB = """
. ~/.bashrc
COMP_WORDS=({words} '{word}') COMP_CWORD={position}
_domainsched_completion domainsched
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Surroundings:
    """No database: completion must not need one."""
    return Surroundings(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})


def in_bash(home: Surroundings, script: str) -> str:
    assert BASH is not None
    ended = subprocess.run(
        [BASH, "--norc", "-c", script],
        env=home.environment,
        cwd=home.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture
def installed(home: Surroundings) -> Surroundings:
    # not its last command, or bash would give its place to it, and nobody would be the shell
    told = in_bash(home, "domainsched --install-completion; true")
    assert told.startswith("bash completion installed in ")
    return home


def completed(home: Surroundings, words: str, word: str) -> list[str]:
    position = len(words.split())
    script = PRESS_TAB.format(words=words, word=word, position=position)
    return in_bash(home, script).split()


@with_bash
@pytest.mark.parametrize(
    ("words", "word", "expected"),
    [
        ("domainsched", "", sorted(COMMANDS)),
        ("domainsched", "pro", ["process"]),
        ("domainsched process", "--dom", ["--domain"]),
        ("domainsched process --log-format", "", ["json", "text"]),
        ("domainsched process --scraper-api", "f", ["fallback"]),
        ("domainsched inspect --status", "p", ["pending", "processing"]),
        ("domainsched inspect --kind", "http", ["http_4xx", "http_5xx"]),
        ("domainsched inspect --format", "js", ["json", "jsonl"]),
    ],
)
def test_a_press_of_tab_completes(
    installed: Surroundings, words: str, word: str, expected: list[str]
) -> None:
    assert sorted(completed(installed, words, word)) == expected


def test_completing_loads_no_heavy_library(home: Surroundings) -> None:
    completing = {
        "_DOMAINSCHED_COMPLETE": "complete_bash",
        "COMP_WORDS": "domainsched inspect --status p",
        "COMP_CWORD": "3",
    }
    ended = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**home.environment, **completing},
        cwd=home.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == ["pending", "processing"]
    loaded = next(line for line in ended.stderr.splitlines() if line.startswith("LOADED"))
    assert HEAVY.intersection(loaded.split()) == set()


@pytest.mark.parametrize("arguments", [("--show-completion", "fish"), ("--show-completion=fish",)])
def test_the_script_of_a_named_shell_is_shown(
    home: Surroundings, arguments: tuple[str, ...]
) -> None:
    ended = home.run(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("complete --command domainsched")


def test_completion_is_installed_for_the_named_shell(home: Surroundings) -> None:
    ended = home.run("--install-completion", "fish")
    assert ended.out.startswith("fish completion installed in ")
    assert [path.name for path in home.directory.rglob("*.fish")] == ["domainsched.fish"]


def test_of_a_shell_that_is_not_known_the_known_ones_are_told(home: Surroundings) -> None:
    told = "error: no such shell: tcsh\n  there are bash, zsh, fish, powershell, pwsh\n"
    assert home.run("--show-completion", "tcsh") == Ended(2, "", told)
