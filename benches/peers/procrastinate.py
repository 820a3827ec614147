"""Drives procrastinate: one row of the comparison a call, see the README.

Settings and why, by the pages of its documentation
(https://procrastinate.readthedocs.io): "Batch defer multiple jobs" for the
bulk interface, which takes one priority a call. "Execute multiple jobs at the
same time" for the concurrency of a worker and for several processes; two of
three were the best of those tried, 3 to 30 in one to four. "Mind the size of your
PostgreSQL pool" asks for as many connections as the concurrency and one more
where jobs are short. "Delete finished jobs" for `delete_jobs`, slightly
faster than keeping them. There is no fetch of more than one job, so that
`drain_batch` is `drain_single` again, and its line says a batch of 1.
"""

import logging
import sys

# This file has the name of the package it drives, which is to be found first.
sys.path.append(sys.path.pop(0))

from procrastinate import App, PsycopgConnector

from common import PAYLOAD, main, priority, sql

DRAIN = {"drain": True, "clients": 6, "batch": 1, "processes": 2, "jobs": 3600}

# An app made by the main module is warned of, which the workers here may not mind.
logging.getLogger("procrastinate").setLevel(logging.ERROR)


def app(url, connections):
    """An app whose objects live in a schema of their own, as "Set the database PG schema" says."""
    connector = PsycopgConnector(
        conninfo=url,
        kwargs={"options": "-c search_path=procrastinate"},
        min_size=connections,
        max_size=connections,
    )
    made = App(connector=connector)

    @made.task(name="noop", queue="bench")
    async def noop(**_payload):
        pass

    return made, noop


class Producer:
    def __init__(self, made, noop):
        self.app = made
        self.by_priority = [noop.configure(priority=p) for p in range(10)]

    async def one(self, i):
        await self.by_priority[priority(i)].defer_async(**PAYLOAD)

    async def many(self, first, count):
        batch = first // count
        await self.by_priority[priority(batch)].batch_defer_async(*([PAYLOAD] * count))

    async def close(self):
        await self.app.close_async()


class Consumer:
    def __init__(self, made, clients):
        self.app, self.clients = made, clients

    async def go(self):
        await self.app.run_worker_async(
            queues=["bench"],
            concurrency=self.clients,
            wait=False,
            install_signal_handlers=False,
            # What failed would stay, and be counted.
            delete_jobs="successful",
        )

    async def close(self):
        await self.app.close_async()


class Procrastinate:
    name = "procrastinate"
    rows = {
        "enqueue_single_c1": {"clients": 1, "batch": 1, "processes": 1, "jobs": 4000},
        "enqueue_single_c32": {"clients": 32, "batch": 1, "processes": 2, "jobs": 8000},
        "enqueue_batch": {"clients": 4, "batch": 1000, "processes": 2, "jobs": 48000},
        "drain_single": DRAIN,
        "drain_batch": DRAIN,
    }
    tables = "procrastinate.procrastinate_jobs, procrastinate.procrastinate_events"
    empty = "truncate procrastinate.procrastinate_jobs, procrastinate.procrastinate_events cascade"
    keeps = False
    counts = "select count(*), 0 from procrastinate.procrastinate_jobs"

    async def install(self, url):
        sql(url, "drop schema if exists procrastinate cascade", "create schema procrastinate")
        made, _ = app(url, 1)
        async with made.open_async():
            await made.schema_manager.apply_schema_async()

    async def producer(self, url, clients):
        made, noop = app(url, clients)
        await made.open_async()
        return Producer(made, noop)

    async def consumer(self, url, clients, _plan):
        made, _ = app(url, clients + 1)
        await made.open_async()
        return Consumer(made, clients)


if __name__ == "__main__":
    main(Procrastinate())
