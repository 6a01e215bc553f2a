/**
 * Who one is: from what was typed, and from the token where there is one.
 */

/** @import { Identity } from "./types.js" */

/**
 * The id that the server takes for a name: letters without their marks, digits and `. _ : -`.
 * @param {string} name
 * @returns {string} 1–128 characters, or empty when nothing usable is left
 */
export function toId(name) {
  const plain = name.trim().normalize("NFKD").replace(/\p{M}/gu, "").replace(/ß/g, "ss").replace(/[øØ]/g, "o");
  return plain
    .replace(/[^A-Za-z0-9._:-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 128);
}

/**
 * What a token says without being verified; the server verifies it.
 * @param {string} token
 * @returns {{sub?: string, channel_id?: string}}
 */
export function readToken(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/**
 * @param {string} name
 * @param {string} channel
 * @param {string} token
 * @returns {Identity}
 */
export function identify(name, channel, token) {
  const claims = token ? readToken(token) : {};
  const userId = claims.sub || toId(name) || `guest-${Math.floor(Math.random() * 9000 + 1000)}`;
  return { userId, name: name.trim() || userId, channel: toId(channel) };
}
