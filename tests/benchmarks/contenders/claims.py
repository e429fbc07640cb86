"""Claims and settles until nothing is due: `claims.py ours|worker|bare|unprepared BATCH ROWS`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from domainsched.database.catalogue import usable_table
from domainsched.database.connection import Database
from domainsched.database.queue import Queue
from domainsched.database.table import TableName
from domainsched.dburl import parse
from domainsched.models import Claim, Complete, Found, Outcome
from domainsched.worker import Plan, Run, Stop

LEASE = timedelta(minutes=15)
METADATA = {"version": 1}
BARE_CLAIM = """
    WITH due AS (SELECT id FROM domains
        WHERE status IN ('pending', 'processing') AND due_at <= now()
        ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)
    UPDATE domains SET status = 'processing', attempts = attempts + 1, claim_token = %s,
        due_at = now() + interval '15 minutes'
    FROM due WHERE domains.id = due.id
    RETURNING domains.id, domain
"""
BARE_SETTLE = """
    UPDATE domains SET status = 'completed', domain_metadata = i.metadata
    FROM unnest(%s::bigint[], %s::jsonb[]) AS i(id, metadata)
    WHERE domains.id = i.id AND claim_token = %s
"""
"""The least that keeps a queue: a token, but no kinds of failure, no suspects, no bounds."""


async def bare(batch: int, rows: int, prepare_threshold: int | None = 5) -> None:
    connect = psycopg.AsyncConnection.connect(
        os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=prepare_threshold
    )
    async with await connect as connection:
        done = 0
        while done < rows:
            token = uuid4()
            found = await (await connection.execute(BARE_CLAIM, [batch, token])).fetchall()
            ids = [row[0] for row in found]
            await connection.execute(BARE_SETTLE, [ids, [Jsonb(METADATA)] * len(ids), token])
            done += len(ids)


async def unprepared(batch: int, rows: int) -> None:
    """As poolers want it."""
    await bare(batch, rows, prepare_threshold=None)


async def ours(batch: int, rows: int) -> None:
    async with Database(parse(os.environ["DATABASE_URL"])) as database:
        queue = Queue(database, await usable_table(database, TableName("domains")))
        done = 0
        while done < rows:
            claimed = await queue.claim(
                batch, token=uuid4(), worker="benchmark", lease=LEASE, max_attempts=3
            )
            page = Complete({"domain_metadata": METADATA})
            done += len(await queue.settle([(claim, page) for claim in claimed.claims]))


async def worker(batch: int, rows: int) -> None:
    async def visit(claim: Claim, _: Callable[[], None]) -> Outcome:
        del claim
        return Found({"domain_metadata": METADATA})

    async with Database(parse(os.environ["DATABASE_URL"])) as database:
        queue = Queue(database, await usable_table(database, TableName("domains")))
        plan = Plan(limit=rows, concurrency=batch, lease=LEASE, grace=LEASE)
        await Run(
            queue, visit, plan, worker="benchmark", run_id="benchmark", stop=Stop(),
            on_begin=lambda _: None, on_settled=lambda _: None,
        ).run()  # fmt: skip


begun = time.monotonic()
asyncio.run(globals()[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
print(time.monotonic() - begun)
