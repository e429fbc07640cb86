"""Where on a page something stands, in words for its evidence."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain

from selectolax.lexbor import LexborNode

from domainsched.extract.document import ancestors

_FAR = 25
"""Elements looked at around a thing; pages that nest deeper say it nearer."""

_BY_TAG = {"header": "header", "footer": "footer", "nav": "navigation", "aside": "sidebar"}
_BY_TAG |= {"address": "contact section"}
_BY_ROLE = {"banner": "header", "contentinfo": "footer", "navigation": "navigation"}
_BY_LABEL = (
    ("testimonial", re.compile(r"testimonial|review|\bquote|customer-stor")),
    ("comments", re.compile(r"(?<!un)comment|\breplies\b")),
    ("author", re.compile(r"author|byline|\bteam|\bstaff\b|\bspeaker")),
    ("contact section", re.compile(r"contact|kontakt|contatt|address|imprint|impressum|vcard")),
    ("footer", re.compile(r"foot|colophon|\bbottom")),
    ("header", re.compile(r"(?<![a-z])header|masthead|top-?bar")),
    ("sidebar", re.compile(r"sidebar")),
)
"""In lower case, which is searched several times as fast as any."""

_MAX_LABELS = 200
"""Characters of an element's labels that are looked at."""

_NAMED = re.compile(r"[\w-]{1,40}")


def where(node: LexborNode) -> str:
    """Give the nearest part of the page around `node` that has a name: "footer", "main#about".

    What tells are landmarks (HTML, section 4.3), their roles, and words in `class` and `id`.
    """
    nearest = ""
    for around in chain([node], ancestors(node, _FAR)):
        tag = around.tag or ""
        if tag in {"body", "html"}:
            break
        attributes = around.attributes
        identity = attributes.get("id") or ""
        part = _part(tag, attributes.get("role") or "", f"{identity} {attributes.get('class')}")
        if part:
            return part
        if not nearest and _NAMED.fullmatch(identity):
            nearest = f"{tag}#{identity}"
    return nearest or "body"


def _part(tag: str, role: str, labels: str) -> str | None:
    return _called(labels[:_MAX_LABELS].lower()) or _BY_TAG.get(tag) or _BY_ROLE.get(role)


@lru_cache(500)
def _called(labels: str) -> str | None:
    return next((part for part, label in _BY_LABEL if label.search(labels)), None)
