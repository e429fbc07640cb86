"""The line that draws a run, at any width."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from domainsched.models import Claim, Complete, Fail, Failed, Kind, Settled
from domainsched.reporting.progress import Progress
from domainsched.reporting.wording import width

LONG = "a-very-long-subdomain.of-some-company-with-a-long-name.example.co.uk"


def under_way(total: int | None = 10, slow: str = "clinic.example") -> Progress:
    """Six of ten have ended after four seconds, and one is slow."""
    progress = Progress(total, begun_at=0.0)
    for number in range(6):
        claim = Claim(number, f"n{number}.test", 1, UUID(int=1))
        how = Complete({}) if number else Fail(Failed(Kind.DNS, "no such host"))
        progress.begun(claim)
        progress.settled(Settled(claim, how, kept=True, elapsed=timedelta(seconds=1)))
    for number, name in ((7, "quick.test"), (8, slow)):
        progress.begun(Claim(number, name, 1, UUID(int=2)))
        progress.flying[UUID(int=2), number] = name, 3.5 if name == "quick.test" else 1.0
    return progress


def test_the_line_at_80_columns() -> None:
    line = under_way().line(80, 4.0)
    told = "5 ok, 1 failed  0:00:04  1.5/s  clinic.example  3 s"
    assert line == f"processing ━━━━──── 6/10  {told}"


def test_the_line_at_120_columns_has_a_longer_bar_and_the_whole_name() -> None:
    line = under_way(slow="a-longer-name.clinic.example").line(120, 4.0)
    assert line.startswith(f"processing {'━' * 14}{'─' * 10} 6/10  5 ok, 1 failed")
    assert line.endswith("  a-longer-name.clinic.example  3 s")


def test_nobody_is_called_slow_after_a_moment() -> None:
    assert "clinic.example" not in under_way().line(120, 2.9)


def test_who_has_ended_is_slow_no_more() -> None:
    progress = under_way()
    claim = Claim(8, "clinic.example", 1, UUID(int=2))
    progress.settled(Settled(claim, Complete({}), kept=True, elapsed=timedelta(seconds=3)))
    assert progress.line(120, 4.0).endswith("7/10  6 ok, 1 failed  0:00:04  1.8/s")


def test_without_a_total_there_is_no_bar() -> None:
    line = under_way(None).line(80, 4.0)
    assert line == "processing 6  5 ok, 1 failed  0:00:04  1.5/s  clinic.example  3 s"


@pytest.mark.parametrize(
    "slow", [LONG, "例え例え例え例え例え例え例え.test", "\x1b[2Ja\u202eb.test"]
)
@pytest.mark.parametrize("total", [None, 10, 12_345_678])
@pytest.mark.parametrize("columns", [12, 20, 40, 60, 80, 120, 200])
def test_the_line_fits_and_begins_with_the_numbers(
    columns: int, total: int | None, slow: str
) -> None:
    line = under_way(total, slow).line(columns, 100_000.0)
    assert width(line) < columns
    assert line.isprintable()
    if columns >= 40:
        assert f" 6{'' if total is None else f'/{total:,}'}" in line
