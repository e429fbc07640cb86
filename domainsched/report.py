"""What is said to people and programs, and on which stream.

stdout is the answer, stderr the conversation. In a terminal both are for people; in a pipe stdout
has whole, tab-separated lines, and stderr is silent unless something needs a person.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from domainsched.dburl import redact
from domainsched.errors import DomainschedError, UsageError
from domainsched.models import Added, Check, Claim, Glance, RunSummary, Settled, Status
from domainsched.wording import (
    Row,
    count,
    demo_lines,
    due_line,
    due_plain,
    ending,
    glance_lines,
    glance_record,
    json_text,
    listed,
    plain,
    printable,
    public,
    record,
    settled_record,
    site,
    stamp,
    summary_line,
    summary_record,
    table,
    wrapped,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

COLORS = {
    "completed": "green",
    "retry": "yellow",
    "error": "red",
    "lost": "yellow",
    "released": "dim",
}
"""Colour of each outcome; the word always stands beside it."""

_FOR_DEVELOPERS = 2


@dataclass(frozen=True)
class Style:
    """How to speak."""

    json: bool = False
    verbosity: int = 0
    """-1 only errors, 0 as the surroundings suggest, 1 each domain, 2 for developers."""
    color: bool = True


class Report:
    """The two streams of a process, and what is said on them."""

    def __init__(self, style: Style, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.style = style
        self._out = out or sys.stdout or _nowhere()
        self._err = err or sys.stderr or _nowhere()
        self._progress: Progress | None = None
        self.loss: OSError | None = None
        """Why part of the answer could not be written."""
        self.secrets: tuple[str, ...] = ()
        """What is taken out of everything said on stderr."""

    @property
    def is_table(self) -> bool:
        """Whether stdout is for a person."""
        return not self.style.json and self._out.isatty()

    @property
    def is_attended(self) -> bool:
        """Whether somebody, or the journal, follows the conversation."""
        return self._err.isatty() or _is_journal(self._err)

    @property
    def _talks(self) -> bool:
        return self.style.verbosity > 0 or (self.style.verbosity == 0 and self.is_attended)

    # The two streams

    def answer(self, text: str) -> None:
        """Write a line to stdout; should that fail, go on: the work matters more than its words."""
        loss = written(self._out, f"{text}\n")
        self.loss = self.loss or loss

    def document(self, value: object) -> None:
        """Write a JSON value as one line to stdout."""
        self.answer(json_text(value))

    def info(self, text: str) -> None:
        """Say something to whoever follows; nothing when nobody does."""
        if self._talks:
            self._say(text)

    def warning(self, text: str, hint: str = "") -> None:
        """Say something that needs a person."""
        if self.style.verbosity >= 0:
            self._say(f"warning: {text}", "yellow")
            self._hint(hint)

    def error(self, error: DomainschedError) -> None:
        """Say what happened, why, and what to do next; with --json as one line."""
        if self.style.json:
            texts = {"message": error.what, "why": error.why, "hint": error.hint}
            safe = {name: redact(text, self.secrets) or None for name, text in texts.items()}
            body = {"type": "error", "code": int(error.exit_code), **safe}
            written(self._err, json_text(body) + "\n")
            return
        self._say(f"error: {error.what}", "red")
        for line in error.why.splitlines():
            self._say(f"  {line}")
        self._hint(error.hint)
        if self.style.verbosity >= _FOR_DEVELOPERS:
            self.trace("".join(traceback.format_exception(error)))

    def trace(self, text: str) -> None:
        """Write lines for developers, as harmless as all else: others' words stand in them."""
        for line in redact(text.rstrip("\n"), self.secrets).split("\n"):
            written(self._err, f"{printable(line)}\n")

    def _hint(self, hint: str) -> None:
        if hint:
            self._say(f"hint: {hint}", "cyan")

    def _say(self, text: str, color: str = "") -> None:
        line = printable(redact(text, self.secrets))
        if self._progress is None and not (color and self._is_colorful):
            written(self._err, f"{line}\n")
            return
        self._console.print(
            line, style=color, soft_wrap=True, markup=False, highlight=False, emoji=False
        )

    @cached_property
    def _is_colorful(self) -> bool:
        """Whether to load Rich at all; then it decides, by TERM and its like."""
        wanted = self._err.isatty() or bool(os.environ.get("FORCE_COLOR"))
        return self.style.color and wanted and self._console.color_system is not None

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self._err, no_color=not self.style.color, highlight=False)

    # A run

    def running(self, total: int | None) -> AbstractContextManager[object]:
        """Show a bar while a run goes on, in a terminal only, and one that can redraw a line."""
        if self.style.json or self.style.verbosity < 0 or not self._err.isatty():
            return nullcontext()
        if self._console.is_dumb_terminal:
            return nullcontext()
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._progress = Progress(
            "processing",
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
        )
        self._progress.add_task("", total=total)
        return self._closing(self._progress)

    @contextmanager
    def _closing(self, progress: Progress) -> Iterator[None]:
        try:
            with progress:
                yield
        finally:
            self._progress = None

    def begun(self, claim: Claim) -> None:
        """Note that a visit begins."""
        if self.style.verbosity > 0:
            self._say(f"begin     {site(claim.domain)}  attempt {claim.attempt}")

    def settled(self, settled: Settled, max_attempts: int) -> None:
        """Say how one domain's attempt ended."""
        word, detail = ending(settled)
        if self.style.json:
            self.document(settled_record(settled))
        self.advanced(settled)
        attempt = f"attempt {settled.claim.attempt} of {max_attempts}"
        if not settled.kept:
            self.warning(
                f"lost the lease on {site(settled.claim.domain)}; this result was dropped",
                "somebody reset it, or this run was cut off for longer than --lease",
            )
        elif (word != "completed" and self._talks) or self.style.verbosity > 0:
            line = f"{word:<9} {site(settled.claim.domain)}  {attempt}  {detail}".rstrip()
            self._say(line, COLORS[word])

    def advanced(self, settled: Settled) -> None:
        """Move the bar on by one domain."""
        if self._progress is not None:
            bar = self._progress.task_ids[0]
            description = printable(site(settled.claim.domain))
            self._progress.update(bar, advance=1, description=description)

    def summary(self, summary: RunSummary, due: int, next_due: datetime | None) -> None:
        """Say what a run did, and what there is left to do."""
        if self.style.json:
            self.document(summary_record(summary, due))
        elif summary.claimed:
            self.info(summary_line(summary, due))
        else:
            self.info("nothing is due" + (f"; next at {stamp(next_due)}" if next_due else ""))

    # The queue

    def glance(self, glance: Glance, limit: int) -> None:
        """Show the queue in numbers; `limit` is what a run would claim, 0 for all."""
        if self.style.json:
            self.document(glance_record(glance))
        elif self.is_table:
            for line in glance_lines(glance, limit):
                self.answer(line)
        else:
            for status in sorted(glance.statuses, key=str):
                self.answer(f"{printable(status)}\t{glance.statuses[status]}")
            self.answer(f"due\t{glance.upcoming.due}")
            self.answer(f"expired\t{glance.upcoming.expired}")

    def rows(self, rows: Sequence[Row], total: int) -> None:
        """List domains: a table for a person, whole lines with tabs for a pipe."""
        if self.style.json:
            self.document([listed(row) for row in rows])
        elif rows and self.is_table:
            for line in table(rows, shutil.get_terminal_size().columns):
                self.answer(line)
            if total > len(rows):
                self.info(f"showing {len(rows)} of {total:,}; --limit {total} for all")
        else:
            for row in rows:
                self._tabbed(plain(row))
            if not rows:
                self.info("no domain matches")

    def _tabbed(self, cells: Iterable[object]) -> None:
        self.answer("\t".join(map(printable, cells)))

    def record(self, row: Row, *, max_attempts: int) -> None:
        """Show one domain in full."""
        if self.style.json:
            self.document(public(row))
            return
        width = max(40, shutil.get_terminal_size().columns) if self._out.isatty() else None
        self.answer(printable(site(row["domain"])))
        for name, value in record(row, max_attempts):
            for line in wrapped(name, printable(value), width):
                self.answer(line)

    # Commands that change something: JSON when asked for, a line for a person, else nothing

    def added(self, added: Added, invalid: int, *, dry_run: bool) -> None:
        """Say what `add` did."""
        record = {
            "added": added.added,
            "present": added.present,
            "repeated": added.repeated,
            "invalid": invalid,
            "dry_run": dry_run,
        }
        parts = [f"{'would add' if dry_run else 'added'} {count(added.added, 'domain')}"]
        if added.present:
            parts.append(f"{added.present:,} there already")
        if added.repeated:
            parts.append(f"{added.repeated:,} more than once in the input")
        if invalid:
            parts.append(f"{invalid:,} invalid")
        self._done(record, "; ".join(parts), dry_run=dry_run)
        if added.added and not dry_run and not self.style.json:
            self.info("next: domainsched process --limit 10")

    def reset(self, number: int, skipped: int, *, dry_run: bool, by_name: bool) -> None:
        """Say what `reset` did; that a domain was left alone needs a person if they named it."""
        record = {"reset": number, "skipped": skipped, "dry_run": dry_run}
        line = f"{'would reset' if dry_run else 'reset'} {count(number, 'domain')}"
        if not number:
            line = "no domain matches" if not skipped else "nothing was reset"
        self._done(record, line, dry_run=dry_run)
        if skipped:
            left = f"{count(skipped, 'domain')} being processed now: left alone"
            if by_name:
                self.warning(left, "--force takes them too, and refuses their worker's result")
            else:
                self.info(f"{left} (--force takes them too)")

    def initialised(self, table: str, statements: Sequence[str], *, done: bool) -> None:
        """Say what `init` did, or show what it would do."""
        if self.style.json:
            self.document({"table": table, "statements": list(statements), "done": done})
        elif not done:
            for statement in statements:
                self.answer(statement)
        if not statements:
            self.info(f"table {table} has all it needs")
        elif done:
            self.info(f"table {table} is ready")

    def _done(self, record: Mapping[str, object], line: str, *, dry_run: bool) -> None:
        if self.style.json:
            self.document(record)
        elif self.is_table or dry_run:
            self.answer(line)
        else:
            self.info(line)

    def ask(self, statement: str, question: str, *wanted: str) -> None:
        """Go on only if the answer is one of `wanted`.

        Raises:
            UsageError: nobody is there to ask, or the answer is another one.
        """
        if not (sys.stdin and sys.stdin.isatty()):
            raise UsageError("--yes is required when stdin is not a terminal", why=statement)
        for line in statement.splitlines():
            self._say(line)
        with _interruptible():
            written(self._err, question)
            answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            self._say("")
        if answer.strip().lower() not in wanted:
            raise UsageError("nothing was done")

    def preview(self, rows: Sequence[Row], due: int, max_attempts: int) -> None:
        """Show which domains a run would claim."""
        if self.style.json:
            self.document({"would_claim": [site(row["domain"]) for row in rows], "due": due})
        elif self.is_table:
            self.answer(f"would claim {len(rows):,} of {due:,} due, oldest first")
            for row in rows:
                self.answer(due_line(row, max_attempts))
            self.answer("nothing was claimed or contacted")
        else:
            for row in rows:
                self._tabbed(due_plain(row, max_attempts))

    def glimpse(self, glance: Glance) -> None:
        """Show the queue in one line, for a view that goes on."""
        if self.style.json:
            self.document({"type": "glance", **glance_record(glance)})
            return
        counts = "   ".join(f"{status} {glance.statuses.get(status, 0):,}" for status in Status)
        self.answer(f"{stamp(datetime.now(UTC))}   {counts}   due {glance.upcoming.due:,}")

    def checked(self, check: Check) -> None:
        """Say that all is well."""
        if self.style.json:
            self.document({"ok": True, **asdict(check)})
            return
        version = printable(check.version)
        self.answer(f"database    ok   PostgreSQL {version} at {printable(check.server)}")
        self.answer(f"table       ok   {check.table}, {count(check.rows, 'row')}")
        self.answer(f"columns     ok   {check.columns} of {check.columns}")
        self.answer(f"rights      ok   {', '.join(check.rights).lower()}")

    def page(self, columns: Row) -> None:
        """Show what a visit would store of a page."""
        if self.style.json:
            self.document(dict(columns))
            return
        for name, value in columns.items():
            if name != "domain_metadata" and value not in (None, [], ""):
                text = value if isinstance(value, str) else json_text(value)
                self.answer(f"{name:<18}{printable(text)}")

    def records(self, rows: Sequence[Row], *, alone: bool, max_attempts: int) -> None:
        """Show named domains in full; JSON is an object for one `alone`, else an array."""
        if self.style.json and not alone:
            self.document([public(row) for row in rows])
            return
        for row in rows:
            self.record(row, max_attempts=max_attempts)

    def demo(self, findings: Sequence[Row]) -> None:
        """Show what came of the sample sites, and whether it is right."""
        right = sum(finding["ok"] for finding in findings)
        if self.style.json:
            self.document({"sites": list(findings), "right": right, "total": len(findings)})
            return
        columns = shutil.get_terminal_size().columns if self.is_table else None
        for line in demo_lines(findings, columns):
            self.answer(line)
        self.answer(f"\n{right} of {len(findings)} sites as they should be")


def _nowhere() -> TextIO:
    """Stand in for a stream that was closed before we began, as by `>&-`."""
    return Path(os.devnull).open("w", encoding="utf-8")


def written(stream: TextIO, text: str) -> OSError | None:
    """Write at once; what cannot be written is dropped, and so is what is still to come."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as devnull:  # else the exit would try, and complain
            os.dup2(devnull.fileno(), stream.fileno())
        return error
    return None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the program at once: an event loop would wait for the answer first."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _is_journal(stream: TextIO) -> bool:
    """Whether stderr is systemd's journal: $JOURNAL_STREAM names its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
