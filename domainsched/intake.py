"""Names from arguments, files and standard input: all checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Self, TextIO

from domainsched.config import shown
from domainsched.errors import DomainschedError, UsageError
from domainsched.names import (
    HIDDEN,
    MAX_LINE,
    NOT_UTF8,
    RejectedLine,
    SourcedName,
    read_names,
)
from domainsched.sources import Entry, read_source

SHOWN = 20
"""Invalid lines that an error lists; the rest is counted."""
IN_MEMORY = 1024 * 1024
"""Bytes of names held in memory; more go to a temporary file."""


@dataclass
class Intake:
    """Checked names, spooled so that a million of them need no more memory than a hundred."""

    _spool: IO[str]
    accepted: int = 0
    rejected: int = 0
    first_rejected: tuple[RejectedLine, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Read `entries` to their end.

        Raises:
            DomainschedError: the temporary file cannot be written.
        """
        spool = SpooledTemporaryFile(IN_MEMORY, "w+", encoding="ascii")  # noqa: SIM115 - `close` closes it
        intake = cls(spool)
        with ExitStack() as stack:
            stack.callback(intake.close)
            intake._take_all(entries)
            stack.pop_all()
        return intake

    def _take_all(self, entries: Iterable[Entry]) -> None:
        try:
            for entry in entries:
                self._take(entry)
            self._spool.seek(0)  # writes what is still in a buffer
        except OSError as error:
            raise DomainschedError(
                "cannot keep the names in a temporary file",
                why=error.strerror or "",
                hint="free space, or point TMPDIR elsewhere",
            ) from None

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, SourcedName):
            self._spool.write(f"{entry.name}\n")
            self.accepted += 1
            return
        self.rejected += 1
        if self.rejected <= SHOWN:
            self.first_rejected += (entry,)

    def names(self) -> Iterator[str]:
        """Go through the accepted names, in the order of the input."""
        self._spool.seek(0)
        return (line.rstrip("\n") for line in self._spool)

    def close(self) -> None:
        """Give the temporary file back."""
        with suppress(OSError):  # on a full disk what is buffered cannot be written, nor need it be
            self._spool.close()

    def complaints(self) -> list[str]:
        """Describe the first invalid lines, and count the rest."""
        lines = list(map(_complaint, self.first_rejected))
        rest = self.rejected - len(lines)
        return [*lines, f"... and {rest:,} more"] if rest else lines

    def refusal(self) -> UsageError:
        """Put the invalid lines into one error."""
        total = self.accepted + self.rejected
        hint = f"correct {'it' if self.rejected == 1 else 'them'}"
        if any(line.reason == NOT_UTF8 for line in self.first_rejected):
            hint += " (of a file in Latin-1, say, by iconv -f ISO-8859-1 -t UTF-8)"
        if self.accepted:
            hint += f", or pass --skip-invalid to add the other {self.accepted:,}"
        return UsageError(
            f"{self.rejected:,} of {total:,} {self._fault()}; nothing was added",
            why="\n".join(self.complaints()),
            hint=hint,
        )

    def _fault(self) -> str:
        """Say in a few words what is wrong with what was rejected."""
        if any(line.text == HIDDEN for line in self.first_rejected):
            return "holds no domain name" if self.rejected == 1 else "hold no domain name"
        return "is not a domain name" if self.rejected == 1 else "are not domain names"


def _complaint(line: RejectedLine) -> str:
    text = "" if line.text == HIDDEN else f'"{line.text}"  '
    return f"{line.source}: {text}{line.reason}"


def _as_it_is(entries: Iterator[Entry]) -> Iterator[Entry]:
    return entries


def read(
    arguments: Sequence[str],
    files: Sequence[str],
    stdin: TextIO | None,
    follow: Callable[[Iterator[Entry]], Iterator[Entry]] = _as_it_is,
) -> Intake:
    """Take in arguments and files; `-` among either is standard input, which is else not read.

    `follow` passes the entries on, one by one, and may show how far they are.

    Raises:
        UsageError: a file cannot be read, or standard input is closed.
    """
    names = [argument for argument in arguments if argument != "-"]
    sources = [*(["-"] if "-" in arguments else []), *files]
    with ExitStack() as stack:
        entries = [_entries(stack, source, stdin) for source in dict.fromkeys(sources)]
        return Intake.of(follow(chain(read_names(names), *entries)))


def _entries(stack: ExitStack, source: str, stdin: TextIO | None) -> Iterator[Entry]:
    if source == "-":
        if stdin is None or stdin.closed:
            raise UsageError("standard input is closed", hint="name a file: --file PATH")
        return read_source(_lines(stdin, "stdin"), "stdin")
    try:
        file = Path(source).open(encoding="utf-8-sig", errors="surrogateescape")  # noqa: SIM115 - the stack closes it
    except OSError as error:
        raise UsageError(f"cannot read {shown(source)}", why=error.strerror or "") from None
    return read_source(_lines(stack.enter_context(file), source), source)


def _lines(stream: TextIO, source: str) -> Iterator[str]:
    """Go through the lines; a read error on the way becomes one of ours.

    Of a line longer than MAX_LINE only so much is given that it is seen to be too long.
    """
    try:
        while line := stream.readline(MAX_LINE + 1):
            end = line
            while len(end) > MAX_LINE and not end.endswith("\n"):
                end = stream.readline(MAX_LINE + 1)
            yield line
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {shown(source)}", why=reason or "") from None
