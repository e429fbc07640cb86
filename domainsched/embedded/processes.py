"""Running PostgreSQL's programs: as whom, with which environment, and what they said."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pwd import struct_passwd


_VERSION_LIMIT = timedelta(seconds=10)
_TAIL_LINES = 12


def output_of(program: str, *arguments: str, account: struct_passwd | None = None) -> str:
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
            env=minimal_environment(),
            cwd="/",
            **identity(account),
        )
        return done.stdout.strip()
    return ""


def minimal_environment() -> dict[str, str]:
    """What PostgreSQL's programs get: no secret, no locale and no PG* variable of ours."""
    return {"PATH": os.defpath, "LC_ALL": "C", "LANG": "C", "TZ": "UTC", "HOME": "/"}


def identity(account: struct_passwd | None) -> dict[str, Any]:
    """The arguments that make subprocess run something as `account`."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def tail(text: str) -> str:
    """Cut a log down to what an error can show."""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])
