// Whoever has no mouse: everything can be reached, in order, and it shows where one is.

import assert from "node:assert/strict";

/** More steps than any page has places. */
const MOST_STEPS = 400;

/** The first thing that the keyboard reaches leads past the menu. */
export async function skipLinkWorks(page) {
  await page.evaluate(() => (document.activeElement?.blur(), scrollTo(0, 0)));
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => ({ text: document.activeElement.textContent.trim(), top: document.activeElement.getBoundingClientRect().top }));
  assert.match(first.text, /^skip to/i);
  assert.ok(first.top >= 0, "it can be seen while it has the focus");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  const within = await page.evaluate(() => {
    const main = document.querySelector("main");
    return main.contains(document.activeElement) || !main.querySelector("a, button, input, select, textarea, summary, [tabindex]");
  });
  assert.ok(within, "the next place is in the main part");
}

/** Runs in the page. A live page may put a new element in an old one's place, so each is known by what it is. */
function tell() {
  globalThis.known = (it) => {
    // Of radio buttons of one name the keyboard reaches one; arrows lead to the others.
    if (it.type === "radio") return `radio ${it.name}`;
    const text = it.textContent.replace(/\d+/g, "0").trim().slice(0, 60);
    return [it.tagName, it.id, it.getAttribute("href") ?? it.name ?? "", text].join(" ");
  };
}

/** Walks by Tab from the top: every link, button and field is passed, and shows that it has the focus. */
export async function reachableByKeyboard(page, where) {
  await page.evaluate(tell);
  const expected = await page.evaluate(() => {
    const all = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']");
    const reachable = [...all].filter((it) => !it.disabled && it.checkVisibility({ visibilityProperty: true }));
    // The walk begins at the very top.
    const top = document.createElement("span");
    top.tabIndex = -1;
    document.body.prepend(top);
    top.focus();
    top.remove();
    return [...new Set(reachable.map(known))];
  });
  const passed = new Set();
  let first;
  for (let step = 0; step < MOST_STEPS; step++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const it = document.activeElement;
      if (!it || it === document.body) return null;
      const style = getComputedStyle(it);
      const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
      const box = it.getBoundingClientRect();
      const seen = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
      return { key: known(it), shows: outlined || style.boxShadow !== "none", seen };
    });
    if (at === null || at.key === first) break;
    assert.ok(at.shows, `${where}: it does not show that it has the focus: ${at.key}`);
    assert.ok(at.seen, `${where}: it has the focus and is not in sight: ${at.key}`);
    first ??= at.key;
    passed.add(at.key);
  }
  const missed = expected.filter((it) => !passed.has(it));
  assert.ok(missed.length === 0, `${where}: the keyboard does not reach\n  ${missed.join("\n  ")}`);
}
