/**
 * Who is in the channel and what they publish: the one model that everything on the page is drawn from.
 */

/** @import { Media, Source } from "./types.js" */

export class Person {
  /** @type {Map<Source, Media>} */
  media = new Map();
  /** @type {Set<string>} the ids of this person's sessions */
  sessions = new Set();
  /** Level of the voice now, 0–1. */
  level = 0;
  /** Whether there was voice in the last half second. */
  speaking = false;
  /** Whether the server says that this person dominates the conversation. */
  active = false;
  /** How loud this person is played here, 0–1. */
  volume = 1;
  /** @type {Set<string>} what the server says is wrong with this person's sessions, as `session/cause` */
  troubles = new Set();

  /**
   * @param {string} userId
   * @param {string} name to show
   * @param {boolean} self
   */
  constructor(userId, name, self) {
    this.userId = userId;
    this.name = name;
    this.self = self;
  }

  /** Whether the connection of this person is bad; other troubles are not the person's. */
  get weak() {
    return [...this.troubles].some((trouble) => /\/(publisher_uplink|subscriber_downlink)$/.test(trouble));
  }

  /** Whether nobody can hear this person. */
  get muted() {
    return this.media.get("microphone")?.paused ?? true;
  }
}

export class People {
  /** @type {Map<string, Person>} by user id, in the order of arrival, oneself first */
  #people = new Map();

  /** @param {() => void} onChange called after every change, and more often than needed */
  constructor(onChange) {
    this.changed = onChange;
  }

  /**
   * The person, who is added when new.
   * @param {string} userId
   * @param {string} [name]
   * @param {boolean} [self]
   * @returns {Person}
   */
  meet(userId, name, self = false) {
    let person = this.#people.get(userId);
    if (!person) {
      person = new Person(userId, name ?? userId, self);
      this.#people.set(userId, person);
      this.changed();
    } else if (name && name !== person.name) {
      person.name = name;
      this.changed();
    }
    return person;
  }

  /** @param {string} userId */
  get(userId) {
    return this.#people.get(userId);
  }

  /** @param {string} userId */
  remove(userId) {
    if (this.#people.delete(userId)) this.changed();
  }

  clear() {
    this.#people.clear();
    this.changed();
  }

  get size() {
    return this.#people.size;
  }

  [Symbol.iterator]() {
    return this.#people.values();
  }

  /**
   * @param {string | null} userId nobody when null
   */
  setActive(userId) {
    for (const person of this) person.active = person.userId === userId;
    this.changed();
  }
}

/**
 * @param {Pick<Media, "trackId" | "kind" | "source" | "paused">} what
 * @returns {Media}
 */
export function newMedia(what) {
  return { ...what, track: null, endpoint: null, subscriptionId: null, quality: "auto", problem: null, figures: null };
}
