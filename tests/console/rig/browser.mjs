// Visitors: each has a browser context of its own, in which everything that a page must never do is noted.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

import { chromium } from "playwright-core";

import { BOUND_MS } from "./until.mjs";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

let browser;

/** One browser serves all visitors of a file. It resolves no name, so that nothing can leave this machine. */
export async function open() {
  const args = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM, args });
  return browser;
}

export async function close() {
  await browser?.close();
  browser = undefined;
}

export const WIDE = { width: 1280, height: 900 };
export const PHONE = { width: 375, height: 812 };

/** Runs in every page before its own script: whatever the policy stopped, and the marks that hostile text would leave. */
function note() {
  globalThis.violations = [];
  document.addEventListener("securitypolicyviolation", (it) => {
    violations.push(`${it.violatedDirective} ${it.blockedURI} ${it.sourceFile}:${it.lineNumber} ${it.sample}`);
  });
  // A number that only a page which was not loaded anew still has.
  globalThis.loaded = Math.random();
}

export class Visitor {
  static async come(world, { scripts = true, scheme = "light", size = WIDE, tools = false } = {}) {
    const it = new Visitor();
    it.world = world;
    it.trouble = [];
    // What a test has taken away, and a page must then complain of.
    it.expected = [];
    const options = { baseURL: world.url, javaScriptEnabled: scripts, colorScheme: scheme, viewport: size, reducedMotion: "reduce" };
    it.context = await (await open()).newContext(options);
    it.context.setDefaultTimeout(BOUND_MS);
    it.context.on("request", (request) => it.#own(request));
    it.context.on("console", (message) => it.#listen(message));
    it.context.on("weberror", (error) => it.trouble.push(`script failed: ${error.error().stack}`));
    it.context.on("dialog", (dialog) => (it.trouble.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
    if (scripts) await it.context.addInitScript(note);
    if (tools) await it.context.addInitScript({ path: axe });
    it.page = await it.context.newPage();
    it.scripts = scripts;
    return it;
  }

  #own(request) {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== this.world.url) this.trouble.push(`a request to ${request.url()}`);
  }

  #listen(message) {
    if (message.type() === "error" || message.type() === "warning") {
      this.trouble.push(`the console says: ${message.text()} (${message.location()?.url})`);
    }
  }

  /** Loads a page, and holds its headers against the rules for pages. */
  async go(path, status = 200) {
    const answer = await this.page.goto(path);
    assert.equal(answer.status(), status, path);
    return answer;
  }

  /** Fails if anything happened that never may. */
  async clean(where = this.page.url()) {
    const violations = this.scripts && !this.page.isClosed() ? await this.page.evaluate(() => globalThis.violations ?? []) : [];
    const trouble = [...this.trouble, ...violations].filter((it) => !this.expected.some((pattern) => pattern.test(it)));
    assert.ok(trouble.length === 0, `${where}:\n  ${trouble.join("\n  ")}`);
  }

  async leave() {
    await this.context.close();
  }
}

/** Runs a visit, and closes it however it ends. */
export async function visit(world, options, act) {
  const visitor = await Visitor.come(world, options);
  try {
    const answer = await act(visitor, visitor.page);
    await visitor.clean();
    return answer;
  } finally {
    await visitor.leave();
  }
}
