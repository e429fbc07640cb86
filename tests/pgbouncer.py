"""Runs the system's PgBouncer as the transaction pooler that people have in front of PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from psycopg.pq import PGconn, Ping

from domainsched.embedded.account import account_for
from domainsched.embedded.files import eventually
from domainsched.embedded.processes import identity, minimal_environment

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

SETTINGS = """
[databases]
* = {server}
[pgbouncer]
unix_socket_dir = {directory}
listen_port = 6432
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 4
query_wait_timeout = 3
server_login_retry = 1
"""
# Small pools, so that clients share backends. In transaction mode server_reset_query is not run.


@dataclass(frozen=True, slots=True)
class PgBouncer:
    """A running PgBouncer in front of a server."""

    directory: Path

    def through(self, keywords: Mapping[str, str]) -> AbstractContextManager[Mapping[str, str]]:
        """Lead to a database through it."""
        kept = {key: keywords[key] for key in ("user", "dbname")}
        return nullcontext({**kept, "host": str(self.directory), "port": "6432"})

    def answers(self) -> bool:
        return PGconn.ping(f"host={self.directory} port=6432 user=x".encode()) == Ping.OK


@contextmanager
def running_pgbouncer(directory: Path, server: Mapping[str, str]) -> Iterator[PgBouncer]:
    """Run PgBouncer in `directory`, a short path, until the end of the block.

    It refuses to be root, as PostgreSQL does, and so is run as the same ordinary user.
    """
    assert PGBOUNCER is not None
    account = account_for(directory)
    settings = directory / "pgbouncer.ini"
    known = {key: server[key] for key in ("host", "port", "user", "password") if key in server}
    place = " ".join(f"{key}='{value}'" for key, value in known.items())
    settings.write_text(SETTINGS.format(server=place, directory=directory))
    (directory / "users").write_text(f'"{server["user"]}" ""\n')
    if account is not None:
        os.chown(directory, account.pw_uid, account.pw_gid)
    bouncer = PgBouncer(directory)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PGBOUNCER, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=minimal_environment(),
            cwd="/",
            **identity(account),
        )
    try:
        assert eventually(bouncer.answers), (directory / "log").read_text()
        yield bouncer
    finally:
        process.terminate()
        process.wait()
