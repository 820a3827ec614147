// A page of another origin, in the browser of someone who may use the console: it can neither act, nor read, nor frame it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { close, visit } from "./rig/browser.mjs";
import { World } from "./rig/world.mjs";

let world, other, origin, job;
before(async () => {
  world = await World.start({ cap: 0 });
  job = await world.submit({ name: "target" });
  other = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    const form = (path, fields) => `<form method="post" action="${world.url}${path}">${fields}<button>${path}</button></form>`;
    response.end(`<!doctype html><title>other</title>${acts().map(([path, fields]) => form(path, fields)).join("")}<iframe src="${world.url}/"></iframe>`);
  });
  await new Promise((done) => other.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${other.address().port}`;
});
after(async () => {
  await close();
  other?.close();
  other?.closeAllConnections();
  await world?.finish();
});

/** Every way to change something by a form. */
function acts() {
  const field = (name, value) => `<input name="${name}" value="${value}">`;
  return [
    [`/ui/jobs/${job}/cancel`, ""],
    [`/ui/jobs/${job}/retry`, ""],
    [`/ui/jobs/${job}/priority`, field("priority", "9")],
    ["/ui/jobs/bulk", field("step", "do") + field("action", "cancel") + field("state", "pending") + field("until", "2036-01-01T00:00:00Z")],
    ["/ui/queues/default", field("act", "pause")],
    ["/ui/queues", field("name", "planted")],
    ["/ui/limits", field("cap", "99")],
    ["/ui/submit", field("name", "planted") + field("step", "submit")],
  ];
}

test("a page of another origin can neither act, nor read, nor frame the console", async () => {
  await visit(world, {}, async (visitor, page) => {
    visitor.expected.push(new RegExp(`a request to ${origin}`), /Failed to load resource|frame-ancestors|Refused to frame|Framing|CORS/);
    for (const [path] of acts()) {
      await page.goto(origin);
      const answer = page.waitForResponse((it) => it.url() === world.url + path);
      await page.getByRole("button", { name: path, exact: true }).click();
      assert.equal((await answer).status(), 403, path);
    }
    await page.goto(origin);
    const read = await page.evaluate((url) => fetch(`${url}/ui/jobs`).then((it) => it.text(), () => "nothing"), world.url);
    assert.equal(read, "nothing", "what is on a page cannot be read");
    const framed = page.frames().filter((it) => it.url().startsWith(world.url));
    assert.deepEqual(await Promise.all(framed.map((it) => it.locator("h1").count())), framed.map(() => 0), "and it is in nobody's frame");
  });
  const after = await world.json(`/jobs/${job}`);
  assert.deepEqual([after.state, after.priority], ["pending", 0]);
  assert.equal((await world.json("/limits")).cap, 0);
  assert.equal((await world.json("/queues/default")).paused, false);
  assert.equal((await world.json("/jobs?name=planted")).items.length, 0);
  assert.equal((await world.ask("/queues/planted")).status, 404);
});
