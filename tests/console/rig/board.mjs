// A board with something of everything on it, and every page that there is to look at.

import { createServer } from "node:http";

/** What a simulated job is to do. */
export const sim = (values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [`sim.longshore.dev/${key}`, value]));

/** An outcome that lasts longer than any test. */
export const ENDLESS = sim({ duration: "2h" });

const TEMPLATE = {
  description: "says hello",
  parameters: [
    { name: "who", type: "string", description: "who is greeted" },
    { name: "times", type: "integer", default: 1 },
    { name: "tone", type: "string", enum: ["warm", "curt"], default: "warm" },
    { name: "loud", type: "boolean", default: false },
  ],
  manifest: {
    apiVersion: "batch/v1",
    kind: "Job",
    spec: {
      template: {
        spec: {
          restartPolicy: "Never",
          containers: [{ name: "main", image: "busybox:latest", command: ["echo", "{{ who }}", "{{ times }}", "{{ tone }}", "{{ loud }}"] }],
        },
      },
    },
  },
};

/** A queue whose service answers as `answer` says: what went wrong there is on the page of the sources. */
export async function startSqs(answer = { __type: "com.amazonaws.sqs#QueueDoesNotExist", message: "no such queue" }) {
  const server = createServer((_, response) => {
    response.writeHead(400, { "content-type": "application/x-amz-json-1.0" });
    response.end(JSON.stringify(answer));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${server.address().port}`;
  const source = { name: "mails", type: "sqs", queue_url: `${url}/1/mails`, endpoint_url: url, region: "eu-central-1", job: { name: "mail" } };
  const stop = () => (server.close(), server.closeAllConnections());
  return { stop, sources: JSON.stringify({ sources: [source] }) };
}

export async function putTemplate(world, name = "greet", template = TEMPLATE) {
  return world.json(`/templates/${name}`, { method: "PUT", body: template, headers: { "content-type": "application/json" } });
}

/** Fills a world with a cap of 4 and answers the jobs that are in each state. */
export async function fill(world) {
  await putTemplate(world);
  await world.json("/queues/reports", { method: "PUT", body: { cap: 1, max_pending: 10 } });
  await world.json("/queues/night", { method: "PUT", body: { paused: true, max_pending: 3 } });
  const done = await world.submit({ name: "nightly-import", labels: { team: "blue" }, command: "import --all", env: { MODE: "fast", TOKEN: "hidden-value" } });
  const failed = await world.submit({ name: "train-model", command: ["python", "train.py"], annotations: sim({ outcome: "exit=3", "termination-message": "CUDA out of memory", log: "epoch 1\nepoch 2\nCUDA out of memory" }) });
  const cancelled = await world.submit({ name: "report-old", delay: "1h" });
  await world.ask(`/jobs/${cancelled}`, { method: "DELETE" });
  await world.reaches(done, "succeeded");
  await world.reaches(failed, "failed");
  const running = await world.submit({ name: "train-embeddings", labels: { team: "blue", tier: "gold" }, annotations: { ...ENDLESS, ...sim({ log: "step 1\nstep 2" }) } });
  await world.submit({ name: "quarterly-report", queue: "reports", annotations: ENDLESS });
  const pulling = await world.submit({ name: "preview-build", image: "registry.example.com/preview:3", annotations: sim({ outcome: "image-pull-error" }) });
  await world.submit({ name: "cleanup", annotations: ENDLESS });
  await world.reaches(running, "running");
  await world.reaches(pulling, "starting");
  const pending = await world.submit({ name: "export-2026", priority: 5, timeout: "2h", queue_timeout: "1d" });
  for (let index = 1; index <= 4; index++) await world.submit({ name: `weekly-report-${index}`, queue: "reports" });
  for (let index = 1; index <= 3; index++) await world.submit({ name: `night-shift-${index}`, queue: "night" });
  for (let index = 1; index <= 8; index++) await world.submit({ name: `thumbnail-batch-${index}`, priority: index % 3, labels: { team: "red" } });
  const scheduled = await world.submit({ name: "month-end", delay: "8h" });
  return { done, failed, cancelled, running, pulling, pending, scheduled };
}

/** Every page, by a name for its picture. */
export function pages(jobs) {
  return {
    overview: "/",
    jobs: "/ui/jobs",
    "jobs-failed": "/ui/jobs?state=failed",
    "jobs-none": "/ui/jobs?name=no-such-*",
    ...Object.fromEntries(Object.entries(jobs).map(([state, id]) => [`job-${state}`, `/ui/jobs/${id}`])),
    queues: "/ui/queues",
    queue: "/ui/queues/reports",
    "queue-paused": "/ui/queues/night",
    submit: "/ui/submit",
    "submit-template": "/ui/submit?template=greet",
    "submit-json": "/ui/submit?mode=json",
    sources: "/ui/sources",
    templates: "/ui/templates",
    system: "/ui/system",
  };
}
