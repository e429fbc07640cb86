"""From settings to an open database and its checked table: the user's own, or the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from domainsched import dburl, embedded
from domainsched.config import Settings, named_file, origin
from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database
from domainsched.database.schema import init
from domainsched.database.selection import check_tenant
from domainsched.database.store import Store
from domainsched.database.table import RIGHTS, Table, TableName
from domainsched.errors import ConfigError, DatabaseError, EmbeddedError
from domainsched.files import contents
from domainsched.session import Session


@dataclass(frozen=True)
class Opened:
    """An open database, and the name of the table in it."""

    database: Database
    name: TableName
    embedded: embedded.EmbeddedServer | None


@asynccontextmanager
async def opened(session: Session, *, may_be_new: bool = False) -> AsyncIterator[Opened]:
    """Open the database that the settings name, or start the embedded one.

    Who asks for what is in it is warned where the embedded one had to be made, unless it
    `may_be_new`: perhaps the URL was forgotten, or is in another directory's .env.

    Raises:
        ConfigError: the URL cannot be used.
        DatabaseError: the database cannot be reached, or the embedded one not be started.
    """
    settings, environ = session.settings, session.environ
    url = database_url(settings, environ)
    if url is not None:
        notes = remarks(url)
        session.report.details(notes)
        name = TableName.parse(settings.table, schema=url.schema)
        try:
            async with Database(url) as database:
                yield Opened(database, name, None)
        except DatabaseError as error:
            if type(error) is DatabaseError and not session.report.tells_details:
                error.why = "\n".join((error.why, *notes))
            raise
        return
    with ExitStack() as stack:
        try:
            home = embedded.home(environ)
            server = stack.enter_context(embedded.EmbeddedServer.at(home, environ))
        except EmbeddedError as error:
            unset = f"DATABASE_URL is set neither in the environment nor in {_looked_in(session)}"
            error.why = "\n".join(filter(None, (error.why, unset)))
            raise
        session.announce(f"using the embedded database in {server.home}")
        if server.is_new and not may_be_new:
            _warn_of_home(session, f"made a new, empty database in {server.home}")
        async with Database(dburl.DatabaseUrl(server.connection_keywords)) as database:
            yield Opened(database, TableName.parse(settings.table), server)


@asynccontextmanager
async def opened_table(
    session: Session, *, may_be_new: bool = False, rights: Sequence[LiteralString] = RIGHTS
) -> AsyncIterator[tuple[Database, Table]]:
    """Open the database and check its table; in the embedded one `init` happens by itself.

    Only these `rights` are asked for.

    Raises:
        ConfigError: a tenant was named, and the table does not know any.
    """
    settings = session.settings
    async with opened(session, may_be_new=may_be_new) as place:
        if place.embedded:
            table = await init(place.database, place.name, settings.lease)
            if not may_be_new and not place.embedded.is_new:
                await _warn_of_empty(session, place, table)
        else:
            table = await usable_table(place.database, place.name, rights)
        check_tenant(table, settings.tenant)
        yield place.database, table


async def _warn_of_empty(session: Session, place: Opened, table: Table) -> None:
    """Warn again, each time: the first warning may have been missed."""
    if place.embedded and await Store(place.database, table).is_empty():
        _warn_of_home(session, f"the database in {place.embedded.home} has no domains")


def _warn_of_home(session: Session, what: str) -> None:
    where = _looked_in(session)
    session.warn(f"DATABASE_URL is not set; {what}", f"looked in the environment and in {where}")


def _looked_in(session: Session) -> str:
    return named_file(session.environ) or "./.env; --env-file names another file"


def remarks(url: dburl.DatabaseUrl) -> list[str]:
    """Say what was ignored in a URL, or looks like a mistake: news once, and when it fails."""
    return [f"the database's URL: {note}" for note in url.notes]


def database_url(settings: Settings, environ: Mapping[str, str]) -> dburl.DatabaseUrl | None:
    """Find the database's URL: DATABASE_URL, DATABASE_URL_FILE, or the SUPABASE_* variables.

    Raises:
        ConfigError: two of them are set, or one that cannot be used.
    """
    if settings.database_url and settings.database_url_file:
        raise ConfigError(
            "both DATABASE_URL and DATABASE_URL_FILE are set",
            why="they may mean two databases",
            hint="unset one of them",
        )
    if settings.database_url:
        return _parsed(settings.database_url, origin(environ, "DATABASE_URL"))
    if settings.database_url_file:
        path = Path(settings.database_url_file)
        text = _read(path)
        if text.startswith("DATABASE_URL="):
            what = f"DATABASE_URL_FILE {path} holds a variable"
            raise ConfigError(what, hint="it is to hold the URL alone, without DATABASE_URL=")
        return _parsed(text, f"DATABASE_URL_FILE {path}")
    return dburl.from_supabase(environ)


def _parsed(text: str, where: str) -> dburl.DatabaseUrl:
    """Read a URL; an error says in which file it stands."""
    try:
        return dburl.parse(text)
    except ConfigError as error:
        error.why = "\n".join(filter(None, (error.why, where and f"it stands in {where}")))
        raise


def secrets(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the passwords that no message may hold; no message quotes a URL that is unusable."""
    try:
        url = database_url(settings, environ)
    except ConfigError:
        return ()
    return url.secrets if url else ()


def _read(path: Path) -> str:
    try:
        return contents(path).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read DATABASE_URL_FILE {path}",
            why=reason or "",
            hint="correct the path, or its permissions",
        ) from None
