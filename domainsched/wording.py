"""How things are written: pure functions from data to words, lines and JSON records."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from domainsched.models import (
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

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def printable(text: object) -> str:
    """Make text from the web safe for a terminal: no control codes, no bidi overrides."""
    return "".join(
        " " if character in "\t\n\r" else character
        for character in str(text)
        if character in "\t\n\r"
        or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _BIDI)
    )


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


def stamp(moment: datetime | None) -> str:
    """Write an instant as RFC 3339 in UTC; one without a zone is UTC, as such columns hold it."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(moment: datetime | None) -> str:
    """Write how long ago an instant was."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{span(max(datetime.now(UTC) - aware, timedelta()))} ago"


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
            return value.isoformat()
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
        "domain": settled.claim.domain,
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
    return f"{text}. {due:,} still due." if due else f"{text}."


def glance_record(glance: Glance) -> dict[str, object]:
    """Write the queue in numbers as JSON has it."""
    return {
        "statuses": dict(glance.statuses),
        "due": glance.upcoming.due,
        "waiting_since": glance.upcoming.waiting_since,
        "next_due": glance.upcoming.next_due,
        "expired": glance.upcoming.expired,
        "completed_last_24h": glance.completed_lately,
        "kinds": dict(glance.kinds),
    }


def glance_lines(glance: Glance) -> Iterable[str]:
    """Draw the queue in numbers for people, after `git status`: the state, then what to do."""
    upcoming = glance.upcoming
    since = upcoming.waiting_since
    waiting = f", oldest waiting {ago(since).removesuffix(' ago')}" if since else ""
    remarks = {
        Status.PENDING: f"{upcoming.due - upcoming.expired:,} due now{waiting}",
        Status.PROCESSING: f"{upcoming.expired:,} with a lease that has run out",
        Status.COMPLETED: f"{glance.completed_lately:,} in the last 24 hours",
        Status.ERROR: ", ".join(f"{number:,} {kind}" for kind, number in glance.kinds.items()),
    }
    yield f"{'domains':<13}{sum(glance.statuses.values()):>9,}"
    others = [status for status in sorted(glance.statuses) if status not in remarks]
    for status in [*Status, *others]:
        remark = remarks[Status(status)] if status in remarks else "never claimed"
        line = f"  {printable(status):<11}{glance.statuses.get(status, 0):>9,}   {remark}"
        yield line.rstrip()
    if upcoming.next_due and not upcoming.due:
        yield ""
        yield f"nothing is due; next at {stamp(upcoming.next_due)}"
    elif upcoming.expired:
        yield ""
        yield "hint: process takes run-out leases again, one at a time; or: reset --expired"


def public(row: Row) -> dict[str, object]:
    """Leave out the fence of a claim: it is nobody's business but its worker's."""
    return {key: value for key, value in row.items() if key != "claim_token"}


def plain(row: Row) -> tuple[object, ...]:
    """Write a row for a pipe: whole values."""
    return (
        row["domain"],
        row["status"],
        row["attempts"],
        stamp(row.get("updated_at")),
        row["last_error_kind"] or "",
        row["last_error"] or row.get("title") or "",
    )


def listed(row: Row) -> dict[str, object]:
    """Write a row of a list as JSON has it."""
    kept = ("domain", "status", "attempts", "due_at", "updated_at", "last_error_kind", "last_error")
    return {name: row.get(name) for name in (*kept, "title")}


def table(rows: Sequence[Row], width: int) -> Iterable[str]:
    """Lay out by hand: no column may vanish, whatever the width."""
    cells = [
        (
            printable(row["domain"]),
            printable(row["status"]),
            str(row["attempts"]),
            ago(row.get("updated_at")),
            printable(_reason(row)),
        )
        for row in rows
    ]
    heads = ("DOMAIN", "STATUS", "TRIES", "UPDATED", "REASON")
    widths = [max(len(cell) for cell in column) for column in zip(heads, *cells, strict=True)]
    widths[0] = min(widths[0], max(16, width - sum(widths[1:4]) - 24))
    widths[4] = max(10, width - sum(widths[:4]) - 8)
    for line in (heads, *cells):
        parts = [_fit(cell, size) for cell, size in zip(line, widths, strict=True)]
        yield "  ".join((parts[0], parts[1], parts[2], parts[3], parts[4])).rstrip()


def _fit(cell: str, size: int) -> str:
    return f"{cell:<{size}}" if len(cell) <= size else f"{cell[: size - 1]}…"


def _reason(row: Row) -> str:
    if row["last_error_kind"]:
        return f"{row['last_error_kind']}: {row['last_error']}"
    return str(row.get("title") or "")


def record(row: Row, max_attempts: int) -> Iterable[tuple[str, object]]:
    """Write one domain in full: names and values, without those that are empty."""
    visit = (row.get("domain_metadata") or {}).get("visit") or {}
    fetched = ""
    if visit:
        size = f"{visit.get('bytes', 0) / 1000:.0f} kB"
        fetched = f"{visit.get('fetched_at')}, {visit.get('elapsed_ms')} ms, {size}"
    is_open = row["status"] in {Status.PENDING, Status.PROCESSING}
    stack = (row.get("tech_stack") or {}).get("technologies") or {}
    social = [row.get(f"{name}_url") for name in ("facebook", "twitter", "linkedin", "instagram")]
    fields: list[tuple[str, object]] = [
        ("status", row["status"]),
        ("attempts", f"{row['attempts']} of {max_attempts}"),
        ("due", stamp(row["due_at"]) if is_open else None),
        ("held by", row["claimed_by"] if row["status"] == Status.PROCESSING else None),
        ("error", f"{row['last_error_kind']}: {row['last_error']}" if row["last_error"] else None),
        ("fetched", fetched),
        ("url", visit.get("url")),
        ("title", row.get("title")),
        ("about", row.get("description")),
        ("language", row.get("language")),
        ("emails", ", ".join(row.get("email_addresses") or ())),
        ("phones", ", ".join(row.get("phone_numbers") or ())),
        ("social", ", ".join(url for url in [*social, row.get("youtube_url")] if url)),
        ("logo", row.get("logo_url")),
        ("technology", ", ".join(_versioned(name, entry) for name, entry in stack.items())),
        ("tenant", row.get("tenant_id")),
    ]
    return [(name, value) for name, value in fields if value not in {None, ""}]


def _versioned(name: str, entry: Mapping[str, Any]) -> str:
    version = entry.get("version")
    return f"{name} {version}" if version else name


def wrapped(name: str, value: str, width: int | None) -> list[str]:
    """Set a name and its value on lines of `width`, or on one when None."""
    head = f"  {name:<12}"
    if width is None:
        return [f"{head}{value}"]
    return textwrap.wrap(value, width, initial_indent=head, subsequent_indent=" " * 14) or [head]


def demo_lines(findings: Sequence[Row]) -> Iterable[str]:
    """Draw the demo's findings: what each site is, how it ended, what was found."""
    for finding in findings:
        found = f"error: {finding['kind']}" if finding["kind"] else printable(finding["title"])
        technologies = ", ".join(finding["technologies"][:3])
        mark = "ok" if finding["ok"] else "DIFFERS"
        head = f"{mark:<8}{finding['domain']:<23}{finding['shows']:<32}{found}"
        yield head + (f"  [{technologies}]" if technologies else "")
        for difference in finding["differences"]:
            yield f"{'':<8}{printable(difference)}"
