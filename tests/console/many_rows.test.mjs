// Every page with very many jobs behind it, beside the same page of an empty database. ROWS=1000000 says how many; what is
// asserted is that pages are there and bounded, and the times are printed for people, because no test may depend on speed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { putTemplate } from "./rig/board.mjs";
import { World } from "./rig/world.mjs";

const ROWS = Number(process.env.ROWS ?? 20_000);
/** How often each page is asked for. */
const TIMES = 15;
/** More than the largest list has; a page that grew with the rows would have a thousand times as much. */
const PAGE_BYTES = 300 * 1024;

let world;
before(async () => {
  world = await World.start({ cap: 0 });
  await putTemplate(world);
});
after(() => world?.finish());

/** Rows as if jobs had been submitted, one a millisecond: of a hundred one failed, ten wait in three queues, the rest succeeded. */
async function fill() {
  await world.postgres.sql(`
    create temporary table made as
      select longshore.first_id(now() - interval '1 ms' * (${ROWS} - n)) as id, n,
             case when n % 100 = 0 then 'failed' when n % 10 = 1 then 'pending' else 'succeeded' end as state,
             case when n % 100 = 0 then 'job_failed' else 'completed' end as reason,
             (array['default', 'reports', 'gpu'])[1 + n % 3] as queue
        from generate_series(1, ${ROWS}) n;
    insert into longshore.queues (name) select unnest(array['reports', 'gpu']) on conflict do nothing;
    insert into longshore.jobs (id, priority, queue, name, namespace, state, pending_at, reason, message, finished_at, part)
      select id, n % 5, queue, 'job' || n, 'default', state, now(),
             case when state <> 'pending' then reason end, case when state <> 'pending' then 'it ended' end,
             case when state <> 'pending' then now() end, case when state <> 'pending' then now() else 'infinity' end from made;
    insert into longshore.job_specs (job_id, spec, spec_hash, name, queue) select id, '{}', '', 'job' || n, queue from made;
    insert into longshore.job_labels select id, 'team', case when n % 2 = 0 then 'blue' else 'red' end from made;
    insert into longshore.job_events (job_id, attempt, to_state, reason) select id, 0, state, 'submitted' from made;
    analyze;`);
}

const lists = ["", "state=failed", "state=pending", "state=succeeded", "state=cancelled", "name=job4*", "name=*7", "name=*no-such", "queue=gpu",
  "label=team%3Dblue", "reason=job_failed", "since=1h", "state=failed&queue=gpu&label=team%3Dblue"];
const PATHS = ["/", ...lists.map((it) => `/ui/jobs?${it}`), "/ui/queues", "/ui/queues/default", "/ui/submit", "/ui/sources", "/ui/templates", "/ui/system"];

/** Median and longest time of each page in milliseconds, and its size. */
async function measure(paths) {
  const found = new Map();
  for (const path of paths) {
    const took = [];
    let bytes;
    for (let time = 0; time <= TIMES; time++) {
      const begun = performance.now();
      const answer = await world.ask(path);
      bytes = (await answer.text()).length;
      // The first one reads what later ones find in memory.
      if (time > 0) took.push(performance.now() - begun);
      assert.equal(answer.status, 200, path);
    }
    took.sort((a, b) => a - b);
    found.set(path, { median: took[took.length >> 1], longest: took.at(-1), bytes });
  }
  return found;
}

test("no page grows with the number of jobs", async () => {
  const empty = await measure(PATHS);
  await fill();
  const [finished] = (await world.json("/jobs?state=succeeded&limit=1")).items;
  const [waiting] = (await world.json("/jobs?state=pending&limit=1")).items;
  const full = await measure([...PATHS, `/ui/jobs/${finished.job_id}`, `/ui/jobs/${waiting.job_id}`]);
  const ms = (it) => (it === undefined ? "" : it.toFixed(1)).padStart(9);
  console.log(`${"page, ms".padEnd(60)}${"empty".padStart(9)}${"longest".padStart(9)}${String(ROWS).padStart(9)}${"longest".padStart(9)}    bytes`);
  for (const [path, it] of full) {
    const before = empty.get(path);
    console.log(`${path.padEnd(60)}${ms(before?.median)}${ms(before?.longest)}${ms(it.median)}${ms(it.longest)}${String(it.bytes).padStart(9)}`);
    assert.ok(it.bytes <= PAGE_BYTES, `${path} has ${it.bytes} bytes`);
  }
});
