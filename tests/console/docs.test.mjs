// The pages at /docs, which need no script: their headers, axe's rules, and no request to anyone else.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible } from "./rig/axe.mjs";
import { PHONE, WIDE, close, visit } from "./rig/browser.mjs";
import { fits } from "./rig/looks.mjs";
import { World } from "./rig/world.mjs";

const PAGES = ["/docs", "/docs/problems/queue_full"];

let world;
before(async () => (world = await World.start()));
after(async () => {
  await close();
  await world?.finish();
});

for (const scheme of ["light", "dark"]) {
  for (const size of [WIDE, PHONE]) {
    test(`the pages of the API can be read by everyone, ${scheme} and ${size.width} pixels wide`, async () => {
      await visit(world, { scheme, size, tools: true }, async (visitor, page) => {
        for (const path of PAGES) {
          const answer = await visitor.go(path);
          assert.match(answer.headers()["content-security-policy"], /default-src 'none'/);
          await accessible(page, path);
          await fits(page, path);
          await visitor.clean(path);
        }
      });
    });
  }
}
