"""Every expected failure, carrying what happened, why, what to do next, and the exit code."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process tells its caller; documented in the README and in `--help`."""

    OK = 0
    """Did what was asked. Nothing to do, and sites that failed, are results, not errors."""

    FAILURE = 1
    """Could not do it: a named domain is not there; or a bug, then with a traceback."""

    USAGE = 2
    """A bad flag, setting or input line; a question that could not be asked."""

    DATABASE = 3
    """The database is unreachable, was lost, lacks something, or refuses."""

    NETWORK = 4
    """Our own network is down: claims were released and no attempt was counted."""

    INCOMPLETE = 5
    """With `--strict`: at least one domain failed for good."""

    INTERRUPTED = 130
    """Ended by SIGINT (Ctrl-C)."""

    TERMINATED = 143
    """Ended by SIGTERM."""


class DomainschedError(Exception):
    """An expected failure.

    `what` is lower case without a full stop; `why` is in the words of the thing that refused (it
    may have several lines); `hint` is a command or a setting. None of them ever holds a secret.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint


class UsageError(DomainschedError):
    """The command line, a setting or an input file is wrong; nothing was done."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A setting is missing or has an unusable value."""


class InvalidName(UsageError):
    """A text is not the name of a web site; `why` says what is wrong with it."""


class DatabaseError(DomainschedError):
    """The database is unreachable, was lost, lacks something, or refuses."""

    exit_code = ExitCode.DATABASE


class Refused(DatabaseError):
    """PostgreSQL refuses a statement for what it says or holds; repeating it will not help."""


class SchemaMismatch(DatabaseError):
    """The table is not there, or lacks something domainsched needs."""


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL cannot be found, made or started."""


class NetworkDown(DomainschedError):
    """Nothing beyond this machine could be reached; claims were released, attempts not counted."""

    exit_code = ExitCode.NETWORK


class Incomplete(DomainschedError):
    """With `--strict`: some domains failed for good."""

    exit_code = ExitCode.INCOMPLETE
