/**
 * Figures as people read them.
 */

/** @import { Figures, Media } from "./types.js" */

/**
 * @param {number} bps
 * @returns {string}
 */
export function bitrate(bps) {
  if (bps >= 999_500) return `${(bps / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}

/**
 * @param {number} loss 0–1
 * @returns {string}
 */
export function percent(loss) {
  const shown = loss * 100;
  return `${shown === 0 || shown >= 10 ? Math.round(shown) : shown.toFixed(1)} %`;
}

/**
 * The line on a tile: size, rate and loss of the picture, or of the voice where there is none.
 * @param {Media | undefined} picture
 * @param {Media | undefined} voice
 * @returns {{text: string, loss: number}}
 */
export function summary(picture, voice) {
  const seen = picture && !picture.paused ? picture.figures : null;
  const heard = voice && !voice.paused ? voice.figures : null;
  const loss = Math.max(seen?.loss ?? 0, heard?.loss ?? 0);
  if (!seen && !heard) return { text: "", loss: 0 };
  const rate = bitrate((seen?.bitrateBps ?? 0) + (heard?.bitrateBps ?? 0));
  const size = seen?.height ? `${seen.width}×${seen.height} · ` : "";
  return { text: `${size}${rate} · ${percent(loss)} lost`, loss };
}

/**
 * All that is known, a line for each stream.
 * @param {Media | undefined} picture
 * @param {Media | undefined} voice
 * @returns {string}
 */
export function describeStreams(picture, voice) {
  const lines = [];
  if (picture?.figures) lines.push(describe("Picture", picture.figures));
  if (voice?.figures) lines.push(describe("Sound", voice.figures));
  return lines.join("\n");
}

/**
 * @param {string} what
 * @param {Figures} figures
 * @returns {string}
 */
function describe(what, { codec, width, height, framesPerSecond, bitrateBps, loss, packetsLost, packets }) {
  const size = height ? `, ${width}×${height} at ${Math.round(framesPerSecond)}/s` : "";
  return `${what}: ${codec}${size}, ${bitrate(bitrateBps)}, ${percent(loss)} lost (${packetsLost} of ${packets} packets so far)`;
}
