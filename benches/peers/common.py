"""What the Python drivers share: the arguments, the processes, the clock, the count at the end and the line of JSON.

The same as `common.mjs` does for node: a row runs in processes of its own,
each says "ready" once it is connected and warm, and the clock runs from "go"
to the last "done", so that starting Python is nobody's cost.
"""

import asyncio
import json
import subprocess
import sys
import time
from importlib.metadata import version

import psycopg
import uvloop

PAYLOAD = {
    "image": "busybox:1.36",
    "command": ["sh", "-c", "sleep 60"],
    "cpu": "100m",
    "memory": "64Mi",
    "labels": {"app": "bench", "tenant": "acme"},
}

# The jobs of one call of the bulk interface, and of one fill.
BULK = 1000


def priority(i):
    return i % 10


def main(peer):
    """Runs what the command line asks of `peer`; the shape of a peer is in the README."""
    args = sys.argv[1:]
    if len(args) < 2 or not (args[1] == "setup" or args[1] in peer.rows):
        sys.exit(f"usage: {peer.name} DATABASE_URL setup|{'|'.join(peer.rows)} [N]")
    url, row = args[:2]
    if row == "setup":
        return uvloop.run(peer.install(url))
    plan = peer.rows[row]
    if len(args) == 4:
        return uvloop.run(work(peer, url, plan, int(args[2])))
    jobs = int(args[2]) if len(args) == 3 else plan["jobs"]
    if jobs <= 0 or jobs % share(plan):
        sys.exit(f"N must be a multiple of {share(plan)}")
    secs = measure(peer, url, row, jobs)
    line = {"peer": peer.name, "version": version(peer.name), "row": row}
    line |= {"clients": plan["clients"], "batch": plan["batch"], "jobs": jobs, "secs": secs}
    print(json.dumps(line))


def sql(url, *statements):
    """Runs what no peer is asked to do: the schema, the vacuum and the counts."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def measure(peer, url, row, jobs):
    plan = peer.rows[row]
    drains = "drain" in plan
    sql(url, peer.empty)
    if drains:
        uvloop.run(fill(peer, url, jobs))
    workers = [start(url, row, jobs // plan["processes"]) for _ in range(plan["processes"])]
    for worker in workers:
        hear(worker, "ready")
    # The warm-up of the producers leaves jobs behind, which are not to be counted.
    if not drains:
        sql(url, peer.empty)
    begin = time.perf_counter()
    for worker in workers:
        tell(worker, "go")
    for worker in workers:
        hear(worker, "done")
    secs = time.perf_counter() - begin
    for worker in workers:
        worker.communicate()
    waiting, finished = sql(url, peer.counts)
    if (waiting, finished) != ((0, jobs if peer.keeps else 0) if drains else (jobs, 0)):
        sys.exit(f"{row}: {waiting} jobs wait and {finished} are finished, after {jobs} of them")
    return secs


async def fill(peer, url, jobs):
    producer = await peer.producer(url, 4)
    await spread(4, -(-jobs // BULK), lambda i: producer.many(i * BULK, min(BULK, jobs - i * BULK)))
    await producer.close()
    waiting, _ = sql(url, f"vacuum analyze {peer.tables}", peer.counts)
    if waiting != jobs:
        sys.exit(f"{waiting} jobs wait, where {jobs} were to be filled in")


def start(url, row, jobs):
    command = [sys.executable, sys.argv[0], url, row, str(jobs), "worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(worker, word):
    worker.stdin.write(word + "\n")
    worker.stdin.flush()


def hear(worker, word):
    if worker.stdout.readline().strip() != word:
        sys.exit(f"a worker ended before it was {word}")


async def work(peer, url, plan, jobs):
    clients = plan["clients"] // plan["processes"]
    if "drain" in plan:
        run = await peer.consumer(url, clients, plan)
    else:
        run = await Produce.open(peer, url, clients, plan, jobs)
    print("ready", flush=True)
    if not await asyncio.to_thread(sys.stdin.readline):
        sys.exit("the process that holds the clock is gone")
    await run.go()
    print("done", flush=True)
    await run.close()


class Produce:
    """Enqueues a share of a row's jobs, one or a batch a call."""

    @classmethod
    async def open(cls, peer, url, clients, plan, jobs):
        self = cls()
        self.clients, self.calls = clients, jobs // plan["batch"]
        self.producer = await peer.producer(url, clients)
        batch, producer = plan["batch"], self.producer
        self.call = producer.one if batch == 1 else lambda i: producer.many(i * batch, batch)
        # All clients at once, so that the pool opens every connection it will need.
        await spread(clients, clients * 4, self.call)
        return self

    async def go(self):
        await spread(self.clients, self.calls, self.call)

    async def close(self):
        await self.producer.close()


async def spread(clients, calls, call):
    """Calls `call` with 0 to `calls` - 1, from as many loops as there are clients."""
    numbers = iter(range(calls))

    async def loop():
        for i in numbers:
            await call(i)

    await asyncio.gather(*(loop() for _ in range(clients)))


def share(plan):
    """The smallest number of jobs that divides evenly over the processes of a row."""
    return plan["processes"] * (1 if "drain" in plan else plan["batch"])
