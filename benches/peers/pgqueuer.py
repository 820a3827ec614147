"""Drives pgqueuer: one row of the comparison a call, see the README.

Settings and why, by the pages of its documentation
(https://pgqueuer.readthedocs.io): "Performance Tuning" asks for its autovacuum
settings after installation, a pool for the producers and a connection of its
own for each consumer; durability stays at `durable`, as that of all the others
does. "Benchmarks" finds asyncpg the faster driver, and the program behind it
(tools/benchmark.py) runs five consumers to a process in the drain mode, on
uvloop; two each in two processes were the best of those tried, 1 to 10 in one to
four, and a pool for them no better. "Concurrency Control" for the limit of
`drain_batch_capped`, which holds over all consumers, by a unique index.
"""

import asyncio
import json
import sys

# This file has the name of the package it drives, which is to be found first.
sys.path.append(sys.path.pop(0))

import asyncpg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.types import QueueExecutionMode

from common import PAYLOAD, main, priority, sql

SCHEMA = {"search_path": "pgqueuer"}
BYTES = json.dumps(PAYLOAD).encode()
DRAIN = {"drain": True, "clients": 4, "processes": 2}


class Producer:
    def __init__(self, pool):
        self.pool, self.queries = pool, Queries(AsyncpgPoolDriver(pool))

    async def one(self, i):
        await self.queries.enqueue("noop", BYTES, priority(i))

    async def many(self, first, count):
        priorities = [priority(first + i) for i in range(count)]
        await self.queries.enqueue(["noop"] * count, [BYTES] * count, priorities)

    async def close(self):
        await self.pool.close()


class Consumer:
    def __init__(self, connections, plan):
        self.connections, self.batch = connections, plan["batch"]
        self.managers = [PgQueuer(AsyncpgDriver(connection)) for connection in connections]
        for manager in self.managers:

            @manager.entrypoint("noop", concurrency_limit=plan.get("cap", 0))
            async def noop(_job):
                pass

    async def go(self):
        await asyncio.gather(
            *(m.run(batch_size=self.batch, mode=QueueExecutionMode.drain) for m in self.managers)
        )

    async def close(self):
        for connection in self.connections:
            await connection.close()


class Pgqueuer:
    name = "pgqueuer"
    rows = {
        "enqueue_single_c1": {"clients": 1, "batch": 1, "processes": 1, "jobs": 4000},
        "enqueue_single_c32": {"clients": 32, "batch": 1, "processes": 2, "jobs": 10000},
        "enqueue_batch": {"clients": 4, "batch": 1000, "processes": 2, "jobs": 300000},
        "drain_single": {**DRAIN, "batch": 1, "jobs": 4000},
        "drain_batch": {**DRAIN, "batch": 100, "jobs": 80000},
        "drain_batch_capped": {**DRAIN, "batch": 100, "jobs": 40000, "cap": 1000},
    }
    tables = "pgqueuer.pgqueuer, pgqueuer.pgqueuer_log"
    empty = "truncate pgqueuer.pgqueuer, pgqueuer.pgqueuer_log, pgqueuer.pgqueuer_statistics"
    keeps = True
    counts = """
        select (select count(*) from pgqueuer.pgqueuer),
               (select count(*) from pgqueuer.pgqueuer_log where status = 'successful')
    """

    async def install(self, url):
        sql(url, "drop schema if exists pgqueuer cascade", "create schema pgqueuer")
        connection = await asyncpg.connect(url, server_settings=SCHEMA)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def producer(self, url, clients):
        pool = await asyncpg.create_pool(
            url, min_size=clients, max_size=clients, server_settings=SCHEMA
        )
        return Producer(pool)

    async def consumer(self, url, clients, plan):
        connections = [await asyncpg.connect(url, server_settings=SCHEMA) for _ in range(clients)]
        return Consumer(connections, plan)


if __name__ == "__main__":
    main(Pgqueuer())
