// Drives one pg-boss for a test: `node drive.js VERSION URL SCHEMA` makes its tables, then answers each line of JSON on
// stdin with one on stdout, in order.
import { createInterface } from 'node:readline'

const [, , version, connectionString, schema] = process.argv
const module = await import(`pgboss${version}`)
const PgBoss = module.PgBoss ?? module.default
const old = version === '9'
// Nothing runs by itself: what its supervisor would do now and then, a test asks for.
const boss = new PgBoss({
  connectionString,
  schema,
  max: 2,
  monitorIntervalSeconds: old ? undefined : 1,
  noSupervisor: true,
  noScheduling: true,
  supervise: false,
  schedule: false
})
boss.on('error', (err) => console.error(err))
await boss.start()

// Until 10 a queue was not named where an item was.
const named = (queue, ...rest) => (old ? rest : [queue, ...rest])

const what = {
  // Nothing to do until 10: a queue comes into being with its first item.
  queue: async ({ queue, options }) => (old ? null : await boss.createQueue(queue, { name: queue, ...options })),
  send: async ({ queue, data, options }) => await boss.send(queue, data, options ?? {}),
  // Data that is nested so deep that a test could not write it down.
  deep: async ({ queue, levels, options }) => {
    let data = {}
    for (let level = 0; level < levels; level++) data = { data }
    return await boss.send(queue, data, options ?? {})
  },
  // Many at once, each {id?, data, ...}.
  insert: async ({ queue, items }) => {
    const all = items.map((it) => ({ ...it, name: queue }))
    return version === '9' || version === '10' ? await boss.insert(all) : await boss.insert(queue, all)
  },
  // Its data is known to whoever asks, who may not be able to read it.
  item: async ({ queue, id }) => ({ ...(await boss.getJobById(...named(queue, id))), data: undefined }),
  fetch: async ({ queue, count }) => {
    const all = await (old ? boss.fetch(queue, count ?? 1) : boss.fetch(queue, { batchSize: count ?? 1 }))
    return [all].flat().map((it) => ({ ...it, data: undefined }))
  },
  complete: async ({ queue, id, data }) => await boss.complete(...named(queue, id, data)),
  fail: async ({ queue, id, data }) => await boss.fail(...named(queue, id, data)),
  cancel: async ({ queue, id }) => await boss.cancel(...named(queue, id)),
  // What its supervisor does: let what has been active for too long expire.
  expire: async ({ queue }) => {
    if (version === '9') return await boss.boss.expire()
    if (version === '10') return await boss.maintain()
    return await boss.supervise(queue)
  }
}

console.log(JSON.stringify({ ready: version }))
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  try {
    console.log(JSON.stringify({ answer: (await what[asked.do](asked)) ?? null }))
  } catch (err) {
    console.log(JSON.stringify({ error: String(err?.stack ?? err) }))
  }
}
await boss.stop({ graceful: false })
process.exit(0)
