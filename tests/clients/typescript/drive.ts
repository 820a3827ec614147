/** Submits jobs, waits for one and cancels another, by nothing but the client that was generated from /openapi.json. */

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./longshore.js";

type Job = components["schemas"]["Job"];

const longshore = createClient<paths>({ baseUrl: process.env["LONGSHORE_URL"] ?? "http://127.0.0.1:8000" });

async function submit(body: components["schemas"]["SubmitRequest"]): Promise<string> {
  const { data, error, response } = await longshore.POST("/jobs", { body });
  assert.ok(data, `${body.name} was refused: ${error?.detail}`);
  assert.equal(response.headers.get("location"), `/jobs/${data.job_id}`);
  return data.job_id;
}

async function ended(id: string): Promise<Job> {
  for (;;) {
    const { data } = await longshore.GET("/jobs/{id}/wait", { params: { path: { id }, query: { timeout: "10s" } } });
    assert.ok(data);
    if (data.state === "succeeded" || data.state === "failed" || data.state === "cancelled") return data;
  }
}

// One that runs, and one that waits until it is cancelled.
const short = await submit({ name: "typescript", priority: 2, command: ["echo", "hello"], labels: { by: "typescript" } });
const later = await submit({ name: "typescript-later", delay: "1h", idempotency_key: "typescript-later" });
assert.equal(await submit({ name: "typescript-later", delay: "1h", idempotency_key: "typescript-later" }), later);

const done = await ended(short);
assert.equal(done.state, "succeeded");
assert.equal(done.attempts?.[0]?.reason, "completed");

const cancelled = await longshore.DELETE("/jobs/{id}", { params: { path: { id: later } } });
assert.equal(cancelled.response.status, 200);
assert.equal((await ended(later)).state, "cancelled");

// What is refused comes as a problem that has a type, too.
const tooLate = await longshore.DELETE("/jobs/{id}", { params: { path: { id: short } } });
assert.equal(tooLate.error?.code, "already_finished");
const wrong = await longshore.POST("/jobs", { body: { name: "" } });
assert.equal(wrong.error?.errors?.[0]?.pointer, "/name");

const { data: page } = await longshore.GET("/jobs", { params: { query: { name: "typescript" } } });
assert.deepEqual(page?.items.map((it) => it.job_id), [short]);
console.log("typescript: submitted, waited and cancelled");
