"""Directories, locks and waiting: what the embedded server rests on."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from domainsched.errors import EmbeddedError

if TYPE_CHECKING:
    from pwd import struct_passwd


PATIENCE = timedelta(seconds=120)  # crash recovery on a slow disk
_POLL_INTERVAL = timedelta(milliseconds=10)
OTHER_HOME = "set DOMAINSCHED_HOME to a directory of your own, or DATABASE_URL to your own database"


def own_home(home: Path) -> Path:
    """Make the home directory if need be, and make sure that it is ours."""
    home = home.expanduser().resolve()  # a server's working directory is compared with it
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            home.chmod(0o711)  # the server's user has to pass through, whatever the umask
    owner = home.stat().st_uid
    if owner != os.geteuid():
        what = f"{home} belongs to another user (uid {owner})"
        raise EmbeddedError(what, hint=OTHER_HOME)
    return home


def own_directory(path: Path, account: struct_passwd | None) -> Path:
    """Make a directory that only the server's user may enter, or make sure that it is one."""
    path.mkdir(mode=0o700, exist_ok=True)
    owner = os.geteuid() if account is None else account.pw_uid
    found = path.lstat()
    if account is not None and found.st_uid == 0 and stat.S_ISDIR(found.st_mode):
        os.chown(path, owner, account.pw_gid, follow_symlinks=False)
        found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077:
        return path
    raise EmbeddedError(
        f"{path} is not a directory that only uid {owner} may enter",
        hint="remove it, if it is not another user's",
    )


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A directory to fill, which gets its name only when it is complete.

    Its working name is new each time: an initdb whose parent was killed may still be writing. What
    such a one leaves behind, the next start clears away.
    """
    filling = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield filling
        filling.rename(target)
    except BaseException:
        shutil.rmtree(filling, ignore_errors=True)
        raise
    _sync_directory(target.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(text: bytes) -> str:
    """Shorten a text to a name that differs when the text does."""
    return hashlib.sha256(text).hexdigest()[:10]


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[int]:
    """Hold a lock on a file while the block lasts; the kernel frees it on kill -9 too."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if not eventually(lambda: flock(descriptor, exclusive=exclusive)):
            raise EmbeddedError(
                "another process has been starting or stopping the embedded database for too long",
                why=f"{path} has been locked for {PATIENCE.total_seconds():.0f} s",
                hint=f"fuser -v {shlex.quote(str(path))} shows which one",
            )
        yield descriptor
    finally:
        os.close(descriptor)


def flock(descriptor: int, *, exclusive: bool) -> bool:
    """Try to lock; False if somebody else holds it."""
    import fcntl  # Windows has none

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; False if it does not come to hold within PATIENCE."""
    end = time.monotonic() + PATIENCE.total_seconds()
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_INTERVAL.total_seconds())
    return True
