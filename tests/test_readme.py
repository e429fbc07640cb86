"""What README.md shows is what the program prints."""

from __future__ import annotations

from difflib import unified_diff

from transcripts import README, masked, rerun


def test_every_transcript_in_the_readme_is_what_its_commands_print() -> None:
    """To renew them: python tests/transcripts.py."""
    text = README.read_text(encoding="utf-8")
    told, printed = (masked(each).splitlines() for each in (text, rerun(text)))
    assert printed == told, "\n".join(unified_diff(told, printed, lineterm=""))
