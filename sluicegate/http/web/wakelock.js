/**
 * Keeps a phone from falling asleep during a call, where the browser can.
 */

/** @type {WakeLockSentinel | null} */
let lock = null;
let wanted = false;

/** @param {boolean} awake */
export async function keepAwake(awake) {
  wanted = awake;
  if (awake) return ask();
  await lock?.release();
  lock = null;
}

async function ask() {
  if (!wanted || document.visibilityState !== "visible") return;
  // Refused when the battery is low: then the phone sleeps as it always does.
  lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
}

// The browser takes the lock away from a page that is hidden.
document.addEventListener("visibilitychange", () => void ask());
