"""The environment: which variables are ours, and how it and the file .env lie over each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from domainsched.config import dotenv
from domainsched.config.dotenv import Environment, origin
from domainsched.config.settings import Settings
from domainsched.config.values import refuse_bytes, refuse_misplaced

DATABASE_VARIABLES = frozenset(
    {
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "SUPABASE_POOLER_HOST",
        "SUPABASE_POOLER_PORT",
        "SUPABASE_POOLER_USER",
        "SUPABASE_DB_PASSWORD",
        "SUPABASE_URL",
    }
)
"""What says which database is meant; never a part of it from here and a part from there."""

_PLACES = ("DOMAINSCHED_HOME", "DOMAINSCHED_PG_BIN")
"""Variables that the embedded database reads itself."""
_PREFIX = "DOMAINSCHED_"
_OF_TESTS = frozenset(
    {"DOMAINSCHED_TEST_URL", "DOMAINSCHED_SOAK_MINUTES", "DOMAINSCHED_STORM_SEED"}
)
"""Variables for developers: nothing here reads them, and nobody is to be warned of them."""
_SCRAPER_KEY_VARIABLES = frozenset({"SCRAPER_API_KEY", "SCRAPER_API_KEY_FILE"})
_ALIKE = 0.9
"""From here on a name of another program's style is taken for one of ours: DATABSE_URL."""


def known() -> frozenset[str]:
    """Name every variable that we read."""
    specs = [spec.metadata for spec in Settings.__dataclass_fields__.values()]
    ours = {name for spec in specs for name in (spec["env"], *spec["aliases"])}
    return DATABASE_VARIABLES | ours | {*_PLACES, "DOMAINSCHED_ENV_FILE"}


def unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """Find variables that are none of ours: each with the nearest one that is.

    They bear our name; or they stand in our file, and are nearly what is not set.
    """
    given = sorted(name for name, value in environ.items() if value)
    strange = [name for name in given if name not in known() | _OF_TESTS]
    ours = {name: _nearest(name, _PREFIX, 0.6) for name in strange if name.startswith(_PREFIX)}
    others = {name: _nearest(name, "", _ALIKE) for name in strange if origin(environ, name)}
    misspelt = {name: near for name, near in others.items() if near and not environ.get(near)}
    return misspelt | ours


def _nearest(name: str, prefix: str, likeness: float) -> str:
    """Find what a name is nearest to, but for a prefix that would make all of them near."""
    from difflib import get_close_matches

    short = {each.removeprefix(prefix): each for each in sorted(known())}
    near = get_close_matches(name.removeprefix(prefix), short, n=1, cutoff=likeness)
    return short[near[0]] if near else ""


def environment(environ: Mapping[str, str], env_file: Path | None) -> Environment:
    """Lay `environ` over the .env file: the one named, or ./.env if it is there."""
    present = {key: value for key, value in environ.items() if value}
    outvoted = {key for group in _same_things() if group & present.keys() for key in group}
    file = dotenv.read(environ, env_file, known())
    lower = {key: value for key, value in file.items() if key not in outvoted}
    merged = Environment(
        {**lower, **present},
        {key: file.origins[key] for key in lower.keys() - present.keys()},
        file.file,
    )
    for name in _PLACES:
        refuse_misplaced(name, merged.get(name, ""))
    for name in DATABASE_VARIABLES - {"DATABASE_URL_FILE"}:
        refuse_bytes(name, merged.get(name, ""))
    return merged


def _same_things() -> Iterator[frozenset[str]]:
    """Group the variables that decide the same thing: one of them outvotes all of a lower layer."""
    yield DATABASE_VARIABLES
    yield _SCRAPER_KEY_VARIABLES
    for spec in Settings.__dataclass_fields__.values():
        yield frozenset({spec.metadata["env"], *spec.metadata["aliases"]})
