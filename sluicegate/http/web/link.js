/**
 * One WebRTC transport to the server, with the session that it belongs to: opening it, keeping it alive, telling how it
 * is.
 *
 * A path that breaks is repaired by an ICE restart. Only when that does not help, or when the server has closed the
 * session, is the link `lost`; it never comes back from there, and whoever owns it opens another.
 */

import { backoff, delay } from "./backoff.js";
import { Problem, Unreachable } from "./errors.js";
/** @import { Device } from "./vendor/mediasoup-client.js" */
/** @import { Api } from "./api.js" */
/** @import { SessionAnswer, Source, Transport, EncodingAdvice } from "./types.js" */

/** @typedef {"new" | "connecting" | "connected" | "interrupted" | "lost" | "closed"} LinkState */

// Lower: a slow handshake on a bad network is given up. Higher: people stare at a page that will never connect.
const CONNECT_SECONDS = 15;
// Short gaps heal by themselves; an ICE restart in the middle of one costs more than it brings.
const PATIENCE_SECONDS = 3;

export class Link {
  /** @type {LinkState} */
  state = "new";
  /** Why it is lost: a word of the server's, or `no_route`. */
  reason = "";
  /** Whether media could flow at any time. */
  everConnected = false;
  /** @type {Map<string, EncodingAdvice[]>} by track id: what the server said when it was published */
  advice = new Map();
  #timer = 0;
  #ended = new AbortController();

  /**
   * @param {Api} api
   * @param {Device} device loaded
   * @param {"send" | "receive"} direction
   * @param {SessionAnswer} session
   * @param {(link: Link) => void} onState
   */
  constructor(api, device, direction, session, onState) {
    this.api = api;
    this.direction = direction;
    this.sessionId = session.session_id;
    this.onState = onState;
    /** Where the server offers its media. */
    this.addresses = session.ice_candidates.map(({ address, ip }) => address ?? ip);
    const options = {
      id: session.session_id,
      iceParameters: session.ice_parameters,
      iceCandidates: session.ice_candidates,
      dtlsParameters: session.dtls_parameters,
      iceServers: session.ice_servers,
    };
    /** @type {Transport} */
    this.transport = direction === "send" ? device.createSendTransport(options) : device.createRecvTransport(options);
    this.#listen();
  }

  #listen() {
    this.transport.on("connect", ({ dtlsParameters }, done, failed) => {
      this.#become("connecting");
      this.#after(CONNECT_SECONDS, () => this.lose("no_route"));
      this.api.connect(this.sessionId, dtlsParameters).then(done, failed);
    });
    this.transport.on("produce", ({ kind, rtpParameters, appData }, done, failed) => {
      const { source, paused } = /** @type {{source: Source, paused: boolean}} */ (appData);
      this.api.publish(this.sessionId, { kind, rtp_parameters: rtpParameters, source, paused }).then((answer) => {
        this.advice.set(answer.track_id, answer.encodings);
        done({ id: answer.track_id });
      }, failed);
    });
    this.transport.on("connectionstatechange", (state) => {
      if (state === "connected") {
        clearTimeout(this.#timer);
        this.everConnected = true;
        this.#become("connected");
      } else if (state === "disconnected") {
        this.#become("interrupted");
        this.#after(PATIENCE_SECONDS, () => this.restart());
      } else if (state === "failed") {
        if (this.everConnected) this.restart();
        else this.lose("no_route");
      }
    });
  }

  /** Finds a new path for the same session; called by itself when the path is gone, and when the machine changed networks. */
  async restart() {
    if (this.#over || !this.everConnected) return;
    this.#become("interrupted");
    for (let attempt = 0; !this.#over; attempt++) {
      try {
        const answer = await this.api.restartIce(this.sessionId);
        await this.transport.restartIce({ iceParameters: answer.ice_parameters });
        if (this.state === "interrupted") this.#after(CONNECT_SECONDS, () => this.lose("no_route"));
        return;
      } catch (error) {
        if (this.#over) return;
        if (error instanceof Unreachable) await delay(backoff(attempt), this.#ended.signal);
        else return this.lose(error instanceof Problem && error.status === 404 ? "session_lost" : "restart_failed");
      }
    }
  }

  /**
   * Gives the link up.
   * @param {string} reason
   */
  lose(reason) {
    if (this.#over) return;
    this.reason = reason;
    this.#shut("lost");
  }

  /** Ends the link because nobody wants it any more, and the session with it. */
  close() {
    if (this.state === "closed") return;
    this.#shut("closed");
    // It is over either way: an unreachable server notices by itself.
    this.api.deleteSession(this.sessionId).catch(() => undefined);
  }

  get #over() {
    return this.state === "lost" || this.state === "closed";
  }

  /** @param {"lost" | "closed"} state */
  #shut(state) {
    clearTimeout(this.#timer);
    this.#ended.abort();
    this.transport.close();
    this.#become(state);
  }

  /**
   * @param {number} seconds
   * @param {() => void} act
   */
  #after(seconds, act) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(act, seconds * 1000);
  }

  /** @param {LinkState} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.onState(this);
  }
}
