"""One domain in full, as people read it: names and values."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from domainsched.models import Kind, Status
from domainsched.reporting.wording import Row, Write, because, held, stamp, status, width

_KILO = 1000


def record(row: Row, max_attempts: int, write: Write = stamp) -> list[tuple[str, object]]:
    """Write one domain in full: names and values, without those that are empty."""
    visit = _object(_object(row.get("domain_metadata")).get("visit"))
    networks = ("facebook", "twitter", "linkedin", "instagram", "youtube")
    due = row["due_at"] if row["status"] == Status.PENDING else None
    fields = (
        ("status", status(row)),
        ("attempts", f"{row['attempts']} of {max_attempts}"),
        ("due", write(due) if due else ""),
        ("held by", held(row, write).removeprefix("held by ")),
        ("error", because(row)),
        ("tried", _tried(row, write)),
        ("fetched", _fetched(visit, write, earlier=bool(because(row)))),
        ("url", _url(visit)),
        ("title", row.get("title")),
        ("about", row.get("description")),
        ("language", row.get("language")),
        ("emails", _series(row.get("email_addresses"))),
        ("phones", _series(row.get("phone_numbers"))),
        ("social", _series([row.get(f"{name}_url") for name in networks])),
        ("logo", row.get("logo_url")),
        ("technology", _series([_versioned(name, entry) for name, entry in _stack(row)])),
        ("batch", row.get("batch_id")),
        ("tenant", row.get("tenant_id")),
    )
    return [(name, value) for name, value in fields if value]


def evidence(row: Row) -> list[str]:
    """Say why each technology is thought to be there; older visits kept less."""
    signs = _object(_object(row.get("domain_metadata")).get("technologies"))
    return [
        f"{_versioned(name, entry)}: {_sureness(_object(entry))}{_sign(_object(signs.get(name)))}"
        for name, entry in _stack(row)
    ]


def _sureness(entry: Mapping[str, Any]) -> str:
    sure = entry.get("confidence")
    parts = (_series(entry.get("categories")), f"{sure} % sure" if sure is not None else "")
    return ", ".join(filter(None, parts))


def _sign(found: Mapping[str, Any]) -> str:
    if implied_by := found.get("implied_by"):
        return f" (implied by {implied_by})"
    seen = ": ".join(str(found[key]) for key in ("sign", "where") if found.get(key))
    return f" ({seen})" if seen else ""


def _object(value: object) -> Mapping[str, Any]:
    """Take a JSON object; other programs have stored other things in these columns."""
    return value if isinstance(value, dict) else {}


def _series(value: object) -> str:
    return ", ".join(str(item) for item in value if item) if isinstance(value, list) else ""


def _tried(row: Row, write: Write) -> str:
    """Say when the last attempt ended; of one whose worker died, when that was found out.

    `updated_at` serves where a failure was the last that was written.
    """
    noted, written = row.get("last_scan"), None
    if because(row) and row["status"] != Status.PROCESSING:
        written = row.get("updated_at")
    died = row["status"] == Status.ERROR and row["last_error_kind"] == Kind.CRASHED
    instant = (written or noted) if died else (noted or written)
    return write(instant) if isinstance(instant, datetime) else str(instant or "")


def _fetched(visit: Mapping[str, Any], write: Write, *, earlier: bool) -> str:
    """Say when the home page was read; a later failure left what was found as it was."""
    parts = (
        _instant(visit.get("fetched_at"), write),
        f"{elapsed} ms" if (elapsed := visit.get("elapsed_ms")) is not None else "",
        _size(size) if isinstance(size := visit.get("bytes"), int) else "",
    )
    text = ", ".join(str(part) for part in parts if part)
    return f"{text}; earlier, and kept" if text and earlier else text


def _size(number: int) -> str:
    return f"{number} bytes" if number < _KILO else f"{number / _KILO:.0f} kB"


def _instant(value: object, write: Write) -> str:
    """Write a time that stands in JSON; what is none stays as it is."""
    try:
        instant = datetime.fromisoformat(str(value or ""))
        return write(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return str(value or "")


def _url(visit: Mapping[str, Any]) -> str:
    url, redirects = visit.get("url"), visit.get("redirects")
    came = redirects[0] if isinstance(redirects, list) and redirects else ""
    return f"{url}  (redirected from {came})" if url and came else str(url or "")


def _stack(row: Row) -> Sequence[tuple[str, object]]:
    """Order technologies as people read them: what the site is made with, then the rest."""
    stack = _object(_object(row.get("tech_stack")).get("technologies"))
    made_with = _object(row.get("tech_stack")).get("cms")
    first = made_with if isinstance(made_with, list) else []
    return sorted(stack.items(), key=lambda item: (item[0] not in first, item[0].lower()))


def _versioned(name: str, entry: object) -> str:
    version = _object(entry).get("version")
    return f"{name} {version}" if version else name


def wrapped(name: str, value: str, columns: int) -> list[str]:
    """Set a name and its printable value on lines of so many columns."""
    head = f"  {name:<12}"
    # textwrap counts characters: a filler after each wide one makes it count columns
    filled = "".join(c + "\0" * (width(c) - 1) for c in value)
    lines = textwrap.wrap(filled, columns, initial_indent=head, subsequent_indent=" " * 14)
    return [line.replace("\0", "") for line in lines] or [head]
