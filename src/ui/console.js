// Keeps an open page up to date: with each message of the server the parts that changed are put in the place of those that
// were there. What a reader does meanwhile stays: opened details, the focus, a selection, what is being typed.
const root = document.body.dataset.root;
const live = document.querySelector("[data-live]");
const said = document.getElementById("said");
// Pages that ask for themselves anew do so no more often than this, in milliseconds; and so long after the server was lost
// for good it is tried again.
const PAUSE = 5000;

function busy(part) {
  const focus = document.activeElement;
  if (part.contains(focus) && focus.matches("input, select, textarea")) return true;
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

// What stands in the fresh part for what had the focus: by its id, else the link or button that leads to the same, else the
// first that there is.
function counterpart(focus, old, part) {
  if (focus.id) return document.getElementById(focus.id);
  const alike = (it) => [...it.querySelectorAll(focus.localName)].filter((one) => one.getAttribute("href") === focus.getAttribute("href"));
  return alike(part)[alike(old).indexOf(focus)] ?? part.querySelector("a, button");
}

function put(fresh) {
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const old = document.getElementById(part.id);
    if (!old || busy(old) || old.outerHTML === part.outerHTML) continue;
    for (const details of old.querySelectorAll("details[open]")) {
      const again = details.id && part.querySelector("#" + CSS.escape(details.id));
      if (again) again.open = true;
    }
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const log = old.querySelector(".log");
    const scrolled = log && log.scrollTop + log.clientHeight < log.scrollHeight - 4 ? log.scrollTop : null;
    const fits = document.adoptNode(part);
    old.replaceWith(fits);
    if (focus) counterpart(focus, old, fits)?.focus({ preventScroll: true });
    const after = fits.querySelector(".log");
    if (after) after.scrollTop = scrolled ?? after.scrollHeight;
  }
}

function parsed(html) {
  // What is parsed so runs nothing, and it comes from this server, which escaped it.
  return new DOMParser().parseFromString(html, "text/html");
}

// Says once that the page is not up to date, and why, and takes it back once it is.
function stale(why) {
  if (said.textContent !== why) said.textContent = why;
  said.hidden = !why;
  document.body.classList.toggle("cut", !!why);
}

let source = null;
let later = null;
let asked = Date.now();
// What the server said of the state of things when this page was asked for.
let mark = null;

async function again(now) {
  const moving = document.querySelector("[data-moving]");
  if (Date.now() - asked < PAUSE || (now === mark && !moving) || document.querySelector("[role=alert]")) return;
  asked = Date.now();
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) {
    const away = response.status === 503 ? "the database cannot be used right now." : "the server answers " + response.status + ".";
    return stale("This page is not up to date: " + away);
  }
  const fresh = parsed(await response.text());
  put(fresh);
  mark = now;
  stale("");
  // What is over does not change any more.
  const holder = fresh.querySelector("[data-live]");
  if (!holder) stop();
  document.querySelector("[data-moving]")?.toggleAttribute("data-moving", !!fresh.querySelector("[data-moving]"));
  if (fresh.querySelector("[data-moving]")) document.querySelector("[data-live]")?.setAttribute("data-moving", "");
}

const LOST = "This page is not up to date: the server does not answer.";

function stop() {
  clearTimeout(later);
  source?.close();
  source = null;
}

function start() {
  if (source || document.hidden) return;
  source = new EventSource(root + "ui/live?page=" + live.dataset.live);
  source.addEventListener("board", (event) => { stale(""); put(parsed(event.data)); });
  source.addEventListener("hello", (event) => { if (mark === null) mark = event.data; stale(""); });
  source.addEventListener("tick", (event) => again(event.data).catch(() => stale(LOST)));
  source.addEventListener("error", () => {
    stale(LOST);
    // After an answer that is no stream the browser gives up; a restart behind a proxy is no reason to.
    if (source?.readyState === EventSource.CLOSED) {
      stop();
      later = setTimeout(start, PAUSE);
    }
  });
}

if (live) {
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
  start();
}

// After a refusal, to the first field that it is about.
document.querySelector("[aria-invalid]")?.focus();

const log = document.querySelector(".log");
if (log) log.scrollTop = log.scrollHeight;

// A form that is sent twice would be answered twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    addEventListener("pageshow", () => delete form.dataset.sent, { once: true });
  });
}
