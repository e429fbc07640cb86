"""Peak memory of `process` at high concurrency, and whether it grows with the number of domains.

python tests/benchmarks/memory.py [--hosts 2000,20000] [--concurrency 500]
"""

from __future__ import annotations

import argparse

from laboratory import DOMAINSCHED, enter_own_network, laboratory, machine
from pipeline import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="2000,20000")
    parser.add_argument("--concurrency", type=int, default=500)
    given = parser.parse_args()
    enter_own_network()
    command = (*DOMAINSCHED, "process", "--limit", "0", "-c", str(given.concurrency), "--quiet")
    print(
        f"concurrency {given.concurrency}; {machine()}\n\n"
        "| domains | peak MB | seconds |\n|---|---|---|"
    )
    with laboratory(farm=True) as place:
        for hosts in map(int, given.hosts.split(",")):
            place.create(hosts)
            result = measured(place, command)
            print(f"| {hosts} | {result.peak:.0f} | {result.wall:.0f} |", flush=True)


if __name__ == "__main__":
    main()
