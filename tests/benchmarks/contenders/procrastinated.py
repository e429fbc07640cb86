"""procrastinate at its best: `procrastinated.py fill|drain CONCURRENCY ROWS`; no-op jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

import procrastinate

logging.disable(logging.CRITICAL)
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"])
)


@app.task(name="nothing")
async def nothing() -> None:
    """A job without work."""


async def main(what: str, concurrency: int, rows: int) -> None:
    async with app.open_async():
        if what == "fill":
            await app.schema_manager.apply_schema_async()
            for start in range(0, rows, 10_000):
                await nothing.batch_defer_async(*[{}] * min(10_000, rows - start))
        else:
            await app.run_worker_async(
                concurrency=concurrency, wait=False, listen_notify=False,
                install_signal_handlers=False, delete_jobs="always",
            )  # fmt: skip


begun = time.monotonic()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
print(time.monotonic() - begun)
