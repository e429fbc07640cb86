"""What is said to people and programs, and on which stream.

stdout is the answer, stderr the conversation. In a terminal both are for people; in a pipe stdout
has whole, tab-separated lines, and stderr is silent unless something needs a person.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from domainsched.dburl import redact
from domainsched.errors import DomainschedError, UsageError
from domainsched.models import Change, Claim, Complete, Glance, RunSummary, Settled, Upcoming
from domainsched.reporting.formats import Answer, Format
from domainsched.reporting.logs import Fields, LogStyle, log_line, settled_log, summary_log
from domainsched.reporting.progress import Progress
from domainsched.reporting.wording import (
    Row,
    change_plain,
    change_record,
    demo_lines,
    demo_plain,
    due_lines,
    due_plain,
    ending,
    glance_record,
    is_leased,
    json_text,
    named_line,
    next_at,
    printable,
    settled_record,
    site,
    site_record,
    summary_line,
    summary_record,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from domainsched.reporting.live import View

COLORS = {
    "completed": "green",
    "retry": "yellow",
    "error": "red",
    "lost": "yellow",
    "released": "dim",
}
"""Colour of each outcome; the word always stands beside it."""

_FOR_DEVELOPERS = 2
MANY = 5000
"""Lines from which on it is shown how far an input has been read."""
_STEP = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Style:
    """How to speak."""

    format: Format | None = None
    """Of the answer; None: a table for a terminal, else plain lines."""
    verbosity: int = 0
    """-1 only errors, 0 as the surroundings suggest, 1 each domain, 2 for developers."""
    color: bool = True
    log_format: str | None = None
    """`text` or `json`: log lines in the place of the conversation; in the journal text anyway."""
    log_level: int | None = None
    """The least that is said when `verbosity` is 0, if it is not for the surroundings to say."""
    run_id: str = ""
    """Stands in every log line."""

    @property
    def json(self) -> bool:
        """Whether a program wants JSON, also of errors."""
        return self.format is not None and self.format.is_json


class Report:
    """The two streams of a process, and what is said on them."""

    def __init__(self, style: Style, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.style = style
        self._out = out or sys.stdout or _nowhere()
        self._err = err or sys.stderr or _nowhere()
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._viewed = False
        self.loss: OSError | None = None
        """Why part of the answer could not be written."""
        self.secrets: tuple[str, ...] = ()
        """What is taken out of everything said on stderr."""

    @property
    def is_table(self) -> bool:
        """Whether stdout is for a person."""
        return self.form is Format.TABLE

    @property
    def form(self) -> Format:
        """The format of the answer."""
        return self.style.format or (Format.TABLE if self._out.isatty() else Format.PLAIN)

    @property
    def is_attended(self) -> bool:
        """Whether somebody, or the journal, follows the conversation."""
        return self._err.isatty() or _is_journal(self._err)

    @property
    def is_interactive(self) -> bool:
        """Whether a person reads stderr as it is written."""
        return self._err.isatty()

    @property
    def threshold(self) -> int:
        """The least level of what is said on stderr."""
        match self.style.verbosity:
            case -1:
                return logging.ERROR
            case 0 if self.style.log_level is not None:
                return self.style.log_level
            case 0:
                return logging.INFO if self.is_attended else logging.WARNING
            case 1:
                return logging.INFO
            case _:
                return logging.DEBUG

    @property
    def _talks(self) -> bool:
        return self.threshold <= logging.INFO

    @property
    def _tells_each(self) -> bool:
        return self.style.verbosity > 0 or self.threshold <= logging.DEBUG

    @property
    def _log(self) -> LogStyle | None:
        """How stderr's log lines are written, if that is what stderr is for."""
        journal = _is_journal(self._err)
        if self.style.log_format is None and not journal:
            return None
        return LogStyle(self.style.log_format == "json", journal, self.style.run_id)

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
        if self._talks and not self._logged(logging.INFO, text):
            self._say(text)

    @property
    def tells_details(self) -> bool:
        """Whether somebody asked for more."""
        return self.style.verbosity > 0

    def details(self, lines: Iterable[str]) -> None:
        """Say what only who asked for more wants to know."""
        if self.tells_details:
            for line in lines:
                self.info(line)

    def warning(self, text: str, hint: str = "") -> None:
        """Say something that needs a person."""
        if self.threshold > logging.WARNING or self._logged(logging.WARNING, text, {"hint": hint}):
            return
        if self.style.json:
            self._object("warning", {"message": text, "hint": hint})
            return
        self._say(f"warning: {text}", "yellow")
        self._hint(hint)

    def error(self, error: DomainschedError) -> None:
        """Say what happened, why, and what to do next; with --json as one line."""
        if self.style.json:
            texts = {"message": error.what, "why": error.why, "hint": error.hint}
            self._object("error", texts, code=int(error.exit_code))
            return
        told = {"code": int(error.exit_code), "why": error.why, "hint": error.hint}
        if self._logged(logging.ERROR, error.what, told):
            return
        self._say(f"error: {error.what}", "red")
        for line in error.why.splitlines():
            self._say(f"  {line}")
        self._hint(error.hint)
        if self.style.verbosity >= _FOR_DEVELOPERS:
            self.trace("".join(traceback.format_exception(error)))

    def _object(self, kind: str, texts: Mapping[str, str], **more: int) -> None:
        """Write what a program wants to know on stderr as one line of JSON."""
        safe = {name: redact(text, self.secrets) or None for name, text in texts.items()}
        written(self._err, json_text({"type": kind, **more, **safe}) + "\n")

    def trace(self, text: str) -> None:
        """Write lines for developers, as harmless as all else: others' words stand in them."""
        for line in redact(text.rstrip("\n"), self.secrets).split("\n"):
            written(self._err, f"{printable(line)}\n")

    def relay(self, level: int, text: str) -> None:
        """Say what a library logs."""
        if self._log is None:
            self.trace(f"{logging.getLevelName(level)} {text}")
        elif self._log.json:
            self._logged(level, text)
        else:
            for line in text.rstrip("\n").split("\n"):
                self._logged(level, line)

    def _logged(self, level: int, message: str, fields: Fields | None = None) -> bool:
        """Write a log line, if that is what stderr is for; say whether it is."""
        style = self._log
        if style is None:
            return False
        safe = {
            name: redact(value, self.secrets) if isinstance(value, str) else value
            for name, value in (fields or {}).items()
        }
        written(self._err, f"{log_line(style, level, redact(message, self.secrets), safe)}\n")
        return True

    def _hint(self, hint: str) -> None:
        if hint:
            self._say(f"hint: {hint}", "cyan")

    def _say(self, text: str, color: str = "") -> None:
        line = printable(redact(text, self.secrets))
        console = self._live.console if self._live and self._err.isatty() else None
        if console is None and not (color and self._is_colorful):
            written(self._err, f"{line}\n")
            return
        from rich.text import Text

        # not the style of `print`: that would be the style of what is drawn below, too
        styled = Text(line, style=color)
        (console or self._console).print(styled, soft_wrap=True, highlight=False)

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
        self._progress = Progress(total)
        if self.style.json or self._viewed or not (self._err.isatty() and self._talks):
            return nullcontext()
        if self._log is not None or self._console.is_dumb_terminal:
            return nullcontext()
        return self._showing(_live(self._console, self._bar, transient=True))

    @property
    def shows_progress(self) -> bool:
        """Whether it is worth a statement to find out how much there is to do."""
        return self._talks and not self.style.json and not self._viewed

    def starting(self, due: int, limit: int) -> None:
        """Log that a run begins; in a terminal the bar shows it."""
        if due and self._log is not None and self.shows_progress:
            told = {"due": due, "limit": limit} if limit else {"due": due}
            self._logged(logging.INFO, "run begins", told)

    def _bar(self) -> Text:
        from rich.text import Text

        line = self._progress.line(self._console.width) if self._progress else ""
        text = Text(line, no_wrap=True, overflow="crop")
        text.highlight_regex("━+", "green")
        return text

    @contextmanager
    def _showing(self, live: Live) -> Iterator[None]:
        try:
            with live:
                self._live = live
                yield
        finally:
            self._live = None

    @property
    def can_view(self) -> bool:
        """Whether stdout can show a view that is drawn anew: a terminal that knows how."""
        if self.style.format is not None or self.style.verbosity < 0 or self._log is not None:
            return False
        return self._out.isatty() and not self._screen.is_dumb_terminal

    @cached_property
    def _screen(self) -> Console:
        from rich.console import Console

        return Console(file=self._out, no_color=not self.style.color, highlight=False)

    @contextmanager
    def viewing(self) -> Iterator[None]:
        """Show what `view` draws, where that can be; its last state stays."""
        if not self.can_view:
            yield
            return
        self._viewed = True
        try:
            with self._showing(_live(self._screen, None, transient=False)):
                yield
        finally:
            self._viewed = False

    def view(self, view: View) -> None:
        """Draw a view of the queue anew."""
        if self._live is None or not self._viewed:
            return
        from rich.text import Text

        size = self._screen.size
        lines = view.lines(size.width, size.height, datetime.now(UTC))
        text = Text("\n".join(lines), no_wrap=True, overflow="crop")
        text.highlight_regex(r"(?m)^(PROCESSING  .*|JUST SETTLED)$", "bold")
        self._live.update(text, refresh=True)

    def seen(self, glance: Glance | None, changes: Iterable[Change]) -> None:
        """Tell a program what changed: a line each; in JSON after the queue in numbers."""
        if self._viewed:
            return
        if glance is not None and self.style.json:
            self.document({"type": "glance", **glance_record(glance)})
        for change in changes:
            if self.style.json:
                self.document(change_record(change))
            else:
                self._tabbed(change_plain(change))

    def begun(self, claim: Claim) -> None:
        """Note that a visit begins."""
        if self._progress is not None:
            self._progress.begun(claim)
        if not self._tells_each:
            return
        told = {"domain": site(claim.domain), "attempt": claim.attempt}
        if not self._logged(logging.DEBUG, f"begin {site(claim.domain)}", told):
            self._say(f"begin     {site(claim.domain)}  attempt {claim.attempt}")

    def settled(self, settled: Settled, max_attempts: int) -> None:
        """Say how one domain's attempt ended."""
        word, detail = ending(settled)
        if self.style.json:
            self.document(settled_record(settled))
        self.advanced(settled)
        if self._log is not None and settled.kept:
            self._log_settled(settled, max_attempts)
            return
        attempt = f"attempt {settled.claim.attempt} of {max_attempts}"
        if not settled.kept:
            self.warning(
                f"lost the lease on {site(settled.claim.domain)}; this result was dropped",
                "somebody reset it, or this run was cut off for longer than --lease",
            )
        elif (word != "completed" and self._talks and not self._viewed) or self._tells_each:
            line = f"{word:<9} {site(settled.claim.domain)}  {attempt}  {detail}".rstrip()
            self._say(line, COLORS[word])

    def advanced(self, settled: Settled) -> None:
        """Move the bar on by one domain."""
        if self._progress is not None:
            self._progress.settled(settled)

    def _log_settled(self, settled: Settled, max_attempts: int) -> None:
        """Log how an attempt ended, unless stdout tells it already."""
        level = logging.DEBUG if isinstance(settled.transition, Complete) else logging.INFO
        if self.style.json or not (self._tells_each or self.threshold <= level):
            return
        words, fields = settled_log(settled, max_attempts, self._log)
        self._logged(logging.INFO, words, fields)

    def summary(self, summary: RunSummary, due: int, next_due: datetime | None) -> None:
        """Say what a run did, and what there is left to do."""
        if self.style.json:
            self.document(summary_record(summary, due))
        elif self._log is not None and self._talks:
            self._logged(logging.INFO, *summary_log(summary, due, self._log))
        elif self._viewed:
            pass
        elif summary.claimed:
            self.info(summary_line(summary, due))
        else:
            self.info(next_at(next_due))

    # The queue

    def show(self, answer: Answer) -> None:
        """Write an answer to stdout, and what else is to be said of it to whoever follows."""
        if answer.deed and self.style.format is None and not self._out.isatty():
            self.info(answer.deed)
        else:
            for line in answer.lines(self.form, shutil.get_terminal_size().columns):
                self.answer(line)
        if answer.remark:
            self.info(answer.remark)

    def counted(self, items: Iterable[T], verb: str, total: int | None = None) -> Generator[T]:
        """Pass items on; in a terminal, once they are many, show how far they are."""
        with ExitStack() as stack:
            advance: Callable[[int], object] | None = None
            for number, item in enumerate(items, start=1):
                if number == MANY:
                    advance = stack.enter_context(self._counter(verb, total))
                elif advance and number % _STEP == 0:
                    advance(number)
                yield item

    @contextmanager
    def _counter(self, verb: str, total: int | None) -> Iterator[Callable[[int], object]]:
        """Show a line on stderr that counts, and goes away."""
        is_shown = self._talks and self._err.isatty() and self._log is None
        if self.style.json or not is_shown or self._console.is_dumb_terminal:
            yield lambda _: None
            return
        of = f" of {total:,}" if total else ""
        with self._console.status(f"{verb} {MANY:,}{of}") as status:
            yield lambda number: status.update(f"{verb} {number:,}{of}")

    def _tabbed(self, cells: Iterable[object]) -> None:
        self.answer("\t".join(map(printable, cells)))

    def initialised(self, table: str, statements: Sequence[str], *, done: bool) -> None:
        """Say what `init` did, or show what it would do; `done`: nothing is missing now."""
        if self.style.json:
            self.document({"table": table, "statements": list(statements), "done": done})
        elif not done:
            for statement in statements:
                self.answer(statement)
        if not statements:
            self.info(f"table {table} has all it needs")
        elif done:
            self.info(f"table {table} is ready")

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

    def preview(self, rows: Sequence[Row], upcoming: Upcoming, max_attempts: int) -> None:
        """Show which domains a run would claim."""
        due = upcoming.due
        if self.style.json:
            self.document({"would_claim": [site_record(row["domain"]) for row in rows], "due": due})
        elif self.is_table and not rows:
            self.answer(next_at(upcoming.next_due))
        elif self.is_table:
            self.answer(f"would claim {len(rows):,} of {due:,} due, oldest first")
            for line in due_lines(rows, max_attempts, shutil.get_terminal_size().columns):
                self.answer(line)
            self.answer("nothing was claimed or contacted")
        else:
            for row in rows:
                self._tabbed(due_plain(row, max_attempts))

    def preview_named(self, rows: Sequence[Row], now: datetime, max_attempts: int) -> None:
        """Show what a run over named domains would do; `now` is the database's."""
        if self.style.json:
            free = [site_record(row["domain"]) for row in rows if not is_leased(row, now)]
            self.document({"would_claim": free, "due": None})
            return
        for row in rows:
            if self.is_table:
                self.answer(named_line(row, now, max_attempts))
            elif not is_leased(row, now):
                self._tabbed(due_plain(row, max_attempts))
        if self.is_table:
            self.answer("nothing was claimed or contacted")

    def demo(self, findings: Sequence[Row]) -> None:
        """Show what came of the sample sites, and whether it is right."""
        right = sum(finding["ok"] for finding in findings)
        if self.style.json:
            self.document({"sites": list(findings), "right": right, "total": len(findings)})
        elif self.style.verbosity < 0 and right == len(findings):
            pass
        elif not self.is_table:
            for finding in findings:
                self._tabbed(demo_plain(finding))
        else:
            for line in demo_lines(findings, shutil.get_terminal_size().columns):
                self.answer(line)
            self.answer(f"\n{right} of {len(findings)} sites as they should be")


def _live(console: Console, draw: Callable[[], Text] | None, *, transient: bool) -> Live:
    """Make a place on the console that is drawn anew: by itself with `draw`, else when told to."""
    from rich.live import Live

    return Live(
        get_renderable=draw,
        console=console,
        auto_refresh=draw is not None,
        refresh_per_second=5,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=transient,
        vertical_overflow="crop",
    )


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
