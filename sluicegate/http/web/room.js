/**
 * One visit to one channel: opens the links and the event stream, keeps them, and says how things stand.
 *
 * There are two sessions, one to send and one to receive. The second is opened when there is first something to
 * receive, since the server closes a session that is not used. What is lost is opened again for as long as the visit
 * lasts; the visit ends when the person leaves or when the server says so.
 */

import { backoff, delay } from "./backoff.js";
import { explain, explainClosed, noRoute, Problem, serverGone, Unreachable, Unsupported } from "./errors.js";
import { EventStream } from "./events.js";
import { Link } from "./link.js";
import { Publisher } from "./publisher.js";
import { Roster } from "./roster.js";
import { Subscriber } from "./subscriber.js";
import { Device } from "./vendor/mediasoup-client.js";
/** @import { Api } from "./api.js" */
/** @import { Choices } from "./capture.js" */
/** @import { People, Person } from "./people.js" */
/** @import { ChannelEvent, Connection, Identity, TrackView } from "./types.js" */

/**
 * What a room tells the page.
 * @typedef {object} RoomView
 * @property {() => void} changed the connection or something of the room is different
 * @property {(key: string, text: string) => void} warn until `calm` of the same key
 * @property {(key: string) => void} calm
 * @property {(text: string) => void} announce
 * @property {(text: string, status: number) => void} ended the server ended the visit; with the status of the refusal, or 0
 */

// A session that was opened a moment ago may belong to this window: its id comes with the answer, the event may come
// before.
const SAME_NAME_SECONDS = 3;
// The WebSocket close code by which the server says that the token has ended.
const TOKEN_ENDED = 1008;

export class Room {
  recording = false;
  /** @type {Link | null} */
  send = null;
  /** @type {Link | null} */
  receive = null;
  #over = new AbortController();
  /** Whether the token no longer opens the event stream. */
  #blind = false;
  /** How often in a row a link was lost before it ever carried anything. */
  #failures = { send: 0, receive: 0 };
  /** @type {Promise<Link> | null} */
  #receiving = null;
  /** The links that there were when the stream opened: a snapshot that lacks their sessions says that they are gone. @type {Link[]} */
  #known = [];

  /**
   * @param {Api} api
   * @param {Identity} identity
   * @param {People} people
   * @param {RoomView} view
   */
  constructor(api, identity, people, view) {
    this.api = api;
    this.identity = identity;
    this.people = people;
    this.view = view;
    this.roster = new Roster(api, identity.channel, people, view.announce);
    this.stream = new EventStream(() => api.eventsAddress(identity.channel), {
      onOpen: () => this.#onOpen(),
      onEvent: (event) => this.#onEvent(event),
      onClosed: (attempt, code) => this.#onClosed(attempt, code),
    });
  }

  /**
   * Joins as a listener with a muted microphone. Throws when the server refuses or does not answer.
   * @param {Choices} choices
   * @param {AudioContext} context
   */
  async join(choices, context) {
    const session = await this.api.createSession(this.identity);
    try {
      this.device = await Device.factory();
      await this.device.load({ routerRtpCapabilities: session.rtp_capabilities });
    } catch {
      throw new Unsupported("This browser cannot take part in calls. Use a current Chrome, Edge, Firefox or Safari.");
    }
    /** @type {Person} */
    this.self = this.people.meet(this.identity.userId, this.identity.name, true);
    this.publisher = new Publisher(this.api, this.device, this.people, this.self, choices, context, (source) => {
      // The end of a sharing was asked for, at the browser's own button.
      if (source === "microphone" || source === "camera") {
        this.view.warn(source, `The ${source} was unplugged. Plug it in or choose another under Settings.`);
      }
      this.view.changed();
    });
    this.subscriber = new Subscriber(
      this.api,
      this.device,
      this.people,
      () => this.#getReceiving(),
      (error) => {
        if (!(error instanceof Unreachable)) this.view.warn("subscribe", explain(error));
      },
    );
    this.send = new Link(this.api, this.device, "send", session, (link) => this.#onLink(link));
    void this.stream.run();
    await this.#attach(this.send);
    this.view.changed();
  }

  /** Ends the visit and releases everything. */
  leave() {
    this.#over.abort();
    this.stream.close();
    this.roster.close();
    this.subscriber?.close();
    this.send?.close();
    this.receive?.close();
    this.publisher?.close();
    this.people.clear();
  }

  /** The machine changed networks, or is back on one: finds new paths without waiting to notice. */
  networkChanged() {
    this.stream.hurry();
    void this.send?.restart();
    void this.receive?.restart();
  }

  /** @returns {Connection} */
  get connection() {
    if (this.#over.signal.aborted) return "idle";
    if (this.#failures.send + this.#failures.receive > 0) return "unroutable";
    const links = [this.send, this.receive].filter((link) => link !== null);
    if (links.some(({ state }) => state === "interrupted" || state === "lost")) return "reconnecting";
    if (!this.stream.open && !this.#blind) return this.#known.length > 0 ? "reconnecting" : "joining";
    return this.send?.state === "connected" ? "connected" : "joining";
  }

  // Links

  /** @returns {Promise<Link>} */
  #getReceiving() {
    this.#receiving ??= this.#openReceiving().catch((error) => {
      this.#receiving = null;
      throw error;
    });
    return this.#receiving;
  }

  async #openReceiving() {
    this.receive = await this.#openLink("receive");
    return this.receive;
  }

  /** @param {"send" | "receive"} direction */
  async #openLink(direction) {
    const session = await this.api.createSession(this.identity);
    const device = /** @type {Device} */ (this.device);
    const link = new Link(this.api, device, direction, session, (one) => this.#onLink(one));
    if (this.#over.signal.aborted) link.close();
    return link;
  }

  /** @param {Link} link */
  #onLink(link) {
    if (link !== this[link.direction]) return;
    if (link.state === "connected") {
      this.#failures[link.direction] = 0;
      if (this.#failures.send + this.#failures.receive === 0) this.view.calm("route");
    } else if (link.state === "lost") {
      this.#onLost(link);
    }
    this.view.changed();
  }

  /** @param {Link} link */
  #onLost(link) {
    const final = explainClosed(link.reason);
    if (final) return this.#end(final, 0);
    this.api.deleteSession(link.sessionId).catch(() => undefined);
    const { direction } = link;
    if (!link.everConnected) {
      this.#failures[direction] += 1;
      this.view.warn("route", noRoute(link.addresses));
    }
    if (direction === "send") {
      void this.#reopenSend();
    } else {
      this.receive = null;
      const wait = this.#failures.receive > 0 ? backoff(this.#failures.receive) : 0;
      void delay(wait, this.#over.signal).then(() => {
        this.#receiving = null;
        this.subscriber?.restart();
      });
    }
  }

  async #reopenSend() {
    for (let attempt = this.#failures.send; !this.#over.signal.aborted; attempt++) {
      if (attempt > 0) await delay(backoff(attempt), this.#over.signal);
      try {
        this.send = await this.#openLink("send");
        return await this.#attach(this.send);
      } catch (error) {
        if (this.#over.signal.aborted || !(error instanceof Problem)) continue;
        if (this.#refused(error)) return;
        this.view.warn("server", explain(error));
        if (error.retryAfter) await delay(error.retryAfter, this.#over.signal);
      }
    }
  }

  /**
   * Publishes on a new sending link. When the link is lost on the way, `#onLost` has taken over and this is no failure.
   * @param {Link} link
   */
  async #attach(link) {
    try {
      await this.publisher?.attach(link);
    } catch (error) {
      if (link.state === "lost" || link.state === "closed") return;
      link.close();
      throw error;
    }
  }

  // Events

  #onOpen() {
    this.#known = [this.send, this.receive].filter((link) => link !== null);
    this.view.calm("server");
    void this.publisher?.tellMuted().catch(() => undefined);
    this.view.changed();
  }

  /**
   * @param {number} attempt
   * @param {number} code
   * @returns {Promise<boolean>}
   */
  async #onClosed(attempt, code) {
    this.view.changed();
    if (code === TOKEN_ENDED) return this.#onTokenEnded();
    if (attempt === 0) return true;
    try {
      // A WebSocket does not say why it was refused; this does.
      await this.api.getChannel(this.identity.channel);
    } catch (error) {
      if (error instanceof Problem && error.status === 401 && this.send?.state === "connected")
        return this.#onTokenEnded();
      if (error instanceof Problem && this.#refused(error)) return false;
      if (error instanceof Unreachable) this.view.warn("server", serverGone());
    }
    return true;
  }

  /** Voice and video go on without a token; nobody is thrown out of the middle of a sentence. */
  #onTokenEnded() {
    this.#blind = true;
    this.view.warn(
      "token",
      "Your token has expired. You hear and see those who are here, but nobody who comes now: leave, and join with a new token.",
    );
    this.view.changed();
    return false;
  }

  /** @param {ChannelEvent} event */
  #onEvent(event) {
    if (event.type === "snapshot" && event.channel) {
      const { channel } = event;
      this.roster.snapshot(channel);
      this.recording = Boolean(channel.recording);
      this.subscriber?.setTracks(channel.tracks.filter((track) => track.user_id !== this.identity.userId));
      this.#checkSessions();
      setTimeout(() => this.#checkName(), SAME_NAME_SECONDS * 1000);
    } else {
      this.roster.handle(event);
      this.#handle(event);
    }
    this.view.changed();
  }

  /** @param {ChannelEvent} event */
  #handle(event) {
    const foreign = event.user_id !== this.identity.userId;
    switch (event.type) {
      case "track.added":
        if (foreign) this.subscriber?.add(/** @type {TrackView} */ (event));
        break;
      case "track.removed":
        this.subscriber?.remove(event.track_id ?? "");
        break;
      case "track.paused":
        this.subscriber?.setPaused(event.track_id ?? "", event.paused ?? false);
        break;
      case "track.encodings":
        // What cannot be set (the track ended meanwhile) need not be.
        if (!foreign) this.publisher?.follow(event.track_id ?? "", event.encodings ?? []).catch(() => undefined);
        break;
      case "session.closed":
        this.#find(event.session_id)?.lose(event.reason ?? "closed");
        this.#checkName();
        break;
      case "recording.started":
      case "recording.stopped":
        this.recording = event.type === "recording.started";
        this.view.announce(this.recording ? "This channel is being recorded" : "The recording has stopped");
        break;
      case "events.dropped":
        this.stream.restart();
        break;
    }
  }

  /** @param {string | undefined} sessionId */
  #find(sessionId) {
    return [this.send, this.receive].find((link) => link?.sessionId === sessionId);
  }

  /** The server was restarted, or moved the channel: our sessions are not among those that it knows. */
  #checkSessions() {
    for (const link of this.#known) {
      if (link === this[link.direction] && !this.self?.sessions.has(link.sessionId)) link.lose("session_lost");
    }
  }

  #checkName() {
    const own = [this.send?.sessionId, this.receive?.sessionId];
    const others = [...(this.self?.sessions ?? [])].filter((session) => !own.includes(session));
    if (others.length === 0 || this.#over.signal.aborted) return this.view.calm("name");
    this.view.warn(
      "name",
      `${this.identity.name} is already here, perhaps in another window of yours. ` +
        "You do not hear each other; leave and choose another name.",
    );
  }

  /**
   * @param {Problem} problem
   * @returns {boolean} whether it ended the visit
   */
  #refused(problem) {
    if (problem.status !== 401 && problem.status !== 403) return false;
    this.#end(explain(problem), problem.status);
    return true;
  }

  /**
   * @param {string} text
   * @param {number} status
   */
  #end(text, status) {
    if (this.#over.signal.aborted) return;
    this.leave();
    this.view.ended(text, status);
  }
}
