/**
 * What the page remembers of this person from visit to visit, in this browser only. The token is never kept.
 */

/** @import { Choices } from "./capture.js" */

const KEY = "sluicegate";

/**
 * @typedef {object} Preferences
 * @property {string} name
 * @property {string} channel
 * @property {boolean} withMicrophone
 * @property {boolean} withCamera
 * @property {Choices} choices
 */

/** @returns {Preferences} */
export function loadPreferences() {
  /** @type {Partial<Preferences>} */
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    // Storage is forbidden or holds something else: begin afresh.
  }
  const choices = { microphoneId: "", cameraId: "", speakerId: "", processing: true, ...kept.choices, videoCodec: "" };
  return { name: "", channel: "", withMicrophone: true, withCamera: false, ...kept, choices };
}

/** @param {Preferences} preferences */
export function savePreferences(preferences) {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Not remembered, then.
  }
}
