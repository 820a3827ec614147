// The headers that every page has.

import assert from "node:assert/strict";

const POLICY = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self' data:",
  "connect-src": "'self'",
  "form-action": "'self'",
  "frame-ancestors": "'none'",
  "base-uri": "'none'",
};

export function holdsHeaders(answer) {
  const headers = answer.headers();
  const policy = headers["content-security-policy"].split(";").map((it) => it.trim().split(/\s+/));
  const read = Object.fromEntries(policy.filter(([name]) => name).map(([name, ...values]) => [name, values.join(" ")]));
  assert.deepEqual(read, POLICY);
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "same-origin");
  assert.equal(headers["cache-control"], "no-store");
  assert.match(headers["content-type"], /^text\/html; charset=utf-8$/i);
}
