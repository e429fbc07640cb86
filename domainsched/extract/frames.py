"""How parent and child of the extraction pool speak: frames of length and bytes. No pickle."""

from __future__ import annotations

import struct

LENGTH = struct.Struct(">I")
"""Comes before each frame: how many bytes it holds."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A longer answer is garbage: a page's columns are some kilobytes."""

READY = b"ready"
"""A child's first frame: it can take a page."""

BEGUN = b"begun"
"""The frame that tells that a page has arrived: from here on a death is that page's doing."""


def frame(payload: bytes) -> bytes:
    """Give the payload with its length before it."""
    return LENGTH.pack(len(payload)) + payload
