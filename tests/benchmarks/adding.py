"""`domainsched add` of a file, against COPY into a temporary table and INSERT ... SELECT.

python tests/benchmarks/adding.py [--rows 1000000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from statistics import median

from laboratory import (
    CONTENDERS,
    DOMAINSCHED,
    Laboratory,
    Result,
    alternate,
    laboratory,
    machine,
    run,
)


def added(place: Laboratory, command: tuple[str, ...], rows: int) -> Result:
    place.execute("TRUNCATE domains")
    result = run(command, place.environ)
    ((there,),) = place.execute("SELECT count(*) FROM domains")
    if there != rows:
        sys.exit(f"error: {there} of {rows} rows")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with laboratory() as place:
        place.create(0)
        file = place.folder / "domains.txt"
        with file.open("w") as lines:
            lines.writelines(f"site{n:07d}.example.com\n" for n in range(given.rows))
        copy = (sys.executable, str(CONTENDERS / "copying.py"), str(file))
        contenders = {
            "domainsched add": partial(
                added, place, (*DOMAINSCHED, "add", "-f", str(file)), given.rows
            ),
            "COPY and INSERT": partial(added, place, copy, given.rows),
        }
        results = alternate(contenders, given.rounds)
    print(f"{given.rows} domains, {given.rounds} rounds; {machine()}\n")
    print("| | seconds | rate of COPY's | peak MB |\n|---|---|---|---|")
    for name, runs in results.items():
        best = results["COPY and INSERT"]
        share = median(other.wall / each.wall for other, each in zip(best, runs, strict=True))
        wall, peak = (median(getattr(each, what) for each in runs) for what in ("wall", "peak"))
        print(f"| {name} | {wall:.1f} | {share:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
