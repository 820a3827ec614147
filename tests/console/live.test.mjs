// Pages that change while someone looks: what it costs, what it must not disturb, and what happens when things go away.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible } from "./rig/axe.mjs";
import { ENDLESS } from "./rig/board.mjs";
import { close, visit } from "./rig/browser.mjs";
import { shoot } from "./rig/looks.mjs";
import { until } from "./rig/until.mjs";
import { World } from "./rig/world.mjs";

const VIEWERS = 30;
/** How many samples are looked at. */
const SAMPLES = 5;

let world;
before(async () => {
  world = await World.start({ cap: 4 });
  for (let index = 0; index < 3; index++) await world.submit({ name: `held-${index}`, annotations: ENDLESS });
});
after(async () => {
  await close();
  await world?.finish();
});

/** How often each statement was sent since then, as Postgres itself has logged it. */
function statements(from) {
  const counts = new Map();
  for (const [, text] of world.postgres.said().slice(from).matchAll(/execute [^:]*: (.*(?:\n\t.*)*)/g)) {
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return counts;
}

const now = () => world.postgres.said().length;

/** Waits until a page has been brought up to date so many times. */
async function updates(page, times) {
  const seen = new Set();
  await until(`the page was brought up to date ${times} times`, async () => {
    seen.add(await page.locator(".as-of time").first().getAttribute("datetime"));
    return seen.size > times;
  });
}

/** Follows the overview as a page does, without the weight of a browser. */
async function follow() {
  const gone = new AbortController();
  const answer = await fetch(`${world.url}/ui/live?page=overview`, { signal: gone.signal });
  assert.equal(answer.status, 200);
  const read = (async () => {
    for await (const piece of answer.body) void piece;
  })().catch(() => {});
  return async () => (gone.abort(), read);
}

/** What is sent to the database during so many samples, while so many look; one of them is a browser. */
async function sentWhile(lookers) {
  const followers = await Promise.all(Array.from({ length: lookers - 1 }, follow));
  return visit(world, {}, async (visitor, page) => {
    await visitor.go("/");
    const from = now();
    await updates(page, SAMPLES);
    const sent = statements(from);
    for (const leave of followers) await leave();
    return sent;
  });
}

/** The claim looks every second, so this is some time later. */
async function timePasses(from) {
  await until("time has passed", () => [...statements(from).values()].some((count) => count >= 6));
  return statements(from);
}

test("thirty who look at the overview cost no more queries than one, and none costs none", async () => {
  const quiet = await timePasses(now());
  const one = await sentWhile(1);
  const many = await sentWhile(VIEWERS);
  const ofSamples = [...one.keys()].filter((it) => !quiet.has(it));
  assert.ok(ofSamples.length > 0, "a sample asks the database");
  for (const text of ofSamples) {
    const [before, count] = [one.get(text), many.get(text) ?? 0];
    assert.ok(count <= (before + 2) * 3, `${VIEWERS} viewers sent ${count}, and one sent ${before}: ${text}`);
  }
  const after = now();
  const rest = await timePasses(after);
  const still = ofSamples.filter((it) => (rest.get(it) ?? 0) > 2);
  assert.deepEqual(still, [], "nobody looks, and nothing is sampled");
});

/** The streams that a page has open. */
function streams(page) {
  const open = new Set();
  const isStream = (request) => new URL(request.url()).pathname === "/ui/live";
  page.on("request", (it) => isStream(it) && open.add(it));
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (it) => open.delete(it));
  return open;
}

test("a tab that nobody sees lets go of the stream, and takes it up again", async () => {
  await visit(world, {}, async (visitor, page) => {
    const open = streams(page);
    await visitor.go("/");
    await until("it follows", () => open.size === 1);
    const become = (state) =>
      page.evaluate((it) => {
        Object.defineProperty(document, "visibilityState", { value: it, configurable: true });
        Object.defineProperty(document, "hidden", { value: it === "hidden", configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, state);
    await become("hidden");
    await until("it has let go", () => open.size === 0);
    await world.submit({ name: "came-while-hidden", priority: 50 });
    await become("visible");
    await until("it follows again", () => open.size === 1);
    await page.getByText("came-while-hidden").first().waitFor();
    assert.equal(open.size, 1, "one stream, not two");
  });
});

test("what someone has opened, typed or focused stays while the page changes", async () => {
  const id = await world.submit({ name: "watched", priority: -5, delay: "1h" });
  await visit(world, {}, async (visitor, page) => {
    await visitor.go(`/ui/jobs/${id}`);
    const loaded = await page.evaluate(() => globalThis.loaded);
    const details = page.locator("main details");
    const count = await details.count();
    for (let index = 0; index < count; index++) await details.nth(index).evaluate((it) => (it.open = true));
    const field = page.getByLabel("Priority");
    await field.fill("4");
    await field.evaluate((it) => (it.focus(), it.select()));
    // Two changes, seen on the page.
    for (const priority of [11, 12]) {
      await world.json(`/jobs/${id}`, { method: "PATCH", body: { priority } });
      await page.getByRole("region", { name: "Facts" }).getByText(String(priority), { exact: true }).waitFor();
    }
    assert.equal(await field.inputValue(), "4", "typed text stays");
    assert.ok(await field.evaluate((it) => it === document.activeElement), "the focus stays");
    for (let index = 0; index < count; index++) assert.ok(await details.nth(index).evaluate((it) => it.open), `details ${index} stay open`);
    assert.equal(await page.evaluate(() => globalThis.loaded), loaded);
  });
});

test("a link of a number keeps the focus while the number changes", async () => {
  await visit(world, {}, async (visitor, page) => {
    await visitor.go("/");
    const link = page.locator('#part-state a[href$="state=scheduled"]');
    const before = await link.innerText();
    await link.focus();
    await world.submit({ name: "one-more", delay: "1h" });
    await page.waitForFunction((before) => document.querySelector('#part-state a[href$="state=scheduled"]').innerText !== before, before);
    assert.ok(await link.evaluate((it) => it === document.activeElement), "whoever walks by keyboard goes on from there");
  });
});

test("a page goes on by itself when the replica comes back", async () => {
  await visit(world, {}, async (visitor, page) => {
    visitor.expected.push(/Failed to load resource|ERR_CONNECTION|ERR_INCOMPLETE|EventSource/);
    await visitor.go("/");
    const loaded = await page.evaluate(() => globalThis.loaded);
    await updates(page, 1);
    await world.stopReplica();
    await shoot(page, "overview-replica-away");
    await world.startReplica();
    await world.submit({ name: "after-the-restart", priority: 60 });
    await page.getByText("after-the-restart").first().waitFor();
    assert.equal(await page.evaluate(() => globalThis.loaded), loaded, "without a reload");
  });
});

test("while the database is away pages say so, and say what was last seen", async () => {
  await visit(world, { tools: true }, async (visitor, page) => {
    visitor.expected.push(/Failed to load resource/);
    await visitor.go("/");
    await page.getByText("held-0").first().waitFor();
    await world.postgres.stop();
    const banner = page.locator("[role=alert], #part-problems").getByText(/database/i);
    await banner.first().waitFor();
    await page.getByText("held-0").first().waitFor();
    await shoot(page, "overview-database-away-live");
    await accessible(page, "the overview while the database is away");
    const silent = [];
    // The browser caches no page, so each of these is made while the database is away.
    for (const path of ["/", "/ui/jobs", "/ui/queues", "/ui/submit", "/ui/sources", "/ui/templates", "/ui/system"]) {
      const answer = await page.goto(path);
      assert.ok([200, 503].includes(answer.status()), `${path}: ${answer.status()}`);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await shoot(page, `database-away${path.replaceAll("/", "-")}`);
      if ((await banner.count()) === 0) silent.push(path);
      // What could not be read is not nothing.
      assert.doesNotMatch(await page.locator("main").innerText(), /no jobs match|there are none/i, path);
    }
    assert.deepEqual(silent, [], "these do not say that the database is away");
    await page.goto("/");
    await page.getByText("held-0").first().waitFor();
    await world.postgres.start();
    await banner.first().waitFor({ state: "detached" });
    await world.submit({ name: "after-the-database", priority: 70 });
    await page.getByText("after-the-database").first().waitFor();
  });
});
