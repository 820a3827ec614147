// The path of a first visitor, with scripts and without: look, submit, watch, steer.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ENDLESS } from "./rig/board.mjs";
import { Visitor, close, visit } from "./rig/browser.mjs";
import { shoot } from "./rig/looks.mjs";
import { until } from "./rig/until.mjs";
import { World } from "./rig/world.mjs";

let world;
before(async () => (world = await World.start({ cap: 2 })));
after(async () => {
  await close();
  await world?.finish();
});

/** Waits until a page shows something: with scripts it must come by itself, without them by loading the page again. */
async function comes(visitor, what, locator) {
  if (visitor.scripts) return locator.first().waitFor();
  return until(what, async () => (await locator.count()) > 0 || (await visitor.page.reload(), false));
}

const state = (page, word) => page.getByRole("region", { name: "State" }).getByText(word, { exact: true });
const button = (page, name) => page.getByRole("button", { name });
const timeline = (page) => page.getByRole("table", { name: "Where the time of this job went" });

/** Who looks at a page from now on notices if it is loaded anew. */
async function watch(visitor) {
  const mark = visitor.scripts ? await visitor.page.evaluate(() => globalThis.loaded) : undefined;
  return async () => assert.equal(visitor.scripts ? await visitor.page.evaluate(() => globalThis.loaded) : undefined, mark, "the page was loaded anew");
}

for (const scripts of [true, false]) {
  const how = scripts ? "with scripts" : "without scripts";

  test(`a first visitor submits a job, watches it to its end and steers it, ${how}`, async () => {
    const tag = scripts ? "live" : "plain";
    // Two others hold all slots, so that the first steps can be seen at leisure.
    const holders = [];
    for (const index of [1, 2]) holders.push(await world.submit({ name: `holder-${tag}-${index}`, annotations: ENDLESS }));
    for (const id of holders) await world.reaches(id, "running");

    const watcher = await Visitor.come(world, { scripts });
    await watcher.go("/");
    const stillThere = await watch(watcher);
    await comes(watcher, "the overview shows a holder", watcher.page.getByText(`holder-${tag}-1`));

    await visit(world, { scripts }, async (visitor, page) => {
      // Submit by the form, found by the menu.
      await visitor.go("/");
      await page.getByRole("link", { name: "Submit a job" }).first().click();
      await page.getByLabel("Name", { exact: true }).fill(`first-${tag}`);
      await page.getByLabel("Image", { exact: true }).fill("busybox:latest");
      await page.getByLabel("Command", { exact: true }).fill("echo hello");
      await page.getByLabel("Priority", { exact: true }).fill("3");
      await page.getByRole("button", { name: "Submit", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: `first-${tag}` }).waitFor();
      assert.match(page.url(), /\/ui\/jobs\/[0-9a-f-]{36}/);
      await state(page, "pending").first().waitFor();
      await page.getByText(/every slot of the global cap is held/).first().waitFor();
      await comes(watcher, "the overview shows the new job", watcher.page.getByText(`first-${tag}`));
      await stillThere();

      // Make room: the page of a holder, and its button.
      const here = await watch(visitor);
      await visit(world, { scripts }, async (other, its) => {
        await other.go(`/ui/jobs/${holders[0]}`);
        await button(its, "Cancel").click();
        await comes(other, "the holder is cancelled", state(its, "cancelled"));
      });
      await comes(visitor, "the job has succeeded", state(page, "succeeded"));
      await here();
      await comes(visitor, "its timeline tells that it ran", timeline(page).getByText("running"));

      // Without a free slot again: retry, reprioritise, cancel.
      await world.json("/limits", { method: "PUT", body: { cap: 1 } });
      await visitor.go(`/ui/jobs/${holders[0]}`);
      await button(page, "Try again").click();
      await comes(visitor, "it waits again", state(page, "pending"));
      await page.getByLabel("Priority").fill("7");
      await button(page, "Change").click();
      await page.getByRole("status").first().waitFor();
      assert.equal((await world.json(`/jobs/${holders[0]}`)).priority, 7);
      await button(page, "Cancel").click();
      await comes(visitor, "it is cancelled", state(page, "cancelled"));
      assert.equal((await world.json(`/jobs/${holders[0]}`)).state, "cancelled");
    });
    await watcher.clean();
    await watcher.leave();
    await world.ask(`/jobs/${holders[1]}`, { method: "DELETE" });
    await world.reaches(holders[1], "cancelled");
    await world.json("/limits", { method: "PUT", body: { cap: 2 } });
  });

  test(`queues are paused, resumed and capped, and the global cap is set, ${how}`, async () => {
    const queue = scripts ? "gpu-live" : "gpu-plain";
    await world.submit({ name: "one", queue });
    await visit(world, { scripts }, async (visitor, page) => {
      const told = async () => page.getByRole("status").first().waitFor();
      await visitor.go("/");
      await page.getByRole("navigation").first().getByRole("link", { name: "Queues" }).click();
      await page.getByRole("link", { name: queue }).click();
      await page.getByRole("heading", { level: 1, name: queue }).waitFor();
      await button(page, /^Pause/).click();
      await told();
      assert.equal((await world.json(`/queues/${queue}`)).paused, true);
      await button(page, /^Resume/).click();
      await button(page, /^Pause/).waitFor();
      assert.equal((await world.json(`/queues/${queue}`)).paused, false);
      await page.getByLabel("Cap", { exact: true }).fill("3");
      await page.getByLabel("May wait", { exact: true }).fill("50");
      await button(page, "Set").click();
      await told();
      const changed = await world.json(`/queues/${queue}`);
      assert.deepEqual([changed.cap, changed.max_pending], [3, 50]);
      // An empty field takes the bound away.
      await page.getByLabel("Cap", { exact: true }).fill("");
      await button(page, "Set").click();
      await told();
      assert.equal((await world.json(`/queues/${queue}`)).cap, null);

      await visitor.go("/ui/queues");
      const all = page.locator("section", { has: page.getByRole("heading", { name: "The global cap" }) });
      await all.getByLabel("Cap", { exact: true }).fill("5");
      await all.getByRole("button", { name: "Set" }).click();
      await told();
      assert.equal((await world.json("/limits")).cap, 5);
      await world.json("/limits", { method: "PUT", body: { cap: 2 } });
    });
  });

  test(`many jobs are cancelled at once, after the page has said how many, ${how}`, async () => {
    const queue = scripts ? "bulk-live" : "bulk-plain";
    const ids = [];
    for (let index = 0; index < 7; index++) ids.push(await world.submit({ name: `bulk-${index}`, queue, delay: "1h" }));
    const spared = await world.submit({ name: "spared", delay: "1h" });
    await visit(world, { scripts }, async (visitor, page) => {
      await visitor.go("/ui/jobs");
      await page.getByLabel("Queue", { exact: true }).fill(queue);
      await button(page, "Show").click();
      await page.getByRole("link", { name: "bulk-0" }).waitFor();
      await button(page, /^Cancel/).first().click();
      // Nothing has happened yet: the page says what would.
      await page.getByText(/\b7 jobs\b/).first().waitFor();
      await page.getByText(queue).first().waitFor();
      assert.equal((await world.json(`/jobs/${ids[0]}`)).state, "scheduled");
      await shoot(page, "bulk-confirm");
      await button(page, /^Cancel\b.*\b7\b/).click();
      await page.getByRole("status").first().waitFor();
    });
    for (const id of ids) await world.reaches(id, "cancelled");
    assert.equal((await world.json(`/jobs/${spared}`)).state, "scheduled", "what does not match is left alone");
    await world.ask(`/jobs/${spared}`, { method: "DELETE" });
  });

  test(`what a list is narrowed by survives a reload, a visit elsewhere and back, and can be shared, ${how}`, async () => {
    const queue = scripts ? "narrow-live" : "narrow-plain";
    for (let index = 0; index < 3; index++) await world.submit({ name: `nightly-${index}`, queue, labels: { team: "blue" }, delay: "1h" });
    await world.submit({ name: "weekly", queue, labels: { team: "red" }, delay: "1h" });
    await visit(world, { scripts }, async (visitor, page) => {
      await visitor.go("/ui/jobs");
      await page.getByLabel("Queue", { exact: true }).fill(queue);
      await page.getByLabel("Labels", { exact: true }).fill("team=blue");
      await page.getByLabel("Name", { exact: true }).fill("nightly-*");
      await button(page, "Show").click();
      const narrowed = async () => {
        await page.getByRole("link", { name: "nightly-0" }).first().waitFor();
        assert.equal(await page.getByRole("link", { name: "weekly" }).count(), 0);
        assert.equal(await page.getByLabel("Queue", { exact: true }).inputValue(), queue);
        assert.equal(await page.getByLabel("Labels", { exact: true }).inputValue(), "team=blue");
        assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "nightly-*");
      };
      await narrowed();
      await page.reload();
      await narrowed();
      await page.getByRole("link", { name: "nightly-1" }).click();
      await page.getByRole("heading", { level: 1, name: "nightly-1" }).waitFor();
      await page.goBack();
      await narrowed();
      await page.getByRole("link", { name: /^scheduled/i }).first().click();
      await narrowed();
      const shared = page.url();
      await visit(world, { scripts }, async (other) => {
        await other.go(shared);
        await other.page.getByRole("link", { name: "nightly-0" }).first().waitFor();
        assert.equal(await other.page.getByRole("link", { name: "weekly" }).count(), 0);
      });
    });
    await world.json("/bulk", { body: { action: "cancel", filter: { queue } } });
  });

  test(`a wrong form names its fields and keeps what was typed, ${how}`, async () => {
    await visit(world, { scripts }, async (visitor, page) => {
      visitor.expected.push(/Failed to load resource.*422/);
      await visitor.go("/ui/submit");
      await page.getByLabel("Name", { exact: true }).fill("typed with care");
      await page.getByLabel("Image", { exact: true }).fill("NOT AN IMAGE");
      await page.getByLabel("Variables", { exact: true }).fill("MODE=fast\nTOKEN=x");
      await page.getByRole("button", { name: "Submit", exact: true }).click();
      const wrong = page.locator("[aria-invalid=true]");
      await wrong.first().waitFor();
      await shoot(page, "submit-refused");
      assert.equal(await wrong.first().inputValue(), "NOT AN IMAGE");
      const described = await wrong.first().getAttribute("aria-describedby");
      assert.match(await page.locator(`[id="${described.split(" ")[0]}"]`).textContent(), /image/i);
      assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "typed with care");
      assert.equal(await page.getByLabel("Variables", { exact: true }).inputValue(), "MODE=fast\nTOKEN=x");
      await page.getByLabel("Image", { exact: true }).fill("busybox:latest");
      await page.getByRole("button", { name: "Submit", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "typed with care" }).waitFor();
    });
  });
}
