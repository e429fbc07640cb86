"""An audit of the queue: a trigger records every change of every row, and laws judge the record.

history.install(connection)
...
assert not violations(History.read(connection, max_attempts=3))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Self
from uuid import UUID

import psycopg

SUPERVISOR = "supervisor"
"""The `application_name` of sessions that may change rows as they like."""

_INSTALL = """
CREATE TABLE history (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session         text        NOT NULL DEFAULT current_setting('application_name'),
    at              timestamptz NOT NULL DEFAULT statement_timestamp(),
    row_id          text        NOT NULL,
    domain          text,
    status          text,
    attempts        integer,
    due_at          timestamptz,
    claim_token     uuid,
    claimed_by      text,
    last_error_kind text,
    last_scan       timestamptz
);
CREATE INDEX ON history (claim_token);
CREATE INDEX ON history (session);
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (row_id, domain, status, attempts, due_at, claim_token, claimed_by,
                         last_error_kind, last_scan)
    VALUES (NEW.id, NEW.domain, NEW.status, NEW.attempts, NEW.due_at, NEW.claim_token,
            NEW.claimed_by, NEW.last_error_kind, NEW.last_scan);
    RETURN NULL;
END $$;
CREATE TRIGGER history AFTER INSERT OR UPDATE ON domains
    FOR EACH ROW EXECUTE FUNCTION record_change();
INSERT INTO history (row_id, domain, status, attempts, due_at, claim_token, claimed_by,
                     last_error_kind, last_scan)
SELECT id, domain, status, attempts, due_at, claim_token, claimed_by, last_error_kind, last_scan
FROM domains ORDER BY id;
"""

_READ = """
SELECT number, session, at, row_id, domain,
       status, attempts, due_at, claim_token, claimed_by, last_error_kind, last_scan
FROM history ORDER BY number
"""


def install(connection: psycopg.Connection) -> None:
    """Begin to record each change of the table `domains`; rows that are there count as added."""
    connection.execute(_INSTALL)


@dataclass(frozen=True, slots=True)
class State:
    """What the queue says of a row."""

    status: str
    attempts: int
    due_at: datetime
    claim_token: UUID | None
    claimed_by: str | None
    last_error_kind: str | None
    last_scan: datetime | None


@dataclass(frozen=True, slots=True)
class Record:
    """A row as one statement left it."""

    number: int
    """Of one row they follow the order of its changes: it is drawn while the row is locked."""
    session: str
    """The `application_name` of whoever did it."""
    at: datetime
    """`statement_timestamp()`, by which the queue judges what is due."""
    row_id: str
    domain: str
    state: State


class Step(Enum):
    """What a change is, told by what it changes."""

    ADDED = auto()
    CLAIMED = auto()
    EXHAUSTED = auto()
    """Claimed and ended in one, for its attempts were used up."""
    EXTENDED = auto()
    RELEASED = auto()
    SETTLED = auto()
    SUPERVISED = auto()
    OTHER = auto()


CLAIMS = (Step.CLAIMED, Step.EXHAUSTED)


@dataclass(frozen=True, slots=True)
class Change:
    """A record, with what came before it."""

    record: Record
    before: State | None
    claim: Record | None
    """The row's latest claim before this change."""
    step: Step

    @property
    def after(self) -> State:
        return self.record.state

    @property
    def session(self) -> str:
        return self.record.session

    @property
    def at(self) -> datetime:
        return self.record.at

    @property
    def domain(self) -> str:
        return self.record.domain

    @property
    def is_reclaim(self) -> bool:
        """Whether it is a claim of a row whose former worker's lease ran out."""
        return self.step in CLAIMS and _was(self, "processing")

    def __str__(self) -> str:
        before = astuple(self.before)[:3] if self.before else None
        after = astuple(self.after)[:3]
        return f"{self.domain} {self.step.name} by {self.session}: {before} -> {after}"


@dataclass(frozen=True)
class History:
    """All changes of all rows, in order."""

    changes: tuple[Change, ...]
    max_attempts: int

    @classmethod
    def of(cls, records: Iterable[Record], *, max_attempts: int) -> Self:
        """Tell what each record means, from the one before it of the same row."""
        latest: dict[str, Record] = {}
        claims: dict[str, Record] = {}
        changes = []
        for record in records:
            former = latest.get(record.row_id)
            before = former.state if former else None
            step = _step(record, before)
            changes.append(Change(record, before, claims.get(record.row_id), step))
            latest[record.row_id] = record
            if step in CLAIMS:
                claims[record.row_id] = record
        return cls(tuple(changes), max_attempts)

    @classmethod
    def read(cls, connection: psycopg.Connection, *, max_attempts: int) -> Self:
        """Read what the trigger has recorded."""
        rows = connection.execute(_READ).fetchall()
        return cls.of(map(_record, rows), max_attempts=max_attempts)

    def steps(self, *wanted: Step) -> Iterator[Change]:
        return (change for change in self.changes if change.step in wanted)

    @property
    def claims(self) -> Iterator[Change]:
        return self.steps(*CLAIMS)

    @property
    def last(self) -> dict[str, State]:
        """How each domain's row was left."""
        return {change.domain: change.after for change in self.changes}


def _record(row: tuple[Any, ...]) -> Record:
    number, session, at, row_id, domain, *state = row
    return Record(number, session, at, row_id, domain, State(*state))


def _step(record: Record, before: State | None) -> Step:
    after = record.state
    if before is None:
        return Step.ADDED
    if record.session == SUPERVISOR:
        return Step.SUPERVISED
    if after.claim_token != before.claim_token:
        return {"processing": Step.CLAIMED, "error": Step.EXHAUSTED}.get(after.status, Step.OTHER)
    if after.last_scan == record.at:  # only a visit's end is stamped so
        return Step.SETTLED
    if before.status != "processing":
        return Step.OTHER
    return {"processing": Step.EXTENDED, "pending": Step.RELEASED}.get(after.status, Step.OTHER)


# --- the laws ---------------------------------------------------------------------------------

Law = Callable[[History], Iterator[Change]]
"""Yields the changes that break it."""


def a_row_is_claimed_only_when_it_is_due(history: History) -> Iterator[Change]:
    for change in history.claims:
        waited_for = _was(change, "pending", "processing")
        if not (waited_for and change.before and change.before.due_at <= change.at):
            yield change


def a_claim_gives_a_lease_from_now(history: History) -> Iterator[Change]:
    for change in history.steps(Step.CLAIMED, Step.EXTENDED):
        if change.after.due_at <= change.at:
            yield change


def each_claim_has_a_fresh_token(history: History) -> Iterator[Change]:
    """One statement may claim many rows with one token; no other may use it."""
    seen: dict[UUID, tuple[str, datetime]] = {}
    for change in history.claims:
        token, claim = change.after.claim_token, (change.session, change.at)
        if token is None or seen.setdefault(token, claim) != claim:
            yield change


def each_claim_counts_one_attempt(history: History) -> Iterator[Change]:
    for change in history.claims:
        if change.before and change.after.attempts != _counted(change.before, history.max_attempts):
            yield change


def _counted(before: State, most: int) -> int:
    """Give the number of the attempt that a claim begins; whoever asked for a new start has 1."""
    if before.status == "processing":
        return min(before.attempts + 1, most)
    is_new_start = before.attempts >= most or before.last_error_kind is None
    return 1 if is_new_start else before.attempts + 1


def attempts_never_exceed_the_maximum(history: History) -> Iterator[Change]:
    for change in history.changes:
        if change.after.attempts > history.max_attempts:
            yield change


def a_row_is_not_claimed_more_often_than_attempts_allow(history: History) -> Iterator[Change]:
    """Counted anew, whatever the table says: claims in a row, less those that were released."""
    counts: dict[str, int] = defaultdict(int)
    for change in history.changes:
        row = change.record.row_id
        if change.step is Step.CLAIMED:
            counts[row] = 1 if change.after.attempts == 1 else counts[row] + 1
            if counts[row] > history.max_attempts:
                yield change
        elif change.step is Step.RELEASED:
            counts[row] -= 1


def a_reclaimed_row_ends_as_crashed_when_its_attempts_are_used_up(
    history: History,
) -> Iterator[Change]:
    for change in history.claims:
        used_up = change.is_reclaim and (change.before is not None) and (
            change.before.attempts >= history.max_attempts
        )  # fmt: skip
        if used_up != (change.step is Step.EXHAUSTED):
            yield change


def a_reclaimed_row_says_that_its_worker_crashed(history: History) -> Iterator[Change]:
    for change in history.claims:
        kind = change.before.last_error_kind if change.before else None
        if change.after.last_error_kind != ("crashed" if change.is_reclaim else kind):
            yield change


def a_reclaimed_row_is_claimed_alone(history: History) -> Iterator[Change]:
    together: dict[UUID | None, list[Change]] = defaultdict(list)
    for change in history.claims:
        together[change.after.claim_token].append(change)
    for changes in together.values():
        if len(changes) > 1:
            yield from (change for change in changes if change.is_reclaim)


def only_who_claimed_last_extends_releases_or_settles(history: History) -> Iterator[Change]:
    for change in history.steps(Step.EXTENDED, Step.RELEASED, Step.SETTLED):
        if change.claim is None or change.claim.session != change.session:
            yield change


def a_claim_ends_once(history: History) -> Iterator[Change]:
    for change in history.steps(Step.SETTLED):
        if not _was(change, "processing"):
            yield change


def an_extension_changes_only_the_end_of_the_lease(history: History) -> Iterator[Change]:
    for change in history.steps(Step.EXTENDED):
        if change.before and change.after != replace(change.before, due_at=change.after.due_at):
            yield change


def a_released_attempt_is_given_back(history: History) -> Iterator[Change]:
    for change in history.steps(Step.RELEASED):
        if change.before and change.after != _given_back(change.before, change.at):
            yield change


def _given_back(before: State, at: datetime) -> State:
    return replace(before, status="pending", attempts=max(before.attempts - 1, 0), due_at=at)


def a_settled_attempt_stays_counted(history: History) -> Iterator[Change]:
    for change in history.steps(Step.SETTLED):
        if change.before and change.after.attempts != change.before.attempts:
            yield change


def only_a_row_with_attempts_left_is_tried_again(history: History) -> Iterator[Change]:
    for change in history.steps(Step.SETTLED):
        if change.after.status == "pending" and change.after.attempts >= history.max_attempts:
            yield change


def a_row_has_an_error_kind_unless_it_is_completed(history: History) -> Iterator[Change]:
    for change in history.steps(Step.SETTLED, Step.EXHAUSTED):
        if (change.after.last_error_kind is None) != (change.after.status == "completed"):
            yield change


def an_ended_row_is_due_as_soon_as_somebody_sets_it_to_pending(
    history: History,
) -> Iterator[Change]:
    for change in history.steps(Step.SETTLED, Step.EXHAUSTED):
        if change.after.status != "pending" and change.after.due_at > change.at:
            yield change


def a_claim_names_its_worker_and_nothing_else_does(history: History) -> Iterator[Change]:
    for change in history.steps(*CLAIMS, Step.EXTENDED, Step.RELEASED, Step.SETTLED):
        before = change.before.claimed_by if change.before else None
        named = change.after.claimed_by if change.step in CLAIMS else before
        if not named or change.after.claimed_by != named:
            yield change


def nothing_else_ever_changes_a_row(history: History) -> Iterator[Change]:
    return history.steps(Step.OTHER)


LAWS: tuple[Law, ...] = (
    a_row_is_claimed_only_when_it_is_due,
    a_claim_gives_a_lease_from_now,
    each_claim_has_a_fresh_token,
    each_claim_counts_one_attempt,
    attempts_never_exceed_the_maximum,
    a_row_is_not_claimed_more_often_than_attempts_allow,
    a_reclaimed_row_ends_as_crashed_when_its_attempts_are_used_up,
    a_reclaimed_row_says_that_its_worker_crashed,
    a_reclaimed_row_is_claimed_alone,
    only_who_claimed_last_extends_releases_or_settles,
    a_claim_ends_once,
    an_extension_changes_only_the_end_of_the_lease,
    a_released_attempt_is_given_back,
    a_settled_attempt_stays_counted,
    only_a_row_with_attempts_left_is_tried_again,
    a_row_has_an_error_kind_unless_it_is_completed,
    an_ended_row_is_due_as_soon_as_somebody_sets_it_to_pending,
    a_claim_names_its_worker_and_nothing_else_does,
    nothing_else_ever_changes_a_row,
)


def violations(history: History) -> list[str]:
    """Say each law that is broken, and by which change."""
    return [f"{sentence(law)}: {change}" for law in LAWS for change in law(history)]


def sentence(law: Callable[..., Any]) -> str:
    name: str = attrgetter("__name__")(law)
    return name.replace("_", " ")


def _was(change: Change, *statuses: str) -> bool:
    return change.before is not None and change.before.status in statuses
