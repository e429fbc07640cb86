"""CPU time of reading a page, whole and by part.

    python tests/benchmarks/reading.py [FOLDER]

FOLDER holds pages as *.html files; without one it is the farm's 200 pages that are read.
"""

from __future__ import annotations

import argparse
import cProfile
import gzip
import pstats
import time
from pathlib import Path
from statistics import median, quantiles

from farm import pages
from laboratory import machine

from domainsched import extract_page

URL = "https://www.example.com/"


def took(page: bytes) -> float:
    """Give CPU-ms, the least of three readings."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        extract_page(page, URL, {"content-type": "text/html"})
        times.append((time.process_time() - begun) * 1000)
    return min(times)


def by_part(every: list[bytes]) -> list[tuple[str, float]]:
    """Give each module's share of the profiled time, itself and what it calls outside of us."""
    profile = cProfile.Profile()
    profile.enable()
    for page in every:
        extract_page(page, URL, {"content-type": "text/html"})
    profile.disable()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined] # not in its stub
    entry = next(key for key in stats if key[2] == "extract_page" and key[0].endswith("page.py"))
    whole = stats[entry][3]
    called = {key: callers[entry][3] for key, (*_, callers) in stats.items() if entry in callers}
    parts: dict[str, float] = {}
    for (file, _, name), seconds in called.items():
        label = Path(file).stem if file.endswith(".py") else name
        parts[label] = parts.get(label, 0) + seconds / whole
    return sorted(parts.items(), key=lambda part: -part[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    if given.folder:
        every = [file.read_bytes() for file in sorted(given.folder.glob("*.html"))]
    else:
        every = [gzip.decompress(page) for page in pages()]
    extract_page(every[0], URL)
    times = [took(page) for page in every]
    size = sum(map(len, every)) / len(every) / 1000
    print(f"{len(every)} pages of {size:.0f} KB on average; {machine()}\n")
    print("| median CPU-ms | p95 | max |\n|---|---|---|")
    print(f"| {median(times):.1f} | {quantiles(times, n=20)[-1]:.1f} | {max(times):.1f} |\n")
    print("| part | share (profiled) |\n|---|---|")
    for name, share in by_part(every):
        if share >= 0.01:
            print(f"| {name} | {share:.0%} |")


if __name__ == "__main__":
    main()
