"""What the commands found or did, as answers in every format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import starmap

from domainsched.columns import PURPOSES, UNUSED
from domainsched.intake import Intake
from domainsched.models import Added, BatchProgress, Check, Glance, Lapse, Status
from domainsched.reporting.formats import Answer
from domainsched.reporting.record import record, wrapped
from domainsched.reporting.wording import (
    Row,
    commonest,
    count,
    glance_lines,
    glance_record,
    grid,
    json_text,
    listed,
    moment,
    next_run_claims,
    plain,
    printable,
    public,
    site,
    table,
)

Facts = Sequence[tuple[str, object]]
_NARROWEST = 40
"""Columns: below it a value would have no room beside its name."""


def _told(document: Row, facts: Facts, lines: Iterable[str], remark: str = "") -> Answer:
    """Make an answer of facts; for people it is drawn."""
    drawn = list(lines)
    return Answer(
        document,
        records=[document],
        head=("name", "value"),
        sheet=facts,
        plain=facts,
        table=lambda _: drawn,
        remark=remark,
    )


def _done(document: Mapping[str, object], line: str, *, is_deed: bool) -> Answer:
    """Make an answer of what a command did, or, if it is no deed, would do.

    Lists of what was wrong are for JSON alone: a cell has no room for them.
    """
    cells = {name: value for name, value in document.items() if not isinstance(value, list)}
    return Answer(
        document,
        records=[document],
        head=tuple(cells),
        sheet=[tuple(cells.values())],
        plain=list(cells.items()) if is_deed else [(line,)],
        table=lambda _: [line],
        deed=line if is_deed else "",
    )


# --- add and reset ---------------------------------------------------------------------------


def added(added: Added, intake: Intake, *, dry_run: bool) -> Answer:
    """Say what `add` did."""
    document = {
        "added": added.added,
        "present": added.present,
        "requeued": added.requeued,
        "held": added.held,
        "repeated": added.repeated,
        "invalid": intake.rejected,
        "rejected": [asdict(line) for line in intake.first_rejected],
        "dry_run": dry_run,
    }
    parts = [f"{'would add' if dry_run else 'added'} {count(added.added, 'domain')}"]
    if added.present:
        parts.append(f"{added.present:,} there already")
    if added.requeued:
        parts[-1] += f", {added.requeued:,} of them {'would be ' if dry_run else ''}due again"
    if added.held:
        parts.append(_left_alone(added.held))
    if added.repeated:
        parts.append(f"{added.repeated:,} more than once in the input")
    if intake.rejected:
        parts.append(f"{intake.rejected:,} invalid")
    return _done(document, "; ".join(parts), is_deed=not dry_run)


def _left_alone(number: int) -> str:
    return f"{number:,} left alone, as a worker holds {'it' if number == 1 else 'them'}"


def reset(number: int, skipped: int, *, dry_run: bool) -> Answer:
    """Say what `reset` did, and what it left alone."""
    line = f"{'would reset' if dry_run else 'reset'} {count(number, 'domain')}"
    if not number:
        line = (
            f"nothing {'would be' if dry_run else 'was'} reset" if skipped else "no domain matches"
        )
    if skipped:
        line += f"; {_left_alone(skipped)}"
    document = {"reset": number, "skipped": skipped, "dry_run": dry_run}
    return _done(document, line, is_deed=not dry_run)


# --- inspect ---------------------------------------------------------------------------------


def glance(glance: Glance, limit: int) -> Answer:
    """Show the queue in numbers; `limit` is what a run would claim, 0 for all."""
    document = {**glance_record(glance), "next_run_claims": next_run_claims(glance, limit)}
    alone = ("due", "expired", "waiting_since", "next_due", "completed_last_24h", "last_settled")
    facts: Facts = [
        ("domains", document["domains"]),
        *_status_facts(glance.statuses),
        *((name, document[name]) for name in (*alone, "next_run_claims")),
        *_named_facts("kinds", glance.kinds),
        *(fact for lapse in glance.lapses for fact in _lapse_facts(lapse)),
    ]
    return _told(document, facts, glance_lines(glance, limit))


def _named_facts(name: str, numbers: Mapping[str, int]) -> Facts:
    """Write numbers that stand under names of their own, each with where JSON has it."""
    return [(f"{name}.{key}", number) for key, number in sorted(numbers.items())]


def _status_facts(statuses: Mapping[str, int]) -> Facts:
    """Write how many rows each status has; ours always, others that there are."""
    ours: dict[str, int] = dict.fromkeys(map(str, Status), 0)
    return _named_facts("statuses", ours | dict(statuses))


def _lapse_facts(lapse: Lapse) -> Facts:
    where = f"lapses.{lapse.worker}"
    return [(f"{where}.rows", lapse.rows), (f"{where}.since", lapse.since)]


def rows(rows: Sequence[Row], total: int) -> Answer:
    """List domains."""
    records = [listed(row) for row in rows]
    remark = "" if rows else "no domain matches"
    if rows and total > len(rows):
        remark = f"showing {len(rows):,} of {total:,}; --limit 0 for all"
    return Answer(
        records,
        records=records,
        head=tuple(listed({"domain": ""})),
        sheet=[tuple(record.values()) for record in records],
        plain=list(map(plain, rows)),
        table=partial(table, rows) if rows else lambda _: [],
        remark=remark,
    )


def records(rows: Sequence[Row], *, alone: bool, max_attempts: int) -> Answer:
    """Show named domains in full; JSON is an object for one `alone`, else an array."""
    whole = [public(row) for row in rows]
    return Answer(
        whole[0] if alone and whole else whole,
        records=whole,
        head=tuple(whole[0]) if whole else ("domain",),
        sheet=[tuple(row.values()) for row in whole],
        plain=[fact for row in rows for fact in _in_full(row, max_attempts)],
        table=lambda columns: (line for row in rows for line in _drawn(row, max_attempts, columns)),
    )


def _in_full(row: Row, max_attempts: int) -> Facts:
    return [("domain", site(row["domain"])), *record(row, max_attempts)]


def _drawn(row: Row, max_attempts: int, columns: int) -> Iterable[str]:
    yield printable(site(row["domain"]))
    for name, value in record(row, max_attempts, moment):
        yield from wrapped(name, printable(value), max(columns, _NARROWEST))


def batch(progress: BatchProgress) -> Answer:
    """Say how far a batch is."""
    document = {
        "batch": progress.label,
        "state": progress.state,
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "share": round(progress.share, 4),
        "statuses": dict(progress.statuses),
        "kinds": dict(progress.kinds),
    }
    alone = ("batch", "state", "total", "done", "failed", "share")
    facts: Facts = [
        *((name, document[name]) for name in alone),
        *_status_facts(progress.statuses),
        *_named_facts("kinds", progress.kinds),
    ]
    return _told(document, facts, _batch_lines(progress))


def _batch_lines(progress: BatchProgress) -> Iterable[str]:
    kinds = commonest(progress.kinds)
    yield f"batch {printable(progress.label)}"
    yield f"  {'state':<12}{progress.state:>10}"
    yield f"  {'total':<12}{progress.total:>10,}"
    yield f"  {'done':<12}{progress.done:>10,}"
    yield f"  {'failed':<12}{progress.failed:>10,}   {kinds}".rstrip()
    yield f"  {'share':<12}{int(progress.share * 100):>8} %"


def schema(columns: Mapping[str, str]) -> Answer:
    """Show the table's columns as they are: name, type, and what each is used for."""
    cells = [(name, kind, PURPOSES.get(name, UNUSED)) for name, kind in columns.items()]
    head = ("column", "type", "used for")
    records = [dict(zip(("column", "type", "used_for"), cell, strict=True)) for cell in cells]
    return Answer(
        records,
        records=records,
        head=("column", "type", "used_for"),
        sheet=cells,
        plain=cells,
        table=partial(grid, tuple(map(str.upper, head)), list(starmap(_short, cells))),
    )


_SHORT = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "character varying": "varchar",
}


def _short(name: str, kind: str, purpose: str) -> tuple[str, str, str]:
    for long, short in _SHORT.items():
        kind = kind.replace(long, short)
    return printable(name), printable(kind), purpose


def check(check: Check) -> Answer:
    """Say that all is well."""
    facts = [
        ("database", f"PostgreSQL {check.version} at {check.server}"),
        ("table", f"{check.table}, {count(check.rows, 'row')}"),
        ("columns", f"{check.columns}, with all {check.needed} that are needed"),
        ("rights", ", ".join(check.rights).lower()),
    ]
    lines = [f"{name:<12}ok   {printable(value)}" for name, value in facts]
    cells = [(name, "ok", value) for name, value in facts]
    document = {"ok": True, **asdict(check)}
    return Answer(
        document,
        records=[document],
        head=("what", "state", "detail"),
        sheet=cells,
        plain=cells,
        table=lambda _: lines,
    )


def page(columns: Row) -> Answer:
    """Show what a visit would store of a page."""
    facts = [
        (name, value if isinstance(value, str) else json_text(value))
        for name, value in columns.items()
        if name != "domain_metadata" and value not in (None, [], "")
    ]
    lines = [f"{name:<18}{printable(text)}" for name, text in facts]
    return _told(dict(columns), facts, lines)
