"""The public suffix list, as it comes with tldextract: no network, no cache on disk."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldextract import TLDExtract

_REMEMBERED = 2_000
"""Hosts: a page asks for the same few again and again."""


@lru_cache(_REMEMBERED)
def has_suffix(domain: str) -> bool:
    """Whether `domain` lies under a suffix that exists: `a.co.uk` does, `logo.png` does not."""
    parts = _suffixes()(domain)
    return bool(parts.suffix and parts.domain)


@lru_cache(_REMEMBERED)
def brand(host: str) -> str:
    """Give the label that was registered: `acme` for `www.acme.co.uk` and for `cdn.acme.net`."""
    return _suffixes()(host).domain


@lru_cache(_REMEMBERED)
def site(host: str) -> str:
    """Give the domain that was registered: `acme.co.uk` for `shop.acme.co.uk`; else the host."""
    return _suffixes()(host).top_domain_under_public_suffix or host


@cache
def _suffixes() -> TLDExtract:
    """Load the list on first use: that costs 0.2 s."""
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None)
