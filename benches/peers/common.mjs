// What the node drivers share: the arguments, the processes, the clock, the count at the end and the line of JSON.
//
// A row runs in one or more processes of its own, since one event loop would
// be measured rather than the queue. Each says "ready" once it is connected
// and warm; the clock runs from "go" to the last "done", so that starting node
// is nobody's cost.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import pg from 'pg'

export const payload = {
  image: 'busybox:1.36',
  command: ['sh', '-c', 'sleep 60'],
  cpu: '100m',
  memory: '64Mi',
  labels: { app: 'bench', tenant: 'acme' },
}

export const priority = (i) => i % 10

/** The jobs of one call of the bulk interface, and of one fill. */
const bulk = 1000

/** Runs what the command line asks of `peer`; the shape of a peer is in the README. */
export async function main(peer) {
  const [url, row, count, worker] = process.argv.slice(2)
  if (!url || !(row === 'setup' || row in peer.rows)) {
    fail(`usage: ${peer.name} DATABASE_URL setup|${Object.keys(peer.rows).join('|')} [N]`)
  }
  const plan = peer.rows[row]
  if (worker) return work(peer, url, plan, Number(count))
  if (row === 'setup') return peer.install(url)
  const jobs = Number(count ?? plan.jobs)
  if (!Number.isInteger(jobs / share(plan)) || jobs <= 0) fail(`N must be a multiple of ${share(plan)}`)
  const secs = await measure(peer, url, row, jobs)
  console.log(JSON.stringify({
    peer: peer.name, version: installed(peer.name), row, clients: plan.clients, batch: plan.batch, jobs, secs,
  }))
}

/** The connection for the schema, the vacuum and the counts, which no peer is asked to do. */
export async function sql(url, ...statements) {
  const client = new pg.Client(url)
  await client.connect()
  let answer
  for (const statement of statements) answer = await client.query(statement)
  await client.end()
  return answer
}

async function measure(peer, url, row, jobs) {
  const plan = peer.rows[row]
  await sql(url, peer.empty)
  if (plan.drain) await fill(peer, url, jobs)
  const workers = await Promise.all(Array.from({ length: plan.processes }, () => start(url, row, jobs / plan.processes)))
  // The warm-up of the producers leaves jobs behind, which are not to be counted.
  if (!plan.drain) await sql(url, peer.empty)
  const from = process.hrtime.bigint()
  await Promise.all(workers.map((worker) => { worker.send('go'); return said(worker, 'done') }))
  const secs = Number(process.hrtime.bigint() - from) / 1e9
  await Promise.all(workers.map((worker) => { worker.send('stop'); return once(worker, 'exit') }))
  const { rows: [{ waiting, finished }] } = await sql(url, peer.counts)
  const want = plan.drain ? [0, peer.keeps ? jobs : 0] : [jobs, 0]
  if (Number(waiting) !== want[0] || Number(finished) !== want[1]) {
    fail(`${row}: ${waiting} jobs wait and ${finished} are finished, after ${jobs} of them`)
  }
  return secs
}

async function fill(peer, url, jobs) {
  const producer = await peer.producer(url, 4)
  await spread(4, Math.ceil(jobs / bulk), (i) => producer.many(i * bulk, Math.min(bulk, jobs - i * bulk)))
  await producer.close()
  const { rows: [{ waiting }] } = await sql(url, `vacuum analyze ${peer.tables}`, peer.counts)
  if (Number(waiting) !== jobs) fail(`${waiting} jobs wait, where ${jobs} were to be filled in`)
}

async function start(url, row, jobs) {
  const worker = fork(process.argv[1], [url, row, String(jobs), 'worker'], { stdio: ['ignore', 2, 2, 'ipc'] })
  await said(worker, 'ready')
  return worker
}

function said(worker, word) {
  return new Promise((resolve) => {
    worker.on('message', (message) => { if (message === word) resolve() })
    worker.once('exit', (code) => { if (code !== 0) fail(`a worker ended before it was ${word}`) })
  })
}

async function work(peer, url, plan, jobs) {
  // Without the process that holds the clock there is nothing to work for.
  process.once('disconnect', () => process.exit(1))
  const clients = plan.clients / plan.processes
  const run = plan.drain ? await peer.consumer(url, clients, plan) : await produce(peer, url, clients, plan, jobs)
  process.send('ready')
  await once(process, 'message')
  await run.go()
  process.send('done')
  await once(process, 'message')
  await run.close()
  process.exit(0)
}

async function produce(peer, url, clients, plan, jobs) {
  const producer = await peer.producer(url, clients)
  const call = plan.batch === 1 ? (i) => producer.one(i) : (i) => producer.many(i * plan.batch, plan.batch)
  // All clients at once, so that the pool opens every connection it will need.
  await spread(clients, clients * 4, call)
  return { go: () => spread(clients, jobs / plan.batch, call), close: () => producer.close() }
}

/** Calls `call` with 0 to `calls` - 1, from as many loops as there are clients. */
async function spread(clients, calls, call) {
  let next = 0
  await Promise.all(Array.from({ length: clients }, async () => { while (next < calls) await call(next++) }))
}

/** The smallest number of jobs that divides evenly over the processes of a row. */
const share = (plan) => plan.processes * (plan.drain ? 1 : plan.batch)

function installed(name) {
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version
}

function fail(why) {
  console.error(why)
  process.exit(1)
}
