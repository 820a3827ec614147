// What can be measured of how a page looks, and pictures of it for those who look.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

/** Nothing may make the page wider than the screen; what is wide itself, such as a log, scrolls within itself. */
export async function fits(page, where) {
  const squeezed = await page.evaluate(() => {
    const narrow = (it) => {
      const box = it.getBoundingClientRect();
      return it.childElementCount === 0 && it.textContent.trim().length > 12 && box.width > 1 && box.width < 30 && box.height > 60;
    };
    return [...document.querySelectorAll("main *")].filter(narrow).map((it) => it.textContent.slice(0, 40));
  });
  assert.ok(squeezed.length === 0, `${where} has text in a column of single letters: ${squeezed.join(", ")}`);
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const sticksOut = (it) => it.getBoundingClientRect().right > width + 1;
    const name = (it) => `${it.tagName.toLowerCase()}${it.id ? `#${it.id}` : ""}.${[...it.classList].join(".")}`;
    return [...document.body.querySelectorAll("*")].filter(sticksOut).slice(0, 10).map(name);
  });
  assert.ok(wide.length === 0, `${where} scrolls sideways because of ${wide.join(", ")}`);
}

const shots = process.env.SHOTS ?? join(import.meta.dirname, "shots");

export async function shoot(page, name) {
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}
