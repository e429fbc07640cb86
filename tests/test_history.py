"""Each law of the queue's history can be broken, and an ordinary history breaks none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import history as laws
import psycopg
import pytest
from history import LAWS, History, Law, Record, State, Step, install, sentence
from world import World

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=15)
MOST = 3


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


class Story:
    """A hand-made history of one row or more, told step by step; keywords make a step unlawful."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._states: dict[str, State] = {}
        self._tokens = 0

    @property
    def history(self) -> History:
        return History.of(self._records, max_attempts=MOST)

    def tell(self, who: str, minute: float, row: str = "a", **fields: Any) -> Story:  # noqa: ANN401 - the fields of a state
        added = State("pending", 0, NOON, None, None, None, None)
        state = replace(self._states.get(row, added), **fields)
        self._states[row] = state
        number = len(self._records)
        self._records.append(Record(number, who, at(minute), row, f"{row}.test", state))
        return self

    def add(self, row: str = "a") -> Story:
        return self.tell("somebody", 0, row)

    def claim(self, who: str, minute: float, row: str = "a", **fields: Any) -> Story:  # noqa: ANN401
        before = self._states[row]
        self._tokens += 1
        reclaimed = before.status == "processing"
        lawful: dict[str, Any] = {
            "status": "processing",
            "attempts": before.attempts + 1,
            "due_at": at(minute) + LEASE,
            "claim_token": UUID(int=self._tokens),
            "claimed_by": f"host:1:{who}",
            "last_error_kind": "crashed" if reclaimed else before.last_error_kind,
        }
        return self.tell(who, minute, row, **lawful | fields)

    def exhaust(self, who: str, minute: float, **fields: Any) -> Story:  # noqa: ANN401
        ended: dict[str, Any] = {"status": "error", "attempts": MOST, "due_at": at(minute)}
        return self.claim(who, minute, **ended | fields)

    def settle(self, who: str, minute: float, **fields: Any) -> Story:  # noqa: ANN401
        lawful = {"status": "completed", "last_error_kind": None, "due_at": at(minute)}
        return self.tell(who, minute, **lawful | {"last_scan": at(minute)} | fields)

    def retry(self, who: str, minute: float, **fields: Any) -> Story:  # noqa: ANN401
        later = {"status": "pending", "last_error_kind": "timeout", "due_at": at(minute + 1)}
        return self.settle(who, minute, **later | fields)

    def release(self, who: str, minute: float, **fields: Any) -> Story:  # noqa: ANN401
        attempts = self._states["a"].attempts - 1
        lawful: dict[str, Any] = {"status": "pending", "attempts": attempts, "due_at": at(minute)}
        return self.tell(who, minute, **lawful | fields)

    def extend(self, who: str, minute: float, **fields: Any) -> Story:  # noqa: ANN401
        return self.tell(who, minute, **{"due_at": at(minute) + LEASE} | fields)

    def lapse(self, minute: float) -> Story:
        return self.tell(laws.SUPERVISOR, minute, due_at=at(minute))


def begun() -> Story:
    return Story().add().claim("w1", 1)


def used_up() -> Story:
    """Three attempts, each ended by its worker's death."""
    story = begun().lapse(2).claim("w2", 3).lapse(4).claim("w3", 5)
    return story.lapse(6)


LAWFUL: dict[str, Story] = {
    "completed": begun().settle("w1", 2),
    "retried": begun().retry("w1", 2).claim("w2", 3).settle("w2", 4),
    "failed": begun().settle("w1", 2, status="error", last_error_kind="http_4xx"),
    "extended": begun().extend("w1", 6).settle("w1", 10),
    "released": begun().release("w1", 2).claim("w2", 3).settle("w2", 4),
    "reclaimed and released": begun().lapse(2).claim("w2", 3).release("w2", 4).claim("w1", 5),
    "reclaimed": begun().claim("w2", 17).settle("w2", 18),
    "exhausted": used_up().exhaust("w4", 7),
    "asked for again": (
        used_up()
        .exhaust("w4", 7)
        .tell(laws.SUPERVISOR, 8, status="pending")
        .claim("w1", 9, attempts=1)
    ),
    "claimed together": (
        Story().add().add("b").claim("w1", 1).claim("w1", 1, "b", claim_token=UUID(int=1))
    ),
}  # fmt: skip

BROKEN: dict[Law, list[Story]] = {
    laws.a_row_is_claimed_only_when_it_is_due: [
        begun().claim("w2", 2),
        begun().retry("w1", 2).claim("w2", 2.5),
        begun().settle("w1", 2).claim("w2", 3, attempts=1),
    ],
    laws.a_claim_gives_a_lease_from_now: [
        Story().add().claim("w1", 1, due_at=at(1)),
        begun().extend("w1", 2, due_at=at(2)),
    ],
    laws.each_claim_has_a_fresh_token: [
        Story().add().add("b").claim("w1", 1).claim("w1", 2, "b", claim_token=UUID(int=1)),
        Story().add().add("b").claim("w1", 1).claim("w2", 1, "b", claim_token=UUID(int=1)),
        begun().claim("w2", 17, claim_token=None),
    ],
    laws.each_claim_counts_one_attempt: [
        Story().add().claim("w1", 1, attempts=0),
        Story().add().claim("w1", 1, attempts=2),
        begun().lapse(2).claim("w2", 3, attempts=1),
        begun().retry("w1", 2).claim("w2", 3, attempts=1),
        used_up().exhaust("w4", 7, attempts=2),
    ],
    laws.attempts_never_exceed_the_maximum: [
        used_up().claim("w4", 7),
        begun().settle("w1", 2, attempts=MOST + 1),
    ],
    laws.a_row_is_not_claimed_more_often_than_attempts_allow: [
        used_up().claim("w4", 7, attempts=MOST),
        begun().lapse(2).claim("w2", 3).lapse(4).claim("w3", 5, attempts=2).lapse(6).claim("w4", 7),
    ],
    laws.a_reclaimed_row_ends_as_crashed_when_its_attempts_are_used_up: [
        used_up().claim("w4", 7, attempts=MOST),
        begun().lapse(2).exhaust("w2", 3),
        Story().add().exhaust("w1", 1, last_error_kind="crashed"),
    ],
    laws.a_reclaimed_row_says_that_its_worker_crashed: [
        begun().lapse(2).claim("w2", 3, last_error_kind=None),
        used_up().exhaust("w4", 7, last_error_kind="timeout"),
        Story().add().claim("w1", 1, last_error_kind="crashed"),
    ],
    laws.a_reclaimed_row_is_claimed_alone: [
        begun().lapse(2).add("b").claim("w2", 3).claim("w2", 3, "b", claim_token=UUID(int=2)),
    ],
    laws.only_who_claimed_last_extends_releases_or_settles: [
        begun().settle("w2", 2),
        begun().extend("w2", 2),
        begun().release("w2", 2),
        begun().lapse(2).claim("w2", 3).settle("w1", 4),
        Story().add().settle("w1", 1),
    ],
    laws.a_claim_ends_once: [
        begun().settle("w1", 2).settle("w1", 3),
        begun().retry("w1", 2).settle("w1", 3),
        begun().release("w1", 2).settle("w1", 3),
    ],
    laws.an_extension_changes_only_the_end_of_the_lease: [
        begun().extend("w1", 2, attempts=2),
        begun().extend("w1", 2, last_error_kind="timeout"),
    ],
    laws.a_released_attempt_is_given_back: [
        begun().release("w1", 2, attempts=1),
        begun().release("w1", 2, due_at=at(30)),
        begun().release("w1", 2, last_error_kind="timeout"),
    ],
    laws.a_settled_attempt_stays_counted: [
        begun().settle("w1", 2, attempts=0),
        begun().retry("w1", 2, attempts=2),
    ],
    laws.only_a_row_with_attempts_left_is_tried_again: [
        begun().lapse(2).claim("w2", 3).lapse(4).claim("w3", 5).retry("w3", 6),
    ],
    laws.a_row_has_an_error_kind_unless_it_is_completed: [
        begun().settle("w1", 2, last_error_kind="timeout"),
        begun().settle("w1", 2, status="error"),
        begun().retry("w1", 2, last_error_kind=None),
        used_up().exhaust("w4", 7, last_error_kind=None),
    ],
    laws.an_ended_row_is_due_as_soon_as_somebody_sets_it_to_pending: [
        begun().settle("w1", 2, due_at=at(3)),
        used_up().exhaust("w4", 7, due_at=at(8)),
    ],
    laws.a_claim_names_its_worker_and_nothing_else_does: [
        Story().add().claim("w1", 1, claimed_by=None),
        begun().settle("w1", 2, claimed_by="host:2:other"),
        begun().release("w1", 2, claimed_by=None),
    ],
    laws.nothing_else_ever_changes_a_row: [
        Story().add().tell("w1", 1, due_at=at(2)),
        Story().add().tell("w1", 1, status="processing"),
        Story().add().tell("w1", 1),
        begun().settle("w1", 2).tell("w1", 3, status="pending"),
        begun().tell("w1", 2, status="completed"),
        begun().tell("w2", 2, status="pending", claim_token=UUID(int=9)),
    ],
}


def test_every_law_is_broken_here() -> None:
    assert set(BROKEN) == set(LAWS)


@pytest.mark.parametrize("name", LAWFUL)
def test_an_ordinary_history_breaks_no_law(name: str) -> None:
    assert laws.violations(LAWFUL[name].history) == []


@pytest.mark.parametrize("law", BROKEN, ids=sentence)
def test_a_law_can_be_broken(law: Law) -> None:
    for story in BROKEN[law]:
        broken = list(law(story.history))
        assert broken, [str(change) for change in story.history.changes]
        words = laws.violations(story.history)
        assert f"{sentence(law)}: {broken[0]}" in words


def test_the_trigger_records_every_change_and_who_did_it(world: World) -> None:
    world.execute("INSERT INTO domains (domain) VALUES ('before.test')")
    with world.database.connect() as connection:
        install(connection)
        connection.execute("INSERT INTO domains (domain) VALUES ('after.test')")
        _change_as(connection, "supervisor", "due_at = due_at - interval '1 day'")
        _change_as(connection, "stranger", "title = 'changed'")
        history = History.read(connection, max_attempts=MOST)
    told = [(change.domain, change.step, change.session) for change in history.changes]
    assert told == [
        ("before.test", Step.ADDED, ""),
        ("after.test", Step.ADDED, ""),
        ("after.test", Step.SUPERVISED, "supervisor"),
        ("after.test", Step.OTHER, "stranger"),
    ]
    times = [change.at for change in history.changes]
    assert times == sorted(times)
    added, supervised = history.changes[1:3]
    assert supervised.before == added.after
    assert supervised.after.due_at == added.after.due_at - timedelta(days=1)


def _change_as(connection: psycopg.Connection, who: str, assignment: str) -> None:
    connection.execute(f"SET application_name = '{who}'")
    connection.execute(f"UPDATE domains SET {assignment} WHERE domain = 'after.test'")
