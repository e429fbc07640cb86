"""Files: what is one; and reading one whole, bounded, and without waiting for anybody."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MAX_FILE_BYTES = 64 * 1024


def contents(path: Path, limit_bytes: int = _MAX_FILE_BYTES) -> bytes:
    """Read a whole regular file (or /dev/null, which stands for an empty one).

    Raises:
        OSError: it cannot be read, is something else, or is larger than `limit_bytes`.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        is_devnull = os.path.samestat(status, Path(os.devnull).stat())
        if not stat.S_ISREG(status.st_mode) and not is_devnull:
            raise OSError(errno.EINVAL, "it is not a regular file")
        return bounded(file, limit_bytes)


def bounded(stream: BinaryIO, limit_bytes: int) -> bytes:
    """Read a stream to its end.

    Raises:
        OSError: it cannot be read, or there is more than `limit_bytes`.
    """
    data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {limit_bytes // 1024:,} KB")
    return data


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else a fifo waits for somebody to write


def is_file(path: str) -> bool:
    """Say whether a text is a file's path; one that can be none, or not be looked at, is not."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib raises where a path is too long
