"""The file for Prometheus: what it holds, that it counts on, and that it is written in one step."""

from __future__ import annotations

import os
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from domainsched.errors import ConfigError
from domainsched.models import (
    Claim,
    Complete,
    Fail,
    Failed,
    Glance,
    Kind,
    Release,
    Retry,
    RunSummary,
    Settled,
    Transition,
    Upcoming,
)
from domainsched.reporting import metrics

NOW = datetime(2026, 11, 22, tzinfo=UTC)
UPCOMING = Upcoming(12, 7, 2, NOW - timedelta(hours=1), None, NOW)
GLANCE = Glance({"pending": 10, "completed": 5, 'ac"ti\nve': 1}, UPCOMING, 0)
SUMMARY = RunSummary("7f3a", claimed=4, elapsed=timedelta(seconds=6.5))
DNS = Failed(Kind.DNS, "no such host")


def settled(how: Transition, seconds: float = 0.2, *, kept: bool = True) -> Settled:
    return Settled(Claim(1, "a.test", 1, UUID(int=1)), how, kept, timedelta(seconds=seconds))


def tally(*endings: Settled) -> metrics.Tally:
    result = metrics.Tally()
    for each in endings:
        result.add(each)
    return result


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """What a parser of Prometheus' own makes of the file: name and labels' values to value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }


ENDINGS = (
    settled(Complete({}), 0.2),
    settled(Complete({}), 300),
    settled(Retry(DNS, timedelta(minutes=1)), 0.1),
    settled(Fail(DNS), 0.01),
    settled(Release(), 9),
    settled(Complete({}), 0.2, kept=False),
)


def test_a_parser_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "domainsched.prom"
    before = time.time()
    metrics.write(path, tally(*ENDINGS), SUMMARY, GLANCE)
    found = samples(path)
    expected: dict[tuple[str, ...], float] = {
        ("domainsched_domains", "pending"): 10,
        ("domainsched_domains", "processing"): 0,
        ("domainsched_domains", "completed"): 5,
        ("domainsched_domains", "error"): 0,
        ("domainsched_domains", 'ac"ti\nve'): 1,
        ("domainsched_due_domains",): 7,
        ("domainsched_expired_leases",): 2,
        ("domainsched_oldest_due_age_seconds",): 3600,
        ("domainsched_outcomes_total", "", "completed"): 2,
        ("domainsched_outcomes_total", "dns", "retry"): 1,
        ("domainsched_outcomes_total", "dns", "error"): 1,
        ("domainsched_outcomes_total", "", "released"): 1,
        ("domainsched_outcomes_total", "", "lost"): 1,
        ("domainsched_visit_duration_seconds_bucket", "0.1"): 2,
        ("domainsched_visit_duration_seconds_bucket", "0.25"): 4,
        ("domainsched_visit_duration_seconds_bucket", "120.0"): 4,
        ("domainsched_visit_duration_seconds_bucket", "+Inf"): 5,
        ("domainsched_visit_duration_seconds_count",): 5,
        ("domainsched_last_run_duration_seconds",): 6.5,
        ("domainsched_last_run_claimed_domains",): 4,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["domainsched_visit_duration_seconds_sum",] == pytest.approx(300.51)
    assert before - 1 <= found["domainsched_last_success_timestamp_seconds",] <= time.time() + 1
    types = {f.name: f.type for f in text_string_to_metric_families(path.read_text())}
    assert types["domainsched_outcomes"] == "counter"
    assert types["domainsched_visit_duration_seconds"] == "histogram"


def test_counters_go_on_from_the_file_and_gauges_do_not(tmp_path: Path) -> None:
    path = tmp_path / "domainsched.prom"
    for _ in range(3):
        metrics.write(path, tally(*ENDINGS), SUMMARY, GLANCE)
    metrics.write(path, metrics.Tally(), SUMMARY, GLANCE)
    found = samples(path)
    assert found["domainsched_outcomes_total", "", "completed"] == 6
    assert found["domainsched_visit_duration_seconds_bucket", "0.1"] == 6
    assert found["domainsched_visit_duration_seconds_count",] == 15
    assert found["domainsched_visit_duration_seconds_sum",] == pytest.approx(3 * 300.51)
    assert found["domainsched_domains", "pending"] == 10


def test_what_was_written_is_not_counted_again(tmp_path: Path) -> None:
    path, counted = tmp_path / "domainsched.prom", tally(*ENDINGS)
    for _ in range(2):
        metrics.write(path, counted, SUMMARY, GLANCE)
    assert samples(path)["domainsched_outcomes_total", "", "completed"] == 2


@pytest.mark.parametrize("text", ["", "nonsense {", "domainsched_outcomes_total 7\n", "\x00\xff"])
def test_a_file_of_somebody_else_s_or_a_broken_one_counts_as_nothing(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "domainsched.prom"
    path.write_bytes(text.encode("latin-1"))
    metrics.write(path, tally(*ENDINGS), SUMMARY, GLANCE)
    assert samples(path)["domainsched_outcomes_total", "", "completed"] == 2


def test_it_is_whole_at_any_moment_can_be_read_by_others_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "domainsched.prom"
    metrics.write(path, tally(*ENDINGS), SUMMARY, GLANCE)
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            metrics.write(path, tally(*ENDINGS), SUMMARY, GLANCE)
        done.set()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while not done.is_set():
        assert ("domainsched_last_success_timestamp_seconds",) in samples(path)
    for writer in writers:
        writer.join()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["domainsched.prom"]


def test_writers_at_the_same_time_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "domainsched.prom"

    def write() -> None:
        for _ in range(10):
            metrics.write(path, tally(settled(Complete({}))), SUMMARY, GLANCE)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert samples(path)["domainsched_outcomes_total", "", "completed"] == 40


def test_a_place_that_cannot_be_written_is_refused_at_the_beginning(tmp_path: Path) -> None:
    metrics.check(tmp_path / "fine.prom")
    for path, why in (
        (tmp_path / "nowhere" / "a.prom", f"there is no directory {tmp_path / 'nowhere'}"),
        (tmp_path, "it is a directory"),
    ):
        with pytest.raises(ConfigError, match="cannot write the metrics to") as caught:
            metrics.check(path)
        assert caught.value.why == why


def test_nothing_but_a_file_of_metrics_or_an_empty_one_is_replaced(tmp_path: Path) -> None:
    ours, empty = tmp_path / "ours.prom", tmp_path / "empty.prom"
    metrics.write(ours, tally(*ENDINGS), SUMMARY, GLANCE)
    empty.touch()
    for path in (ours, empty):
        metrics.check(path)
    other, link, dangling, fifo = (tmp_path / name for name in ("notes", "link", "gone", "fifo"))
    other.write_text("# HELP node_load1 1m load average.\n# HELP domainsched_domains\n")
    link.symlink_to(ours)
    dangling.symlink_to(tmp_path / "nowhere")
    os.mkfifo(fifo)
    irregular = "it is not a regular file, and would be replaced by one"
    for path, why in (
        (other, "the file there holds something else"),
        (link, irregular),
        (dangling, irregular),
        (fifo, irregular),
        (Path("/dev/null"), irregular),
    ):
        with pytest.raises(ConfigError, match="cannot write the metrics to") as caught:
            metrics.check(path)
        assert caught.value.why == why
