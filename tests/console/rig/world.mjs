// A small whole world for a test: a Postgres, a simulated cluster and a replica, each a process of its own that can be
// stopped and started again, in a folder that is thrown away.

import { execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, chownSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { until } from "./until.mjs";

const LONGSHORE = process.env.LONGSHORE_BIN;

/** The settings of whoever runs the tests must not become settings of the replica. */
function environment() {
  const kept = Object.entries(process.env).filter(([name]) => !/^(LONGSHORE_|DATABASE_URL$|KUBECONFIG$|PG|AWS_)/.test(name));
  // Of a stand-in, which takes any.
  return { ...Object.fromEntries(kept), AWS_ACCESS_KEY_ID: "none", AWS_SECRET_ACCESS_KEY: "none" };
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** What listens in vain to a signal is killed: nothing may stay behind a test. */
const running = new Set();
process.on("exit", () => running.forEach((it) => it.kill("SIGKILL")));

class Process {
  constructor(program, args, log, options = {}) {
    this.log = log;
    const out = openSync(log, "a");
    this.child = spawn(program, args, { stdio: ["ignore", out, out], env: environment(), ...options });
    closeSync(out);
    running.add(this.child);
    this.over = new Promise((done) => this.child.on("exit", (code) => (running.delete(this.child), done(code ?? -1))));
  }

  get alive() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  said() {
    return readFileSync(this.log, "utf8");
  }

  /** Waits until it has said something that matches, and answers the match; fails with its last words if it ends first. */
  says(pattern) {
    return until(`${this.log} has ${pattern}`, () => {
      const match = this.said().match(pattern);
      if (!match && !this.alive) throw new Error(`it ended:\n${this.said().slice(-4000)}`);
      return match;
    });
  }

  async stop(signal = "SIGTERM") {
    if (this.alive) this.child.kill(signal);
    return this.over;
  }
}

/** Postgres refuses to run as root. */
function databaseUser() {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

function postgresPrograms() {
  const all = "/usr/lib/postgresql";
  const newest = existsSync(all) ? readdirSync(all).sort((a, b) => b - a)[0] : undefined;
  return newest ? join(all, newest, "bin") : execFileSync("pg_config", ["--bindir"], { encoding: "utf8" }).trim();
}

export class Postgres {
  static async start(folder) {
    const it = new Postgres();
    it.programs = postgresPrograms();
    it.user = databaseUser();
    it.folder = mkdtempSync(join(folder, "postgres-"));
    if (it.user.uid !== undefined) chownSync(it.folder, it.user.uid, it.user.gid);
    it.log = join(folder, "postgres.log");
    it.port = await freePort();
    const initdb = ["-D", join(it.folder, "data"), "-U", "longshore", "--auth", "trust", "--no-sync", "-E", "UTF8"];
    execFileSync(join(it.programs, "initdb"), initdb, { ...it.user, cwd: it.folder, stdio: "ignore", env: environment() });
    await it.start();
    execFileSync(join(it.programs, "createdb"), [...it.where(), "longshore"], { stdio: "ignore", env: environment() });
    return it;
  }

  get url() {
    return `postgres://longshore@127.0.0.1:${this.port}/longshore`;
  }

  where() {
    return ["-h", "127.0.0.1", "-p", String(this.port), "-U", "longshore"];
  }

  /** Every statement is in the log, so that a test can count them. */
  async start() {
    const settings = ["fsync=off", "log_statement=all", "log_min_duration_statement=-1", "max_connections=200", `port=${this.port}`,
      "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=256MB", "max_wal_size=4GB", "lc_messages=C"];
    const args = ["-D", join(this.folder, "data"), ...settings.flatMap((it) => ["-c", it])];
    this.process = new Process(join(this.programs, "postgres"), args, this.log, { ...this.user, cwd: this.folder, env: environment() });
    const ready = () => {
      try {
        execFileSync(join(this.programs, "pg_isready"), [...this.where(), "-d", "postgres"], { stdio: "ignore" });
        return true;
      } catch {
        if (!this.process.alive) throw new Error(`Postgres ended:\n${this.process.said().slice(-4000)}`);
        return false;
      }
    };
    await until("Postgres is ready", ready);
  }

  /** As a crash of its machine would: connections are cut. */
  stop() {
    return this.process.stop("SIGQUIT");
  }

  async sql(text) {
    const psql = spawn(join(this.programs, "psql"), [...this.where(), "-d", "longshore", "-v", "ON_ERROR_STOP=1", "-qAt"], { env: environment() });
    const said = { out: "", err: "" };
    psql.stdout.on("data", (it) => (said.out += it));
    psql.stderr.on("data", (it) => (said.err += it));
    psql.stdin.end(text);
    const code = await new Promise((done) => psql.on("close", done));
    if (code !== 0) throw new Error(`psql: ${said.err}`);
    return said.out.trim();
  }

  said() {
    return readFileSync(this.log, "utf8");
  }
}

export class World {
  /** `flags` are more of the replica's, `duration` is how long a job takes that does not say, `sources` is such a file. */
  static async start({ flags = [], duration = "200ms", cap = 2, sources } = {}) {
    if (!LONGSHORE) throw new Error("LONGSHORE_BIN names the binary to test: run `make console`");
    const it = new World();
    it.folder = mkdtempSync(join(tmpdir(), "longshore-console-"));
    // The database's user has to pass.
    execFileSync("chmod", ["755", it.folder]);
    it.postgres = await Postgres.start(it.folder);
    const kubeconfig = join(it.folder, "kubeconfig");
    const sim = ["sim", "--port", "0", "--write-kubeconfig", kubeconfig, "--duration", duration];
    it.sim = new Process(LONGSHORE, sim, join(it.folder, "sim.log"));
    it.simUrl = (await it.sim.says(/answers at (http:\S+)/))[1];
    it.port = await freePort();
    it.cap = cap;
    it.args = ["--kubeconfig", kubeconfig, "--database-url", it.postgres.url, "--port", String(it.port),
      "--log-format", "json", "--keep-logs", "all", ...flags];
    if (sources) it.args.push("--sources", it.file("sources.yaml", sources));
    await it.startReplica("--max-concurrency", String(cap));
    return it;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async startReplica(...more) {
    this.starts = (this.starts ?? 0) + 1;
    this.replica = new Process(LONGSHORE, ["serve", ...this.args, ...more], join(this.folder, `replica-${this.starts}.log`));
    await this.replica.says(/"ready"/);
  }

  stopReplica(signal) {
    return this.replica.stop(signal);
  }

  /** Asks the replica as a program would; `body` makes it a POST unless `method` says otherwise. */
  async ask(path, { body, method = body === undefined ? "GET" : "POST", headers = {} } = {}) {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    return fetch(this.url + path, { method, headers, body: text, redirect: "manual" });
  }

  async json(path, options) {
    const answer = await this.ask(path, options);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${options?.method ?? ""} ${path}: ${answer.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
  }

  async submit(job) {
    return (await this.json("/jobs", { body: job })).job_id;
  }

  /** Waits until a job is in one of these states. */
  reaches(id, ...states) {
    return until(`${id} is ${states.join(" or ")}`, async () => {
      const job = await this.json(`/jobs/${id}`);
      return states.includes(job.state) && job;
    });
  }

  async fault(rule) {
    return (await fetch(`${this.simUrl}/sim/faults`, { method: "POST", body: JSON.stringify(rule) })).json();
  }

  async noFaults() {
    await fetch(`${this.simUrl}/sim/faults`, { method: "DELETE" });
  }

  /** The replica's complaints, which none of these tests should cause unless it takes something away. */
  errors() {
    return this.replica.said().split("\n").filter((line) => line.includes('"level":"ERROR"'));
  }

  async finish() {
    await this.replica?.stop();
    await this.sim?.stop();
    await this.postgres?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  file(name, text) {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }
}
