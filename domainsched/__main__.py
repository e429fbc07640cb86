"""`python -m domainsched`, the same as the `domainsched` command."""

from __future__ import annotations

from domainsched.cli import main

if __name__ == "__main__":
    main()
