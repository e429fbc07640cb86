"""How things are written: pure functions from data to words, lines and JSON records."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any

from domainsched.columns import LISTED
from domainsched.models import (
    Change,
    Complete,
    Fail,
    Glance,
    Release,
    Retry,
    RunSummary,
    Settled,
    Status,
)

Row = Mapping[str, Any]
Write = Callable[[datetime], str]

_SPACES = re.compile("[\t-\r\x85\u2028\u2029]")
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"
_HARMFUL = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff{_BIDI}]")
_BEYOND_JSON = re.compile(f"[\x7f-\x9f\u2028\u2029\ud800-\udfff{_BIDI}]")
"""What JSON lets stand as it is, and a terminal may obey."""
_USERINFO = re.compile(r"^(\s*(?:[a-z][a-z0-9+.-]*:)?//|)[^/?#]*@", re.IGNORECASE)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def printable(text: object) -> str:
    """Make text from the web safe for a terminal: one line, no control codes, no bidi overrides."""
    return _HARMFUL.sub("", _SPACES.sub(" ", str(text)))


def site(domain: object) -> str:
    """Write a stored domain; older programs stored URLs, in which a password may stand; or none."""
    return site_record(domain) or "(no name)"


def site_record(domain: object) -> str | None:
    """Write a stored domain as programs read it: None where there is none."""
    return None if domain in {None, ""} else _USERINFO.sub(r"\1***@", str(domain))


def json_text(value: object) -> str:
    """Write a value as one line of JSON, in which nothing can drive a terminal."""
    text = json.dumps(value, ensure_ascii=False, default=jsonable)
    return _BEYOND_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def span(duration: timedelta) -> str:
    """Write a duration as people do: `412 ms`, `6.2 s`, `4m`, `3h 12m`, `2d 4h`."""
    seconds, minutes = duration.total_seconds(), int(duration / _MINUTE)
    if duration < timedelta(seconds=1):
        return f"{seconds * 1000:.0f} ms"
    if duration < _MINUTE:
        return f"{seconds:.1f} s"
    if duration < _HOUR:
        return f"{minutes}m"
    if duration < _DAY:
        return f"{minutes // 60}h {minutes % 60}m"
    return f"{duration.days}d {minutes // 60 % 24}h"


def setting(duration: timedelta) -> str:
    """Write a duration that somebody chose: `30 s`, not `30.0 s`."""
    return span(duration).replace(".0 s", " s")


def stamp(moment: datetime | None) -> str:
    """Write an instant as RFC 3339 in UTC; one without a zone is UTC, as such columns hold it."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _endless(aware) or aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _endless(day: date) -> str:
    """Write the first and the last time there are: they stand for what no calendar of ours has."""
    plain = day.replace(tzinfo=None) if isinstance(day, datetime) else day
    return {type(plain).max: "infinity", type(plain).min: "-infinity"}.get(plain, "")


def ago(moment: datetime | None) -> str:
    """Write how long ago an instant was."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _endless(aware) or f"{span(max(datetime.now(UTC) - aware, timedelta()))} ago"


def distance(moment: datetime) -> str:
    """Write how long ago an instant was, or how far ahead it is: `2m ago`, `in 5m`."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    ahead = aware - datetime.now(UTC)
    return _endless(aware) or (f"in {span(ahead)}" if ahead > timedelta() else ago(moment))


def moment(instant: datetime) -> str:
    """Write an instant for people: `2026-11-22 00:39:58 UTC (2m ago)`, or `(in 5m)`."""
    text, away = stamp(instant).replace("T", " ").replace("Z", " UTC"), distance(instant)
    return away if away == text else f"{text} ({away})"


def next_at(due: datetime | None) -> str:
    """Say that there is nothing to do, and until when."""
    return "nothing is due" + (f"; next at {moment(due)}" if due else "")


def count(number: int, noun: str) -> str:
    """Write `1 domain`, `1,204 domains`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def jsonable(value: object) -> object:
    """Turn what a row holds into what JSON has."""
    match value:
        case datetime():
            return stamp(value)
        case timedelta():
            return value.total_seconds()
        case str() | int() | float() | bool() | None | list() | dict():
            return value
        case date():
            return _endless(value) or value.isoformat()
        case _:
            return str(value)


def ending(settled: Settled) -> tuple[str, str]:
    """Say how an attempt ended: one word, and the rest."""
    if not settled.kept:
        return "lost", ""
    match settled.transition:
        case Complete():
            return "completed", span(settled.elapsed)
        case Retry(failure, delay):
            return "retry", f"{failure.kind}: {failure.detail}, again in {span(delay)}"
        case Fail(failure):
            return "error", f"{failure.kind}: {failure.detail}"
        case Release():
            return "released", ""


def settled_record(settled: Settled) -> dict[str, object]:
    """Write an attempt's end as JSON has it."""
    record: dict[str, object] = {
        "type": "domain",
        "domain": site_record(settled.claim.domain),
        "outcome": ending(settled)[0],
        "attempt": settled.claim.attempt,
        "elapsed_ms": round(settled.elapsed.total_seconds() * 1000),
    }
    match settled.transition:
        case Complete(columns):
            visit = (columns.get("domain_metadata") or {}).get("visit") or {}
            return {**record, "http_status": visit.get("status")}
        case Retry(failure, delay):
            again = round(delay.total_seconds())
            kind = {"kind": failure.kind, "detail": failure.detail}
            return {**record, **kind, "retry_in_s": again}
        case Fail(failure):
            return {**record, "kind": failure.kind, "detail": failure.detail}
        case Release():
            return record


def summary_record(summary: RunSummary, due: int) -> dict[str, object]:
    """Write a run's summary as JSON has it."""
    return {
        "type": "summary",
        "run_id": summary.run_id,
        "claimed": summary.claimed,
        "completed": summary.completed,
        "retry": summary.retried,
        "error": summary.failed,
        "released": summary.released,
        "lost": summary.lost,
        "credits": summary.credits,
        "kinds": dict(summary.kinds),
        "due": due,
        "elapsed_ms": round(summary.elapsed.total_seconds() * 1000),
    }


def summary_line(summary: RunSummary, due: int) -> str:
    """Write a run's summary for people."""
    counts = (
        (summary.completed, "completed"),
        (summary.retried, "to retry"),
        (summary.failed, "failed"),
        (summary.lost, "lost"),
    )
    parts = ", ".join(f"{number:,} {word}" for number, word in counts if number)
    tried = summary.claimed - summary.released
    text = f"{count(tried, 'domain')} in {span(summary.elapsed)}" + (f": {parts}" if parts else "")
    if summary.released:
        text += f"; {count(summary.released, 'claim')} released"
    if summary.credits:
        text += f"; ScraperAPI took {count(summary.credits, 'credit')}"
    return f"{text}. {due:,} still due." if due else f"{text}."


def glance_record(glance: Glance) -> dict[str, object]:
    """Write the queue in numbers as JSON has it."""
    return {
        "domains": sum(glance.statuses.values()),
        "statuses": dict(glance.statuses),
        "due": glance.upcoming.due,
        "waiting_since": glance.upcoming.waiting_since,
        "next_due": glance.upcoming.next_due,
        "expired": glance.upcoming.expired,
        "completed_last_24h": glance.completed_lately,
        "kinds": dict(glance.kinds),
        "lapses": [asdict(lapse) for lapse in glance.lapses],
        "last_settled": glance.last_settled,
    }


def glance_lines(glance: Glance, limit: int) -> Iterable[str]:
    """Draw the queue in numbers for people, after `git status`: the state, then what to do."""
    upcoming = glance.upcoming
    since, lately = upcoming.waiting_since, glance.completed_lately
    waiting = f", oldest waiting {ago(since).removesuffix(' ago')}" if since else ""
    remarks = {
        Status.PENDING: f"{upcoming.due - upcoming.expired:,} due now{waiting}",
        Status.PROCESSING: f"{upcoming.expired:,} with a lease that has run out",
        Status.COMPLETED: "" if lately is None else f"{lately:,} in the last 24 hours",
        Status.ERROR: commonest(glance.kinds),
    }
    others = [status for status in glance.statuses if status not in remarks]
    size = max([11, *(min(width(printable(status)), 14) for status in others)])
    total = f"{sum(glance.statuses.values()):,}"
    digits = max(9, len(total) + 2)
    yield f"{'domains':<{size + 2}}{total:>{digits}}"
    for status in [*Status, *others]:
        remark = remarks[Status(status)] if status in remarks else "never claimed"
        number = glance.statuses.get(status, 0)
        yield f"  {fitted(printable(status), size)}{number:>{digits},}   {remark}".rstrip()
    yield from _lapse_lines(glance)
    yield ""
    if glance.last_settled:
        yield f"last visit stored {ago(glance.last_settled)}"
    yield from _advice(glance, limit)


def _lapse_lines(glance: Glance) -> Iterable[str]:
    if not glance.lapses:
        return
    yield ""
    yield "leases that ran out, and who held them"
    for lapse in glance.lapses:
        worker = fitted(printable(lapse.worker or "not known"), 40)
        yield f"  {worker}  {lapse.rows:>9,}   {ago(lapse.since)}"
    if rest := glance.upcoming.expired - sum(lapse.rows for lapse in glance.lapses):
        yield f"  {fitted('others', 40)}  {rest:>9,}"


def commonest(kinds: Mapping[str, int], shown: int = 3) -> str:
    """Count the commonest kinds of failure, and the rest together."""
    ranked = sorted(kinds.items(), key=lambda item: -item[1])
    parts = [f"{number:,} {printable(kind)}" for kind, number in ranked[:shown]]
    if rest := sum(number for _, number in ranked[shown:]):
        parts.append(f"{rest:,} other")
    return ", ".join(parts)


def next_run_claims(glance: Glance, limit: int) -> int:
    """Count what a run would claim now; a `limit` of 0 is none."""
    return min(limit or glance.upcoming.due, glance.upcoming.due)


def _advice(glance: Glance, limit: int) -> Iterable[str]:
    """Say what comes next, and what to do."""
    upcoming = glance.upcoming
    if not glance.statuses:
        yield "next: domainsched add example.com"
    elif upcoming.due:
        yield f"next run claims {next_run_claims(glance, limit):,} of {upcoming.due:,}"
    else:
        yield next_at(upcoming.next_due)
    if upcoming.expired:
        leases, it = count(upcoming.expired, "lease"), "it" if upcoming.expired == 1 else "them"
        yield f"hint: {leases} ran out; process takes {it}, or: domainsched reset --expired"


def updated(row: Row, write: Write) -> str:
    """Say when a row was last written; what a column for something else holds, as it is."""
    instant = row.get("updated_at")
    return write(instant) if isinstance(instant, datetime) else str(jsonable(instant) or "")


def public(row: Row) -> dict[str, object]:
    """Leave out the fence of a claim: it is nobody's business but its worker's."""
    shown = {key: value for key, value in row.items() if key != "claim_token"}
    return {**shown, "domain": site_record(row["domain"])}


def status(row: Row) -> object:
    """Name a status as the glance does; other programs may leave it empty."""
    return "null" if row["status"] is None else row["status"]


def plain(row: Row) -> tuple[object, ...]:
    """Write a row for a pipe: whole values."""
    return (
        site_record(row["domain"]) or "",
        status(row),
        row["attempts"],
        updated(row, stamp),
        row["last_error_kind"] or "",
        held(row, stamp) or row["last_error"] or row.get("title") or "",
    )


def due_plain(row: Row, max_attempts: int) -> tuple[object, ...]:
    """Write a row that a run would claim for a pipe; no attempt: it ends as `crashed`."""
    name = site_record(row["domain"]) or ""
    return (name, next_attempt(row, max_attempts) or "", stamp(row["due_at"]))


_PREVIEWED = 50
"""Rows of a preview that a person sees."""


def due_lines(rows: Sequence[Row], max_attempts: int, columns: int) -> Iterable[str]:
    """Write the rows that a run would claim for people; the first of many."""
    shown = rows[:_PREVIEWED]
    names = [printable(site(row["domain"])) for row in shown]
    size = min(max(map(width, names), default=0), max(16, columns - 44))
    for name, row in zip(names, shown, strict=True):
        waiting = f"waiting {ago(row['due_at']).removesuffix(' ago')}"
        yield f"  {fitted(name, size)}  {_then(row, max_attempts)}  {waiting}"
    if len(rows) > len(shown):
        yield f"  and {len(rows) - len(shown):,} more"


def _then(row: Row, max_attempts: int) -> str:
    attempt = next_attempt(row, max_attempts)
    return f"attempt {attempt} of {max_attempts}" if attempt else "ends as error: crashed"


def named_line(row: Row, now: datetime, max_attempts: int) -> str:
    """Write what a run would do with a row that was named."""
    would = f"left alone: {held(row)}"
    if not is_leased(row, now):
        would = f"would be visited: {_then(row, max_attempts)}, now {row['status']}"
    return printable(f"  {site(row['domain'])}  {would}")


def is_leased(row: Row, now: datetime) -> bool:
    """Whether a worker has the row at the moment."""
    return bool(row["status"] == Status.PROCESSING and row["due_at"] > now)


def change_plain(change: Change) -> tuple[object, ...]:
    """Write a change for a pipe: when, which domain, from which status to which, and why."""
    name = site_record(change.domain) or ""
    cells = (stamp(change.at), name, change.former, change.status)
    return (*cells, change.kind, change.detail)


def change_record(change: Change) -> dict[str, object]:
    """Write a change as JSON has it."""
    return {
        "type": "change",
        "at": change.at,
        "domain": site_record(change.domain),
        "from": change.former or None,
        "status": change.status,
        "kind": change.kind or None,
        "detail": change.detail or None,
    }


def next_attempt(row: Row, max_attempts: int) -> int | None:
    """Count the attempt that a claim would begin; None: the last one killed its worker."""
    used_up = row["attempts"] >= max_attempts
    if row["status"] == Status.PROCESSING:
        return None if used_up else row["attempts"] + 1
    if used_up or row["last_error_kind"] is None:
        return 1
    return int(row["attempts"]) + 1


def listed(row: Row) -> dict[str, object]:
    """Write a row of a list as JSON has it."""
    shown = {name: row.get(name) for name in LISTED}
    return shown | {"domain": site_record(row["domain"])}


def _tenant(row: Row) -> str:
    value = row.get("tenant_id")
    return "" if value is None else printable(value)


def _told_apart(texts: Sequence[str]) -> list[str]:
    """Shorten texts to their beginnings, or to their ends where these tell more of them apart."""
    heads = [fitted(text, _OF_TENANT).rstrip() for text in texts]
    tails = [
        text if width(text) <= _OF_TENANT else fitted("…" + text[1 - _OF_TENANT :], _OF_TENANT)
        for text in texts
    ]
    return max(heads, tails, key=lambda short: len(set(short)))


_OF_TENANT = 9
"""Columns of a list that a tenant takes at most."""
_ROOM_FOR_TENANTS = 76
"""Columns: without them a reason would have no room beside a tenant."""
_CELLS: Mapping[str, Callable[[Row], str]] = {
    "DOMAIN": lambda row: printable(site(row["domain"])),
    "STATUS": lambda row: fitted(printable(status(row)), 10).rstrip(),
    "TRIES": lambda row: f"{row['attempts']:>5}",
    "UPDATED": lambda row: updated(row, ago),
    "REASON": lambda row: printable(held(row) or because(row) or row.get("title") or ""),
}


def table(rows: Sequence[Row], columns: int) -> Iterable[str]:
    """Lay out by hand for a terminal of so many `columns`: none of ours may vanish.

    Whose the rows are is shown, as far as tells them apart, if not all are the same tenant's.
    """
    heads, cells = list(_CELLS), [[cell(row) for cell in _CELLS.values()] for row in rows]
    tenants = _told_apart([_tenant(row) for row in rows])
    if columns >= _ROOM_FOR_TENANTS and len(set(tenants)) > 1:
        for line, tenant in zip((heads, *cells), ("TENANT", *tenants), strict=True):
            line.insert(1, tenant)
    yield from grid(heads, cells, columns)


def grid(heads: Sequence[str], cells: Sequence[Sequence[str]], columns: int) -> Iterable[str]:
    """Lay out printable cells in so many columns; the first and the last give way, if need be."""
    sizes = [max(map(width, column)) for column in zip(heads, *cells, strict=True)]
    gaps = 2 * (len(sizes) - 1)
    reserved = min(sizes[-1], 16)
    sizes[0] = min(sizes[0], max(16, columns - sum(sizes[1:-1]) - gaps - reserved))
    sizes[-1] = max(10, columns - sum(sizes[:-1]) - gaps)
    for line in (heads, *cells):
        yield "  ".join(map(fitted, line, sizes)).rstrip()


def width(text: str) -> int:
    """Count the columns that printable text takes in a terminal (Unicode, UAX #11)."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def fitted(cell: str, size: int) -> str:
    """Fill up, or cut, to exactly `size` columns."""
    kept = cell
    if width(cell) > size:
        ends = accumulate(map(_columns, cell))
        kept = "".join(c for c, end in zip(cell, ends, strict=True) if end < size) + "…"
    return kept + " " * (size - width(kept))


def held(row: Row, write: Write = moment) -> str:
    """Say who holds a row, and until when. Whether that has passed, the database's clock knows."""
    if row["status"] != Status.PROCESSING:
        return ""
    return f"held by {row['claimed_by'] or 'another program'} until {write(row['due_at'])}"


def because(row: Row) -> str:
    """Say why the last attempt failed."""
    return ": ".join(filter(None, (row["last_error_kind"], row["last_error"])))


def demo_lines(findings: Sequence[Row], columns: int) -> Iterable[str]:
    """Draw the demo's findings on lines of `columns`: each site, and what came of it."""
    for finding in findings:
        mark, name, shows, found, *differences = demo_plain(finding)
        line = printable(f"{mark:<4}{name:<22}{shows:<31}{found}")
        yield fitted(line, columns).rstrip()
        for difference in differences:
            yield f"{'':<4}{printable(difference)}"


def demo_plain(finding: Row) -> tuple[str, ...]:
    """Write a finding of the demo for a pipe."""
    found = f"error: {finding['kind']}" if finding["kind"] else finding["title"]
    mark = "ok" if finding["ok"] else "no"
    return (mark, finding["domain"], finding["shows"], found or "", *finding["differences"])
