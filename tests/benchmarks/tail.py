"""A heavy tail of latencies: how close a run comes to the ideal list schedule.

    python tests/benchmarks/tail.py [--hosts 2000] [--rounds 5] [--concurrency 100] [--never .03]

Sites answer after a lognormal time (median 0.3 s, p99 5 s), a share of them never; a visit has
15 s. The ideal begins the next site the moment that a place falls free, and computes nothing.
"""

from __future__ import annotations

import argparse
import heapq
import os
from functools import partial
from statistics import median

from farm import delay_of
from laboratory import (
    DOMAINSCHED,
    Laboratory,
    Result,
    alternate,
    enter_own_network,
    laboratory,
    machine,
)
from pipeline import measured

TIMEOUT = 15.0


def ideal(hosts: int, concurrency: int) -> float:
    """Give the seconds of the list schedule in the order of the queue."""
    free = [0.0] * concurrency
    for number in range(1, hosts + 1):
        heapq.heapreplace(free, free[0] + min(delay_of(number), TIMEOUT))
    return max(free)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, action="append")
    parser.add_argument("--never", default="0.03")
    given = parser.parse_args()
    os.environ["BENCHMARK_NEVER"] = given.never  # for the farm, too
    enter_own_network()
    every = given.concurrency or [100, 500]
    with laboratory(farm=True, latency=True) as place:
        place.create(given.hosts)
        results = alternate(
            {f"C={each}": partial(drained, place, each) for each in every}, given.rounds
        )
    print(f"{given.hosts} hosts, {given.rounds} rounds; {machine()}\n")
    print("| concurrency | ideal s | domainsched s | ratio |\n|---|---|---|---|")
    for each in every:
        best, took = ideal(given.hosts, each), median(run.wall for run in results[f"C={each}"])
        print(f"| {each} | {best:.1f} | {took:.1f} | {took / best:.2f} |")


def drained(place: Laboratory, concurrency: int) -> Result:
    limits = ("--timeout", f"{TIMEOUT:g}s", "--max-attempts", "1")
    command = (*DOMAINSCHED, "process", "--limit", "0", "-c", str(concurrency), "--quiet", *limits)
    return measured(place, command, settles=False)


if __name__ == "__main__":
    main()
