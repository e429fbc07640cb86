"""Fake sites for benchmarks: `python farm.py FOLDER [--latency]`; ends when standard input does.

Every name of .bench.test is a site of its own address in 127.10.0.0/16, on ports 80 and 443, with a
page of 20 to 200 KB, gzipped. It needs a network of its own (laboratory.py makes one).
"""

from __future__ import annotations

import asyncio
import gzip
import math
import os
import random
import ssl
import sys
from functools import cache
from pathlib import Path

import trustme

sys.path.insert(0, str(Path(__file__).parents[1]))

from nameserver import Answer, Name, NameServer

PAGES = 200
WORDS = [
    "we",
    "our",
    "your",
    "the",
    "and",
    "of",
    "to",
    "in",
    "for",
    "with",
    "is",
    "are",
    "a",
    "on",
    "at",
    "by",
    "from",
    "service",
    "team",
    "project",
    "design",
    "quality",
    "customer",
    "house",
    "garden",
    "water",
    "light",
    "office",
    "company",
    "people",
    "business",
    "craft",
    "local",
    "experience",
    "since",
    "family",
    "repair",
    "install",
    "advice",
    "contact",
    "offer",
    "price",
    "work",
    "day",
    "week",
    "year",
]
LATENCY = (0.3, 5.0)
"""Seconds: the median and the 99th percentile of a lognormal."""
NEVER = 0.03
"""Share of the sites that take a request and never answer."""


def number_of(host: str) -> int:
    """Tell `site00042.bench.test` by its number; 0 for others."""
    digits = "".join(filter(str.isdigit, host))
    return int(digits or 0)


def address_of(host: str) -> str:
    number = number_of(host)
    return f"127.10.{number >> 8 & 255}.{number & 255}"


class _Names(dict[str, Name]):
    """Every name of the farm."""

    def get(self, name: str, default: Name | None = None) -> Name | None:  # type: ignore[override]
        if not name.endswith(".bench.test"):
            return default
        answer: Answer = {"A": address_of(name)}
        return lambda _: answer


def pages() -> list[bytes]:
    """Make pages like those of small businesses, always the same ones, gzipped."""
    dice = random.Random(1)  # noqa: S311 - the same pages each time
    return [gzip.compress(_page(dice, int(20_000 * 10 ** dice.random())), 6) for _ in range(PAGES)]


def _page(dice: random.Random, size: int) -> bytes:
    name = f"{dice.choice(WORDS).title()} {dice.choice(WORDS).title()}"
    parts = [_head(dice, name)]
    length = len(parts[0])
    while length < size:
        block = _block(dice)
        parts.append(block)
        length += len(block)
    return ("".join(parts) + _foot(dice, name)).encode()


def _head(dice: random.Random, name: str) -> str:
    wordpress = dice.random() < 0.4
    assets = "".join(
        f'<script src="/wp-content/plugins/p{n}/a.js?ver=1.{n}"></script>'
        f'<link rel="stylesheet" href="/wp-content/themes/astra/s{n}.css?ver=6.5">'
        for n in range(8)
    )
    plain = (
        '<script src="/assets/jquery-3.7.1.min.js"></script><link rel="stylesheet" href="/a.css">'
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} | Home</title>'
        f'<meta name="description" content="{name} for {dice.choice(WORDS)} and more">'
        '<link rel="icon" href="/favicon.png" sizes="32x32">'
        f'<meta property="og:site_name" content="{name}">'
        + ('<meta name="generator" content="WordPress 6.5.2">' + assets if wordpress else plain)
        + "<script>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments)}"
        f"gtag('config','G-{dice.randrange(10**9):010d}');</script>"
        f'<script type="application/ld+json">{{"@type":"Organization","name":"{name}",'
        '"logo":"/logo.png"}</script></head><body class="home"><header><a href="/">'
        f'<img class="logo" src="/logo.png" alt="{name}"></a><nav>'
        + "".join(f'<a href="/page{n}">{dice.choice(WORDS)}</a>' for n in range(12))
        + "</nav></header><main>"
    )


def _block(dice: random.Random) -> str:
    text = " ".join(dice.choices(WORDS, k=dice.randrange(20, 90)))
    return (
        f'<section class="block b{dice.randrange(99)}"><div class="row"><div class="column">'
        f"<h2>{text[:40].title()}</h2><p>{text}.</p>"
        f'<a class="button" href="/more/{dice.randrange(999)}">{dice.choice(WORDS)}</a>'
        f'<img src="/images/{dice.randrange(999)}.jpg" alt="" loading="lazy" width="300"></div>'
        "</div></section>\n"
    )


def _foot(dice: random.Random, name: str) -> str:
    phone = f"+1 212 555 0{dice.randrange(100, 200)}"
    return (
        f'</main><footer><p>{name}, 1 Main Street, New York</p><a href="tel:{phone}">{phone}</a>'
        '<a href="mailto:info@bench.test">info@bench.test</a>'
        '<a href="https://www.facebook.com/benchtest"></a><a href="https://x.com/benchtest"></a>'
        "</footer></body></html>"
    )


class Farm:
    """Answers a GET on every address, after the time that belongs to the host."""

    def __init__(self, *, latency: bool) -> None:
        self._pages = [_answer(page) for page in pages()]
        self._latency = latency

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._one(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        line, _, rest = head.partition(b"\r\n")
        if line.startswith(b"GET /robots.txt"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        host = rest.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode()
        if self._latency:
            await asyncio.sleep(delay_of(number_of(host)))
        writer.write(self._pages[number_of(host) % PAGES])
        await writer.drain()


def _answer(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\n"
        b"Server: nginx\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


@cache
def delay_of(number: int) -> float:
    """Give a site's latency in seconds: always the same; an hour for those that never answer."""
    dice = random.Random(number)  # noqa: S311 - the same each time
    if dice.random() < float(os.environ.get("BENCHMARK_NEVER", NEVER)):
        return 3600
    median, last = LATENCY
    sigma = math.log(last / median) / 2.326
    return median * math.exp(sigma * dice.gauss(0, 1))


async def main(folder: Path, *, latency: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("*.bench.test", "*.www.bench.test").configure_cert(tls)
    farm = Farm(latency=latency)
    for port, context in ((80, None), (443, tls)):
        await asyncio.start_server(farm.serve, "0.0.0.0", port, ssl=context, backlog=1024)  # noqa: S104 - of a network of its own
    with NameServer(_Names()):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # who still waits for an answer need not be told


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), latency="--latency" in sys.argv))
