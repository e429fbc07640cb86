"""The thirty-second tour, as a newcomer takes it: right, and nothing is left of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any

import pytest
from conftest import reachable_directory
from programs import PATIENCE, Ended, Surroundings, has_ended

from domainsched import demo
from domainsched.demo.server import Answer, serving
from domainsched.demo.sites import SITES
from domainsched.reporting.formats import Format
from domainsched.reporting.report import Report, Style


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo makes its files; no file and no process may be left there."""
    with reachable_directory() as directory:
        place = directory / "tmp"
        place.mkdir(mode=0o755)
        yield place
        assert list(place.iterdir()) == []
        assert processes_about(place) == []


def processes_about(place: Path) -> list[bytes]:
    """The command lines that name a place, where there is /proc to ask."""
    found = [_command_line(process) for process in Path("/proc").glob("[0-9]*")]
    return [line for line in found if os.fsencode(place) in line]


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # gone meanwhile
        return b""


def surroundings(temporary: Path, **variables: str) -> Surroundings:
    return Surroundings(temporary.parent, {"TMPDIR": str(temporary), **variables})


# --- the whole tour ---------------------------------------------------------------------------


def test_every_site_is_as_it_should_be_and_the_users_database_is_not_touched(
    temporary: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    variables = {
        "DOMAINSCHED_HOME": str(mine),
        "DATABASE_URL": "postgresql://nobody@nowhere.test/mine",
        "DOMAINSCHED_LIMIT": "1",
        "DOMAINSCHED_TABLE": "others",
    }
    ended = surroundings(temporary, **variables).run("demo", "--json")
    (record,) = ended.records
    assert [site["differences"] for site in record["sites"] if not site["ok"]] == []
    assert (record["right"], record["total"]) == (len(SITES), len(SITES))
    assert [site["domain"] for site in record["sites"]] == [site.name for site in SITES]
    assert (ended.code, ended.err) == (0, "")
    assert not mine.exists()


def test_it_runs_with_an_empty_environment_and_tells_a_line_a_site(temporary: Path) -> None:
    wrapper = ("env", "-i", f"TMPDIR={temporary}")
    ended = surroundings(temporary).run("demo", wrapper=wrapper)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert [line[:3] for line in lines] == [["ok", site.name, site.shows] for site in SITES]
    assert {len(line) for line in lines} == {4}
    assert re.sub(r"[\n\t]", "", ended.out).isprintable(), "a hostile title drives no terminal"
    assert surroundings(temporary).run("demo", "--quiet") == Ended(0, "", "")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_it_runs_when_its_streams_are_closed(temporary: Path, closed: str) -> None:
    wrapper = ("sh", "-c", f'exec "$@" {closed}', "sh")
    ended = surroundings(temporary, PYTHONWARNINGS="").run("demo", wrapper=wrapper)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (SIGTERM, 143, "starting a database"),
        (SIGINT, 130, "starting a database"),
        (SIGTERM, 143, "sample sites"),
        (SIGINT, 130, "begin     slow-diner.test"),
    ],
)
def test_a_signal_ends_it_and_nothing_is_left(
    temporary: Path, number: Signals, code: int, moment: str
) -> None:
    with surroundings(temporary).start("demo", "-v") as program:
        program.wait_for(moment)
        program.send(number)
        ended = program.end()
    assert (ended.code, ended.out) == (code, "")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("moment", ["sample sites", "begin     slow-diner.test"])
def test_killed_it_leaves_neither_a_server_nor_a_file(temporary: Path, moment: str) -> None:
    with surroundings(temporary).start("demo", "-v") as program:
        program.wait_for(moment)
        servers = [pid for pid in Path("/proc").glob("[0-9]*") if _works_in(pid, temporary)]
        assert servers
        program.send(SIGKILL)
        program.end()
    assert [process for process in servers if not has_ended(int(process.name))] == []
    assert has_come(lambda: not (list(temporary.iterdir()) or processes_about(temporary)))


def _works_in(process: Path, place: Path) -> bool:
    try:
        return place in (process / "cwd").readlink().parents
    except OSError:  # gone meanwhile
        return False


def has_come(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


# --- what it would tell -----------------------------------------------------------------------


def test_a_difference_is_told_and_is_a_failure(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = {site.name: site for site in SITES}
    plain = replace(by_name["plain-http.test"], expected={"title": "Another title"})
    failing = replace(by_name["not-found.test"], fails_as=None)
    monkeypatch.setattr(demo, "SITES", (plain, failing, by_name["parked.test"]))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    out, err = io.StringIO(), io.StringIO()
    code = asyncio.run(demo.demonstrate(os.environ, Report(Style(Format.JSON), out, err)))
    assert (code, err.getvalue()) == (1, "")
    record = json.loads(out.getvalue())
    assert (record["right"], record["total"]) == (1, 3)
    assert [site["differences"] for site in record["sites"]] == [
        ["title is 'Village choir', not 'Another title'"],
        ["status is 'error', not 'completed'", "last_error_kind is 'http_4xx', not None"],
        [],
    ]


def test_a_conversation_that_is_cut_short_by_the_end_is_no_error() -> None:
    """Python 3.11 tells the loop of a handler that was cancelled, and the loop tells the user."""
    told: list[dict[str, Any]] = []

    async def leave_early() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with serving({"slow.test": Answer(delay=1), "fast.test": Answer(b"fast")}) as ports:
            _, slow = await asyncio.open_connection("127.0.0.1", ports.http)
            slow.write(b"GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n")
            reader, fast = await asyncio.open_connection("127.0.0.1", ports.http)
            fast.write(b"GET / HTTP/1.1\r\nHost: www.fast.test\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nfast")
            slow.close()
            fast.close()

    asyncio.run(leave_early())
    assert told == []


def test_its_names_are_nobodys() -> None:
    """RFC 6761, section 6.2: no such name is ever registered."""
    names = [site.name for site in SITES]
    assert len(set(names)) == len(names) >= 12
    assert all(name.endswith(".test") for name in names)
