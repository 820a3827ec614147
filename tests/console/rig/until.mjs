// Waiting for conditions, within a bound, and never for a time.

/** How long anything may take that must happen. Generous: a busy machine is no reason to fail. */
export const BOUND_MS = Number(process.env.BOUND_MS ?? 120_000);
/** How often a condition is looked at that nobody can announce. */
const LOOK_MS = 100;

/** Answers the first truthy answer of `condition`, and fails with what it waited for if there is none within the bound. */
export async function until(what, condition) {
  const end = Date.now() + BOUND_MS;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}
