"""No-op claims and settlements a second, against other queues and a bare loop.

    python tests/benchmarks/claiming.py [--rows 10000] [--rounds 5] [--batch 10] [--table 10000]
        [--large 1000000]

`--table` rows are in the table besides those that are drained: half completed, half pending for
tomorrow; `--large` are in a second one, of ours alone. Rates count from the connection
to the last row, CPU time is the whole process's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

from laboratory import CONTENDERS, Laboratory, Measured, Result, alternate, laboratory, machine, run

OURS, SLOW = "domainsched's queue", "procrastinate"
OTHERS = """
    INSERT INTO domains (domain, status, due_at)
    SELECT 'other' || n || '.test', CASE WHEN n % 2 = 0 THEN 'completed' ELSE 'pending' END,
        now() + CASE WHEN n % 2 = 0 THEN interval '0' ELSE interval '1 day' END
    FROM generate_series(1, {}) n
"""
AGAIN = """
    UPDATE domains SET status = 'pending', due_at = now(), attempts = 0, claim_token = NULL
    WHERE domain LIKE 'site%'
"""


def command(name: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, str(CONTENDERS / f"{name}.py"), *map(str, arguments))


def prepare(place: Laboratory, rows: int, others: int) -> None:
    place.create(rows)
    place.execute(OTHERS.format(others))


def on_table(place: Laboratory, kind: str, batch: int, rows: int) -> Result:
    place.execute(AGAIN)
    place.execute("VACUUM ANALYZE domains")
    return run(command("claims", kind, batch, rows), place.environ)


def drained(place: Laboratory, name: str, batch: int, rows: int) -> Result:
    place.recreate()
    run(command(name, "fill", batch, rows), place.environ)
    place.execute("VACUUM ANALYZE")
    return run(command(name, "drain", batch, rows), place.environ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--table", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="only ours and the bare loop")
    given = parser.parse_args()
    with laboratory() as place:
        prepare(place, given.rows, given.table)
        contenders: dict[str, Callable[[], Result]] = {
            name: partial(on_table, place, kind, given.batch, given.rows)
            for name, kind in (
                (OURS, "ours"),
                ("domainsched's worker", "worker"),
                ("bare loop", "bare"),
                ("bare loop that prepares nothing", "unprepared"),
            )
        }
        if given.large:
            large = replace(place, database="large")
            prepare(large, given.rows, given.large)
            contenders[f"{OURS} among {given.large} rows"] = partial(
                on_table, large, "ours", given.batch, given.rows
            )
        if not given.alone:
            theirs = replace(place, database="theirs")
            contenders["pgqueuer"] = partial(drained, theirs, "pgqueued", given.batch, given.rows)
            contenders[SLOW] = partial(
                drained, theirs, "procrastinated", given.batch, rows_of(SLOW, given.rows)
            )
        results = alternate(contenders, given.rounds)
    print(
        f"batches of {given.batch}, {given.table} other rows, {given.rounds} rounds; {machine()}\n"
    )
    print(table(results, given.rows))


def table(results: Measured, rows: int) -> str:
    """Draw rates, those of ours over each one's, and CPU; ratios are taken within each round."""
    lines = ["| | rows/s | ours, of its rate | CPU-ms a row |", "|---|---|---|---|"]
    rates = {name: [rows_of(name, rows) / float(each.output) for each in runs]
             for name, runs in results.items()}  # fmt: skip
    for name, its in rates.items():
        ratio = median(own / other for own, other in zip(rates[OURS], its, strict=True))
        cpu = median(each.cpu for each in results[name]) * 1000 / rows_of(name, rows)
        lines.append(f"| {name} | {median(its):.0f} | {ratio:.2f} | {cpu:.2f} |")
    return "\n".join(lines)


def rows_of(name: str, rows: int) -> int:
    """Say how many it drains; the slow one has a tenth."""
    return rows // 10 if name == SLOW else rows


if __name__ == "__main__":
    main()
