"""The floor: raw asyncio TLS, an HTTP answer read by hand, lexbor's parse, a batched UPDATE."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import zlib

import psycopg
from selectolax.lexbor import LexborHTMLParser

CLAIM = """
    UPDATE domains SET status = 'processing' WHERE id IN (
        SELECT id FROM domains WHERE status = 'pending' ORDER BY due_at, id LIMIT 100
        FOR UPDATE SKIP LOCKED)
    RETURNING id, domain
"""
SETTLE = """
    UPDATE domains SET status = 'completed', title = i.title
    FROM unnest(%s::bigint[], %s::text[]) AS i(id, title) WHERE domains.id = i.id
"""
TLS = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


async def visit(domain: str) -> str:
    reader, writer = await asyncio.open_connection(domain, 443, ssl=TLS)
    writer.write(f"GET / HTTP/1.1\r\nHost: {domain}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = zlib.decompress(await reader.readexactly(length), 47)
    writer.transport.abort()
    node = LexborHTMLParser(body.decode()).css_first("title")
    return node.text() if node else ""


async def main(concurrency: int) -> None:
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        ready: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        done: list[tuple[int, str]] = []

        async def work() -> None:
            while row := await ready.get():
                done.append((row[0], await visit(row[1])))

        workers = [asyncio.create_task(work()) for _ in range(concurrency)]
        while rows := await (await connection.execute(CLAIM)).fetchall():
            await connection.commit()
            for row in rows:
                ready.put_nowait(row)
            while ready.qsize() > concurrency:  # noqa: ASYNC110 - plain, and measured so
                await asyncio.sleep(0.005)
            if len(done) >= 100:
                await settle(connection, done)
        for _ in workers:
            ready.put_nowait(None)
        await asyncio.gather(*workers)
        await settle(connection, done)


async def settle(connection: psycopg.AsyncConnection, done: list[tuple[int, str]]) -> None:
    batch, done[:] = done[:], []
    await connection.execute(SETTLE, [[key for key, _ in batch], [title for _, title in batch]])
    await connection.commit()


asyncio.run(main(int(sys.argv[1])))
