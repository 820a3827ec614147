// What holds for every page: its headers, no other host, axe's rules in light and dark, on a wide screen and on a phone, and
// the keyboard. Leaves a picture of each.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible } from "./rig/axe.mjs";
import { fill, pages, startSqs } from "./rig/board.mjs";
import { PHONE, WIDE, close, visit } from "./rig/browser.mjs";
import { holdsHeaders } from "./rig/headers.mjs";
import { reachableByKeyboard, skipLinkWorks } from "./rig/keyboard.mjs";
import { fits, shoot } from "./rig/looks.mjs";
import { World } from "./rig/world.mjs";

/** The whole of what a browser fetches besides pages, in bytes as they are. */
const ASSETS_BYTES = 150 * 1024;
const FIRST_PAGE_BYTES = 30 * 1024;

const WAYS = [
  ["light", WIDE],
  ["dark", WIDE],
  ["light", PHONE],
  ["dark", PHONE],
];

let world, jobs, sqs;
before(async () => {
  sqs = await startSqs();
  world = await World.start({ cap: 4, sources: sqs.sources });
  jobs = await fill(world);
});
after(async () => {
  await close();
  sqs?.stop();
  await world?.finish();
});

/** A page as it is, in every way of looking at it; all that is wrong is told at once. */
async function inEveryWay(visitor, page, name, path) {
  const wrong = [];
  for (const [scheme, size] of WAYS) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize(size);
    const where = `${path}, ${scheme}, ${size.width} pixels wide`;
    await shoot(page, `${name}-${size === PHONE ? "phone" : "wide"}-${scheme}`);
    for (const holds of [fits, accessible]) await holds(page, where).catch((err) => wrong.push(err.message));
  }
  await page.setViewportSize(WIDE);
  assert.ok(wrong.length === 0, wrong.join("\n"));
  await visitor.clean(path);
}

test("every page keeps its policy, and can be read and worked by everyone", async (t) => {
  for (const [name, path] of Object.entries(pages(jobs))) {
    await t.test(path, async () => {
      await visit(world, { tools: true }, async (visitor, page) => {
        const answer = await visitor.go(path);
        holdsHeaders(answer);
        await inEveryWay(visitor, page, name, path);
        assert.match(await page.title(), /\S.*Longshore/, "its title says what it is");
        await skipLinkWorks(page);
        await reachableByKeyboard(page, path);
      });
    });
  }
});

test("what is not there is a page too", async (t) => {
  for (const path of ["/ui/jobs/01a1ffc3-3715-7667-a55c-01fb5b821719", "/ui/jobs/nonsense", "/ui/queues/nowhere", "/ui/nowhere"]) {
    await t.test(path, async () => {
      await visit(world, { tools: true }, async (visitor, page) => {
        // The browser itself complains of the status.
        visitor.expected.push(/Failed to load resource.*404/);
        holdsHeaders(await visitor.go(path, 404));
        await inEveryWay(visitor, page, path.slice(1).replaceAll("/", "-").replace(/01a1.*/, "unknown"), path);
      });
    });
  }
});

test("a console that has nothing to show yet says what to do", async () => {
  const empty = await World.start();
  try {
    for (const [name, path] of Object.entries({ overview: "/", jobs: "/ui/jobs", queues: "/ui/queues", sources: "/ui/sources", templates: "/ui/templates", "submit-template": "/ui/submit?mode=template" })) {
      await visit(empty, { tools: true }, async (visitor, page) => {
        await visitor.go(path);
        await inEveryWay(visitor, page, `empty-${name}`, path);
      });
    }
  } finally {
    await empty.finish();
  }
});

test("a page that changes while someone reads it stays readable", async () => {
  await visit(world, { tools: true }, async (visitor, page) => {
    await visitor.go("/");
    const name = "arrives-while-someone-reads";
    await world.submit({ name, priority: 99 });
    await page.getByText(name).first().waitFor();
    await inEveryWay(visitor, page, "overview-updated", "/ after an update");
  });
});

test("nothing weighs more than it may", async () => {
  const assets = new Set();
  await visit(world, {}, async (visitor, page) => {
    page.on("request", (it) => it.url().includes("/assets/") && assets.add(new URL(it.url()).pathname));
    const first = (await (await visitor.go("/")).body()).length;
    assert.ok(first <= FIRST_PAGE_BYTES, `the first page has ${first} bytes`);
    for (const path of Object.values(pages(jobs))) await visitor.go(path);
  });
  const sizes = await Promise.all([...assets].map(async (path) => (await (await world.ask(path)).arrayBuffer()).byteLength));
  const all = sizes.reduce((sum, it) => sum + it, 0);
  assert.ok(assets.size > 0 && all <= ASSETS_BYTES, `${all} bytes: ${[...assets].join(" ")}`);
  console.log(`assets have ${all} bytes altogether`);
});

test("assets are kept for good, under names that say what is in them", async () => {
  const html = await (await world.ask("/")).text();
  const assets = [...html.matchAll(/(?:href|src)="([^"]*assets\/[^"]*)"/g)].map((it) => it[1]);
  assert.ok(assets.length > 0);
  for (const path of assets) {
    const answer = await world.ask(new URL(path, `${world.url}/`).pathname);
    assert.equal(answer.status, 200, path);
    assert.match(answer.headers.get("cache-control"), /immutable/, path);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", path);
    assert.match(path, /[0-9a-f]{8}/, "the hash of its content is in its name");
  }
  assert.equal((await world.ask(new URL(assets[0].replace(/[0-9a-f]{8,}/, "00000000"), `${world.url}/`).pathname)).status, 404);
});
