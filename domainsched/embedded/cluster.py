"""One cluster: made, started, asked whether it is there, stopped."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from domainsched.embedded.account import account_for, runnable
from domainsched.embedded.files import (
    OTHER_HOME,
    PATIENCE,
    appearing,
    digest,
    eventually,
    flock,
    locked,
    own_directory,
)
from domainsched.embedded.processes import identity, minimal_environment, output_of, tail
from domainsched.embedded.programs import find_binaries, major_of
from domainsched.errors import EmbeddedError

if TYPE_CHECKING:
    from pwd import struct_passwd


_FIRST_WITH_BUILTIN_LOCALES = 17
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": "5432",  # only names the socket; fixed, for postgres would take PGPORT
        "unix_socket_permissions": "0700",
        "max_connections": "40",
        "shared_buffers": "64MB",
        "jit": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "256MB",
        # A server that lives seconds per cron tick would never vacuum at the default of a minute.
        "autovacuum_naptime": "2s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "logging_collector": "on",
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
    }
)
_STOP_LIMIT = timedelta(seconds=20)
_LOG_AGE = timedelta(days=6)


def cluster_at(home: Path, environ: Mapping[str, str], settings: Mapping[str, str]) -> _Cluster:
    """What is or will be at `home`; to be called with the server's lock, under which it appears."""
    data = home / "data"
    account = account_for(data)
    programs = find_binaries(environ, major=_made_by(data))
    return _Cluster(home, runnable(programs, home, account), account, {**_SETTINGS, **settings})


def _made_by(data: Path) -> int | None:
    """The major version that a cluster's files belong to; None while there are none."""
    version = data / "PG_VERSION"
    if not version.exists():
        return None
    stated = re.match(r"\d+", version.read_text())
    if stated is None:
        raise EmbeddedError(f"{version} holds no version of PostgreSQL", hint=OTHER_HOME)
    return int(stated[0])


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One data directory with the programs for it; `ensure_running` needs the server's lock."""

    home: Path
    programs: Path
    account: struct_passwd | None
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def name(self) -> str:
        """Marks the processes, and the socket's directory if that cannot be at home."""
        return f"domainsched-{os.geteuid()}-{digest(os.fsencode(self.home))}"

    @property
    def socket_directory(self) -> Path:
        """Short and plain: a socket's path holds 103 bytes (macOS), libpq splits hosts at commas.

        Otherwise in /tmp whatever TMPDIR says, for all processes must come to the same one.
        """
        at_home = self.home / "run"
        if re.fullmatch(r"[\w/.+ -]{1,80}", str(at_home), re.ASCII):
            return at_home
        return Path("/tmp") / self.name  # noqa: S108 - refused if it is another user's

    @property
    def connection_keywords(self) -> dict[str, str]:
        """Explicit, since libpq takes what is left open from PG* variables."""
        return {
            "host": str(self.socket_directory),
            "port": self.settings["port"],
            "user": "postgres",
            "dbname": "domainsched",
            "sslmode": "disable",
            "gssencmode": "disable",
            "options": "",
        }

    def ensure_running(self) -> bool:
        """Start the server if need be; say whether its files had to be made."""
        own_directory(self.socket_directory, self.account)  # before anything there is trusted
        if self._answers():
            return False
        self._require_reachable()
        self._clear_away()
        is_new = not self.data.exists()
        if is_new:
            self._create()
        self._start()
        return is_new

    def leave(self, clients: int) -> None:
        """Give up the share in `clients` and, if nobody else has one, stop the server."""
        with suppress(EmbeddedError, OSError), locked(self.home / "server.lock", exclusive=True):
            if not flock(clients, exclusive=True):
                return
            if self._ping() != Ping.NO_RESPONSE:
                self._pg_ctl("stop", "-m", "fast", limit=_STOP_LIMIT)
            self.socket_directory.rmdir()

    def _ping(self) -> Ping:
        target = make_conninfo(**self.connection_keywords, connect_timeout=10)
        return Ping(PGconn.ping(target.encode()))

    def _answers(self) -> bool:
        """Whether the server takes connections, when it has done with starting up or dying."""
        if not eventually(self._is_settled):
            raise EmbeddedError(
                "the embedded PostgreSQL is there but does not become ready",
                why=self._log_tail(since=0),
                hint=f"see {self.log}",
            )
        return self._ping() == Ping.OK

    def _is_settled(self) -> bool:
        state = self._ping()
        gone = state == Ping.NO_RESPONSE and not _is_inhabited(self.data, self.name)
        return gone or state == Ping.OK

    def _require_reachable(self) -> None:
        if self.account is None or not self._call(["/bin/sh", "-c", 'cd "$PGDATA"'], self.home)[0]:
            return
        raise EmbeddedError(
            f"user {self.account.pw_name}, whom PostgreSQL runs as, cannot reach {self.home}",
            hint="unset DOMAINSCHED_HOME or set it to a directory that all may pass through",
        )

    def _create(self) -> None:
        """Make the files, with an empty database "domainsched", all at once."""
        with appearing(self.data) as data:
            if self.account is not None:
                os.chown(data, self.account.pw_uid, self.account.pw_gid)
            self._fill(data, ["initdb", *_initdb_options(major_of(self.programs) or 0)])
            single = ["postgres", "--single", "-c", "exit_on_error=on", "postgres"]
            self._fill(data, single, "CREATE DATABASE domainsched\n")

    def _fill(self, data: Path, command: list[str], text: str = "") -> None:
        failed, output = self._call(command, data, text)
        if failed:
            raise EmbeddedError(
                f"{command[0]} could not make the files of the embedded database in {self.home}",
                why=tail(output),
                hint=way_out(output),
            )

    def _clear_away(self) -> None:
        """Remove what the dead left; a pid among it may by now be any other process's."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for socket in self.socket_directory.glob(".s.PGSQL.*"):
            socket.unlink(missing_ok=True)
        for log in own_directory(self.log, self.account).glob("*.log"):
            # A server truncates last week's log when it runs into the new day; ours rarely does.
            if time.time() - log.lstat().st_mtime > _LOG_AGE.total_seconds():
                log.unlink()
        for directory in [*self.home.glob(".data-*"), *self.home.glob("*programs-*")]:
            if directory not in self.programs.parents:
                shutil.rmtree(directory, ignore_errors=True)

    def _start(self) -> None:
        began = time.time()
        output = self._pg_ctl("start", "-o", shlex.join(self._options()), limit=PATIENCE)
        if not self._answers():
            why = f"{output}\n{self._log_tail(since=began - 1)}"
            raise EmbeddedError(
                f"the embedded PostgreSQL in {self.home} did not start",
                why=tail(why),
                hint=way_out(why),
            )

    def _options(self) -> list[str]:
        quoted = str(self.socket_directory).replace('"', '""')
        settings = {
            **self.settings,
            "unix_socket_directories": f'"{quoted}"',
            "log_directory": str(self.log),
            "cluster_name": self.name,
        }
        return [word for item in settings.items() for word in ("-c", "=".join(item))]

    def _pg_ctl(self, *arguments: str, limit: timedelta) -> str:
        """Waits until it is done or `limit` is over; what was reached, `_ping` knows better."""
        wait = ["-s", "-w", "-t", f"{limit.total_seconds():.0f}"]
        return self._call(["pg_ctl", *arguments, *wait], self.data, limit=limit * 1.5)[1]

    def _call(
        self, command: list[str], data: Path, text: str = "", *, limit: timedelta = PATIENCE
    ) -> tuple[int, str]:
        """A program's exit status and words, run as the server's user with PGDATA = `data`.

        The words go to a file: a postmaster inherits it, and would keep a pipe open for ever.
        PGDATA instead of -D: pg_ctl hands the latter to a shell without quoting it.
        """
        with tempfile.TemporaryFile(dir=self.home) as output:
            try:
                status = subprocess.run(
                    [str(self.programs / command[0]), *command[1:]],
                    input=text.encode(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    timeout=limit.total_seconds(),
                    env={**minimal_environment(), "PGDATA": str(data)},
                    cwd="/",
                    umask=0o077,
                    start_new_session=True,  # Ctrl-C is for us; we stop the server ourselves
                    **identity(self.account),
                ).returncode
            except subprocess.TimeoutExpired:
                output.write(f"{command[0]} took more than {limit.total_seconds():.0f} s".encode())
                status = 1
            output.seek(0)
            return status, output.read().decode(errors="replace")

    def _log_tail(self, *, since: float) -> str:
        logs = [log for log in self.log.glob("*.log") if log.lstat().st_mtime >= since]
        if not logs:
            return ""
        newest = max(logs, key=lambda log: log.lstat().st_mtime)
        return tail(newest.read_text(errors="replace"))


def _initdb_options(major: int) -> list[str]:
    """Independent of the machine's locales, and of collations that change under the indexes."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    if major >= _FIRST_WITH_BUILTIN_LOCALES:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [*options, "--data-checksums", "--no-instructions"]


def way_out(why: str) -> str:
    """The hint for what the system or PostgreSQL said, in the C locale."""
    if "No space left" in why or "quota exceeded" in why:
        return f"make room on that disk, or {OTHER_HOME}"
    if "could not look up effective user ID" in why:  # containers that run as any number
        return "give this user a line in /etc/passwd, or set DATABASE_URL to your own database"
    return OTHER_HOME


def _is_inhabited(data: Path, name: str) -> bool:
    """Whether any process of a server is left, by its working directory or else by its title."""
    if sys.platform == "linux":
        return any(_works_in(process, data) for process in Path("/proc").glob("[0-9]*"))
    return name in output_of("/bin/ps", "-axwwo", "args=")


def _works_in(process: Path, data: Path) -> bool:
    with suppress(OSError):  # gone, a zombie, or another user's
        at_work = (process / "cwd").readlink() == data
        return at_work and "postgres" in (process / "comm").read_text()
    return False
