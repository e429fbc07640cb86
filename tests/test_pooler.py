"""The whole round through a transaction pooler: no statement may depend on a session."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

from conftest import Database as Place
from legacy import TENANT
from pooler import pooling

from domainsched.database import Database
from domainsched.dburl import DatabaseUrl
from domainsched.models import Complete
from domainsched.queue import Queue
from domainsched.schema import TableName, init, usable_table
from domainsched.store import Selection, Store

LEASE = timedelta(minutes=5)


async def test_init_add_claim_settle_inspect_and_reset_work_through_a_pooler(
    database: Place,
) -> None:
    names = [f"site{number}.test" for number in range(20)]
    with pooling(database.keywords) as pooler:
        async with Database(DatabaseUrl(pooler.keywords)) as client:
            await init(client, TableName("domains"), LEASE)
            table = await usable_table(client, TableName("domains"))
            store, queue = Store(client, table), Queue(client, table)
            assert (await store.add(names, tenant=UUID(TENANT))).added == len(names)
            for _ in range(10):  # often enough for psycopg to prepare, were it allowed to
                claimed = await queue.claim(
                    2, token=uuid4(), worker="host:1:run", lease=LEASE, max_attempts=3
                )
                held = {claim.id for claim in claimed.claims}
                assert await queue.extend(claimed.claims, LEASE) == held
                endings = [(claim, Complete({"title": claim.domain})) for claim in claimed.claims]
                assert await queue.settle(endings) == held
            assert (await store.glance()).statuses == {"completed": len(names)}
            everything = Selection()
            assert await store.reset(everything, force=False, clear_metadata=True) == len(names)
        assert pooler.violations == []
        assert pooler.transactions > 30, "three for each round, each on another backend"
