// Drives graphile-worker: one row of the comparison a call, see the README.
//
// Settings and why: "Performance" in its documentation
// (https://worker.graphile.org/docs/performance). `concurrentJobs: 24` with
// `maxPoolSize: 25` are those of its own two measurements: "Without batching"
// leaves the local queue and the completion delay off, "With batching" turns
// them on, the delay at 0, and the test behind it (perfTest/graphile.config.js)
// adds a refetch delay of 10 ms. Its local queue holds 500, which is the row
// `drain_batch_500`; in `drain_batch` it holds 100, as all the others fetch.
// A second process gained a quarter with batching, and lost a seventh without.
import { Logger, makeWorkerUtils, runMigrations, runOnce } from 'graphile-worker'
import { main, payload, priority, sql } from './common.mjs'

const logger = new Logger(() => () => {})
const concurrentJobs = 24
const spec = (i) => ({ identifier: 'noop', payload, priority: priority(i) })

await main({
  name: 'graphile-worker',
  rows: {
    enqueue_single_c1: { clients: 1, batch: 1, processes: 1, jobs: 4000 },
    enqueue_single_c32: { clients: 32, batch: 1, processes: 2, jobs: 5000 },
    enqueue_batch: { clients: 4, batch: 1000, processes: 2, jobs: 240000 },
    drain_single: { drain: true, clients: concurrentJobs, batch: 1, processes: 1, jobs: 12000 },
    drain_batch: { drain: true, clients: 2 * concurrentJobs, batch: 100, processes: 2, jobs: 150000 },
    drain_batch_500: { drain: true, clients: 2 * concurrentJobs, batch: 500, processes: 2, jobs: 200000 },
  },
  tables: 'graphile_worker._private_jobs',
  empty: 'truncate graphile_worker._private_jobs',
  // It deletes what is complete; what failed for good would stay.
  keeps: false,
  counts: 'select count(*) as waiting, 0 as finished from graphile_worker._private_jobs',

  async install(url) {
    await sql(url, 'drop schema if exists graphile_worker cascade')
    await runMigrations({ connectionString: url, logger })
  },

  async producer(url, clients) {
    const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: clients, logger })
    return {
      one: (i) => utils.addJob('noop', payload, { priority: priority(i) }),
      many: (from, n) => utils.addJobs(Array.from({ length: n }, (_, i) => spec(from + i))),
      close: () => utils.release(),
    }
  },

  async consumer(url, clients, { batch }) {
    const batching = batch === 1
      ? { localQueue: { size: -1 }, completeJobBatchDelay: -1, failJobBatchDelay: -1 }
      : { localQueue: { size: batch, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
    const worker = { connectionString: url, concurrentJobs: clients, maxPoolSize: clients + 1, logger, ...batching }
    return {
      go: () => runOnce({ preset: { worker }, taskList: { noop: async () => {} } }),
      close: async () => {},
    }
  },
})
