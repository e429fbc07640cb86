"""Claim, https visit, extraction, settlement: CPU time of a domain, against others.

    python tests/benchmarks/pipeline.py [--hosts 2000] [--rounds 5] [--concurrency 100]

All visit the same sites, each over a new and verified connection. `plain` is the same work with
stock httpx and asyncio.gather; `scrapy` only fetches and reads the title, without a database or
verification; `floor` is asyncio's TLS, a parse and a batched UPDATE.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from laboratory import (
    CONTENDERS,
    DOMAINSCHED,
    Laboratory,
    Result,
    alternate,
    enter_own_network,
    laboratory,
    machine,
    run,
    table,
)

AGAIN = """
    UPDATE domains SET status = 'pending', due_at = now(), attempts = 0, claim_token = NULL,
        last_error = NULL, last_error_kind = NULL
"""
LEFT = """
    SELECT domain, status, attempts, last_error_kind, last_error,
        extract(epoch FROM due_at - now())::int
    FROM domains WHERE status <> 'completed' ORDER BY id
"""
MOST_LEFT = 0.01
"""Of all rows: with more, it was not the same work."""


def measured(place: Laboratory, command: tuple[str, ...], *, settles: bool = True) -> Result:
    """Run with every row due, and see that every row was done."""
    place.execute(AGAIN)
    place.execute("VACUUM ANALYZE domains")
    result = run(command, place.environ)
    if settles:
        _see_what_is_left(place, command)
    return result


def _see_what_is_left(place: Laboratory, command: tuple[str, ...]) -> None:
    """Tell of visits that failed, as on a busy machine some do: they wait for their next attempt.

    A run does not wait for that. Rows that nobody visited, or somebody still holds, are an error.
    """
    ((rows,),) = place.execute("SELECT count(*) FROM domains")
    assert isinstance(rows, int)
    left = place.execute(LEFT)
    for domain, status, attempts, kind, why, seconds in left[:10]:
        print(
            f"  left: {domain} {status}, attempt {attempts}, {kind}: {why}; due in {seconds} s",
            file=sys.stderr,
        )
    failed = sum(kind is not None and status != "processing" for _, status, _, kind, *_ in left)
    if failed < len(left) or failed > MOST_LEFT * rows:
        sys.exit(f"error: {command} left {len(left)} of {rows} rows, {failed} of them visited")


def contenders(
    place: Laboratory, concurrency: int, chosen: list[str]
) -> dict[str, Callable[[], Result]]:
    process = (*DOMAINSCHED, "process", "--limit", "0", "-c", str(concurrency), "--quiet")
    others = {
        name: (sys.executable, str(CONTENDERS / f"{file}.py"), str(concurrency))
        for name, file in (("plain httpx", "plain"), ("scrapy", "spider"), ("floor", "floor"))
    }
    every = {
        "domainsched": (*process, "--processes", "1"),
        "domainsched, 2 processes": (*process, "--processes", "2"),
        "domainsched, robots.txt ignored": (*process, "--processes", "1", "--ignore-robots"),
        **others,
    }
    return {
        name: partial(measured, place, command, settles=name != "scrapy")
        for name, command in every.items()
        if not chosen or name in chosen
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--only", action="append", default=[], help="a contender's name")
    given = parser.parse_args()
    enter_own_network()
    with laboratory(farm=True) as place:
        place.create(given.hosts)
        results = alternate(contenders(place, given.concurrency, given.only), given.rounds)
    print(
        f"{given.hosts} hosts, concurrency {given.concurrency},"
        f" {given.rounds} rounds; {machine()}\n"
    )
    print(table(results, given.hosts, next(iter(results))))


if __name__ == "__main__":
    main()
