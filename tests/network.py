"""A network of one's own: nothing but a loopback, and the name server that a file names (Linux)."""

from __future__ import annotations

import os
import shutil

UNSHARE = shutil.which("unshare")
_PREPARE = """
set -e
ip link set lo up
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
"""


def in_own_network(resolver: str, *command: str) -> list[str]:
    """Give the command that runs `command` there; `resolver` is the path of its resolv.conf."""
    assert UNSHARE is not None
    become = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [UNSHARE, *become, "--net", "--mount", "sh", "-c", _PREPARE, "sh", resolver, *command]
