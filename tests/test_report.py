"""What is said, on which stream, to whom; and that nothing of the web's can do harm there."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainsched.errors import DatabaseError, DomainschedError, UsageError
from domainsched.intake import Intake
from domainsched.models import (
    Added,
    BatchProgress,
    Check,
    Claim,
    Complete,
    Fail,
    Failed,
    Glance,
    Kind,
    Lapse,
    Release,
    Retry,
    RunSummary,
    Settled,
    Transition,
    Upcoming,
)
from domainsched.names import RejectedLine
from domainsched.reporting import answers
from domainsched.reporting.formats import Answer, Format, csv_line
from domainsched.reporting.record import evidence, record, wrapped
from domainsched.reporting.report import Report, Style
from domainsched.reporting.wording import (
    Row,
    ago,
    count,
    glance_lines,
    json_text,
    moment,
    next_attempt,
    printable,
    span,
    stamp,
    table,
    width,
)

NOW = datetime(2026, 11, 22, 0, 39, 58, tzinfo=UTC)
HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ud800-\udfff]"
)
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J[red]x[/] :smile: \u009b31m \u202egnp.exe\ta\r\nb\u2028c\ud800\x7f"
)


def nothing() -> Intake:
    """What `add` has read, when that does not matter."""
    intake = Intake.of([])
    intake.close()
    return intake


texts = st.text(st.characters() | st.sampled_from(HOSTILE))


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Heard:
    """A report, and what came out of it."""

    report: Report
    out: io.StringIO
    err: io.StringIO

    @property
    def said(self) -> tuple[str, str]:
        return self.out.getvalue(), self.err.getvalue()

    @property
    def record(self) -> Any:  # noqa: ANN401 - any JSON value
        (line,) = self.out.getvalue().splitlines()
        return json.loads(line)


def heard(
    *, person: bool = False, as_json: bool = False, verbosity: int = 0, color: bool = False
) -> Heard:
    out, err = (Screen(), Screen()) if person else (io.StringIO(), io.StringIO())
    style = Style(Format.JSON if as_json else None, verbosity=verbosity, color=color)
    return Heard(Report(style, out, err), out, err)


def upcoming(**values: Any) -> Upcoming:  # noqa: ANN401 - any field's
    fields = {"unfinished": 0, "due": 0, "expired": 0, "waiting_since": None, "next_due": None}
    return Upcoming(**{**fields, "now": NOW, **values})


def row(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - any column's
    columns = {
        "domain": "a.test",
        "status": "pending",
        "attempts": 0,
        "due_at": NOW,
        "updated_at": NOW,
        "last_error": None,
        "last_error_kind": None,
        "claimed_by": None,
        "claim_token": UUID(int=1),
        "title": None,
    }
    return {**columns, **values}


def settled(transition: Transition, *, kept: bool = True, domain: str = "a.test") -> Settled:
    claim = Claim(1, domain, 1, UUID(int=1))
    return Settled(claim, transition, kept, timedelta(milliseconds=412))


FAILED = Failed(Kind.TIMEOUT, "nothing came for 30 s")
ENDINGS: Mapping[str, tuple[Settled, str, dict[str, object]]] = {
    "completed": (
        settled(Complete({"domain_metadata": {"visit": {"status": 200}}})),
        "",
        {"outcome": "completed", "http_status": 200},
    ),
    "retry": (
        settled(Retry(FAILED, timedelta(minutes=4))),
        "retry     a.test  attempt 1 of 3  timeout: nothing came for 30 s, again in 4m\n",
        {
            "outcome": "retry",
            "kind": "timeout",
            "detail": "nothing came for 30 s",
            "retry_in_s": 240,
        },
    ),
    "error": (
        settled(Fail(FAILED)),
        "error     a.test  attempt 1 of 3  timeout: nothing came for 30 s\n",
        {"outcome": "error", "kind": "timeout", "detail": "nothing came for 30 s"},
    ),
    "released": (
        settled(Release()),
        "released  a.test  attempt 1 of 3\n",
        {"outcome": "released"},
    ),
}
LOST = (
    "warning: lost the lease on a.test; this result was dropped\n"
    "hint: somebody reset it, or this run was cut off for longer than --lease\n"
)


# --- a run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ENDINGS)
def test_an_attempts_end_is_told_to_a_person_to_a_program_and_to_nobody_else(word: str) -> None:
    ending, line, fields = ENDINGS[word]
    person, program, cron = heard(person=True), heard(as_json=True), heard()
    for listener in (person, program, cron):
        listener.report.settled(ending, 3)
    assert person.said == ("", line)
    assert cron.said == ("", "")
    assert program.err.getvalue() == ""
    common = {"type": "domain", "domain": "a.test", "attempt": 1, "elapsed_ms": 412}
    assert program.record == common | fields


def test_a_lost_lease_is_told_even_to_cron_but_not_when_quiet() -> None:
    cron, quiet = heard(), heard(verbosity=-1)
    for listener in (cron, quiet):
        listener.report.settled(settled(Complete({}), kept=False), 3)
    assert cron.said == ("", LOST)
    assert quiet.said == ("", "")


def test_verbose_tells_each_domain() -> None:
    listener = heard(verbosity=1)
    listener.report.begun(Claim(1, "a.test", 1, UUID(int=1)))
    listener.report.settled(settled(Complete({})), 3)
    assert listener.said == (
        "",
        "begin     a.test  attempt 1\ncompleted a.test  attempt 1 of 3  412 ms\n",
    )


SUMMARIES = [
    (RunSummary("7f3a"), 0, None, "nothing is due\n"),
    (RunSummary("7f3a"), 0, NOW, "nothing is due; next at 2026-11-22 00:39:58 UTC (SPAN)\n"),
    (
        RunSummary("7f3a", 10, 8, 1, 1, elapsed=timedelta(seconds=6.2)),
        302,
        None,
        "10 domains in 6.2 s: 8 completed, 1 to retry, 1 failed. 302 still due.\n",
    ),
    (
        RunSummary("7f3a", 7, 3, 0, 0, released=3, lost=1, elapsed=timedelta(seconds=3.1)),
        0,
        None,
        "4 domains in 3.1 s: 3 completed, 1 lost; 3 claims released.\n",
    ),
    (
        RunSummary("7f3a", 2, 2, credits=11, elapsed=timedelta(seconds=3)),
        0,
        None,
        "2 domains in 3.0 s: 2 completed; ScraperAPI took 11 credits.\n",
    ),
    (
        RunSummary("7f3a", 1, 1, elapsed=timedelta(milliseconds=95)),
        1204,
        None,
        "1 domain in 95 ms: 1 completed. 1,204 still due.\n",
    ),
]


@pytest.mark.parametrize(("summary", "due", "next_due", "line"), SUMMARIES)
def test_a_runs_summary(
    summary: RunSummary, due: int, next_due: datetime | None, line: str
) -> None:
    person, program, cron = heard(person=True), heard(as_json=True), heard()
    for listener in (person, program, cron):
        listener.report.summary(summary, due, next_due)
    assert re.sub(r"UTC \(.*\)", "UTC (SPAN)", person.err.getvalue()) == line
    assert person.out.getvalue() == ""
    assert cron.said == ("", "")
    assert program.record == {
        "type": "summary",
        "run_id": "7f3a",
        "claimed": summary.claimed,
        "completed": summary.completed,
        "retry": summary.retried,
        "error": summary.failed,
        "released": summary.released,
        "lost": summary.lost,
        "credits": summary.credits,
        "kinds": {},
        "due": due,
        "elapsed_ms": round(summary.elapsed.total_seconds() * 1000),
    }


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_a_bar_is_shown_in_a_terminal_and_hostile_names_pass_through_it(
    monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    listener = heard(person=True, color=False)
    hostile = settled(Fail(Failed(Kind.DNS, HOSTILE)), domain="[/red]" + HOSTILE)
    with listener.report.running(3):
        listener.report.settled(hostile, 3)
    out, err = listener.said
    assert out == ""
    assert "error     [/red]]0;owned[2J[red]x[/] :smile: 31m gnp.exe a  b c" in err
    assert ("1/3" in err) is (terminal != "dumb")
    assert err.count("\n") == 1 or terminal != "dumb"
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err).count("\x1b") == 0
    assert "\x1b]" not in err
    assert "\x1b[31m" not in err
    assert ("\x1b" in err) is (terminal != "dumb")


def test_no_bar_is_shown_to_programs_to_cron_or_when_quiet() -> None:
    for listener in (heard(), heard(person=True, as_json=True), heard(person=True, verbosity=-1)):
        with listener.report.running(3):
            listener.report.advanced(settled(Complete({})))
        assert listener.said == ("", "")


# --- who listens ------------------------------------------------------------------------------


def test_info_is_for_terminals_and_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        report = Report(Style(), io.StringIO(), stream)
        report.info("unheard")
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        report.info("heard")
        Report(Style(verbosity=-1), io.StringIO(), stream).info("unheard")
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        report.info("unheard")
    assert log.read_text() == "<6>heard\n"


def test_a_table_is_for_a_person_even_when_stderr_is_logged() -> None:
    out, err = Screen(), io.StringIO()
    report = Report(Style(), out, err)
    report.show(answers.added(Added(1), nothing(), dry_run=False))
    assert (out.getvalue(), err.getvalue()) == ("added 1 domain\n", "")


def test_what_was_done_is_told_on_stderr_when_stdout_is_elsewhere() -> None:
    out, err = io.StringIO(), Screen()
    Report(Style(), out, err).show(answers.reset(2, 0, dry_run=False))
    assert (out.getvalue(), err.getvalue()) == ("", "reset 2 domains\n")


# --- errors -----------------------------------------------------------------------------------


def test_an_error_says_what_why_and_what_next() -> None:
    listener = heard(verbosity=-1)
    listener.report.error(DatabaseError("what", why="why\nand why", hint="next"))
    assert listener.said == ("", "error: what\n  why\n  and why\nhint: next\n")


def test_an_error_in_json_is_one_line() -> None:
    listener = heard(as_json=True, verbosity=2)
    listener.report.error(DatabaseError(HOSTILE, why=HOSTILE))
    assert HARMFUL.search(listener.err.getvalue().removesuffix("\n")) is None
    assert json.loads(listener.err.getvalue()) == {
        "type": "error",
        "code": 3,
        "message": HOSTILE,
        "why": HOSTILE,
        "hint": None,
    }


def test_a_warning_in_json_is_one_line() -> None:
    listener = heard(as_json=True)
    listener.report.warning("something", "do\nthat")
    assert json.loads(listener.err.getvalue()) == {
        "type": "warning",
        "message": "something",
        "hint": "do\nthat",
    }
    assert listener.err.getvalue().count("\n") == 1


def test_an_errors_cause_is_told_to_developers_only() -> None:
    def fail() -> None:
        try:
            int("the cause")
        except ValueError as cause:
            raise DomainschedError("what") from cause

    for verbosity, told in ((1, False), (2, True)):
        listener = heard(verbosity=verbosity)
        with pytest.raises(DomainschedError) as caught:
            fail()
        listener.report.error(caught.value)
        assert ("the cause" in listener.err.getvalue()) is told


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_and_no_escape_code_is_said_even_to_developers(*, as_json: bool) -> None:
    cause = ValueError(f"{HOSTILE} postgresql://u:sesame@db password=sesame swordfish")
    error = DomainschedError("what swordfish", why=str(cause), hint=str(cause))
    error.__cause__ = cause
    listener = heard(as_json=as_json, verbosity=2)
    listener.report.secrets = ("swordfish",)
    listener.report.error(error)
    listener.report.trace(str(cause))
    said = listener.err.getvalue()
    assert "***" in said
    assert "sesame" not in said
    assert "swordfish" not in said
    assert all(HARMFUL.search(line) is None for line in said.split("\n"))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("http://u:sesame@x.test/a@b", "http://***@x.test/a@b"),
        ("HTTPS://u@sesame@x.test", "HTTPS://***@x.test"),
        ("u:sesame@x.test", "***@x.test"),
        ("//u:sesame@x.test", "//***@x.test"),
        ("http://x.test/?a@b", "http://x.test/?a@b"),
        ("x.test", "x.test"),
    ],
)
def test_a_stored_password_is_never_shown(stored: str, shown: str) -> None:
    failure = Failed(Kind.DNS, "no such host")
    stored_row = row(domain=stored)
    for listener in (heard(person=True), heard(verbosity=1), heard(as_json=True, verbosity=1)):
        report = listener.report
        report.show(answers.rows([stored_row], 1))
        report.preview([stored_row], upcoming(due=1), 3)
        report.show(answers.records([stored_row], alone=True, max_attempts=3))
        report.show(answers.records([stored_row, stored_row], alone=False, max_attempts=3))
        report.begun(settled(Fail(failure), domain=stored).claim)
        for kept in (True, False):
            with report.running(1):
                report.settled(settled(Fail(failure), domain=stored, kept=kept), 3)
        said = "".join(listener.said)
        assert shown in said
        assert "sesame" not in said


def test_a_preview_of_nothing_says_when_there_will_be_something() -> None:
    person = heard(person=True)
    person.report.preview([], upcoming(next_due=datetime(2000, 1, 1, tzinfo=UTC)), 3)
    told = person.out.getvalue()
    assert told.startswith("nothing is due; next at 2000-01-01 00:00:00 UTC")


def test_what_cannot_be_written_is_remembered_and_the_work_goes_on() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    err = io.StringIO()
    with os.fdopen(writer, "w") as out:
        report = Report(Style(Format.JSON), out, err)
        assert report.loss is None
        report.document({"a": 1})
        report.document({"b": 2})
        assert isinstance(report.loss, BrokenPipeError)
    assert err.getvalue() == ""


def test_a_log_that_cannot_be_written_loses_no_answer() -> None:
    out = io.StringIO()
    with Path("/dev/full").open("w") as full:
        report = Report(Style(), out, full)
        report.warning("unheard")
        report.error(UsageError("unheard"))
        report.answer("heard")
    assert (out.getvalue(), report.loss) == ("heard\n", None)


# --- questions --------------------------------------------------------------------------------


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A terminal for stdin; what is typed waits there until it is read."""
    front, back = pty.openpty()
    with os.fdopen(back, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda keys: (os.write(front, keys.encode()), None)[1]
    os.close(front)


@pytest.mark.parametrize(("keys", "agreed"), [("y\n", True), (" Yes \n", True), ("no\n", False)])
def test_a_question_is_asked_on_stderr(
    keyboard: Callable[[str], None], keys: str, *, agreed: bool
) -> None:
    keyboard(keys)
    listener = heard()
    if agreed:
        listener.report.ask("one\ntwo", "Go on? ", "y", "yes")
    else:
        with pytest.raises(UsageError, match="nothing was done"):
            listener.report.ask("one\ntwo", "Go on? ", "y", "yes")
    assert listener.said == ("", "one\ntwo\nGo on? ")


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_nobody_is_asked_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    listener = heard()
    with pytest.raises(UsageError) as caught:
        listener.report.ask("3 domains", "Go on? ", "y")
    assert caught.value.what == "--yes is required when stdin is not a terminal"
    assert caught.value.why == "3 domains"
    assert listener.said == ("", "")


# --- the queue --------------------------------------------------------------------------------


LAPSES = (Lapse("web1:4711:7f3a", 2, NOW),)


def test_the_glance_in_json() -> None:
    listener = heard(as_json=True)
    queue = Glance({"error": 2}, upcoming(due=1, waiting_since=NOW), 5, {"dns": 2}, LAPSES)
    listener.report.show(answers.glance(queue, 10))
    assert listener.record == {
        "domains": 2,
        "statuses": {"error": 2},
        "due": 1,
        "waiting_since": "2026-11-22T00:39:58Z",
        "next_due": None,
        "expired": 0,
        "completed_last_24h": 5,
        "kinds": {"dns": 2},
        "lapses": [{"worker": "web1:4711:7f3a", "rows": 2, "since": "2026-11-22T00:39:58Z"}],
        "last_settled": None,
        "next_run_claims": 1,
    }
    listener = heard(as_json=True)
    listener.report.seen(queue, ())
    assert (listener.record["type"], listener.record["due"]) == ("glance", 1)


def test_the_glance_in_a_pipe_holds_what_json_does_in_a_fixed_order() -> None:
    listener = heard()
    statuses, kinds = {"z": 2, "error": 3, "a": 1}, {"dns": 2, "connect": 1}
    queue = Glance(statuses, upcoming(due=3, next_due=NOW), 5, kinds, LAPSES, NOW)
    listener.report.show(answers.glance(queue, 2))
    assert listener.out.getvalue() == (
        "domains\t6\nstatuses.a\t1\nstatuses.completed\t0\nstatuses.error\t3\n"
        "statuses.pending\t0\nstatuses.processing\t0\nstatuses.z\t2\n"
        "due\t3\nexpired\t0\nwaiting_since\t\nnext_due\t2026-11-22T00:39:58Z\n"
        "completed_last_24h\t5\nlast_settled\t2026-11-22T00:39:58Z\nnext_run_claims\t2\n"
        "kinds.connect\t1\nkinds.dns\t2\n"
        "lapses.web1:4711:7f3a.rows\t2\nlapses.web1:4711:7f3a.since\t2026-11-22T00:39:58Z\n"
    )
    keys = {line.split("\t")[0].split(".")[0] for line in listener.out.getvalue().splitlines()}
    spoken = heard(as_json=True)
    spoken.report.show(answers.glance(queue, 2))
    assert spoken.record.keys() - {"statuses"} <= keys


@pytest.mark.parametrize(
    ("values", "limit", "advice"),
    [
        ({"due": 312}, 10, ["next run claims 10 of 312"]),
        ({"due": 312}, 0, ["next run claims 312 of 312"]),
        ({"due": 5}, 10, ["next run claims 5 of 5"]),
        ({"next_due": datetime.max.replace(tzinfo=UTC)}, 10, ["nothing is due; next at infinity"]),
        ({}, 10, ["nothing is due"]),
        (
            {"due": 4, "expired": 1},
            2,
            [
                "next run claims 2 of 4",
                "hint: 1 lease ran out; process takes it, or: domainsched reset --expired",
            ],
        ),
        (
            {"due": 12_345, "expired": 12_345},
            0,
            [
                "next run claims 12,345 of 12,345",
                "hint: 12,345 leases ran out; process takes them, or: domainsched reset --expired",
            ],
        ),
    ],
)
def test_the_glance_ends_with_what_to_do(
    values: dict[str, Any], limit: int, advice: list[str]
) -> None:
    lines = list(glance_lines(Glance({"pending": 312}, upcoming(**values), 0), limit))
    assert lines[lines.index("") :] == ["", *advice]
    assert max(map(width, lines)) <= 80


def test_the_glance_names_who_held_the_leases_that_ran_out() -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5, seconds=1)
    lapses = (Lapse("web1:4711:7f3a", 2, long_ago), Lapse("", 1, long_ago))
    lines = list(glance_lines(Glance({}, upcoming(expired=1204), 0, {}, lapses), 10))
    assert [line.rstrip() for line in lines[-8:-3]] == [
        "",
        "leases that ran out, and who held them",
        f"  {'web1:4711:7f3a':<40}          2   5m ago",
        f"  {'not known':<40}          1   5m ago",
        f"  {'others':<40}      1,201",
    ]


def test_the_glance_stays_narrow_whatever_the_statuses_and_kinds() -> None:
    statuses = {"pending": 1, "x" * 255: 14_238_000, HOSTILE: 1, "\u5b8c\u4e86": 2}
    kinds = {str(kind): 1000 for kind in Kind} | {HOSTILE: 1}
    lapses = (Lapse(HOSTILE, 10**9, NOW), Lapse("x" * 255, 1, NOW))
    lines = list(glance_lines(Glance(statuses, upcoming(), 0, kinds, lapses), 10))
    assert max(map(width, lines)) <= 80
    assert all(HARMFUL.search(line) is None for line in lines)
    error = next(line for line in lines if line.startswith("  error"))
    rest = 1000 * (len(Kind) - 3) + 1
    assert error.endswith(f"1,000 dns, 1,000 connect, 1,000 tls, {rest:,} other")
    ends = [_end_of_number(lines[n]) for n in (0, 1, 5, 7)]
    assert len(set(ends)) == 1


def _end_of_number(line: str) -> int:
    match = re.search(r" [\d,]+(?=   |$)", line)
    assert match is not None
    return width(line[: match.end()])


@pytest.mark.parametrize(
    ("values", "attempt"),
    [
        ({}, 1),
        ({"attempts": 1, "last_error_kind": "dns"}, 2),
        ({"attempts": 3, "last_error_kind": "dns"}, 1),
        ({"attempts": 2}, 1),
        ({"status": "processing", "attempts": 1}, 2),
        ({"status": "processing", "attempts": 3}, None),
    ],
)
def test_a_preview_counts_the_attempt_as_the_claim_will(
    values: dict[str, Any], attempt: int | None
) -> None:
    assert next_attempt(row(**values), 3) == attempt


def test_a_preview_for_a_person_a_pipe_and_a_program() -> None:
    rows = [
        row(due_at=datetime.now(UTC) - timedelta(hours=3)),
        row(status="processing", attempts=3),
    ]
    person, pipe, program = heard(person=True), heard(), heard(as_json=True)
    for listener in (person, pipe, program):
        listener.report.preview(rows, upcoming(due=312), 3)
    lines = person.out.getvalue().splitlines()
    assert lines[0] == "would claim 2 of 312 due, oldest first"
    assert lines[1] == "  a.test  attempt 1 of 3  waiting 3h 0m"
    assert lines[2].startswith("  a.test  ends as error: crashed  waiting ")
    assert lines[3] == "nothing was claimed or contacted"
    assert pipe.out.getvalue().splitlines()[1] == "a.test\t\t2026-11-22T00:39:58Z"
    assert program.record == {"would_claim": ["a.test", "a.test"], "due": 312}


def test_what_was_changed_in_json() -> None:
    listener = heard(as_json=True)
    intake = Intake.of([RejectedLine("new.txt:17", "a b", "white space inside")])
    intake.close()
    listener.report.show(answers.added(Added(118, 7, 2, 3), intake, dry_run=True))
    assert listener.record == {
        "added": 118,
        "present": 7,
        "requeued": 3,
        "held": 0,
        "repeated": 2,
        "invalid": 1,
        "rejected": [{"source": "new.txt:17", "text": "a b", "reason": "white space inside"}],
        "dry_run": True,
    }
    listener = heard(as_json=True)
    listener.report.show(answers.reset(3, 1, dry_run=False))
    assert listener.record == {"reset": 3, "skipped": 1, "dry_run": False}
    listener = heard(as_json=True)
    listener.report.initialised("public.domains", ["ALTER TABLE x;"], done=True)
    assert listener.record == {
        "table": "public.domains",
        "statements": ["ALTER TABLE x;"],
        "done": True,
    }


def test_the_check_in_json() -> None:
    listener = heard(as_json=True)
    check = Check("18.6", "db:5432/x as app", "app", "public.domains", 3, 33, 26, ("SELECT",))
    listener.report.show(answers.check(check))
    assert listener.record == {
        "ok": True,
        "version": "18.6",
        "server": "db:5432/x as app",
        "role": "app",
        "table": "public.domains",
        "rows": 3,
        "columns": 33,
        "needed": 26,
        "rights": ["SELECT"],
    }


def test_a_list_in_json_keeps_its_fields_and_no_token() -> None:
    listener = heard(as_json=True)
    listener.report.show(answers.rows([row(title="T")], 1))
    assert listener.record == [
        {
            "domain": "a.test",
            "status": "pending",
            "attempts": 0,
            "due_at": "2026-11-22T00:39:58Z",
            "updated_at": "2026-11-22T00:39:58Z",
            "last_error_kind": None,
            "last_error": None,
            "title": "T",
            "claimed_by": None,
            "language": None,
            "email_addresses": None,
            "phone_numbers": None,
            "batch_id": None,
            "tenant_id": None,
        }
    ]
    listener = heard(as_json=True)
    listener.report.show(answers.records([row()], alone=True, max_attempts=3))
    assert listener.record["domain"] == "a.test"
    assert "claim_token" not in listener.record


FOREIGN = [
    {"domain_metadata": [1], "tech_stack": "WordPress"},
    {"domain_metadata": '{"visit": 1}', "tech_stack": ["WordPress"]},
    {"domain_metadata": {"visit": "2024"}, "tech_stack": {"technologies": ["WordPress"]}},
    {"domain_metadata": {"visit": {"bytes": "many"}}, "tech_stack": {"technologies": {"A": 1}}},
    {"email_addresses": "a@a.test", "phone_numbers": [None], "last_error": "boom"},
    {"updated_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - such columns exist
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_other_programs_stored_is_shown_or_passed_over(foreign: dict[str, Any]) -> None:
    for listener in (heard(person=True), heard(), heard(as_json=True)):
        listener.report.show(answers.records([row(**foreign)], alone=True, max_attempts=3))
        listener.report.show(answers.rows([row(**foreign)], 1))
        assert "None: boom" not in listener.out.getvalue()
    shown = dict(record(row(**foreign), 3))
    assert shown.get("error", "boom") == "boom"


def test_a_domain_in_full() -> None:
    visit = {"fetched_at": "2026-11-22T00:39:58Z", "elapsed_ms": 412, "bytes": 58000}
    full = row(
        status="processing",
        attempts=1,
        claimed_by="web1:4711:7f3a",
        last_error="no such host",
        last_error_kind="dns",
        last_scan=datetime(2026, 11, 22, 1, tzinfo=UTC),
        domain_metadata={
            "visit": {**visit, "url": "https://www.a.test/", "redirects": ["https://a.test/"]},
            "technologies": {
                "PHP": {"sign": "meta", "where": "generator", "implied_by": "WordPress"},
                "WordPress": {"sign": "meta", "where": "generator: WordPress 6.8"},
            },
        },
        batch_id="leads",
        title="Acme | 24h",
        description="About",
        language="en",
        email_addresses=["a@a.test", "b@a.test"],
        phone_numbers=["+15125550100"],
        twitter_url="https://x.com/acme",
        youtube_url="https://youtube.com/acme",
        logo_url="https://a.test/logo.png",
        tech_stack={
            "cms": ["WordPress"],
            "technologies": {
                "PHP": {"version": None, "categories": ["Programming language"]},
                "WordPress": {
                    "version": "6.8",
                    "categories": ["CMS"],
                    "confidence": 90,
                },
            },
        },
        tenant_id=UUID(int=1),
    )
    person, pipe = heard(person=True), heard()
    for listener in (person, pipe):
        listener.report.show(answers.records([full], alone=True, max_attempts=3))
    unwrapped = person.out.getvalue().replace("\n" + " " * 14, " ")
    assert re.sub(r"\([^()]* ago\)", "(SPAN ago)", unwrapped) == IN_FULL
    assert pipe.out.getvalue().splitlines() == [
        "domain\ta.test",
        "status\tprocessing",
        "attempts\t1 of 3",
        "held by\tweb1:4711:7f3a until 2026-11-22T00:39:58Z",
        "error\tdns: no such host",
        "tried\t2026-11-22T01:00:00Z",
        "fetched\t2026-11-22T00:39:58Z, 412 ms, 58 kB; earlier, and kept",
        "url\thttps://www.a.test/  (redirected from https://a.test/)",
        "title\tAcme | 24h",
        "about\tAbout",
        "language\ten",
        "emails\ta@a.test, b@a.test",
        "phones\t+15125550100",
        "social\thttps://x.com/acme, https://youtube.com/acme",
        "logo\thttps://a.test/logo.png",
        "technology\tWordPress 6.8, PHP",
        "batch\tleads",
        "tenant\t00000000-0000-0000-0000-000000000001",
    ]
    assert evidence(full) == [
        "WordPress 6.8: CMS, 90 % sure (meta: generator: WordPress 6.8)",
        "PHP: Programming language (implied by WordPress)",
    ]


IN_FULL = """\
a.test
  status      processing
  attempts    1 of 3
  held by     web1:4711:7f3a until 2026-11-22 00:39:58 UTC (SPAN ago)
  error       dns: no such host
  tried       2026-11-22 01:00:00 UTC (SPAN ago)
  fetched     2026-11-22 00:39:58 UTC (SPAN ago), 412 ms, 58 kB; earlier, and kept
  url         https://www.a.test/  (redirected from https://a.test/)
  title       Acme | 24h
  about       About
  language    en
  emails      a@a.test, b@a.test
  phones      +15125550100
  social      https://x.com/acme, https://youtube.com/acme
  logo        https://a.test/logo.png
  technology  WordPress 6.8, PHP
  batch       leads
  tenant      00000000-0000-0000-0000-000000000001
"""


DNS = {"last_error": "no such host", "last_error_kind": "dns"}
LEAP = timedelta(days=400)
LATER, UPDATED = NOW + timedelta(minutes=5), stamp(NOW)


@pytest.mark.parametrize(
    ("columns", "tried"),
    [
        ({}, None),  # it was written when it was added
        ({"last_scan": LATER}, stamp(LATER)),
        ({"last_scan": LATER, "status": "error", **DNS}, stamp(LATER)),
        ({"last_scan": None, "status": "error", **DNS}, UPDATED),
        ({"status": "error", **DNS}, UPDATED),
        ({"status": "processing", **DNS}, None),  # it was written when it was claimed
        # nobody was left to note the end of the visit
        ({"last_scan": NOW - LEAP, "status": "error", "last_error_kind": "crashed"}, UPDATED),
        ({"last_scan": LATER, "updated_at": None, "last_error_kind": "crashed"}, stamp(LATER)),
        ({"last_scan": datetime.max.replace(tzinfo=UTC)}, "infinity"),
        ({"last_scan": "yesterday"}, "yesterday"),
    ],
)
def test_a_domain_in_full_says_when_it_was_tried_last(
    columns: dict[str, Any], tried: str | None
) -> None:
    told = dict(record(row(**columns), 3))
    assert told.get("tried") == tried


def test_hostile_rows_reach_no_stream_as_they_are() -> None:
    hostile: Row = row(
        domain=HOSTILE,
        status=HOSTILE,
        title=HOSTILE,
        description=HOSTILE,
        last_error=HOSTILE,
        last_error_kind=HOSTILE,
        claimed_by=HOSTILE,
        email_addresses=[HOSTILE],
        tech_stack={"technologies": {HOSTILE: {"version": HOSTILE}}},
        domain_metadata={"visit": {"url": HOSTILE, "fetched_at": HOSTILE}},
    )
    for listener in (heard(person=True), heard(), heard(as_json=True)):
        for answer in answers_of(hostile):
            listener.report.show(answer)
        listener.report.preview([hostile], upcoming(due=1), 3)
        listener.report.info(HOSTILE)
        listener.report.warning(HOSTILE, HOSTILE)
        listener.report.summary(RunSummary(HOSTILE, 1), 0, None)
        listener.report.demo([{**hostile, "kind": None, "technologies": [HOSTILE], "ok": False,
                               "shows": "x", "differences": [HOSTILE]}])  # fmt: skip
        for line in (listener.out.getvalue() + listener.err.getvalue()).split("\n"):
            assert HARMFUL.search(line.replace("\t", "")) is None


def answers_of(hostile: Row) -> list[Answer]:
    """Every answer in which a stored text may stand."""
    status = {str(hostile["status"]): 1}
    glance = Glance(status, upcoming(), 0, status, (Lapse(str(hostile["claimed_by"]), 1, NOW),))
    return [
        answers.rows([hostile], 2),
        answers.records([hostile], alone=True, max_attempts=3),
        answers.records([hostile, hostile], alone=False, max_attempts=3),
        answers.page(hostile),
        answers.glance(glance, 10),
        answers.batch(BatchProgress(str(hostile["title"]), status, status)),
        answers.schema({str(hostile["title"]): str(hostile["title"])}),
    ]


@given(st.text(st.characters() | st.sampled_from(HOSTILE + "=+-@\"',;")), st.sampled_from(Format))
@settings(max_examples=200, deadline=None)
def test_whatever_a_site_says_every_line_is_harmless_in_every_format(
    text: str, form: Format
) -> None:
    texts = ("domain", "status", "title", "description", "last_error", "claimed_by", "batch_id")
    stack = {"technologies": {text: {"version": text}}}
    stored = row(**dict.fromkeys(texts, text), email_addresses=[text, text], tech_stack=stack)
    for answer in answers_of(stored):
        for line in answer.lines(form, 80):
            assert HARMFUL.search(line.replace("\t", "")) is None
            assert form is not Format.TABLE or "\t" not in line
            line.encode()


@given(st.lists(texts, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_csv_comes_back_as_printable_text_and_no_cell_is_a_formula(values: list[str]) -> None:
    line = csv_line(values)
    assert HARMFUL.search(line) is None
    (cells,) = csv.reader([line])
    assert [cell.removeprefix("'") for cell in cells] == [
        printable(value).removeprefix("'") for value in values
    ]
    assert not any(cell.lstrip()[:1] in set("=+-@\t\r") for cell in cells if cell)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"), ("\r1", "' 1"), ("\u202e=1", "'=1"), ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"), ("a=1", "a=1"), ("", '""'), (-1, "-1"), (1.5, "1.5"),
        ("a,b", '"a,b"'), ('say "x"', '"say ""x"""'), ("a\nb", "a b"), (True, "true"),
        (None, '""'), (["a", "b"], "a; b"), (["=a"], "'=a"), ({"a": 1}, '"{""a"": 1}"'),
        ([["a"]], '"[[""a""]]"'), (NOW, "2026-11-22T00:39:58Z"),
    ],
)  # fmt: skip
def test_a_cell_of_csv(value: object, cell: str) -> None:
    assert csv_line([value]) == cell


# --- laws ---------------------------------------------------------------------------------------


@given(texts)
@settings(max_examples=200, deadline=None)
def test_printable_text_is_one_harmless_line_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert HARMFUL.search(shown) is None
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    shown.encode()


def test_printable_keeps_what_people_read() -> None:
    for text in ("Музей", "例え", "عربي", "e\u0301", "👩\u200d💻", "नमस्ते\u200c", "a  b", "[red]"):
        assert printable(text) == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts,
                    lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_json_text_is_one_harmless_line_and_means_the_same(value: object) -> None:
    text = json_text(value)
    assert HARMFUL.search(text) is None
    text.encode()
    assert json.loads(text) == value


def test_json_holds_what_a_row_may_hold() -> None:
    value = {
        "stamp": NOW,
        "naive": datetime(2026, 11, 22, 0, 39, 58),  # noqa: DTZ001 - such columns exist
        "day": date(2026, 11, 22),
        "id": UUID(int=1),
        "span": timedelta(seconds=1.5),
        "networks": {1},
    }
    assert json.loads(json_text(value)) == {
        "stamp": "2026-11-22T00:39:58Z",
        "naive": "2026-11-22T00:39:58Z",
        "day": "2026-11-22",
        "id": "00000000-0000-0000-0000-000000000001",
        "span": 1.5,
        "networks": "{1}",
    }


cells = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from("例え🙂e\u0301")
)
rows = st.builds(
    row,
    domain=cells,
    status=cells,
    attempts=st.integers(0, 99999),
    last_error=st.none() | cells,
    last_error_kind=st.none() | cells,
    title=st.none() | cells,
    tenant_id=st.none() | st.uuids(),
)


def test_a_table_says_whose_the_rows_are_if_they_are_not_one_s() -> None:
    one, other = (row(tenant_id=UUID(int=number << 96)) for number in (1, 2))
    assert [line.split()[1] for line in table([one, other], 80)] == [
        "TENANT",
        "00000001…",
        "00000002…",
    ]
    for listed, columns in (([one, one], 80), ([one, other], 60), ([row(), row()], 80), ([], 80)):
        assert "TENANT" not in next(iter(table(listed, columns)))


@pytest.mark.parametrize(
    ("tenants", "shown"),
    [
        ((UUID(int=1), UUID(int=2)), ["…00000001", "…00000002"]),
        (("the gardeners", "the gardener's son"), ["…ardeners", "…er's son"]),
        ((0, 7), ["0", "7"]),
        (([UUID(int=1 << 96)], {"of": 1}), ["[UUID('0…", "{'of': 1}"]),
    ],
)
def test_a_tenant_of_whatever_type_is_told_from_the_others(
    tenants: tuple[object, ...], shown: list[str]
) -> None:
    lines = list(table([row(tenant_id=tenant) for tenant in tenants], 80))
    first, end = (lines[0].index(head) for head in ("TENANT", "STATUS"))
    assert [line[first:end].rstrip() for line in lines[1:]] == shown


@given(st.lists(rows, max_size=5), st.sampled_from([60, 80, 120]))
@settings(max_examples=150, deadline=None)
def test_a_table_fits_and_each_column_begins_where_its_head_does(
    listed: list[Row], columns: int
) -> None:
    lines = list(table(listed, columns))
    assert len(lines) == len(listed) + 1
    heads = [match.start() for match in re.finditer(r"\S+", lines[0])]
    for line in lines:
        assert width(line) <= columns
        edges = {0, *itertools.accumulate(map(width, line))}
        assert all(head in edges or head >= width(line) for head in heads)


@given(cells, st.integers(40, 120))
@settings(max_examples=150, deadline=None)
def test_a_wrapped_value_fits_and_loses_nothing(value: str, columns: int) -> None:
    lines = wrapped("title", value, columns)
    assert all(width(line) <= columns for line in lines)
    assert lines[0].startswith("  title")
    assert all(line.startswith(" " * 14) for line in lines[1:])
    kept = "".join(line[14:] for line in lines)
    assert "".join(kept.split()) == "".join(value.split())


def test_wide_and_combining_characters_are_counted_as_a_terminal_draws_them() -> None:
    assert [width(text) for text in ("abc", "例え", "e\u0301", "ｱ", "\uff21", "🙂", "\u200d")] == [
        3, 4, 1, 1, 2, 2, 0,
    ]  # fmt: skip
    assert unicodedata.east_asian_width("例") == "W"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=412), "412 ms"),
        (timedelta(seconds=6.24), "6.2 s"),
        (timedelta(minutes=4, seconds=59), "4m"),
        (timedelta(hours=3, minutes=12), "3h 12m"),
        (timedelta(days=2, hours=4, minutes=59), "2d 4h"),
    ],
)
def test_spans_are_written_as_people_do(duration: timedelta, text: str) -> None:
    assert span(duration) == text
    assert ago(datetime.now(UTC) - duration - timedelta(microseconds=1)).endswith(" ago")


def test_instants_are_written_in_utc() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert stamp(tokyo) == stamp(NOW) == stamp(NOW.replace(tzinfo=None)) == "2026-11-22T00:39:58Z"
    assert (stamp(None), ago(None)) == ("", "")
    assert ago(datetime.now(UTC) + timedelta(hours=1)) == "0 ms ago"


def test_counts_have_their_commas_and_their_number() -> None:
    assert [count(n, "domain") for n in (0, 1, 1204)] == ["0 domains", "1 domain", "1,204 domains"]


def test_an_instant_says_how_long_ago_it_was_or_how_far_ahead_it_is() -> None:
    now = datetime.now(UTC)
    assert re.fullmatch(r"2\S+ \S+ UTC \(in [45]m\)", moment(now + timedelta(minutes=5)))
    assert moment(now - timedelta(minutes=5)).endswith("(5m ago)")
    due = dict(record(row(due_at=now + timedelta(hours=2, seconds=9)), 3, moment))["due"]
    assert str(due).endswith("(in 2h 0m)")
