"""One process of the extraction pool: reads pages from standard input, answers on standard output.

It holds no secret, obeys no signal but SIGKILL, and ends when its parent does.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

from domainsched.extract import extract_page
from domainsched.extract.frames import BEGUN, LENGTH, READY, frame
from domainsched.extract.technology import load

_FIRST = b"<p>Call +1 212 555 0100 or write to info@example.com, of our company in the city"
"""Loads what libraries load with their first use (0.2 s of CPU time): not on a page's time."""
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal a process gets when its parent's thread dies."""


def main() -> None:
    """Serve pages until standard input ends.

    Arguments: memory in bytes, CPU seconds a page, a user's own fingerprints or "".
    """
    memory_bytes, cpu_seconds, fingerprints = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    _bind_to_parent()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    answers = _take_over_output()
    load(fingerprints)
    extract_page(_FIRST, "https://example.com/")
    gc.freeze()  # what the libraries hold, which the collector would look through again
    _send(answers, READY)
    while (request := _receive(sys.stdin.buffer)) is not None:
        body = _receive(sys.stdin.buffer)
        if body is None:
            return
        _send(answers, BEGUN)
        _limit_cpu(cpu_seconds)
        _send(answers, _answer(request, body, fingerprints))


def _answer(request: bytes, body: bytes, fingerprints: str) -> bytes:
    page = json.loads(request)
    columns = extract_page(body, page["url"], page["headers"], fingerprints=fingerprints)
    return json.dumps(columns, ensure_ascii=False).encode()


def _bind_to_parent() -> None:
    """Leave Ctrl-C and SIGTERM, which reach the whole group, to the parent; do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(kind: int, value: int) -> None:
    with suppress(ValueError, OSError):  # a lower limit is in force already, or macOS has none
        resource.setrlimit(kind, (value, value))


def _limit_cpu(seconds: float) -> None:
    """Let the kernel end a page that burns on after the parent is gone.

    By a timer, which counts from now on. RLIMIT_CPU is for all that the process ever used, and goes
    by another clock than getrusage(2): on a busy machine they were 6 s apart after 120 s, and the
    next page was ended though it had done nothing.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds + 1)


def _take_over_output() -> BinaryIO:
    """Keep standard output for answers alone: what anything prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)
    return answers


def _receive(stream: BinaryIO) -> bytes | None:
    """Give the next frame, or None when the parent is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    payload = stream.read(length)
    return payload if len(payload) == length else None


def _send(stream: BinaryIO, payload: bytes) -> None:
    stream.write(frame(payload))
    stream.flush()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
