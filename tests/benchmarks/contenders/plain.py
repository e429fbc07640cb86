"""The same work, written plainly: stock httpx, asyncio.gather, psycopg. HOSTS C as arguments."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import psycopg
from psycopg.types.json import Jsonb

from domainsched import extract_page

CLAIM = """
    UPDATE domains SET status = 'processing' WHERE id IN (
        SELECT id FROM domains WHERE status = 'pending' ORDER BY due_at, id LIMIT %s
        FOR UPDATE SKIP LOCKED)
    RETURNING id, domain
"""
SETTLE = "UPDATE domains SET status = 'completed', title = %s, domain_metadata = %s WHERE id = %s"


async def visit(client: httpx.AsyncClient, domain: str) -> dict[str, object]:
    response = await client.get(f"https://{domain}/")
    return extract_page(response.content, str(response.url), dict(response.headers))


async def main(concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(limits=limits, timeout=30, verify=os.environ["SSL_CERT_FILE"]) as client,
        await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection,
    ):
        while True:
            rows = await (await connection.execute(CLAIM, [concurrency])).fetchall()
            await connection.commit()
            if not rows:
                return
            found = await asyncio.gather(*(visit(client, domain) for _, domain in rows))
            async with connection.cursor() as cursor:
                await cursor.executemany(
                    SETTLE,
                    [
                        (page["title"], Jsonb(page), key)
                        for (key, _), page in zip(rows, found, strict=True)
                    ],
                )
            await connection.commit()


asyncio.run(main(int(sys.argv[1])))
