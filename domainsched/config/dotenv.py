"""The file .env, and the environment that may have come from it."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path

from domainsched.config.values import refuse_misplaced
from domainsched.errors import ConfigError
from domainsched.files import contents


class Environment(dict[str, str]):
    """Variables, of which some stand in a file."""

    def __init__(
        self, values: Mapping[str, str], origins: Mapping[str, str], file: str = ""
    ) -> None:
        super().__init__(values)
        self.origins = origins
        """Where those of the file stand in it: `.env, line 3`."""
        self.file = file
        """The file, if it was named."""


def origin(environ: Mapping[str, str], name: str) -> str:
    """Say where in a file a variable stands; nothing of one that was given otherwise."""
    return environ.origins.get(name, "") if isinstance(environ, Environment) else ""


def named_file(environ: Mapping[str, str]) -> str:
    """Say which file was named; nothing where ./.env was looked for."""
    return environ.file if isinstance(environ, Environment) else ""


def read(environ: Mapping[str, str], env_file: Path | None, ours: Container[str]) -> Environment:
    """Read the file that is named, or ./.env if it is there.

    Raises:
        ConfigError: it cannot be read, or a line is not `KEY=value`, or one of `ours`
            has a comment behind its value; no value is shown.
    """
    variable = environ.get("DOMAINSCHED_ENV_FILE")
    named = env_file or (Path(variable) if variable else None)
    path = named or Path(".env")
    refuse_misplaced("--env-file" if env_file else "DOMAINSCHED_ENV_FILE", str(path))
    try:
        text = contents(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        if named is None and (isinstance(error, FileNotFoundError) or _is_venv(path)):
            return Environment({}, {})
        if isinstance(error, FileNotFoundError):
            hint = "correct --env-file or DOMAINSCHED_ENV_FILE"
            raise ConfigError(f"there is no file {path}", hint=hint) from None
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}", why=str(reason)) from None
    return _dotenv(text, path, str(named or ""), ours)


def _is_venv(path: Path) -> bool:
    """Tell Python's virtual environment, which some call so, from a file that was not mounted."""
    return (path / "pyvenv.cfg").is_file()


def _dotenv(text: str, path: Path, named: str, ours: Container[str]) -> Environment:
    """Read `KEY=value` lines as sh, systemd's EnvironmentFile= and we read them alike.

    Comments begin a line; a value may stand in quotes; nothing is expanded.
    """
    values, origins = {}, {}
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        content = re.sub(r"^export\s+", "", line.strip())
        if not content or content.startswith("#"):
            continue
        key, separator, value = content.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", key):
            raise ConfigError(
                f"{path}: line {number} is not KEY=value",  # the line itself may hold a secret
                hint="comment it out with # or correct it",
            )
        if "\0" in value:
            raise ConfigError(f"{path}: line {number} holds a NUL character")
        if key in ours and re.match(r"""(["'])((?!\1).)*\1\s+#""", value.strip()):
            raise ConfigError(
                f"{path}: line {number} has a comment behind its value",
                hint="give the comment a line of its own",
            )
        values[key], origins[key] = _unquoted(value.strip()), f"{path}, line {number}"
    return Environment(values, origins, named)


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
