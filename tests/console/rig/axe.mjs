// axe's rules over the page as it is now.

import assert from "node:assert/strict";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Fails with each broken rule and where it is broken. The visitor must have come with `tools`. */
export async function accessible(page, where) {
  const found = await page.evaluate((rules) => axe.run(document, { runOnly: rules, resultTypes: ["violations"] }), RULES);
  const node = (it) => `\n      ${it.target.join(" ")}: ${it.failureSummary.replaceAll(/\s+/g, " ")}`;
  const rule = (it) => `\n  ${it.id}: ${it.help}${it.nodes.slice(0, 5).map(node).join("")}`;
  assert.ok(found.violations.length === 0, `${where}:${found.violations.map(rule).join("")}`);
}
