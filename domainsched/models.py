"""The frozen data that travels between stages, and the closed sets: `Status`, `Kind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

RowId = int | UUID
"""A row's key: bigint in tables that domainsched made, uuid in older ones."""


class Status(StrEnum):
    """The states of a row that domainsched knows; rows with any other word are left alone."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"


class Kind(StrEnum):
    """Why a visit failed. A closed set; the README's table says what each one means."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"
    CHALLENGE = "challenge"
    ROBOTS = "robots"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    BAD_REDIRECT = "bad_redirect"
    NOT_HTML = "not_html"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    PRIVATE_ADDRESS = "private_address"
    INVALID_DOMAIN = "invalid_domain"
    CRASHED = "crashed"
    UNSTORABLE = "unstorable"

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        Kind.DNS,
        Kind.CONNECT,
        Kind.TLS,
        Kind.TIMEOUT,
        Kind.PROTOCOL,
        Kind.HTTP_5XX,
        Kind.RATE_LIMITED,
        Kind.CHALLENGE,
        Kind.EMPTY,
        Kind.CRASHED,
    }
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row taken for this worker: nobody else may settle it while the lease runs."""

    id: RowId
    domain: str
    """As the table has it: a bare name, or any spelling of a site that an older program stored."""
    attempt: int
    """1 for the first; counted by the claim, so that a crash counts."""
    token: UUID
    reclaimed: bool = False
    """Its former worker's lease ran out: it is processed alone, in case it was the cause."""


@dataclass(frozen=True, slots=True)
class Page:
    """A site's own page, as it came over the wire (decompressed, not decoded)."""

    url: str
    """Final URL, after redirects."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case; values of repeated fields joined with ", " (RFC 9110, section 5.2);
    those of Set-Cookie, which may hold commas, with a newline."""
    body: bytes
    elapsed: timedelta
    """From the first look-up to the last byte, over every URL that was tried."""
    ip_address: str
    redirects: tuple[str, ...] = ()
    """The URLs that led here, first to last, without the final one."""
    truncated: bool = False
    """The body went on past the size limit; what is here is its beginning."""
    tls: Mapping[str, str] | None = None
    """`version`, `issuer`, `expires` (RFC 3339) of a verified https connection."""
    notes: tuple[str, ...] = ()
    """What was tried before and failed, in words: "https: certificate has expired"."""
    credits: int | None = None
    """What ScraperAPI took for it: then nobody knows `ip_address` (empty) and `tls`. None: the site
    itself gave it to us."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Why no page of the site's own was read."""

    kind: Kind
    detail: str
    """One sentence for the operator; holds no secret and no control character."""
    retry_after: timedelta | None = None
    """What the site asked for (RFC 9110, section 10.2.3)."""
    unreachable: bool = False
    """Nothing outside this machine answered: the fault may be our own network's."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page was read and understood."""

    columns: Mapping[str, Any]
    """Column name to JSON value, as `extract_page` returns it, `domain_metadata` included."""


@dataclass(frozen=True, slots=True)
class NotTried:
    """The claim was not begun, or was stopped half-way by our own shutdown."""


Outcome = Found | Failed | NotTried


@dataclass(frozen=True, slots=True)
class Complete:
    """The row becomes `completed` with these columns."""

    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Retry:
    """The row becomes `pending` again and is due after `delay`."""

    failure: Failed
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Fail:
    """The row becomes `error`."""

    failure: Failed


@dataclass(frozen=True, slots=True)
class Release:
    """The row becomes `pending` as it was; the attempt is not counted."""


Transition = Complete | Retry | Fail | Release


@dataclass(frozen=True, slots=True)
class Settled:
    """One claim's end: what was decided, and whether the database took it."""

    claim: Claim
    transition: Transition
    kept: bool
    """False: the lease was lost and the result dropped."""
    elapsed: timedelta


@dataclass(slots=True)
class RunSummary:
    """What one run did; counts of domains."""

    run_id: str
    claimed: int = 0
    completed: int = 0
    retried: int = 0
    failed: int = 0
    released: int = 0
    lost: int = 0
    credits: int = 0
    """What ScraperAPI took."""
    elapsed: timedelta = timedelta()
    kinds: dict[Kind, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Added:
    """What an `add` did; counts of names."""

    added: int = 0
    present: int = 0
    """Were in the table before, in whatever spelling."""
    repeated: int = 0
    """Came more than once in the input."""
    requeued: int = 0
    """Of those present, made pending and due."""
    held: int = 0
    """Of those present, left alone where they were to be requeued: a worker has them."""

    def __add__(self, other: Added) -> Added:
        return Added(
            self.added + other.added,
            self.present + other.present,
            self.repeated + other.repeated,
            self.requeued + other.requeued,
            self.held + other.held,
        )


@dataclass(frozen=True)
class Upcoming:
    """What there is to do; times are the database's."""

    unfinished: int
    """Rows that are pending or processing."""
    due: int
    """Rows that a claim would take now: pending ones, and those whose lease has run out."""
    expired: int
    """Rows whose lease has run out."""
    waiting_since: datetime | None
    """Since when the oldest pending row could have been claimed."""
    next_due: datetime | None
    """When the next row falls due that is not due yet."""
    now: datetime


@dataclass(frozen=True)
class Lapse:
    """A worker that was not heard of until its leases ran out."""

    worker: str
    """`host:process:run`; empty for rows that another program left `processing`."""
    rows: int
    since: datetime
    """When the first of the leases ran out."""


@dataclass(frozen=True)
class Glance:
    """The queue in numbers."""

    statuses: Mapping[str, int]
    upcoming: Upcoming
    completed_lately: int | None
    """In the last 24 hours; None where the table does not tell."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Rows that ended as `error`, by kind."""
    lapses: tuple[Lapse, ...] = ()
    """Who held what `upcoming.expired` counts; the first ten, longest ago first."""
    last_settled: datetime | None = None
    """When a visit's end was last stored: the last sign of life of any run."""


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is: the domains that were added under one label."""

    label: str
    statuses: Mapping[str, int]
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Rows that ended as `error`, by kind."""
    to_retry: int = 0
    """Of those that are pending: an attempt failed."""

    @property
    def total(self) -> int:
        """Domains in the batch."""
        return sum(self.statuses.values())

    @property
    def done(self) -> int:
        """Domains that were completed."""
        return self.statuses.get(Status.COMPLETED, 0)

    @property
    def failed(self) -> int:
        """Domains that ended as `error`."""
        return self.statuses.get(Status.ERROR, 0)

    @property
    def unfinished(self) -> int:
        """Domains that are pending or processing."""
        return self.statuses.get(Status.PENDING, 0) + self.statuses.get(Status.PROCESSING, 0)

    @property
    def share(self) -> float:
        """The finished part, from 0 to 1."""
        return (self.done + self.failed) / self.total if self.total else 0.0

    @property
    def state(self) -> str:
        """`pending` while nothing has begun, `completed` once nothing is left to do."""
        if not self.unfinished:
            return "completed"
        ended = self.done + self.failed
        begun = ended + self.to_retry + self.statuses.get(Status.PROCESSING, 0)
        return "processing" if begun else "pending"


@dataclass(frozen=True)
class Flight:
    """A row under a live lease."""

    domain: str
    worker: str
    since: timedelta | None
    """None where the table does not tell."""
    lease_left: timedelta


@dataclass(frozen=True)
class Change:
    """A row that is in another state than before."""

    at: datetime
    domain: str
    former: str
    """Its status before; empty if that was not seen."""
    status: str
    kind: str
    detail: str
    """Why it failed, or the title that was found."""


@dataclass(frozen=True)
class Check:
    """What a smoke test tells of a database that can be used."""

    version: str
    server: str
    role: str
    table: str
    rows: int
    columns: int
    needed: int
    """Of the columns, those that domainsched cannot do without."""
    rights: tuple[str, ...]
