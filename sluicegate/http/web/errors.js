/**
 * What went wrong, in words: one plain sentence that says what happened and one that says what to do about it.
 */

/** @import { Source } from "./types.js" */

/** An answer that is not 2xx: RFC 9457 problem details. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} title
   * @param {string} detail
   * @param {{pointer: string, detail: string}[]} fields which fields were wrong
   * @param {number | null} retryAfter seconds
   */
  constructor(status, title, detail, fields, retryAfter) {
    super(`${status} ${title}: ${detail}`);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/** No answer at all: the server is down, or the network is. */
export class Unreachable extends Error {
  constructor() {
    super("the server does not answer");
    this.name = "Unreachable";
  }
}

/** The browser cannot do what the page needs. The message is already a sentence for people. */
export class Unsupported extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "Unsupported";
  }
}

/**
 * @param {string[]} addresses where the server offers its media
 * @returns {string}
 */
export function noRoute(addresses) {
  const loopback = addresses.every((address) => /^(127\.|::1$)/.test(address));
  if (addresses.length > 0 && loopback && navigator.userAgent.includes("Firefox")) {
    return (
      `The server offers voice and video only at ${addresses.join(" and ")}, where Firefox does not look for them. ` +
      "Use Chrome on this machine, or have the server listen on the network too (HOST=0.0.0.0)."
    );
  }
  return (
    "Voice and video cannot reach the server, although the page can. A firewall or VPN probably blocks UDP: " +
    "try another network, or ask for a TURN relay to be set up."
  );
}

/**
 * @param {unknown} error
 * @returns {string} what happened and what to do
 */
export function explain(error) {
  if (error instanceof Problem) return explainProblem(error);
  if (error instanceof Unreachable) return serverGone();
  if (error instanceof Unsupported) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  return `Something unexpected happened: ${text}. Leave and join again; if it stays, tell whoever runs this server.`;
}

/** @returns {string} */
export function serverGone() {
  return navigator.onLine
    ? "The server does not answer. This page keeps trying and joins again by itself."
    : "You are offline. This page joins again by itself when the network is back.";
}

/**
 * @param {Problem} problem
 * @returns {string}
 */
function explainProblem(problem) {
  const wait = problem.retryAfter ? ` in ${Math.ceil(problem.retryAfter)} seconds` : " in a moment";
  const said = problem.detail ? ` The server says: “${problem.detail}”` : "";
  switch (problem.status) {
    case 401:
      return "The server did not accept this token: it may be mistyped or expired. Paste a new one.";
    case 403:
      return `Your token does not allow this.${said} Ask for one that does.`;
    case 404:
      return `The server no longer knows what this was about.${said} Leave and join again.`;
    case 413:
    case 422:
      return `The server did not accept ${fieldNames(problem)}. Change it and try again.`;
    case 429:
      return `That was too fast for the server. Try again${wait}.`;
    case 503:
      return `There is no room right now.${said} Try again${wait}.`;
    default:
      return `The server refused (${problem.status} ${problem.title}).${said} Try again; if it stays, tell whoever runs this server.`;
  }
}

/**
 * @param {Problem} problem
 * @returns {string}
 */
function fieldNames(problem) {
  const [first] = problem.fields;
  if (!first) return `this (${problem.detail || problem.title})`;
  const name = { "/user_id": "the name", "/channel_id": "the channel" }[first.pointer] ?? first.pointer;
  return `${name} (${first.detail})`;
}

/** @type {Record<Source, string>} */
const DEVICE = { microphone: "microphone", camera: "camera", screen: "screen", screen_audio: "sound of the screen" };

/**
 * What `getUserMedia` and `getDisplayMedia` throw.
 * @param {unknown} error
 * @param {Source} source
 * @returns {string | null} null when the person simply closed the picker
 */
export function explainCapture(error, source) {
  const device = DEVICE[source];
  // mediasoup-client's words for a transport that has gone; whoever closed it has said why.
  if (error instanceof Error && /^(closed|.*queue stopped)$/i.test(error.message)) return null;
  if (!(error instanceof DOMException)) return explain(error);
  switch (error.name) {
    case "NotAllowedError":
      if (source === "screen") return /system|policy/i.test(error.message) ? SCREEN_FORBIDDEN : null;
      return `The browser may not use your ${device}. Allow it (the icon beside the address bar), then press the button again.`;
    case "NotFoundError":
    case "OverconstrainedError":
      return `No ${device} was found. Plug one in or choose another under Settings, then press the button again.`;
    case "NotReadableError":
    case "AbortError":
      return `The ${device} does not start; another program may be using it. Close that program, then press the button again.`;
    case "SecurityError":
      return `This page is not allowed to use a ${device}. Open it in a tab of its own.`;
    default:
      return `The ${device} does not start (${error.message || error.name}). Try again or choose another under Settings.`;
  }
}

const SCREEN_FORBIDDEN =
  "The system does not let the browser record the screen. Allow screen recording for the browser in the system's settings.";

/** Reasons after which a new session is worth opening: the way to the server failed, not the visit. */
const RECOVERABLE = /connect|consent|ice|dtls|srtp|transport|route|timeout|lost|failed|drain|shut|restart|node/i;

/**
 * @param {string} reason as `session.closed` gives it
 * @returns {string | null} a sentence when the server wants us out; null when a new session may be opened
 */
export function explainClosed(reason) {
  if (RECOVERABLE.test(reason)) return null;
  return `The server ended your visit (${reason.replaceAll("_", " ")}). Join again if that was not meant.`;
}
