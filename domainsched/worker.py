"""One run: claim, visit, decide, settle.

    claim | xargs -n1 -P concurrency visit | xargs -n1 decide | xargs settle

Only the visits run side by side. A new domain is begun as soon as a place falls free; nobody waits
for the slowest of a batch. No transaction is open while the network is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

from domainsched.database.connection import AGAIN
from domainsched.database.queue import CRASHED, Queue
from domainsched.errors import DatabaseError, DomainschedError, NetworkDown
from domainsched.models import (
    Claim,
    Complete,
    Fail,
    Failed,
    Found,
    Kind,
    NotTried,
    Outcome,
    Release,
    Retry,
    RunSummary,
    Settled,
    Transition,
)
from domainsched.retry import Policy, backoff

logger = logging.getLogger(__name__)

Visit = Callable[[Claim, Callable[[], None]], Awaitable[Outcome]]
"""Visits a claim's domain; it calls what it is given when others need not wait for its end."""

SETTLE_AT_MOST = 100
"""Endings written in one statement."""
GATHERED = timedelta(seconds=0.1)
"""For this long an ending waits for others: a transaction costs as much for ten as for one."""
HELD_UP = timedelta(seconds=1)
"""After this time the next ones do not wait for it."""
SLOW_PER_PLACE = 10
SLOW_AT_MOST = 1000
"""Visits that have given way, beside the others: for each place after the first, and in all."""
EVIDENCE = 3
"""Visits that must all have reached nothing before we say that our own network is down."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run does, and how."""

    limit: int | None
    """Domains to claim; None for all that are due."""
    concurrency: int
    lease: timedelta
    grace: timedelta
    """After a stop, time for the visits in flight to end."""
    deadline: timedelta | None = None
    """After this time no visit is begun."""
    until: float | None = None
    """Nor at this one, by the event loop's clock."""
    policy: Policy = field(default_factory=Policy)


def decide(claim: Claim, outcome: Outcome, policy: Policy, chance: float) -> Transition:
    """Say what becomes of a domain. Pure: no clock, no network, no database, no dice."""
    match outcome:
        case Found(columns):
            return Complete(columns)
        case NotTried():
            return Release()
        case Failed() if outcome.kind.is_transient and claim.attempt < policy.max_attempts:
            return Retry(outcome, backoff(claim.attempt, outcome, policy, chance))
        case Failed():
            return Fail(outcome)


@dataclass(frozen=True, slots=True)
class Ending:
    """A visit that ended, before it is settled."""

    claim: Claim
    outcome: Outcome
    elapsed: timedelta


class Stop:
    """The wish to end, once for all runs of a process; set by a signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether somebody wishes us to end."""
        return self._event.is_set()

    async def wait(self, timeout: timedelta | None = None) -> None:  # noqa: ASYNC109 - a pause that a stop cuts short
        """Return when set, or after `timeout`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                await self._event.wait()

    @contextlib.contextmanager
    def on_signals(
        self, announce: Callable[[], object], leave: Callable[[], object]
    ) -> Iterator[None]:
        """Set on the first SIGTERM or SIGINT, after `announce`; on the second, `leave`.

        Afterwards they do again what they did before.
        """
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def caught(number: signal.Signals) -> None:
            if self.is_set:
                leave()
                return
            self.signal = number
            self._event.set()
            announce()

        for number in before:
            loop.add_signal_handler(number, caught, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


class _Horizon:
    """Tells our own network's failure from the sites': is there anything out there at all?"""

    def __init__(self) -> None:
        self._seen = False
        self._withheld: list[Ending] = []

    @property
    def is_dark(self) -> bool:
        return not self._seen and len(self._withheld) >= EVIDENCE

    def pass_on(self, ending: Ending) -> list[Ending]:
        """Return what may be settled now; endings that may be our own fault are withheld."""
        outcome = ending.outcome
        if not isinstance(outcome, Failed | Found):
            return [ending]
        if isinstance(outcome, Failed) and outcome.kind is Kind.INVALID_DOMAIN:
            return [ending]  # says nothing about the network
        if isinstance(outcome, Failed) and outcome.unreachable and not self._seen:
            self._withheld.append(ending)
            return []
        self._seen = True
        return [*self.take_withheld(), ending]

    def take_withheld(self) -> list[Ending]:
        withheld, self._withheld = self._withheld, []
        return withheld


class Run:
    """One run of a worker over the queue."""

    def __init__(
        self,
        queue: Queue,
        visit: Visit,
        plan: Plan,
        *,
        worker: str,
        run_id: str,
        stop: Stop,
        on_begin: Callable[[Claim], None],
        on_settled: Callable[[Settled], None],
    ) -> None:
        self._queue, self._visit, self._plan = queue, visit, plan
        self._worker, self._stop = worker, stop
        self._on_begin, self._on_settled = on_begin, on_settled
        self._flying: set[asyncio.Task[None]] = set()
        self._slow: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._held: set[Claim] = set()
        self._endings: asyncio.Queue[Ending | None] = asyncio.Queue()
        self._unsettled = 0
        self._horizon = _Horizon()
        self._obstacle: DomainschedError | None = None
        self._dry = False
        self._begun = asyncio.get_running_loop().time()
        self.summary = RunSummary(run_id)

    async def run(self) -> RunSummary:
        """Process until the limit, the deadline, a stop, or an empty queue.

        Raises:
            DatabaseError: the database stayed away; what was held is left to its lease.
            NetworkDown: nothing outside could be reached; every claim was released.
            DomainschedError: sites cannot be visited, for a reason of our own; nobody was charged.
        """
        try:
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._heartbeat())
                settler = group.create_task(self._settle_all(group))
                await self._work()
                self._close_horizon()
                self._endings.put_nowait(None)
                await settler
                heartbeat.cancel()
        except ExceptionGroup as errors:  # not except*: in 3.11.2 a raise in it is a group
            expected, bugs = errors.split(DomainschedError)
            if expected is None or bugs is not None:
                raise
            raise self._with_claims(expected.exceptions[0]) from None
        finally:
            await self._abort_flights()
        self._finish()
        return self.summary

    def _with_claims(self, error: Exception) -> Exception:
        """Have the loss of the database say, too, what becomes of the claims that are held."""
        if self._held and isinstance(error, DatabaseError) and error.hint != AGAIN:
            fate = "what was claimed is taken again when its lease has run out"
            error.hint = f"{error.hint}; {fate}" if error.hint else fate
        return error

    async def _work(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        stopped.add_done_callback(lambda _: self._changed.set())
        try:
            while not self._stop.is_set:
                await self._refill()
                if not self._flying:
                    return
                await self._next()
            if self._flying:
                await asyncio.wait(self._flying, timeout=self._plan.grace.total_seconds())
            await self._abort_flights()
        finally:
            stopped.cancel()

    async def _next(self) -> None:
        """Wait for a visit to end or to give way, or for a stop."""
        self._changed.clear()
        if not self._stop.is_set:
            await self._changed.wait()

    async def _alone(self) -> None:
        """Wait until nothing is in flight and what has ended is written, or for a stop."""
        while (self._flying or self._unsettled) and not self._stop.is_set:
            await self._next()

    async def _refill(self) -> None:
        """Claim for the places that are free, and begin those visits."""
        while (places := self._places()) and not self._stop.is_set:
            claimed = await self._queue.claim(
                places,
                token=uuid4(),
                worker=self._worker,
                lease=self._plan.lease,
                max_attempts=self._plan.policy.max_attempts,
            )
            self.summary.claimed += len(claimed.claims) + len(claimed.exhausted)
            for claim in claimed.exhausted:
                ending = Fail(Failed(Kind.CRASHED, CRASHED))
                self._count(Settled(claim, ending, kept=True, elapsed=timedelta()))
            self._held.update(claimed.claims)
            self._dry = not (claimed.claims or claimed.exhausted)
            for claim in claimed.claims:
                await self._begin(claim)

    def _places(self) -> int:
        """Say how many domains to claim now; few free places are not worth a statement."""
        if self._dry or self._obstacle or self._horizon.is_dark or self._is_late():
            return 0
        free = self._plan.concurrency - self._in_place()
        if free < max(1, self._plan.concurrency // 8):
            return 0
        if self._plan.limit is not None:
            free = min(free, self._plan.limit - self.summary.claimed)
        return free

    def _in_place(self) -> int:
        """Count the visits that have a place; a lone one keeps it, however slow it is."""
        beside = min(SLOW_PER_PLACE * (self._plan.concurrency - 1), SLOW_AT_MOST)
        return len(self._flying) - min(len(self._slow), beside)

    def _is_late(self) -> bool:
        now = asyncio.get_running_loop().time()
        deadline, until = self._plan.deadline, self._plan.until
        return (until is not None and now >= until) or (
            deadline is not None and now - self._begun >= deadline.total_seconds()
        )

    async def _begin(self, claim: Claim) -> None:
        """Start a visit; one whose last worker was lost flies alone, for it may be why."""
        if claim.reclaimed:
            await self._alone()
        if self._stop.is_set or self._is_late():
            self._end(Ending(claim, NotTried(), timedelta()))
            return
        self._on_begin(claim)
        task = asyncio.create_task(self._fly(claim))
        self._flying.add(task)
        task.add_done_callback(self._landed)
        if claim.reclaimed:
            await self._alone()

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._slow.discard(task)
        self._changed.set()

    def _give_way(self, task: asyncio.Task[None] | None) -> None:
        """Let others begin, though this one has not ended."""
        if task in self._flying:
            self._slow.add(task)
            self._changed.set()

    async def _fly(self, claim: Claim) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome: Outcome = NotTried()
        try:
            outcome = await self._visit(claim, partial(self._give_way, asyncio.current_task()))
        except DomainschedError as error:  # we cannot visit: no site's fault, and no use going on
            self._obstacle = error
        except Exception as error:  # one domain's bug must not stop the others, nor come free
            logger.exception("unexpected error while visiting %s", claim.domain)
            outcome = Failed(Kind.CRASHED, f"a bug in domainsched: {type(error).__name__}")
        finally:
            elapsed = timedelta(seconds=loop.time() - began)
            for ending in self._horizon.pass_on(Ending(claim, outcome, elapsed)):
                self._end(ending)

    def _end(self, ending: Ending) -> None:
        """Have a visit's ending settled."""
        self._unsettled += 1
        self._endings.put_nowait(ending)

    async def _abort_flights(self) -> None:
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heartbeat(self) -> None:
        """Extend what is held three times a lease, so that only a dead worker's lease runs out."""
        while True:
            await asyncio.sleep(self._plan.lease.total_seconds() / 3)
            if self._held:
                await self._queue.extend(self._held, self._plan.lease)

    async def _settle_all(self, group: asyncio.TaskGroup) -> None:
        """Write endings as they come, those that wait together in one statement; None ends it.

        A batch that is held up, by a row that somebody locks, does not hold up the next one.
        """
        closing, settling = False, set[asyncio.Task[None]]()
        while not closing:
            batch = [await self._endings.get()]
            if self._flying and self._endings.qsize() < SETTLE_AT_MOST:
                await asyncio.sleep(GATHERED.total_seconds())
            while not self._endings.empty() and len(batch) < SETTLE_AT_MOST:
                batch.append(self._endings.get_nowait())
            closing = None in batch
            ended = [ending for ending in batch if ending is not None]
            task = group.create_task(self._settle(ended))
            settling.add(task)
            task.add_done_callback(settling.discard)
            await asyncio.wait([task], timeout=HELD_UP.total_seconds())
        if settling:
            await asyncio.wait(settling)

    async def _settle(self, endings: list[Ending]) -> None:
        policy = self._plan.policy
        decided = [
            (ending, decide(ending.claim, ending.outcome, policy, random.random()))  # noqa: S311 - spreads retries; guards nothing
            for ending in endings
        ]
        ended = await self._queue.settle([(ending.claim, how) for ending, how in decided])
        for ending, how in decided:
            claim = ending.claim
            self._held.discard(claim)
            self._count(Settled(claim, ended.get(claim.id, how), claim.id in ended, ending.elapsed))
        self._unsettled -= len(endings)
        self._changed.set()

    def _close_horizon(self) -> None:
        """Settle what was withheld, or, when nothing was ever reached, release it."""
        dark, withheld = self._horizon.is_dark, self._horizon.take_withheld()
        if dark:
            self._obstacle = _network_down(withheld)
        for ending in withheld:
            outcome = NotTried() if dark else ending.outcome
            self._end(replace(ending, outcome=outcome))

    def _count(self, settled: Settled) -> None:
        summary = self.summary
        match settled:
            case Settled(kept=False):
                summary.lost += 1
            case Settled(transition=Complete()):
                summary.completed += 1
            case Settled(transition=Release()):
                summary.released += 1
            case Settled(transition=Retry(failure, _)):
                summary.retried += 1
                summary.kinds[failure.kind] = summary.kinds.get(failure.kind, 0) + 1
            case Settled(transition=Fail(failure)):
                summary.failed += 1
                summary.kinds[failure.kind] = summary.kinds.get(failure.kind, 0) + 1
        self._on_settled(settled)

    def _finish(self) -> None:
        loop = asyncio.get_running_loop()
        self.summary.elapsed = timedelta(seconds=loop.time() - self._begun)
        if self._obstacle is not None:
            raise self._obstacle


def _network_down(withheld: Sequence[Ending]) -> NetworkDown:
    domain, outcome = withheld[0].claim.domain, withheld[0].outcome
    detail = outcome.detail if isinstance(outcome, Failed) else ""
    return NetworkDown(
        f"no network: all {len(withheld)} visits failed before anything answered",
        why=f"first: {domain}: {detail}\nthe claims were released and no attempt was counted",
        hint="check DNS and outgoing access on this host",
    )
