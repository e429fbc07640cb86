"""The live view of the queue: what it shows, at any size of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from domainsched.models import Change, Flight, Glance, Upcoming
from domainsched.reporting.live import View
from domainsched.reporting.wording import width

NOW = datetime(2026, 11, 22, 0, 42, 10, tzinfo=UTC)
LONG = "a-very-long-subdomain.of-some-company-with-a-long-name.example.co.uk"
STATUSES = {"pending": 1204, "processing": 2, "completed": 12871, "error": 153}


def glance(due: int = 312, **statuses: int) -> Glance:
    upcoming = Upcoming(1206, due, 0, datetime.now(UTC) - timedelta(hours=3.2), None, NOW)
    return Glance({**STATUSES, **statuses}, upcoming, 0)


def flight(domain: str = "clinic.example", since: float | None = 3) -> Flight:
    began = None if since is None else timedelta(seconds=since)
    return Flight(domain, "web1:4711:7f3a", began, timedelta(minutes=14, seconds=57.9))


def change(domain: str, status: str = "completed", kind: str = "", detail: str = "") -> Change:
    return Change(NOW, domain, "processing", status, kind, detail)


def seen(
    flights: Sequence[Flight] = (flight(), flight("old-shop.example", 1)),
    changes: Sequence[Change] = (
        change("acme-plumbing.com", detail="Acme Plumbing"),
        change("gone.example", "error", "dns", "no such host"),
    ),
) -> View:
    view = View("every 2 s, Ctrl-C to leave")
    view.see(glance(), flights, changes)
    return view


def test_the_view_at_80_columns() -> None:
    assert seen().lines(80, 24, NOW) == [
        "every 2 s, Ctrl-C to leave                                         00:42:10 UTC",
        "pending 1,204   processing 2   completed 12,871   error 153   (0.0/s)",
        "312 due now, oldest waiting 3h 12m",
        "",
        "PROCESSING        WORKER          SINCE  LEASE LEFT",
        "clinic.example    web1:4711:7f3a     3s     14m 57s",
        "old-shop.example  web1:4711:7f3a     1s     14m 57s",
        "",
        "JUST SETTLED",
        "gone.example       error      dns: no such host",
        "acme-plumbing.com  completed  Acme Plumbing",
    ]


def test_only_what_was_settled_stands_there() -> None:
    changes = [
        change("added.test", "pending"),
        change("flying.test", "processing", "dns", "no such host"),
        change("other.test", "active"),
        change("again.test", "pending", "dns", "no such host"),
        change("failed.test", "error", "dns", "no such host"),
        change("done.test"),
    ]
    lines = seen((), changes).lines(80, 24, NOW)
    listed = [line.split()[:2] for line in lines[lines.index("JUST SETTLED") + 1 :]]
    assert listed == [
        ["done.test", "completed"],
        ["failed.test", "error"],
        ["again.test", "pending"],
    ]


def test_behind_the_last_line_there_is_room_for_what_a_terminal_echoes() -> None:
    *others, last = seen(changes=[change(LONG, "error", "dns", "x" * 80)]).lines(80, 24, NOW)
    assert (max(map(width, others)), width(last)) == (79, 77)


def test_a_database_that_is_away_is_said_above_what_was_known() -> None:
    view = seen()
    view.trouble = "cannot connect to PostgreSQL at db:5432/sites as app: connection refused"
    lines = view.lines(80, 24, NOW)
    assert lines[1].startswith("cannot connect to PostgreSQL at db:5432/sites as app")
    assert "pending 1,204" in lines[2]
    view.see(glance(), (), ())
    assert "cannot" not in view.lines(80, 24, NOW)[1]


def test_before_anything_is_known_there_is_only_the_head() -> None:
    assert View("title").lines(80, 24, NOW) == [f"title{' ' * 62}00:42:10 UTC"]


def test_the_rate_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    view, clock = View(""), iter([0.0, 10.0, 100.0, 104.0])
    monkeypatch.setattr("domainsched.reporting.live.time.monotonic", lambda: next(clock))
    for completed in (0, 30, 1000, 1008):
        view.see(glance(completed=completed), (), ())
        if completed == 30:
            assert view.rate == 3.0
    assert view.rate == 2.0


def test_a_reset_is_no_negative_rate() -> None:
    view = View("")
    view.see(glance(completed=10), (), ())
    view.see(glance(completed=0), (), ())
    assert view.rate == 0.0


@pytest.mark.parametrize("rows", [3, 8, 12, 24, 50])
@pytest.mark.parametrize("columns", [20, 60, 80, 120])
def test_it_fits_any_terminal_and_nothing_in_it_drives_one(columns: int, rows: int) -> None:
    hostile = "\x1b]0;owned\x07\u202egnp.exe\n\u4f8b\u3048" + LONG
    flights = [flight(hostile), *(flight(f"n{n}.test", None) for n in range(90))]
    changes = [
        change(hostile, "error", hostile, hostile),
        *(change(f"m{n}.test") for n in range(20)),
    ]
    view = seen(flights, changes)
    view.trouble = hostile
    lines = view.lines(columns, rows, NOW)
    assert len(lines) < rows
    assert max(map(width, lines)) < columns
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_what_does_not_fit_is_counted_and_both_lists_are_shown(columns: int) -> None:
    flights = [flight(f"n{n}.test") for n in range(90)]
    lines = seen(flights, [change(f"m{n}.test") for n in range(20)]).lines(columns, 24, NOW)
    (counted,) = [line for line in lines if line.startswith("and ")]
    shown = sum(line.startswith("n") and "web1" in line for line in lines)
    assert counted == f"and {90 - shown} more"
    assert "JUST SETTLED" in lines
    assert lines[-1].startswith("m19.test") or any(line.startswith("m19.test") for line in lines)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_column_vanishes(columns: int) -> None:
    lines = seen([flight(LONG)]).lines(columns, 24, NOW)
    heads = next(line for line in lines if line.startswith("PROCESSING"))
    assert heads.split() == ["PROCESSING", "WORKER", "SINCE", "LEASE", "LEFT"]
    row = lines[lines.index(heads) + 1]
    assert row.startswith("a-very-long")
    assert "3s" in row
    assert row.endswith("14m 57s")
