"""Fixtures for every test: a clean environment, and a PostgreSQL with a fresh database a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from domainsched.embedded import EmbeddedServer

pytest_plugins = ("world",)

# --- environment ------------------------------------------------------------------------------

TEST_URL = "DOMAINSCHED_TEST_URL"
SCRUBBED = ("DOMAINSCHED_", "DATABASE_URL", "SUPABASE_", "PG", "DOMAIN_", "SCRAPER_API_", "XDG_")


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the user's reaches a test, neither by a variable nor from a home directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SCRUBBED) and name != TEST_URL:
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


# --- PostgreSQL -------------------------------------------------------------------------------

WITHOUT_DURABILITY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
FIRST_WITH_FILE_COPY = 150000


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test's own, empty at first."""

    keywords: dict[str, str]

    @property
    def url(self) -> str:
        """As DATABASE_URL has it; the host, maybe a socket's directory, is a query parameter."""
        rest = {key: value for key, value in self.keywords.items() if value}
        user, password = rest.pop("user", ""), rest.pop("password", "")
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        name = quote(rest.pop("dbname"), safe="")
        return f"postgresql://{login}@/{name}?{urlencode(rest, quote_via=quote, safe='')}"

    def connect(self) -> psycopg.Connection:
        return connect(self.keywords)


def connect(keywords: Mapping[str, str]) -> psycopg.Connection:
    return psycopg.connect(**keywords, autocommit=True)  # type: ignore[arg-type] # are strings


@pytest.fixture(scope="session")
def server() -> Iterator[dict[str, str]]:
    """Keywords of a database from which others can be made."""
    if url := os.environ.get(TEST_URL):
        yield {key: str(value) for key, value in conninfo_to_dict(url).items()}
        return
    with (
        reachable_directory() as home,
        EmbeddedServer.at(home, os.environ, settings=WITHOUT_DURABILITY) as embedded,
    ):
        yield embedded.connection_keywords | {"dbname": "postgres"}


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Short, for the socket's sake; passable, since as root the server runs as another user."""
    with tempfile.TemporaryDirectory(prefix="domainsched-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def database(server: dict[str, str]) -> Iterator[Database]:
    with fresh_database(server) as fresh:
        yield fresh


@contextmanager
def fresh_database(server: Mapping[str, str]) -> Iterator[Database]:
    """An empty database, dropped at the end."""
    name = f"test_{uuid4().hex}"
    identifier = sql.Identifier(name)
    with connect(server) as maintenance:
        quick = maintenance.info.server_version >= FIRST_WITH_FILE_COPY
        strategy = sql.SQL("STRATEGY file_copy" if quick else "")
        maintenance.execute(sql.SQL("CREATE DATABASE {} {}").format(identifier, strategy))
        try:
            yield Database({**server, "dbname": name})
        finally:
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
