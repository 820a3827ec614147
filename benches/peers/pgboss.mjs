// Drives pg-boss: one row of the comparison a call, see the README.
//
// Settings and why, by the pages of its documentation
// (https://github.com/timgit/pg-boss/tree/master/docs): "Jobs" for `insert`,
// the bulk interface, and for `fetch` with a `batchSize` and `complete` with an
// array of ids. `work` ("Workers") makes the same two calls, but waits half a
// second at least after each job fetched singly, so the loop is written out
// here. "Constructor" for the pool of 10 by default, which was also the best
// number of singly fetching loops, where four were the best with batches; and
// for `supervise` and `schedule`, which are off as in a process that leaves the
// maintenance to another.
import { PgBoss } from 'pg-boss'
import { main, payload, priority, sql } from './common.mjs'

const queue = 'bench'

async function open(url, max) {
  const boss = new PgBoss({ connectionString: url, max, supervise: false, schedule: false })
  boss.on('error', console.error)
  return boss.start()
}

await main({
  name: 'pg-boss',
  rows: {
    enqueue_single_c1: { clients: 1, batch: 1, processes: 1, jobs: 4000 },
    enqueue_single_c32: { clients: 32, batch: 1, processes: 2, jobs: 8000 },
    enqueue_batch: { clients: 4, batch: 1000, processes: 2, jobs: 240000 },
    drain_single: { drain: true, clients: 10, batch: 1, processes: 1, jobs: 6000 },
    drain_batch: { drain: true, clients: 4, batch: 100, processes: 2, jobs: 120000 },
  },
  tables: 'pgboss.job_common',
  empty: 'truncate pgboss.job_common',
  keeps: true,
  counts: "select count(*) filter (where state < 'active') as waiting, count(*) filter (where state = 'completed') as finished from pgboss.job_common",

  async install(url) {
    await sql(url, 'drop schema if exists pgboss cascade')
    const boss = await open(url, 1)
    await boss.createQueue(queue)
    await boss.stop({ graceful: false })
  },

  async producer(url, clients) {
    const boss = await open(url, clients)
    return {
      one: (i) => boss.send(queue, payload, { priority: priority(i) }),
      many: (from, n) => boss.insert(queue, Array.from({ length: n }, (_, i) => ({ data: payload, priority: priority(from + i) }))),
      close: () => boss.stop({ graceful: false }),
    }
  },

  async consumer(url, clients, { batch }) {
    const boss = await open(url, clients)
    const loop = async () => {
      for (;;) {
        const jobs = await boss.fetch(queue, { batchSize: batch })
        if (jobs.length === 0) return
        await boss.complete(queue, jobs.map((job) => job.id))
      }
    }
    return {
      go: () => Promise.all(Array.from({ length: clients }, loop)),
      close: () => boss.stop({ graceful: false }),
    }
  },
})
