/**
 * How long to wait before trying again: doubling, bounded, and with chance in it, so that a hundred pages that lost the
 * same server do not all come back in the same instant.
 */

// Lower: a server that starts is asked too often. Higher: a blip of the network is felt.
const FIRST_SECONDS = 0.5;
// Higher: people believe that the page has given up.
const LAST_SECONDS = 10;

/**
 * @param {number} attempt 0 for the first
 * @param {number} [chance] 0–1
 * @returns {number} seconds
 */
export function backoff(attempt, chance = Math.random()) {
  return Math.min(LAST_SECONDS, FIRST_SECONDS * 2 ** attempt) * (0.75 + 0.5 * chance);
}

/**
 * @param {number} seconds
 * @param {AbortSignal} [signal] ends the wait early
 * @returns {Promise<void>}
 */
export function delay(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
