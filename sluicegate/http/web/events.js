/**
 * The channel's event stream: a WebSocket that comes back by itself. Every time it opens, a snapshot comes first.
 */

import { backoff, delay } from "./backoff.js";
/** @import { ChannelEvent } from "./types.js" */

// Higher: a connection that will never open keeps the page from trying again.
const OPEN_SECONDS = 10;

export class EventStream {
  open = false;
  /** @type {WebSocket | null} */
  #socket = null;
  #ended = new AbortController();
  #waiting = new AbortController();

  /**
   * @param {() => string} address asked for each attempt; the token may have changed
   * @param {object} listener
   * @param {(event: ChannelEvent) => void} listener.onEvent
   * @param {(attempt: number, code: number) => Promise<boolean>} listener.onClosed the stream is down, by a WebSocket close code;
   *   resolves to whether to try again
   * @param {() => void} listener.onOpen
   */
  constructor(address, listener) {
    this.address = address;
    this.listener = listener;
  }

  /** Runs until `close`, or until `onClosed` says no. */
  async run() {
    for (let attempt = 0; !this.#ended.signal.aborted; attempt++) {
      const { opened, code } = await this.#session();
      if (this.#ended.signal.aborted) return;
      if (opened) attempt = 0;
      if (!(await this.listener.onClosed(attempt, code))) return;
      this.#waiting = new AbortController();
      await delay(backoff(attempt), AbortSignal.any([this.#ended.signal, this.#waiting.signal]));
    }
  }

  /** Does not wait any longer before the next attempt. */
  hurry() {
    this.#waiting.abort();
  }

  /** Begins afresh, with a new snapshot. */
  restart() {
    this.#socket?.close();
    this.hurry();
  }

  close() {
    this.#ended.abort();
    this.#socket?.close();
  }

  /**
   * One connection, from opening to closing.
   * @returns {Promise<{opened: boolean, code: number}>} whether it was ever open, and how it was closed
   */
  #session() {
    return new Promise((resolve) => {
      const socket = new WebSocket(this.address());
      this.#socket = socket;
      const timer = setTimeout(() => socket.close(), OPEN_SECONDS * 1000);
      let opened = false;
      socket.addEventListener("open", () => {
        clearTimeout(timer);
        opened = this.open = true;
        this.listener.onOpen();
      });
      socket.addEventListener("message", ({ data }) => {
        if (socket === this.#socket && typeof data === "string") this.listener.onEvent(JSON.parse(data));
      });
      socket.addEventListener("close", ({ code }) => {
        clearTimeout(timer);
        this.open = false;
        resolve({ opened, code });
      });
    });
  }
}
