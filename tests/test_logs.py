"""Log lines: one each, whole, with its time or priority, its run, and nothing twice."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.errors import DatabaseError
from domainsched.models import Claim, Complete, Fail, Failed, Kind, Retry, RunSummary, Settled
from domainsched.reporting.formats import Format
from domainsched.reporting.logs import LogStyle, log_line
from domainsched.reporting.report import Report, Style
from domainsched.starting import _ToReport

TEXT = LogStyle(json=False, journal=False, run_id="7f3a")
JSON = LogStyle(json=True, journal=False, run_id="7f3a")
JOURNAL = LogStyle(json=False, journal=True, run_id="7f3a")
NOW = datetime(2026, 11, 22, 0, 39, 58, 120000, tzinfo=UTC)
LEVELS = {10: ("debug", 7), 20: ("info", 6), 30: ("warning", 4), 40: ("error", 3)}
FIELDS = {"kind": "dns", "detail": 'a "b" c=d', "none": None, "empty": "", "zero": 0}
REPORTED: tuple[tuple[str, Callable[[Report], object]], ...] = (
    ("info", lambda report: report.info("something")),
    ("warning", lambda report: report.warning("something", "do that")),
    ("error", lambda report: report.error(DatabaseError("it", why="a\nb", hint="c"))),
)


@pytest.mark.parametrize("level", LEVELS)
def test_a_line_of_text_has_time_level_words_fields_and_run(level: int) -> None:
    name, priority = LEVELS[level]
    rest = 'hello kind=dns detail="a \\"b\\" c=d" zero=0 run=7f3a'
    text = log_line(TEXT, level, "hello", FIELDS, NOW)
    assert text == f"2026-11-22T00:39:58.120Z {name.upper():<7} {rest}"
    assert log_line(JOURNAL, level, "hello", FIELDS, NOW) == f"<{priority}>{rest}"


def test_a_line_of_json_holds_the_same() -> None:
    assert json.loads(log_line(JSON, 20, "hello", FIELDS, NOW)) == {
        "time": "2026-11-22T00:39:58.120Z",
        "level": "info",
        "run_id": "7f3a",
        "message": "hello",
        **FIELDS,
    }
    in_journal = LogStyle(json=True, journal=True, run_id="7f3a")
    assert log_line(in_journal, 40, "hello", {}).startswith('<3>{"time":')


@settings(max_examples=200, deadline=None)
@given(st.text(), st.dictionaries(st.sampled_from(["a", "b"]), st.text()))
def test_a_line_is_one_line_whatever_it_holds(message: str, fields: dict[str, str]) -> None:
    for style in (TEXT, JSON, JOURNAL):
        line = log_line(style, logging.INFO, message, fields)
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)


# --- the report as a log ----------------------------------------------------------------------


def said(how: Style, *tell: Callable[[Report], object]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report = Report(how, out, err)
    for each in tell:
        each(report)
    return out.getvalue(), err.getvalue()


def log_style(form: str = "json", level: int | None = logging.INFO, **more: object) -> Style:
    return Style(log_format=form, log_level=level, run_id="7f3a", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "tell"), REPORTED)
def test_all_that_is_said_on_stderr_is_in_the_log(
    name: str, tell: Callable[[Report], object]
) -> None:
    out, err = said(log_style(), tell)
    assert out == ""
    (line,) = err.splitlines()
    record = json.loads(line)
    assert (record["level"], record["run_id"]) == (name, "7f3a")


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (logging.DEBUG, ["info", "warning", "error"]),
        (logging.INFO, ["info", "warning", "error"]),
        (None, ["warning", "error"]),
        (logging.WARNING, ["warning", "error"]),
        (logging.ERROR, ["error"]),
    ],
)
def test_the_level_says_what_is_told(level: int | None, told: list[str]) -> None:
    _, err = said(log_style(level=level), *(tell for _, tell in REPORTED))
    assert [json.loads(line)["level"] for line in err.splitlines()] == told
    _, plain = said(Style(log_level=level), *(tell for _, tell in REPORTED))
    words = {"info": "something", "warning": "warning: something", "error": "error: it"}
    assert [word for word in words if words[word] in plain.splitlines()] == told


def test_quiet_and_verbose_win_over_the_level() -> None:
    info = REPORTED[0][1]
    assert said(log_style(level=logging.DEBUG, verbosity=-1), info) == ("", "")
    assert said(log_style(level=logging.ERROR, verbosity=1), info)[1] != ""


CLAIM = Claim(1, "a.test", 2, UUID(int=1))
FAILURE = Failed(Kind.TIMEOUT, "nothing came for 30 s")


def ended(how: Complete | Retry | Fail) -> Settled:
    return Settled(CLAIM, how, kept=True, elapsed=timedelta(milliseconds=412))


ENDINGS = (Complete({}), Retry(FAILURE, timedelta(minutes=4)), Fail(FAILURE))


def a_run(report: Report) -> None:
    report.starting(312, 10)
    for how in ENDINGS:
        report.begun(CLAIM)
        report.settled(ended(how), 3)
    summary = RunSummary("7f3a", 3, 1, 1, 1, elapsed=timedelta(seconds=6.2))
    report.summary(summary, 309, None)


def test_a_run_is_told_in_the_log_like_this() -> None:
    _, err = said(log_style("text"), a_run)
    failure = 'attempt=2/3 elapsed_ms=412 kind=timeout detail="nothing came for 30 s"'
    assert [re.sub(r"^\S+ INFO    ", "", line) for line in err.splitlines()] == [
        "run begins due=312 limit=10 run=7f3a",
        f"retry a.test {failure} retry_in_s=240 run=7f3a",
        f"error a.test {failure} run=7f3a",
        "run done claimed=3 completed=1 retry=1 error=1 due=309 elapsed_ms=6200 run=7f3a",
    ]


def test_debug_tells_each_domain() -> None:
    _, err = said(log_style(level=logging.DEBUG), a_run)
    records = [json.loads(line) for line in err.splitlines()]
    assert [record["message"] for record in records] == [
        "run begins",
        "begin a.test",
        "completed a.test",
        "begin a.test",
        "retry a.test",
        "begin a.test",
        "error a.test",
        "run done",
    ]
    assert records[4]["retry_in_s"] == 240


def test_what_stdout_tells_is_not_logged_again() -> None:
    out, err = said(log_style(format=Format.JSON), a_run)
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["domain"] * 3 + ["summary"]
    assert err == ""


def test_what_libraries_log_is_one_record_each_in_json_and_whole_lines_in_text() -> None:
    def relay(report: Report) -> None:
        report.relay(logging.ERROR, "domainsched.worker: oh\nTraceback\n  line")

    (record,) = map(json.loads, said(log_style(), relay)[1].splitlines())
    assert record["message"] == "domainsched.worker: oh\nTraceback\n  line"
    lines = said(log_style("text"), relay)[1].splitlines()
    assert len(lines) == 3
    assert all(" ERROR " in line and line.endswith("run=7f3a") for line in lines)


def test_our_warnings_are_told_as_such_and_those_of_libraries_as_theirs() -> None:
    def log(report: Report) -> None:
        for name in ("domainsched.fetch.scraperapi", "asyncio"):
            words = {"name": name, "levelno": logging.WARNING, "msg": "on %s", "args": ("fire",)}
            _ToReport(report).handle(logging.makeLogRecord(words | {"levelname": "WARNING"}))

    assert said(Style(), log)[1] == "warning: on fire\nWARNING on fire\n"


def test_no_secret_gets_into_the_log() -> None:
    def tell(report: Report) -> None:
        report.secrets = ("hunter2-never",)
        report.warning("it was hunter2-never", "not hunter2-never")
        report.relay(logging.ERROR, "postgresql://u:hunter2-never@db/x")

    _, err = said(log_style(), tell)
    assert "hunter2" not in err
    assert len(err.splitlines()) == 2


def test_in_the_journal_lines_have_priorities_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        report = Report(Style(run_id="7f3a"), io.StringIO(), stream)
        for _, tell in REPORTED:
            tell(report)
        a_run(report)
    lines = path.read_text().splitlines()
    assert lines[:3] == [
        "<6>something run=7f3a",
        '<4>something hint="do that" run=7f3a',
        '<3>it code=3 why="a\\nb" hint=c run=7f3a',
    ]
    assert lines[3].startswith("<6>run begins")
    assert lines[-1].startswith("<6>run done")
