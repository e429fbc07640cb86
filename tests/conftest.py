"""Fixtures for every test: a clean environment, and a PostgreSQL with a fresh database a test.

What is under test reaches the database by a way: directly, through a transaction pooler of ours
that shows every dependence on a session (`pooler.py`), or through PgBouncer, where it is installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
import pytest
from pgbouncer import PGBOUNCER, running_pgbouncer
from pooler import through_the_double
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


# --- ways to the database ---------------------------------------------------------------------

WAYS = ("direct", "pooler", "pgbouncer")
INTEGRATION = ("test_acceptance", "test_queue", "test_schema", "test_store", "test_worker")
"""Modules whose tests go through the pooler when no `--way` is given: what works there works
directly, too. All others go directly."""

Way = Callable[[Mapping[str, str]], AbstractContextManager[Mapping[str, str]]]
"""From keywords that lead straight to a database to those that lead there so."""


LONG = tuple(
    f"test_{name}"
    for name in ("storm", "phases", "outages", "crash_sites", "many_workers", "machines", "watch")
)
"""Modules whose tests wait for long; the longest of all is in the first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--way", choices=WAYS, help="how all tests go to the database")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "direct(reason): goes straight to the database, whatever the way of the others"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal what takes long evenly, for each worker of pytest-xdist to begin with.

    Each is given an equal part, one after the other; with a long test at the end of one, all would
    wait for it.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = sorted(
        (item for item in items if item.path.stem in LONG),
        key=lambda item: LONG.index(item.path.stem),
    )
    short = [item for item in items if item.path.stem not in LONG]
    share, dealt = len(items) // workers, list[pytest.Item]()
    for number in range(workers):
        own = long[number::workers]
        dealt += own + short[: share - len(own)]
        del short[: share - len(own)]
    items[:] = dealt + short


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" not in metafunc.fixturenames:
        return
    module = metafunc.module.__name__.rpartition(".")[2]
    wanted = metafunc.config.getoption("way")
    way = wanted or ("pooler" if module in INTEGRATION else "direct")
    if metafunc.definition.get_closest_marker("direct"):
        way = "direct"
    metafunc.parametrize("way", [way], indirect=True, scope="session")


@pytest.fixture(scope="session")
def way(request: pytest.FixtureRequest, server: dict[str, str]) -> Iterator[Way]:
    """How what is under test reaches its databases."""
    if request.param == "pgbouncer":
        if PGBOUNCER is None:
            pytest.skip("there is no pgbouncer")
        with reachable_directory() as directory, running_pgbouncer(directory, server) as bouncer:
            yield bouncer.through
    elif request.param == "pooler":
        if "password" in server:
            pytest.skip("the pooler of ours knows no passwords")
        yield through_the_double
    else:
        yield nullcontext


# --- PostgreSQL -------------------------------------------------------------------------------

WITHOUT_DURABILITY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
ROOM = {"max_connections": "100"}
"""Poolers keep connections to each of a module's databases."""
FIRST_WITH_FILE_COPY = 150000


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test's own, empty at first."""

    keywords: dict[str, str]
    """For what is under test, by whatever way."""
    direct: Mapping[str, str] | None = None
    """Straight there, if `keywords` do not lead so."""

    @property
    def url(self) -> str:
        """As DATABASE_URL has it; the host, maybe a socket's directory, is a query parameter."""
        rest = {key: value for key, value in self.keywords.items() if value}
        user, password = rest.pop("user", ""), rest.pop("password", "")
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        name = quote(rest.pop("dbname"), safe="")
        return f"postgresql://{login}@/{name}?{urlencode(rest, quote_via=quote, safe='')}"

    def connect(self) -> psycopg.Connection:
        """Open a session of the test's own, straight to the database."""
        return connect(self.direct or self.keywords)


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
        EmbeddedServer.at(home, os.environ, settings=WITHOUT_DURABILITY | ROOM) as embedded,
    ):
        yield embedded.connection_keywords | {"dbname": "postgres"}


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Short, for the socket's sake; passable, since as root the server runs as another user."""
    with tempfile.TemporaryDirectory(prefix="domainsched-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def database(server: dict[str, str], way: Way) -> Iterator[Database]:
    with fresh_database(server, way) as fresh:
        yield fresh


@contextmanager
def fresh_database(server: Mapping[str, str], way: Way = nullcontext) -> Iterator[Database]:
    """An empty database, dropped at the end."""
    name = f"test_{uuid4().hex}"
    identifier = sql.Identifier(name)
    with connect(server) as maintenance:
        quick = maintenance.info.server_version >= FIRST_WITH_FILE_COPY
        strategy = sql.SQL("STRATEGY file_copy" if quick else "")
        maintenance.execute(sql.SQL("CREATE DATABASE {} {}").format(identifier, strategy))
        try:
            direct = {**server, "dbname": name}
            with way(direct) as keywords:
                yield Database(dict(keywords), direct)
        finally:
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
