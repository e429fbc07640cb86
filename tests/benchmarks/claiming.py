"""No-op claims and settlements a second, against other queues and a bare loop.

    python tests/benchmarks/claiming.py [--rows 10000] [--rounds 5] [--batch 10] [--table 10000]

`--table` rows are in the table besides those that are drained: half completed, half pending for
tomorrow. Rates count the whole process, its start too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from statistics import median

from laboratory import CONTENDERS, Laboratory, Result, alternate, laboratory, machine, run

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


def on_table(place: Laboratory, kind: str, batch: int, rows: int) -> Result:
    place.execute(AGAIN)
    place.execute("VACUUM ANALYZE domains")
    return run(command("claims", kind, batch, rows), place.environ)


def drained(place: Laboratory, name: str, batch: int, rows: int) -> Result:
    run(command(name, "fill", batch, rows), place.environ)
    result = run(command(name, "drain", batch, rows), place.environ)
    for schema in ("procrastinate", "pgqueuer"):
        place.execute(f"DO $$ DECLARE o record; BEGIN {WIPE.format(schema)} END $$")
    return result


WIPE = """
    FOR o IN SELECT oid::regclass AS name FROM pg_class
        WHERE relkind IN ('r', 'p') AND relname LIKE '{0}%' LOOP
        EXECUTE 'DROP TABLE IF EXISTS ' || o.name || ' CASCADE';
    END LOOP;
    FOR o IN SELECT oid::regtype AS name FROM pg_type
        WHERE typtype = 'e' AND typname LIKE '{0}%' LOOP
        EXECUTE 'DROP TYPE IF EXISTS ' || o.name || ' CASCADE';
    END LOOP;
    FOR o IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname LIKE '{0}%'
        OR proname LIKE 'fn_{0}%' LOOP
        EXECUTE 'DROP ROUTINE IF EXISTS ' || o.name || ' CASCADE';
    END LOOP;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--table", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="only ours and the bare loop")
    given = parser.parse_args()
    with laboratory() as place:
        place.create(given.rows)
        place.execute(OTHERS.format(given.table))
        contenders: dict[str, Callable[[], Result]] = {
            name: partial(on_table, place, kind, given.batch, given.rows)
            for name, kind in (
                ("domainsched's queue", "ours"),
                ("domainsched's worker", "worker"),
                ("bare loop", "bare"),
            )
        }
        if not given.alone:
            contenders["pgqueuer"] = partial(drained, place, "pgqueued", given.batch, given.rows)
            contenders["procrastinate"] = partial(
                drained, place, "procrastinated", given.batch, given.rows // 10
            )
        results = alternate(contenders, given.rounds)
    print(
        f"batches of {given.batch}, {given.table} other rows, {given.rounds} rounds; {machine()}\n"
    )
    print("| | rows/s | of domainsched's queue |\n|---|---|---|")
    ours = results["domainsched's queue"]
    for name, runs in results.items():
        count = given.rows // 10 if name == "procrastinate" else given.rows
        rate = median(count / each.wall for each in runs)
        share = median(
            count / each.wall / (given.rows / own.wall)
            for own, each in zip(ours, runs, strict=True)
        )
        print(f"| {name} | {rate:.0f} | {share:.2f} |")


if __name__ == "__main__":
    main()
