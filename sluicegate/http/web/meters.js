/**
 * What the page measures: who speaks now (ten times a second), and how each stream does (once a second).
 */

import { consumerOf } from "./subscriber.js";
/** @import { People, Person } from "./people.js" */
/** @import { Room } from "./room.js" */
/** @import { Figures, Media } from "./types.js" */

const LEVEL_SECONDS = 0.1;
const FIGURES_SECONDS = 1;
// Browsers give the same counters again for a moment. Lower: rates of 0 between. Higher: no rates when asked often.
const LEAST_SECONDS = 0.5;
// About −40 dBFS. Lower: breath and fans light the ring. Higher: quiet people never do.
const SPEAKING_LEVEL = 0.01;
// Lower: the ring flickers between words. Higher: it stays when somebody else has begun.
const HOLD_SECONDS = 0.5;

/** The level of one's own microphone. */
export class MicrophoneMeter {
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;

  /** @param {AudioContext} context */
  constructor(context) {
    this.context = context;
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  /**
   * @param {MediaStreamTrack | null} track
   * @returns {number} root mean square, 0–1
   */
  level(track) {
    if (track !== this.#track) {
      this.#source?.disconnect();
      this.#source = track && this.context.createMediaStreamSource(new MediaStream([track]));
      this.#source?.connect(this.analyser);
      this.#track = track;
    }
    if (!track) return 0;
    this.analyser.getFloatTimeDomainData(this.samples);
    return Math.sqrt(this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length);
  }
}

export class Meters {
  /** Round trip to the server in seconds, null while unknown. @type {number | null} */
  rtt = null;
  /** @type {Map<string, number>} when each person last spoke, by user id */
  #spoke = new Map();
  /** @type {WeakMap<Media, {timestamp: number, at: number}>} the latest audio and when it was new */
  #heard = new WeakMap();
  /** @type {WeakMap<Media, {at: number, figures: Figures}>} the figures before */
  #before = new WeakMap();
  /** @type {number[]} */
  #timers = [];

  /**
   * @param {Room} room
   * @param {People} people
   * @param {MicrophoneMeter} microphone
   * @param {{onLevels: () => void, onFigures: () => void}} view
   */
  constructor(room, people, microphone, view) {
    this.room = room;
    this.people = people;
    this.microphone = microphone;
    this.view = view;
  }

  start() {
    this.#timers = [
      window.setInterval(() => this.#measureLevels(), LEVEL_SECONDS * 1000),
      window.setInterval(() => this.measureFigures().catch(() => undefined), FIGURES_SECONDS * 1000),
    ];
  }

  stop() {
    for (const timer of this.#timers) clearInterval(timer);
    this.microphone.level(null);
  }

  #measureLevels() {
    const now = performance.now() / 1000;
    for (const person of this.people) {
      person.level = this.#levelOf(person, now);
      if (person.level > SPEAKING_LEVEL) this.#spoke.set(person.userId, now);
      person.speaking = now - (this.#spoke.get(person.userId) ?? -Infinity) < HOLD_SECONDS;
    }
    this.view.onLevels();
  }

  /**
   * @param {Person} person
   * @param {number} now
   */
  #levelOf(person, now) {
    const media = person.media.get("microphone");
    if (person.self) return this.microphone.level(media?.paused ? null : (this.room.publisher?.microphone ?? null));
    const receiver = media && !media.paused && consumerOf(media)?.rtpReceiver;
    if (!receiver) return 0;
    const [source] = receiver.getSynchronizationSources();
    if (!source) return 0;
    // While nothing arrives (DTX, a lost network) the browser repeats the last level; browsers do not agree on the
    // timestamp's origin.
    const last = this.#heard.get(media);
    if (source.timestamp !== last?.timestamp) this.#heard.set(media, { timestamp: source.timestamp, at: now });
    else if (now - last.at > HOLD_SECONDS) return 0;
    return source.audioLevel ?? 0;
  }

  /** Reads the browser's counters and turns them into figures of every stream. */
  async measureFigures() {
    const { send, receive } = this.room;
    for (const link of [send, receive]) {
      if (!link || link.transport.closed) continue;
      const stats = await link.transport.getStats();
      const at = performance.now() / 1000;
      this.#readRtt(stats);
      for (const person of this.people) {
        if (person.self !== (link === send)) continue;
        for (const media of person.media.values()) {
          if (media.endpoint) this.#update(media, readFigures(media, stats, person.self), at);
        }
      }
    }
    this.view.onFigures();
  }

  /** @param {RTCStatsReport} stats */
  #readRtt(stats) {
    for (const one of stats.values()) {
      if (one.type !== "candidate-pair" || !one.nominated || one.state !== "succeeded") continue;
      this.rtt = one.currentRoundTripTime ?? this.rtt;
    }
  }

  /**
   * @param {Media} media
   * @param {Figures} figures rates not yet filled in
   * @param {number} at
   */
  #update(media, figures, at) {
    const before = this.#before.get(media);
    if (before && at - before.at < LEAST_SECONDS) {
      const { bitrateBps, loss } = media.figures ?? before.figures;
      media.figures = { ...figures, bitrateBps, loss };
      return;
    }
    if (before) {
      const seconds = at - before.at;
      const packets = figures.packets - before.figures.packets;
      // A late packet that was counted as lost makes the count go down.
      const lost = Math.max(0, figures.packetsLost - before.figures.packetsLost);
      figures.bitrateBps = Math.max(0, ((figures.bytes - before.figures.bytes) * 8) / seconds);
      figures.loss = packets + lost > 0 ? lost / (packets + lost) : 0;
    }
    this.#before.set(media, { at, figures });
    media.figures = figures;
  }
}

/**
 * @param {Media} media
 * @param {RTCStatsReport} stats of the whole connection
 * @param {boolean} self
 * @returns {Figures}
 */
function readFigures(media, stats, self) {
  /** @type {Figures} */
  const figures = {
    width: 0,
    height: 0,
    framesPerSecond: 0,
    bitrateBps: 0,
    loss: 0,
    codec: "",
    bytes: 0,
    packets: 0,
    packetsLost: 0,
    framesDecoded: 0,
    audioEnergy: 0,
  };
  for (const one of streamsOf(media, stats, self)) {
    figures.bytes += one.bytesReceived ?? one.bytesSent ?? 0;
    figures.packets += one.packetsReceived ?? one.packetsSent ?? 0;
    figures.packetsLost += self ? (stats.get(one.remoteId)?.packetsLost ?? 0) : (one.packetsLost ?? 0);
    figures.audioEnergy += one.totalAudioEnergy ?? stats.get(one.mediaSourceId)?.totalAudioEnergy ?? 0;
    figures.framesDecoded = Math.max(figures.framesDecoded, one.framesDecoded ?? one.framesEncoded ?? 0);
    figures.codec ||= String(stats.get(one.codecId)?.mimeType ?? "").split("/")[1] ?? "";
    // Of the layers of one's own picture the largest counts.
    if ((one.frameHeight ?? 0) > figures.height) {
      figures.width = one.frameWidth;
      figures.height = one.frameHeight;
      figures.framesPerSecond = one.framesPerSecond ?? 0;
    }
  }
  return figures;
}

/**
 * @param {Media} media
 * @param {RTCStatsReport} stats
 * @param {boolean} self
 * @returns {any[]} the `inbound-rtp` or `outbound-rtp` entries of one stream; the layers of a simulcast are several
 */
function streamsOf(media, stats, self) {
  const type = self ? "outbound-rtp" : "inbound-rtp";
  const { mid, encodings = [] } = media.endpoint?.rtpParameters ?? {};
  return [...stats.values()].filter((one) => {
    if (one.type !== type) return false;
    return one.mid === undefined ? encodings.some(({ ssrc }) => ssrc === one.ssrc) : one.mid === mid;
  });
}
