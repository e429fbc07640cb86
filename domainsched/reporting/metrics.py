"""What runs tell Prometheus: a file for the textfile collector of its node exporter.

Counters go on from what the file held before, so that they count across runs and programs.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainsched.errors import ConfigError
from domainsched.models import Fail, Glance, Release, Retry, RunSummary, Settled, Status
from domainsched.reporting.wording import ending

if TYPE_CHECKING:
    from prometheus_client import Metric

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Seconds; the upper bounds of the histogram's buckets, but for the infinite one."""
_INFINITE = "+Inf"
_LARGEST_BYTES = 1024 * 1024
_BEGINNING = b"# HELP domainsched_"
_MODE = 0o644
"""Whoever collects it is another user; it holds no secret, only numbers."""


@dataclass
class Tally:
    """What has ended since it was last written."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By outcome, and kind of failure or an empty word."""
    seconds: list[float] = field(default_factory=list)
    """How long the visits took."""

    def add(self, settled: Settled) -> None:
        """Count an attempt's end."""
        transition = settled.transition
        kind = transition.failure.kind if isinstance(transition, Retry | Fail) else ""
        self.outcomes[ending(settled)[0], kind if settled.kept else ""] += 1
        if settled.elapsed and not isinstance(transition, Release):
            self.seconds.append(settled.elapsed.total_seconds())

    def clear(self) -> None:
        """Begin anew."""
        self.outcomes.clear()
        self.seconds.clear()


def check(path: Path) -> None:
    """Find out at the beginning, not at the end of a run, whether the file can be written.

    Raises:
        ConfigError: it cannot, or somebody else's would be lost.
    """
    why = ""
    if not path.parent.is_dir():
        why = f"there is no directory {path.parent}"
    elif os.path.lexists(path):
        why = _in_the_way(path)
    if not why and not os.access(path.parent, os.W_OK | os.X_OK):
        why = f"no right to write in {path.parent}"
    if why:
        hint = "correct --metrics-file or DOMAINSCHED_METRICS_FILE"
        raise ConfigError(f"cannot write the metrics to {path}", why=why, hint=hint)


def _in_the_way(path: Path) -> str:
    """Say why what is there must not be replaced; empty if it is ours, or an empty file."""
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        return "it is a directory"
    if not stat.S_ISREG(mode):
        return "it is not a regular file, and would be replaced by one"
    try:
        with path.open("rb") as file:
            start = file.read(len(_BEGINNING))
    except OSError as error:
        return f"whether the file there is one of metrics cannot be read: {error.strerror}"
    return "" if start in {b"", _BEGINNING} else "the file there holds something else"


def write(path: Path, tally: Tally, summary: RunSummary, glance: Glance) -> None:
    """Put the file in the place of the one before, in one step; then `tally` is empty.

    Raises:
        OSError: it cannot be written; the file before, if any, is as it was.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class _Once(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _queue(glance)
            yield from _runs(before, tally, summary)

    registry = CollectorRegistry(auto_describe=False)
    with _alone(path.parent):
        before = _read(path)
        registry.register(_Once())
        _replace(path, generate_latest(registry))
    tally.clear()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let nobody else write meanwhile: what they counted would be lost."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.chmod(_MODE)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(path: Path) -> Samples:
    """Read what a file of ours holds; what is none of ours, or broken, counts as nothing."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_BYTES)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except (OSError, ValueError, KeyError, IndexError):
        return {}


def _queue(glance: Glance) -> Iterator[Metric]:
    upcoming = glance.upcoming
    domains = _gauge("domains", "Domains in the table.", labels=["status"])
    for status in sorted({*map(str, Status), *glance.statuses}):
        domains.add_metric([status], glance.statuses.get(status, 0))
    yield domains
    yield _gauge("due_domains", "Domains that a run would claim now.", upcoming.due)
    yield _gauge("expired_leases", "Domains whose worker was not heard of.", upcoming.expired)
    since = upcoming.waiting_since
    age = (upcoming.now - since).total_seconds() if since else 0
    yield _gauge("oldest_due_age_seconds", "How long the oldest due domain has waited.", age)


def _gauge(name: str, about: str, value: float | None = None, **more: Any) -> Any:  # noqa: ANN401 - the library has no better type
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"domainsched_{name}", about, value, **more)


def _runs(before: Samples, tally: Tally, summary: RunSummary) -> Iterator[Metric]:
    yield _outcomes(before, tally)
    yield _durations(before, tally)
    took = summary.elapsed / timedelta(seconds=1)
    yield _gauge("last_run_duration_seconds", "How long the last run took.", took)
    yield _gauge("last_run_claimed_domains", "Domains that the last run claimed.", summary.claimed)
    about = "When a run last ended without an error (Unix time)."
    yield _gauge("last_success_timestamp_seconds", about, time.time())


def _outcomes(before: Samples, tally: Tally) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    name = "domainsched_outcomes_total"
    labels = ["outcome", "kind"]
    family = CounterMetricFamily(name, "Attempts that ended, by outcome and kind.", labels=labels)
    counts: Counter[tuple[str, str]] = Counter(tally.outcomes)
    for (sample, pairs), value in before.items():
        found = dict(pairs)
        if sample == name and found.keys() == set(labels):
            counts[found["outcome"], found["kind"]] += int(value)
    for outcome, kind in sorted(counts):
        family.add_metric([outcome, kind], counts[outcome, kind])
    return family


def _durations(before: Samples, tally: Tally) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    name = "domainsched_visit_duration_seconds"
    ends = [*map(str, BOUNDS), _INFINITE]
    places = Counter(
        next((str(bound) for bound in BOUNDS if each <= bound), _INFINITE) for each in tally.seconds
    )
    new = accumulate(places[end] for end in ends)
    old = (before.get((f"{name}_bucket", (("le", end),)), 0.0) for end in ends)
    buckets = [(end, was + more) for end, was, more in zip(ends, old, new, strict=True)]
    total = before.get((f"{name}_sum", ()), 0.0) + sum(tally.seconds)
    return HistogramMetricFamily(name, "How long visits took.", buckets=buckets, sum_value=total)
