"""Log lines, for the journal and for whoever collects logs: pure functions from words to lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from domainsched.models import RunSummary, Settled
from domainsched.reporting.wording import json_text, printable, settled_record, summary_record

Fields = Mapping[str, object]

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""As syslog counts them (RFC 5424, section 6.2.1); sd-daemon(3) has the journal read them."""


@dataclass(frozen=True)
class LogStyle:
    """How log lines are written."""

    json: bool
    journal: bool
    """It has the time of a line by itself, and wants its priority."""
    run_id: str


def log_line(
    style: LogStyle, level: int, message: str, fields: Fields, moment: datetime | None = None
) -> str:
    """Write one line, whatever the message holds; `moment` is now unless given."""
    now = (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = logging.getLevelName(level)
    if style.json:
        head = {"time": now, "level": name.lower(), "run_id": style.run_id, "message": message}
        line = json_text({**head, **fields})
    else:
        line = _words(message, {**fields, "run": style.run_id})
        line = line if style.journal else f"{now} {name:<7} {line}"
    return f"<{_priority(level)}>{line}" if style.journal else line


def settled_log(settled: Settled, max_attempts: int, style: LogStyle | None) -> tuple[str, Fields]:
    """Put an attempt's end into words and fields; in text, no field repeats the words."""
    record = settled_record(settled)
    words = f"{record['outcome']} {record['domain']}"
    if style and style.json:
        return words, record
    kept = {name: record[name] for name in record if name not in {"type", "domain", "outcome"}}
    return words, {**kept, "attempt": f"{settled.claim.attempt}/{max_attempts}"}


def summary_log(summary: RunSummary, due: int, style: LogStyle | None) -> tuple[str, Fields]:
    """Put a run's summary into words and fields; in text, numbers that are 0 are left out."""
    record = summary_record(summary, due)
    words = "run done" if summary.claimed else "nothing is due"
    if style and style.json:
        return words, record
    left_out = {"type", "run_id", "kinds", *(name for name in record if not record[name])}
    return words, {name: record[name] for name in record if name not in left_out}


def _priority(level: int) -> int:
    return min(number for least, number in _PRIORITIES.items() if level >= least)


def _words(message: str, fields: Fields) -> str:
    told = (f"{name}={_value(value)}" for name, value in fields.items() if value not in {None, ""})
    return printable(" ".join((message, *told)))


def _value(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
