"""What README.md shows is what the program prints."""

from __future__ import annotations

from transcripts import BLOCK, README, masked, rerun


def test_every_transcript_in_the_readme_is_what_its_commands_print() -> None:
    """To renew them: python tests/transcripts.py."""
    text = README.read_text(encoding="utf-8")
    printed = rerun(text)
    for shown, block in zip(BLOCK.findall(text), BLOCK.findall(printed), strict=True):
        print(block)  # noqa: T201 - of a difference pytest shows only a part
        assert masked(block).splitlines() == masked(shown).splitlines()
