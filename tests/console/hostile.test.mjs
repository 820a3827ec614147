// Whatever a text says, it is text: hostile ones in every field that takes them, on every page that shows them, as the page
// was loaded and as it changes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ENDLESS, putTemplate, sim, startSqs } from "./rig/board.mjs";
import { PHONE, close, visit } from "./rig/browser.mjs";
import { ALL, CONTROLS, LINES, harmless, same, shows } from "./rig/hostile.mjs";
import { fits, shoot } from "./rig/looks.mjs";
import { until } from "./rig/until.mjs";
import { World } from "./rig/world.mjs";

/** As many of them hold slots and wait at a time as one overview shows. */
const AT_ONCE = 40;

let world, sqs;
before(async () => {
  sqs = await startSqs({ __type: `com.amazonaws.sqs#${LINES[0]}`, message: ALL.join(" | ").slice(0, 3000) });
  world = await World.start({ cap: 20, sources: sqs.sources });
});
after(async () => {
  await close();
  sqs?.stop();
  await world?.finish();
});

/** A job that says `text` wherever it can, its pod included. */
function saying(text, index, more = {}) {
  const name = LINES.includes(text) ? text : `controls ${index}`;
  const annotations = { "example.com/note": text, ...sim({ outcome: "exit=1", "termination-message": text, log: text }), ...more };
  return { name, queue: "hostile", command: ["sh", "-c", text], args: [text], env: { SAID: text, [`V_${index}`]: "x" }, annotations };
}

test("no text that a job or its pod gives is ever more than text on the job's page", async (t) => {
  const ids = [];
  for (const [index, text] of ALL.entries()) ids.push(await world.submit(saying(text, index)));
  for (const id of ids) await world.reaches(id, "failed");
  await visit(world, {}, async (visitor, page) => {
    for (const [index, text] of ALL.entries()) {
      await t.test(`${index}: ${JSON.stringify(text).slice(0, 60)}`, async () => {
        for (const query of ["", "?show=env"]) {
          const where = `/ui/jobs/${ids[index]}${query}`;
          await visitor.go(where);
          await shows(page, LINES.includes(text) ? [text] : [`controls ${index}`, text], where);
          await harmless(page, where);
          await visitor.clean(`${where}: ${text}`);
        }
        await visitor.go(`/ui/submit?clone=${ids[index]}`);
        await harmless(page, "its copy in the form");
      });
    }
    await visitor.go(`/ui/jobs/${ids[0]}`);
    await shoot(page, "hostile-job");
    await page.setViewportSize(PHONE);
    for (const index of [ALL.length - 1, LINES.length - 1, LINES.length - 2]) {
      await visitor.go(`/ui/jobs/${ids[index]}`);
      await fits(page, `the job that says ${ALL[index].slice(0, 20)}`);
      await shoot(page, `hostile-job-phone-${index}`);
    }
  });
});

test("nor in the list of jobs, page by page", async () => {
  await visit(world, {}, async (visitor, page) => {
    const wanted = new Set(LINES);
    await visitor.go("/ui/jobs?queue=hostile");
    await shoot(page, "hostile-jobs");
    for (;;) {
      await harmless(page, page.url());
      const links = await page.getByRole("table").getByRole("link").allTextContents();
      for (const text of wanted) if (links.some((it) => same(it, text))) wanted.delete(text);
      const next = page.locator("a[rel=next]");
      if ((await next.count()) === 0) break;
      await next.first().click();
    }
    assert.deepEqual([...wanted], []);
    await page.setViewportSize(PHONE);
    await visitor.go("/ui/jobs?queue=hostile");
    await fits(page, "the list with hostile names");
    await shoot(page, "hostile-jobs-phone");
  });
});

test("nor on the overview, while such jobs come, wait and run before someone's eyes", async () => {
  const restore = () => world.json("/limits", { method: "PUT", body: { cap: 20 } });
  await world.json("/limits", { method: "PUT", body: { cap: 0 } });
  await visit(world, {}, async (visitor, page) => {
    await visitor.go("/");
    const loaded = await page.evaluate(() => globalThis.loaded);
    for (let from = 0; from < LINES.length; from += AT_ONCE) {
      const texts = LINES.slice(from, from + AT_ONCE);
      const ids = [];
      for (const text of texts) ids.push(await world.submit({ name: text, annotations: ENDLESS }));
      await shows(page, texts, "the overview while they wait");
      await harmless(page, "the overview while they wait");
      if (from === 0) await shoot(page, "hostile-overview-pending");
      await world.json("/limits", { method: "PUT", body: { cap: AT_ONCE } });
      for (const id of ids) await world.reaches(id, "running");
      await until("the page says that they run", async () => (await page.locator(".berth.running").count()) >= texts.length);
      await shows(page, texts, "the overview while they run");
      await harmless(page, "the overview while they run");
      if (from === 0) {
        await shoot(page, "hostile-overview-running");
        await page.setViewportSize(PHONE);
        await fits(page, "the overview with hostile names");
        await shoot(page, "hostile-overview-phone");
      }
      await world.json("/limits", { method: "PUT", body: { cap: 0 } });
      await world.json("/bulk", { body: { action: "cancel", filter: { queue: "default" } } });
      for (const id of ids) await world.reaches(id, "cancelled");
    }
    assert.equal(await page.evaluate(() => globalThis.loaded), loaded, "all this without a reload");
  }).finally(restore);
});

test("nor what Kubernetes says of a job that it refuses, nor what a source's service says", async () => {
  const message = ALL.join(" ").slice(0, 6000);
  await world.fault({ verb: "create", resource: "jobs", effect: { kind: "status", code: 403, reason: "Forbidden", message: `exceeded quota: ${message}` } });
  const id = await world.submit({ name: "refused" });
  await until("it waits for that", async () => (await world.json(`/jobs/${id}`)).why.message?.includes("exceeded quota"));
  await visit(world, {}, async (visitor, page) => {
    for (const path of [`/ui/jobs/${id}`, "/", "/ui/jobs?queue=default", "/ui/system"]) {
      await visitor.go(path);
      await harmless(page, path);
      await fits(page, path);
      await visitor.clean(path);
    }
    await world.noFaults();
    await until("the source has failed", async () => (await world.json("/sources")).items[0].last_error);
    await visitor.go("/ui/sources");
    await shows(page, ["pwned"], "/ui/sources");
    await harmless(page, "/ui/sources");
    await shoot(page, "hostile-sources");
  });
});

test("nor what a template says of itself and of its parameters", async () => {
  const parameters = ALL.slice(0, 60).map((text, index) => ({ name: `p${index}`, type: "string", description: text, default: text, enum: [text, "other"] }));
  const container = { name: "main", image: "busybox:latest", args: parameters.map((it) => `{{ ${it.name} }}`) };
  const manifest = { apiVersion: "batch/v1", kind: "Job", spec: { template: { spec: { restartPolicy: "Never", containers: [container] } } } };
  for (const [index, text] of ALL.entries()) {
    await putTemplate(world, `t${index}`, { description: text, manifest: { ...manifest, spec: { template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "busybox:latest" }] } } } } });
  }
  await putTemplate(world, "parameters", { description: "hostile parameters", parameters, manifest });
  await visit(world, {}, async (visitor, page) => {
    await visitor.go("/ui/templates");
    await harmless(page, "/ui/templates");
    await shows(page, LINES.slice(0, 20), "/ui/templates");
    await shoot(page, "hostile-templates");
    for (const path of ["/ui/submit?template=parameters", "/ui/submit"]) {
      await visitor.go(path);
      await harmless(page, path);
      await visitor.clean(path);
    }
    await visitor.go("/ui/submit?template=parameters");
    await shows(page, parameters.map((it) => it.description), "the form of the template");
    await page.setViewportSize(PHONE);
    await fits(page, "the form of the template");
  });
});

test("nor anything in the address of a page", async (t) => {
  const parameters = ["state", "queue", "label", "reason", "name", "since", "cursor", "limit", "done", "error", "message", "template", "clone", "mode", "params.x", "show", "x"];
  await visit(world, {}, async (visitor, page) => {
    visitor.expected.push(/Failed to load resource.*\b4\d\d\b/);
    for (const [index, text] of ALL.entries()) {
      await t.test(`${index}: ${JSON.stringify(text).slice(0, 60)}`, async () => {
        const value = encodeURIComponent(text);
        const query = parameters.map((it) => `${it}=${value}`).join("&");
        const one = [`/?${query}`, `/ui/queues?${query}`, `/ui/jobs/${value}`, `/ui/queues/${value}`, `/ui/jobs?name=${value}`][index % 5];
        for (const path of [`/ui/jobs?${query}`, `/ui/submit?${query}`, one]) {
          await page.goto(path);
          await harmless(page, path);
          await visitor.clean(path);
        }
      });
    }
  });
});

test("nor what was typed into the form and refused", async () => {
  await visit(world, {}, async (visitor, page) => {
    visitor.expected.push(/Failed to load resource.*\b4\d\d\b/);
    for (const text of LINES) {
      await visitor.go("/ui/submit");
      for (const label of ["Name", "Image", "Command", "Queue", "Variables"]) await page.getByLabel(label, { exact: true }).first().fill(text);
      await page.getByRole("button", { name: "Submit", exact: true }).click();
      await page.waitForLoadState();
      await harmless(page, `the form after ${text}`);
      assert.equal(await page.getByLabel("Image", { exact: true }).first().inputValue(), text, "what was typed is still there");
      await visitor.clean(text);
    }
  });
});

test("and there are more than fifty of them", () => {
  assert.ok(new Set(ALL).size >= 50 && CONTROLS.length >= 10);
});
