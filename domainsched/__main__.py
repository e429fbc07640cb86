"""`python -m domainsched`, the same as the `domainsched` command."""

from __future__ import annotations


def main() -> None:
    """Load the command line and run it; Ctrl-C ends it silently even while it is still loading."""
    try:
        from domainsched.cli import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
