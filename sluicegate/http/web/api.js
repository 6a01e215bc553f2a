/**
 * The server's REST calls, one method each. Everything that is not 2xx is thrown as a `Problem`, no answer at all as
 * `Unreachable`.
 */

import { Problem, Unreachable } from "./errors.js";
/**
 * @import {
 *   ChannelView, DtlsParameters, EncodingAdvice, IceCandidate, IceParameters, Identity, MediaKind, Quality, RtpCapabilities,
 *   RtpParameters, SessionAnswer, Source, SubscriptionAnswer
 * } from "./types.js"
 */

// Higher: a dead server keeps a button spinning. Lower: a slow phone network is taken for a dead server.
const TIMEOUT_SECONDS = 10;

export class Api {
  /**
   * @param {string} base the page's own origin, or where the API is
   * @param {string} token empty when the server runs open
   */
  constructor(base, token) {
    this.base = base;
    this.token = token;
  }

  /**
   * @param {Identity} identity
   * @returns {Promise<SessionAnswer>}
   */
  createSession(identity) {
    const { channel, userId, name } = identity;
    return this.#create("/sessions", { type: "video", channel_id: channel, user_id: userId, metadata: { name } });
  }

  /**
   * @param {string} session
   * @param {DtlsParameters} dtls
   */
  connect(session, dtls) {
    return this.#call("POST", `/sessions/${session}/connect`, { dtls_parameters: dtls });
  }

  /**
   * @param {string} session
   * @returns {Promise<{ice_parameters: IceParameters, ice_candidates: IceCandidate[]}>}
   */
  restartIce(session) {
    return this.#call("POST", `/sessions/${session}/restart-ice`);
  }

  /**
   * @param {string} session
   * @param {{kind: MediaKind, rtp_parameters: RtpParameters, source: Source, paused: boolean}} publish
   * @returns {Promise<{track_id: string, kind: MediaKind, encodings: EncodingAdvice[]}>}
   */
  publish(session, publish) {
    return this.#create(`/sessions/${session}/publish`, publish);
  }

  /**
   * @param {string} session
   * @param {string} track
   * @param {boolean} paused
   */
  pauseTrack(session, track, paused) {
    return this.#call("PATCH", `/sessions/${session}/tracks/${track}`, { paused });
  }

  /**
   * @param {string} session
   * @param {string} track
   */
  unpublish(session, track) {
    return this.#call("DELETE", `/sessions/${session}/tracks/${track}`);
  }

  /**
   * Begins paused: no packet is sent before the browser is ready for it, so no key frame is lost.
   * @param {string} session
   * @param {string} track
   * @param {RtpCapabilities} capabilities
   * @param {Quality} quality
   * @returns {Promise<SubscriptionAnswer>}
   */
  subscribe(session, track, capabilities, quality) {
    const body = { track_id: track, rtp_capabilities: capabilities, paused: true, preset: preset(quality) };
    return this.#create(`/sessions/${session}/subscribe`, body);
  }

  /**
   * @param {string} session
   * @param {string} subscription
   */
  resumeSubscription(session, subscription) {
    return this.#call("PATCH", `/sessions/${session}/subscriptions/${subscription}`, { paused: false });
  }

  /**
   * @param {string} session
   * @param {string} subscription
   * @param {Quality} quality
   */
  setQuality(session, subscription, quality) {
    return this.#call("PATCH", `/sessions/${session}/subscriptions/${subscription}`, { preset: preset(quality) });
  }

  /** @param {string} session */
  getSession(session) {
    return this.#call("GET", `/sessions/${session}`);
  }

  /**
   * @param {string} channel
   * @returns {Promise<ChannelView>}
   */
  getChannel(channel) {
    return this.#call("GET", `/channels/${encodeURIComponent(channel)}`);
  }

  /**
   * Outlives the page, so that others see at once that somebody left.
   * @param {string} session
   */
  deleteSession(session) {
    return this.#call("DELETE", `/sessions/${session}`, undefined, { keepalive: true });
  }

  /**
   * @param {string} channel
   * @returns {string} the address of its event stream; a WebSocket cannot set headers, so the token goes into the query
   */
  eventsAddress(channel) {
    const address = new URL(`/channels/${encodeURIComponent(channel)}/events`, this.base);
    address.protocol = address.protocol.replace("http", "ws");
    if (this.token) address.searchParams.set("access_token", this.token);
    return address.href;
  }

  /**
   * A call that makes something. An answer that was lost on the way is asked for once more with the same key, which
   * makes nothing twice.
   * @param {string} path
   * @param {object} body
   * @returns {Promise<any>}
   */
  async #create(path, body) {
    const headers = { "Idempotency-Key": randomKey() };
    try {
      return await this.#call("POST", path, body, { headers });
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      return this.#call("POST", path, body, { headers });
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {{keepalive?: boolean, headers?: Record<string, string>}} [options]
   * @returns {Promise<any>} the answer's JSON, null when it has none
   */
  async #call(method, path, body, options = {}) {
    /** @type {Record<string, string>} */
    const headers = { ...options.headers };
    if (this.token) headers["Authorization"] = `Bearer ${this.token}`;
    if (body) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(new URL(path, this.base), {
        method,
        headers,
        body: body && JSON.stringify(body),
        keepalive: options.keepalive ?? false,
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
      });
    } catch {
      throw new Unreachable();
    }
    // A proxy in front of a server that is down answers for it.
    if (answer.status === 502 || answer.status === 504) throw new Unreachable();
    const text = await answer.text();
    if (!answer.ok) throw problemFrom(answer, text);
    return text ? JSON.parse(text) : null;
  }
}

/**
 * @param {Quality} quality
 * @returns {string | null} null: no cap
 */
function preset(quality) {
  return quality === "auto" ? null : quality;
}

/**
 * @param {Response} answer
 * @param {string} text
 * @returns {Problem}
 */
function problemFrom(answer, text) {
  /** @type {{title?: string, detail?: string, errors?: {pointer: string, detail: string}[]}} */
  let said = {};
  try {
    said = JSON.parse(text) ?? {};
  } catch {
    // Not from our server (a proxy's page): the status has to do.
  }
  const retryAfter = Number(answer.headers.get("Retry-After"));
  return new Problem(
    answer.status,
    said.title ?? answer.statusText,
    said.detail ?? "",
    said.errors ?? [],
    retryAfter > 0 ? retryAfter : null,
  );
}

/** @returns {string} 128 random bits; `crypto.randomUUID` is missing on pages that came over plain http */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
