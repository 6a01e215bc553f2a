/**
 * Who is here, by the channel's snapshot and its events: keeps `People` right and says who comes and goes.
 */

/** @import { Api } from "./api.js" */
/** @import { People } from "./people.js" */
/** @import { ChannelEvent, ChannelView, MemberView } from "./types.js" */

// A member's name is not in the event of its arrival. Higher: the id is seen first. Lower: one question for each of
// many arrivals.
const NAMES_SECONDS = 0.2;

export class Roster {
  #timer = 0;
  #complete = false;
  /** @type {Set<string>} user ids of those whose names are not known yet */
  #arrived = new Set();

  /**
   * @param {Api} api
   * @param {string} channel
   * @param {People} people
   * @param {(text: string) => void} announce for those who do not see the tiles
   */
  constructor(api, channel, people, announce) {
    this.api = api;
    this.channel = channel;
    this.people = people;
    this.announce = announce;
  }

  /** @param {ChannelView} channel */
  snapshot(channel) {
    const present = new Set(channel.members.map(({ user_id }) => user_id));
    for (const person of [...this.people]) {
      person.sessions.clear();
      person.troubles.clear();
      if (!present.has(person.userId) && !person.self) this.people.remove(person.userId);
    }
    for (const member of channel.members) {
      const known = this.people.get(member.user_id) !== undefined;
      const person = this.people.meet(member.user_id, nameOf(member));
      for (const session of member.sessions) person.sessions.add(session);
      if (!known && this.#complete) this.announce(`${person.name} joined`);
    }
    this.people.setActive(channel.active_speaker?.user_id ?? null);
    this.#complete = true;
  }

  /** @param {ChannelEvent} event */
  handle(event) {
    const { type, user_id: userId, session_id: session } = event;
    if (type === "speaker.changed") this.people.setActive(userId ?? null);
    if (!userId || !session) return;
    if (type === "session.created" || type === "track.added") {
      const known = this.people.get(userId) !== undefined;
      this.people.meet(userId).sessions.add(session);
      if (known) return;
      this.#arrived.add(userId);
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.#welcome(), NAMES_SECONDS * 1000);
    } else if (type === "session.closed") {
      this.#left(userId, session);
    } else if (type === "quality.degraded") {
      const troubles = this.people.get(userId)?.troubles;
      const trouble = `${session}/${event.cause}`;
      if (event.degraded) troubles?.add(trouble);
      else troubles?.delete(trouble);
      this.people.changed();
    }
  }

  close() {
    clearTimeout(this.#timer);
  }

  /**
   * @param {string} userId
   * @param {string} session
   */
  #left(userId, session) {
    const person = this.people.get(userId);
    if (!person) return;
    person.sessions.delete(session);
    for (const trouble of [...person.troubles]) {
      if (trouble.startsWith(session)) person.troubles.delete(trouble);
    }
    if (person.sessions.size > 0 || person.self) return;
    this.people.remove(userId);
    this.announce(`${person.name} left`);
  }

  async #welcome() {
    const arrived = [...this.#arrived];
    this.#arrived.clear();
    // Without the answer people are called by their ids.
    const channel = await this.api.getChannel(this.channel).catch(() => null);
    for (const member of channel?.members ?? []) {
      if (this.people.get(member.user_id)) this.people.meet(member.user_id, nameOf(member));
    }
    for (const userId of arrived) {
      const person = this.people.get(userId);
      if (person) this.announce(`${person.name} joined`);
    }
  }
}

/**
 * @param {MemberView} member
 * @returns {string}
 */
function nameOf({ user_id: userId, metadata }) {
  const name = metadata?.name;
  return typeof name === "string" && name.trim() ? name.trim().slice(0, 80) : userId;
}
