"""pgqueuer over asyncpg: `pgqueued.py fill|drain BATCH ROWS`; no-op jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

logging.disable(logging.CRITICAL)


async def main(what: str, batch: int, rows: int) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    driver = AsyncpgDriver(connection)
    if what == "fill":
        queries = Queries(driver)
        await queries.install()
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            await queries.enqueue(["nothing"] * count, [None] * count, [0] * count)
        await connection.close()
        return
    application = PgQueuer(driver)

    @application.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        """Do nothing."""

    await application.run(batch_size=batch, mode=QueueExecutionMode.drain)


begun = time.monotonic()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
print(time.monotonic() - begun)
