/**
 * Receives what the others publish.
 *
 * It is told which tracks there are, and brings what it receives in line with that: once when told, and again after a
 * failure.
 */

import { Problem } from "./errors.js";
import { newMedia } from "./people.js";
/** @import { Device } from "./vendor/mediasoup-client.js" */
/** @import { Api } from "./api.js" */
/** @import { Link } from "./link.js" */
/** @import { People } from "./people.js" */
/** @import { Consumer, Media, Quality, Source, TrackView } from "./types.js" */

// Lower: a server that is short of something is pressed for it. Higher: a picture comes late.
const RETRY_SECONDS = 3;

export class Subscriber {
  /** @type {Map<string, TrackView>} by track id */
  #wanted = new Map();
  /** @type {Map<string, Media>} by track id, being set up or received */
  #received = new Map();
  /** @type {Map<string, Quality>} what was chosen, by `user/source`: it outlives the track and the link */
  #quality = new Map();

  /**
   * @param {Api} api
   * @param {Device} device
   * @param {People} people
   * @param {() => Promise<Link>} getLink opens the receiving link when there is none
   * @param {(error: unknown, person: string) => void} onError
   */
  constructor(api, device, people, getLink, onError) {
    this.api = api;
    this.device = device;
    this.people = people;
    this.getLink = getLink;
    this.onError = onError;
  }

  /** @param {TrackView[]} tracks all that should be received */
  setTracks(tracks) {
    this.#wanted = new Map(tracks.map((track) => [track.track_id, track]));
    this.#reconcile();
  }

  /** @param {TrackView} track */
  add(track) {
    this.#wanted.set(track.track_id, track);
    this.#reconcile();
  }

  /** @param {string} trackId */
  remove(trackId) {
    this.#wanted.delete(trackId);
    this.#reconcile();
  }

  /**
   * @param {string} trackId
   * @param {boolean} paused by its publisher
   */
  setPaused(trackId, paused) {
    const wanted = this.#wanted.get(trackId);
    if (wanted) wanted.paused = paused;
    const media = this.#received.get(trackId);
    if (!media) return;
    media.paused = paused;
    this.people.changed();
  }

  /**
   * @param {string} userId
   * @param {Source} source
   * @param {Quality} quality
   */
  async setQuality(userId, source, quality) {
    this.#quality.set(`${userId}/${source}`, quality);
    const media = this.people.get(userId)?.media.get(source);
    if (!media) return;
    media.quality = quality;
    this.people.changed();
    if (!media.subscriptionId) return;
    const link = await this.getLink();
    await this.api.setQuality(link.sessionId, media.subscriptionId, quality);
  }

  /** The link is gone, and all that came through it; what is wanted is had again through the next one. */
  restart() {
    for (const media of [...this.#received.values()]) this.#drop(media);
    this.#reconcile();
  }

  close() {
    this.setTracks([]);
  }

  #reconcile() {
    for (const media of [...this.#received.values()]) {
      if (!this.#wanted.has(media.trackId)) this.#drop(media);
    }
    for (const track of this.#wanted.values()) {
      if (!this.#received.has(track.track_id)) void this.#receive(track);
    }
  }

  /** @param {Media} media */
  #drop(media) {
    this.#received.delete(media.trackId);
    media.endpoint?.close();
    for (const person of this.people) {
      if (person.media.get(media.source) === media) person.media.delete(media.source);
    }
    this.people.changed();
  }

  /** @param {TrackView} track */
  async #receive(track) {
    const { track_id: trackId, kind } = track;
    const source = track.source ?? (kind === "audio" ? "microphone" : "camera");
    const media = newMedia({ trackId, kind, source, paused: track.paused ?? false });
    media.quality = this.#quality.get(`${track.user_id}/${source}`) ?? "auto";
    this.#received.set(trackId, media);
    this.people.meet(track.user_id).media.set(source, media);
    this.people.changed();
    const current = () => this.#received.get(trackId) === media;
    try {
      const link = await this.getLink();
      const answer = await this.api.subscribe(link.sessionId, trackId, this.device.recvRtpCapabilities, media.quality);
      const consumer = await link.transport.consume({
        id: answer.subscription_id,
        producerId: trackId,
        kind: answer.kind,
        rtpParameters: answer.rtp_parameters,
        // Voice and camera are kept in step with each other; so are a screen and its sound.
        streamId: `${track.user_id}/${source.startsWith("screen") ? "screen" : "camera"}`,
        appData: {},
      });
      if (!current()) return consumer.close();
      media.endpoint = consumer;
      media.track = consumer.track;
      media.subscriptionId = answer.subscription_id;
      this.people.changed();
      await this.api.resumeSubscription(link.sessionId, answer.subscription_id);
    } catch (error) {
      if (current()) this.#failed(media, error, track.user_id);
    }
  }

  /**
   * @param {Media} media
   * @param {unknown} error
   * @param {string} userId
   */
  #failed(media, error, userId) {
    if (error instanceof Problem && error.status === 422) {
      media.problem = "Your browser cannot play this stream.";
      this.people.changed();
      return;
    }
    this.#drop(media);
    // It was removed while we asked for it.
    if (error instanceof Problem && error.status === 404) return;
    this.onError(error, userId);
    setTimeout(() => this.#reconcile(), RETRY_SECONDS * 1000);
  }
}

/**
 * @param {Media} media
 * @returns {Consumer | null}
 */
export function consumerOf(media) {
  return media.endpoint && "rtpReceiver" in media.endpoint ? media.endpoint : null;
}
