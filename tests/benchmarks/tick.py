"""What a command costs that has nothing to do: `process` with nothing due, `--help`, `--version`.

    python tests/benchmarks/tick.py [--rounds 11]

`python -c pass` is what the interpreter itself takes.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from statistics import median

from laboratory import DOMAINSCHED, alternate, laboratory, machine, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    with laboratory() as place:
        place.create(0)
        private = {key: value for key, value in place.environ.items() if key != "DATABASE_URL"}
        run((*DOMAINSCHED, "init", "--yes"), private)
        process = (*DOMAINSCHED, "process", "--quiet")
        results = alternate(
            {
                "process, a server": partial(run, process, place.environ),
                "process, embedded": partial(run, process, private),
                "--help": partial(run, (*DOMAINSCHED, "process", "--help"), place.environ),
                "--version": partial(run, (*DOMAINSCHED, "--version"), place.environ),
                "python -c pass": partial(run, (sys.executable, "-c", "pass"), dict(os.environ)),
            },
            given.rounds,
        )
    print(f"{given.rounds} rounds; {machine()}\n")
    print("| | CPU s | wall s | peak MB |\n|---|---|---|---|")
    for name, runs in results.items():
        cpu, wall, peak = (
            median(getattr(each, what) for each in runs) for what in ("cpu", "wall", "peak")
        )
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
