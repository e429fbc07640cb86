"""What the answer that brought the page says, beside the page: its headers for security."""

from __future__ import annotations

from domainsched.extract.document import Document
from domainsched.extract.encoding import clean

_SECURITY = (
    *("content-security-policy", "content-security-policy-report-only"),
    *("cross-origin-embedder-policy", "cross-origin-opener-policy"),
    *("cross-origin-resource-policy", "origin-agent-cluster", "permissions-policy"),
    *("referrer-policy", "strict-transport-security", "x-content-type-options"),
    *("x-frame-options", "x-permitted-cross-domain-policies", "x-xss-protection"),
)
"""OWASP Secure Headers Project, those that browsers read."""

_MAX = 1_000
"""Characters of a policy that are kept: some name hundreds of hosts."""


def security_headers(document: Document) -> dict[str, str]:
    """Give the headers that tell a browser what the page may do, by lower-case name."""
    found = {name: clean(document.headers.get(name, ""))[:_MAX] for name in _SECURITY}
    return {name: value for name, value in found.items() if value}
