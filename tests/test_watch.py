"""`watch` as it runs: when it works, when it waits, when it ends, and what it shows."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import time
from collections.abc import Mapping
from signal import SIGINT, SIGTERM
from threading import Event

import pytest
from programs import Surroundings
from proxy import Link, proxied
from sites import page
from test_acceptance import renamed
from test_cli import in_terminal, terminal
from world import World, behind, names

from domainsched.config import Settings
from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database as Client
from domainsched.database.table import TableName
from domainsched.reporting.report import Report, Style
from domainsched.reporting.wording import width
from domainsched.running import stopping
from domainsched.session import Session
from domainsched.watching import _Observer
from domainsched.worker import Stop

WATCH = ("watch", "--interval", "1h", "--json")
TIMEOUT_OF_A_VISIT = 30.0
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


# --- when it works ----------------------------------------------------------------------------


def test_with_more_due_than_a_round_takes_it_goes_on_at_once(world: World) -> None:
    world.add(*names(7))
    with world.start(*WATCH, "--limit", "2") as watch:
        watch.wait_for('"claimed": 1')
        watch.send(SIGTERM)
        ended = watch.end()
    rounds = [each["claimed"] for each in ended.records if each["type"] == "summary"]
    assert rounds == [2, 2, 2, 1]
    assert world.visits() == dict.fromkeys(names(7), 1)


def test_what_is_added_is_noticed_long_before_the_interval_ends(world: World) -> None:
    with world.start(*WATCH) as watch:
        watch.wait_for('"summary"')
        world.add("new.test")
        watch.wait_for('"new.test"')
        world.add("later.test")
        world.execute("UPDATE domains SET due_at = now() + interval '3 s', status = 'pending'")
        watch.wait_for('"later.test"')
        watch.send(SIGTERM)
        assert watch.end().code == 0


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON domains FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def test_what_is_due_and_cannot_be_had_is_not_asked_for_without_end(world: World) -> None:
    world.add("a.test")
    world.execute(REFUSING)
    ended = world.run(*WATCH, "--timeout", "3s")
    assert ended.code == 1
    told = [(each["claimed"], each["due"]) for each in ended.records]
    assert set(told) == {(0, 1)}
    assert len(told) <= 2, "at the begin, and when the time is up"


def test_one_invocation_is_one_run_in_all_that_it_says(world: World) -> None:
    world.add(*names(3))
    ended = world.run("watch", "--until-idle", "--limit", "1", "--json")
    (run_id,) = {each["run_id"] for each in ended.records if each["type"] == "summary"}
    workers = world.column("claimed_by").values()
    assert {worker.split(":")[-1] for worker in workers} == {run_id}


# --- when it ends -----------------------------------------------------------------------------


def test_it_waits_for_a_batch_and_for_nothing_else(world: World) -> None:
    world.add("a.test", "b.test", "other.test")
    world.execute("UPDATE domains SET batch_id = 'spring' WHERE domain < 'c'")
    world.execute("UPDATE domains SET due_at = now() + interval '1 h' WHERE domain = 'other.test'")
    ended = world.run("watch", "--until-idle", "--batch", "spring")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert world.column("status") == {
        "a.test": "completed",
        "b.test": "completed",
        "other.test": "pending",
    }
    assert world.run("watch", "--until-idle", "--batch", "spring", "--observe").code == 0


def test_a_batch_is_waited_for_that_another_worker_has(world: World, gate: Event) -> None:
    world.add("a.test", behaviour=behind(gate))
    world.execute("UPDATE domains SET batch_id = 'spring'")
    with world.start("process") as worker:
        world.sites.wait_for_requests("a.test")
        waiting = ("watch", "--observe", "--until-idle", "--batch", "spring", "--json")
        with world.start(*waiting, "--interval", "200ms") as watch:
            watch.wait_for('"glance"')
            gate.set()
            assert worker.end().code == 0
            assert watch.end().code == 0


def test_its_time_ends_in_the_midst_of_a_round_and_what_it_holds_is_given_back(
    world: World, gate: Event
) -> None:
    world.add("slow.test", behaviour=behind(gate))
    world.add("waiting.test")
    watch = ("watch", "--json", "--concurrency", "1", "--timeout")
    began = time.monotonic()
    ended = world.run(*watch, "3s")
    if not world.visits():  # a busy machine had not begun yet
        began = time.monotonic()
        ended = world.run(*watch, "15s")
    assert time.monotonic() - began < TIMEOUT_OF_A_VISIT
    assert (ended.code, json.loads(ended.err)["message"]) == (1, "the time is up")
    assert [each["outcome"] for each in ended.records if each["type"] == "domain"] == ["released"]
    assert world.visits() == {"slow.test": 1}
    assert world.column("status") == {"slow.test": "pending", "waiting.test": "pending"}
    assert world.column("attempts") == {"slow.test": 0, "waiting.test": 0}


def test_of_a_batch_that_is_not_done_in_time_its_own_rows_are_counted(world: World) -> None:
    world.add(*names(4))
    world.execute("UPDATE domains SET due_at = now() + interval '1 h'")
    world.execute("UPDATE domains SET batch_id = 'spring' WHERE domain = 'n00.test'")
    waiting = ("watch", "--until-idle", "--batch", "spring", "--timeout", "1s")
    for how in ((), ("--observe",)):
        ended = world.run(*waiting, *how)
        assert (ended.code, ended.err.splitlines()[:2]) == (
            1,
            ["error: the time is up", "  1 domain of batch spring pending or processing"],
        )


def test_its_time_ends_though_the_database_never_answers(world: World) -> None:
    with (
        world.database.connect() as other,
        other.transaction(),
        world.start("watch", "--timeout", "2s", "--json") as watch,
    ):
        watch.wait_for('"summary"')
        other.execute("LOCK TABLE domains")
        ended = watch.end()
    last = json.loads(ended.err.splitlines()[-1])
    assert (ended.code, last["message"][:14]) == (1, "the time is up")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("--batch spring", 2, "error: --batch needs --until-idle\n  it says what is waited for\n"),
        (
            "--until-idle --batch spring",
            1,
            "error: there is no batch spring\nhint: domainsched add --batch LABEL ",
        ),
        ("--until-idle --batch spring --observe", 1, "error: there is no batch spring\n"),
        ("--observe --timeout 100ms", 1, "error: the time is up\n"),
    ],
)
def test_what_cannot_be_waited_for_is_told(
    world: World, arguments: str, code: int, told: str
) -> None:
    ended = world.run("watch", *arguments.split())
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(told)


def test_a_table_without_batches_is_told(world: World) -> None:
    world.execute("ALTER TABLE domains DROP batch_id")
    ended = world.run("watch", "--until-idle", "--batch", "spring")
    assert (ended.code, ended.out) == (3, "")
    assert "has no column for --batch" in ended.err


# --- a database that is away ------------------------------------------------------------------


@pytest.mark.parametrize("how", [("--interval", "200ms"), ("--observe", "--interval", "200ms")])
def test_a_database_that_is_away_is_told_once_and_that_it_is_back(
    world: World, server: dict[str, str], how: tuple[str, ...]
) -> None:
    with world.start("watch", "--json", *how) as watch:
        watch.wait_for('"summary"' if len(how) == 2 else '"glance"')
        with renamed(server, world):
            watch.wait_for('"warning", "message": "cannot connect to PostgreSQL at ')
            watch.wait_for('; trying again", ')
            Event().wait(1.5)  # it looks several times meanwhile
        watch.wait_for('"warning", "message": "the trouble is over; going on"')
        world.execute("INSERT INTO domains (domain, status) VALUES ('x.test', 'completed')")
        watch.send(SIGTERM)
        ended = watch.end()
    assert ended.code == 0
    assert ended.err.count('"warning", "message": "cannot connect') == 1
    assert ended.err.count("going on") == 1
    assert ended.err.count('"warning"') <= 3  # the connection was cut; and there is no other


# --- looking on -------------------------------------------------------------------------------


def test_in_a_pipe_each_change_is_a_line(world: World) -> None:
    world.add("a.test", behaviour=page("<title>A\tsite</title>"))
    world.add("b.test", behaviour=page(status=410))
    world.sites.add("c.test")
    with world.start("watch", "--observe", "-v", "--interval", "100ms") as watch:
        watch.wait_for("looking at the queue every 100 ms, Ctrl-C to leave")
        world.execute(
            "INSERT INTO domains (domain, due_at) VALUES ('c.test', now() + interval '1 h')"
        )
        watch.wait_for("c.test")
        assert world.run("process").code == 0
        watch.wait_for("completed")
        watch.wait_for("410")
        watch.send(SIGINT)
        ended = watch.end()
    assert (ended.code, len(ended.err.splitlines())) == (130, 1)
    cells = [line.split("\t") for line in ended.out.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first) for first, *_ in cells)
    first = {domain: (former, status) for _, domain, former, status, *_ in reversed(cells)}
    assert first.pop("c.test") == ("", "pending"), "it is new"
    assert {former for former, _ in first.values()} == {"pending"}
    last = {domain: rest for _, domain, _, *rest in cells}
    assert last == {
        "a.test": ["completed", "", "A site"],
        "b.test": ["error", "http_4xx", "HTTP 410"],
        "c.test": ["pending", "", ""],
    }
    assert world.visits() == {"a.test": 1, "b.test": 1}


def test_with_json_the_queue_comes_first_and_then_each_change(world: World) -> None:
    world.add("a.test", behaviour=page(status=410))
    with world.start("watch", "--observe", "--json", "--interval", "100ms") as watch:
        watch.wait_for('"glance"')
        assert world.run("process").code == 0
        watch.wait_for("410")
        watch.send(SIGTERM)
        ended = watch.end()
    assert (ended.code, ended.err) == (0, "")
    glance, *changes = ended.records
    assert (glance["type"], glance["statuses"], glance["due"]) == ("glance", {"pending": 1}, 1)
    last = changes[-1]
    assert last.keys() == {"type", "at", "domain", "from", "status", "kind", "detail"}
    assert (last["type"], last["domain"], last["status"]) == ("change", "a.test", "error")


# --- in a terminal ----------------------------------------------------------------------------


def frames(shown: str) -> list[list[str]]:
    """The states of a view that was drawn anew, without what moved the cursor."""
    parts = re.split(r"(?m)^(?=working, |every )", CONTROL.sub("", shown.replace("\r", "\n")))
    return [part.rstrip("\n").splitlines() for part in parts if part.startswith(("w", "e"))]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_person_sees_the_queue_and_its_last_state_stays(
    world: World, gate: Event, columns: int
) -> None:
    world.add(*names(3), behaviour=behind(gate, page("<title>A \x1b[31mred site</title>")))
    world.add("gone.test", behaviour=behind(gate, page(status=410)))
    watch = terminal(
        world.domainsched(), "watch", "--until-idle", columns=columns, term="xterm-256color"
    )
    with watch as running:
        running.wait_for("processing 4", "out")
        gate.set()
        shown = running.end()
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith("\x1b[?25h")  # the cursor is back
    drawn = frames(shown.out)
    assert max(width(line) for frame in drawn for line in frame) < columns
    last = drawn[-1]
    assert re.fullmatch(r"working, at least every 1m; Ctrl-C to leave +\d\d:\d\d:\d\d UTC", last[0])
    told = " ".join(last)
    assert "pending 0   processing 0   completed 3   error 1" in told
    assert "nothing is due" in last
    settled = dict(line.split(maxsplit=1) for line in last[last.index("JUST SETTLED") + 1 :])
    ends = {"gone.test": "error http_4xx: HTTP 410", **dict.fromkeys(names(3), "completed")}
    assert settled.keys() == ends.keys()
    for name, end in settled.items():
        assert " ".join(end.split()).startswith(ends[name])


def test_a_person_sees_who_is_in_flight(world: World, gate: Event) -> None:
    world.add("a.test", behaviour=behind(gate))
    with world.start("process") as worker:
        world.sites.wait_for_requests("a.test")
        watch = terminal(world.domainsched(), "watch", "--observe", columns=80, term="xterm")
        with watch as running:
            running.wait_for("a.test", "out")
            running.interrupt()
            shown = running.end()
        gate.set()
        assert worker.end().code == 0
    assert shown.code == 130
    row = next(line for line in frames(shown.out)[-1] if line.startswith("a.test "))
    assert re.search(rf":{worker.pid}:\w+ +\d+s +1[45]m \d\ds$", row)


async def test_what_is_counted_and_what_is_listed_is_seen_at_the_same_moment(world: World) -> None:
    world.add("a.test")
    claim = "UPDATE domains SET status = 'processing', due_at = now() + interval '1 h'"

    async def claim_between(statement: str, _: Link) -> None:
        if "1000 years" in statement:  # the list
            world.execute(claim)

    async with proxied(world.database.keywords) as proxy, Client(proxy.url) as client:
        table = await usable_table(client, TableName("domains"))
        session = Session(Settings.load({}, {}), {}, Report(Style()), "run")
        observer = _Observer(session, client, table, "")
        proxy.on_statement = claim_between
        for statuses, listed in (({"pending": 1}, []), ({"processing": 1}, ["a.test"])):
            await observer.look()
            view = observer._view  # noqa: SLF001 - a terminal would cut it
            assert view.glance is not None
            assert view.glance.statuses == statuses
            assert [flight.domain for flight in view.flights] == listed


def test_a_terminal_that_cannot_redraw_gets_lines(world: World) -> None:
    world.add("gone.test", behaviour=page(status=410))
    shown = in_terminal(world.domainsched(), "watch", "--until-idle", term="dumb")
    assert (shown.code, shown.out) == (0, "")
    assert "\x1b" not in shown.err
    assert shown.err.startswith("error     gone.test  attempt 1 of 3  http_4xx: HTTP 410\n")


@pytest.mark.parametrize(
    ("flies", "told"), [(True, ["finishing what is", "left at once; what"]), (False, [])]
)
def test_what_a_signal_does_is_said_once_and_only_where_something_flies(
    told: list[str], *, flies: bool
) -> None:
    err = io.StringIO()
    report = Report(Style(verbosity=1), io.StringIO(), err)
    session = Session(Settings.load({}, {}), {}, report, "run")

    async def work() -> None:
        with stopping(session, Stop(), flies=flies):
            for _ in range(4):
                os.kill(os.getpid(), SIGTERM)
            await asyncio.Event().wait()

    with pytest.raises(SystemExit):
        asyncio.run(work())
    assert [line[:18].rstrip() for line in err.getvalue().splitlines()] == told


def test_ctrl_c_leaves_the_view_and_says_what_is_waited_for(world: World, gate: Event) -> None:
    world.add("a.test", behaviour=behind(gate))
    watch = terminal(world.domainsched(), "watch", columns=80, term="xterm")
    with watch as running:
        running.wait_for("working, at least every 1m; Ctrl-C to leave", "out")
        world.sites.wait_for_requests("a.test")
        running.interrupt()
        gate.set()
        ended = running.end()
    assert ended.code == 130
    _, after = ended.out.split("finishing what is in flight, up to 30 s; once more to leave now")
    assert "stopped  " in CONTROL.sub("", after)
    assert "Traceback" not in ended.out + ended.err
    assert world.column("status") == {"a.test": "completed"}


# --- what others are told ---------------------------------------------------------------------


def logged(surroundings: Surroundings, *arguments: str) -> list[Mapping[str, str]]:
    ended = surroundings.run(*arguments)
    assert (ended.code, ended.out) == (0, "")
    return [json.loads(line) for line in ended.err.splitlines()]


def test_the_log_of_a_run_bears_its_id_and_is_silent_by_default(world: World) -> None:
    world.add("a.test", "b.test")
    assert logged(world.domainsched(), "process", "--limit", "1", "--log-format", "json") == []
    talking = world.domainsched(DOMAINSCHED_LOG_FORMAT="json", LOG_LEVEL="INFO")
    begins, done = logged(talking, "process")
    assert (begins["message"], done["message"]) == ("run begins", "run done")
    run_id = world.column("claimed_by")["b.test"].split(":")[-1]
    assert {begins["run_id"], done["run_id"]} == {run_id}
    (error,) = (
        world.domainsched()
        .run("process", "--domain", "x.test", "--log-format", "json")
        .err.splitlines()
    )
    assert json.loads(error)["message"] == "not in the table: x.test"


def test_an_unknown_level_of_another_program_s_does_no_harm(world: World) -> None:
    assert world.run("process", LOG_LEVEL="trace").code == 0
    assert world.run("process", DOMAINSCHED_LOG_LEVEL="trace").code == 2


def test_metrics_are_written_after_each_run(world: World, server: dict[str, str]) -> None:
    world.add("a.test")
    world.add("b.test", behaviour=page(status=410))
    path = world.domainsched().directory / "domainsched.prom"
    ended = world.run("process", "--limit", "1", "--metrics-file", str(path))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert 'domainsched_domains{status="pending"} 1.0' in path.read_text()
    assert world.run("watch", "--until-idle", DOMAINSCHED_METRICS_FILE=str(path)).code == 0
    text = path.read_text()
    assert 'domainsched_outcomes_total{kind="",outcome="completed"} 1.0' in text
    assert 'domainsched_outcomes_total{kind="http_4xx",outcome="error"} 1.0' in text
    assert "domainsched_visit_duration_seconds_count 2.0" in text
    with renamed(server, world):
        assert world.run("process", "--metrics-file", str(path)).code == 3
    assert path.read_text() == text


def test_metrics_that_cannot_be_written_are_told_before_anything_is_done(world: World) -> None:
    world.add("a.test")
    ended = world.run("process", "--metrics-file", "nowhere/a.prom")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: cannot write the metrics to nowhere/a.prom\n"
        "  there is no directory nowhere\n"
        "hint: correct --metrics-file or DOMAINSCHED_METRICS_FILE\n"
    )
    notes = world.domainsched().directory / "notes"
    notes.write_text("mine")
    for command in (("process",), ("watch", "--until-idle")):
        ended = world.run(*command, "--metrics-file", "notes", DATABASE_URL="postgresql://h/x")
        assert (ended.code, ended.out) == (2, "")
        assert "the file there holds something else" in ended.err
    assert notes.read_text() == "mine"
    assert not world.visits()
