"""A private PostgreSQL: started by the first process that needs it, stopped by the last one out.

Two flocks keep the order: `clients.lock`, held shared for as long as a process uses the server, is
the reference count (the kernel releases it even on kill -9); `server.lock` is held around starting
and stopping. Whether the server runs is never read from a file: the server itself is asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from domainsched.embedded.cluster import cluster_at, way_out
from domainsched.embedded.files import OTHER_HOME, locked, own_home
from domainsched.errors import EmbeddedError

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running private server; it is there as long as the `with` block of `at` lasts."""

    home: Path
    connection_keywords: dict[str, str]
    """For `psycopg.connect`: database "domainsched", over the Unix socket, as its superuser."""
    is_new: bool
    """Whether its files were made just now: then there is nothing in it."""

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
                home = own_home(home)
                clients = stack.enter_context(locked(home / "clients.lock", exclusive=False))
                with locked(home / "server.lock", exclusive=True):
                    cluster = cluster_at(home, environ, settings)
                    stack.callback(cluster.leave, clients)
                    is_new = cluster.ensure_running()
            yield cls(home, cluster.connection_keywords, is_new)


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
        raise EmbeddedError(what, why=str(error), hint=OTHER_HOME) from error


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
            f"cannot use {home} for the embedded database", why=why, hint=way_out(why)
        ) from error
