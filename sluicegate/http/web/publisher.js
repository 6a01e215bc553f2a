/**
 * Publishes the microphone, the camera and the screen.
 *
 * What is captured belongs to the publisher, not to a link: when a link is lost, the same devices are published on the
 * next. A microphone is always published, a silent one where there is no other (see `silentTrack`); muting pauses it.
 */

import {
  cameraEncodings,
  captureCamera,
  captureMicrophone,
  captureScreen,
  screenEncodings,
  silentTrack,
} from "./capture.js";
import { Problem, Unreachable } from "./errors.js";
import { newMedia } from "./people.js";
/** @import { Device } from "./vendor/mediasoup-client.js" */
/** @import { Api } from "./api.js" */
/** @import { Choices } from "./capture.js" */
/** @import { Link } from "./link.js" */
/** @import { People, Person } from "./people.js" */
/** @import { EncodingAdvice, Producer, RtpEncodingParameters, Source } from "./types.js" */

export class Publisher {
  muted = true;
  /** The microphone itself, null while a silent one stands in. @type {MediaStreamTrack | null} */
  microphone = null;
  /** Whether the token lets this person publish. */
  allowed = true;
  /** @type {Link | null} */
  #link = null;
  /** @type {Map<Source, MediaStreamTrack>} */
  #captured = new Map();
  /** @type {Map<Source, Producer>} */
  #producers = new Map();
  /** @type {Map<string, RtpEncodingParameters[]>} by track id: what we would send if nobody asked for less */
  #encodings = new Map();

  /**
   * @param {Api} api
   * @param {Device} device
   * @param {People} people
   * @param {Person} self
   * @param {Choices} choices read at each capture
   * @param {AudioContext} context
   * @param {(source: Source) => void} onEnded a device was unplugged, or the browser stopped the sharing
   */
  constructor(api, device, people, self, choices, context, onEnded) {
    this.api = api;
    this.device = device;
    this.people = people;
    this.self = self;
    this.choices = choices;
    this.onEnded = onEnded;
    this.silence = silentTrack(context);
    this.#captured.set("microphone", this.silence);
  }

  /**
   * Publishes on this link all that is captured.
   * @param {Link} link
   */
  async attach(link) {
    this.#link = link;
    this.#producers.clear();
    this.#encodings.clear();
    this.self.media.clear();
    for (const source of [...this.#captured.keys()]) {
      try {
        await this.#publish(source);
      } catch (error) {
        if (!(error instanceof Problem) || error.status !== 403) throw error;
        this.allowed = false;
      }
    }
    this.people.changed();
  }

  /**
   * Tells the server whether the microphone is muted. When it does not hear, it is told again: with the next event
   * stream, or by what is published on the next link.
   */
  async tellMuted() {
    const producer = this.#producers.get("microphone");
    if (!producer || !this.#link) return;
    try {
      await this.api.pauseTrack(this.#link.sessionId, producer.id, this.muted);
    } catch (error) {
      if (!(error instanceof Unreachable) && !(error instanceof Problem && error.status === 404)) throw error;
    }
  }

  /** @param {Source} source */
  has(source) {
    return source === "microphone" ? !this.muted : this.#captured.has(source);
  }

  /** @param {boolean} muted */
  async setMuted(muted) {
    if (!muted && !this.microphone) await this.#takeMicrophone();
    const producer = this.#producers.get("microphone");
    this.muted = muted;
    if (muted) producer?.pause();
    else producer?.resume();
    const media = this.self.media.get("microphone");
    if (media) media.paused = muted;
    this.people.changed();
    await this.tellMuted();
  }

  async #takeMicrophone() {
    const track = await captureMicrophone(this.choices);
    this.microphone?.stop();
    this.microphone = track;
    await this.#replace("microphone", track);
  }

  async startCamera() {
    await this.#start("camera", await captureCamera(this.choices));
  }

  async startScreen() {
    const { video, audio } = await captureScreen();
    await this.#start("screen", video);
    if (audio) await this.#start("screen_audio", audio);
  }

  /** @param {"camera" | "screen"} source */
  async stop(source) {
    await this.#stop(source);
    if (source === "screen") await this.#stop("screen_audio");
  }

  /**
   * Takes the devices that are now chosen in place of those that are used.
   * @param {"microphone" | "camera"} source
   */
  async changeDevice(source) {
    if (source === "microphone" && this.microphone) await this.#takeMicrophone();
    if (source === "camera" && this.#captured.has("camera")) {
      const track = await captureCamera(this.choices);
      this.#captured.get("camera")?.stop();
      await this.#replace("camera", track);
    }
  }

  /** Releases every device. */
  close() {
    for (const track of this.#captured.values()) track.stop();
    this.#captured.clear();
    this.#producers.clear();
    this.#link = null;
  }

  /**
   * The server asks for less, or for as much as before.
   * @param {string} trackId
   * @param {EncodingAdvice[]} advice
   */
  async follow(trackId, advice) {
    const producer = [...this.#producers.values()].find((one) => one.id === trackId);
    const sender = producer?.rtpSender;
    if (!sender || !producer.track) return;
    const parameters = sender.getParameters();
    const lines = producer.track.getSettings().height ?? 0;
    const before = JSON.stringify(parameters.encodings);
    const own = this.#encodings.get(trackId) ?? [];
    parameters.encodings.forEach((encoding, index) => limit(encoding, own[index] ?? {}, advice[index], lines));
    if (JSON.stringify(parameters.encodings) !== before) await sender.setParameters(parameters);
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  async #start(source, track) {
    this.#captured.set(source, track);
    try {
      await this.#publish(source);
    } catch (error) {
      track.stop();
      this.#captured.delete(source);
      throw error;
    } finally {
      this.people.changed();
    }
  }

  /** @param {Source} source */
  async #stop(source) {
    const producer = this.#producers.get(source);
    this.#captured.get(source)?.stop();
    this.#captured.delete(source);
    this.#producers.delete(source);
    this.self.media.delete(source);
    this.people.changed();
    if (!producer) return;
    producer.close();
    this.#encodings.delete(producer.id);
    // Unreachable or already gone: it ends with the session.
    if (this.#link) await this.api.unpublish(this.#link.sessionId, producer.id).catch(() => undefined);
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  async #replace(source, track) {
    this.#captured.set(source, track);
    const producer = this.#producers.get(source);
    if (!producer) return;
    await producer.replaceTrack({ track });
    const media = this.self.media.get(source);
    if (media) media.track = track;
    this.people.changed();
  }

  /** @param {Source} source */
  async #publish(source) {
    const link = this.#link;
    const track = this.#captured.get(source);
    if (!link || !track) return;
    const paused = source === "microphone" && this.muted;
    const { codec, encodings } = this.#encode(source, track);
    const producer = await link.transport.produce({
      track,
      codec,
      // The library writes the ids of the layers into what it is given.
      encodings: structuredClone(encodings),
      codecOptions: track.kind === "audio" ? voiceOptions(source) : {},
      streamId: source.startsWith("screen") ? "screen" : "camera",
      stopTracks: false,
      appData: { source, paused },
    });
    if (paused) producer.pause();
    producer.on("trackended", () => this.#onEnded(source));
    this.#producers.set(source, producer);
    const media = newMedia({ trackId: producer.id, kind: producer.kind, source, paused });
    this.self.media.set(source, { ...media, track, endpoint: producer });
    this.#encodings.set(producer.id, encodings ?? []);
    await this.follow(producer.id, link.advice.get(producer.id) ?? []);
    link.advice.delete(producer.id);
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  #encode(source, track) {
    const { codecs = [] } = this.device.sendRtpCapabilities;
    const usable = codecs.filter(({ kind, mimeType }) => kind === track.kind && !/\/(rtx|red|ulpfec)$/i.test(mimeType));
    const wanted = `video/${this.choices.videoCodec}`.toLowerCase();
    const codec = usable.find(({ mimeType }) => mimeType.toLowerCase() === wanted) ?? usable[0];
    if (track.kind === "audio") return { codec, encodings: undefined };
    if (source === "screen") return { codec, encodings: screenEncodings() };
    const layered = this.device.handlerName.startsWith("Chrome");
    return { codec, encodings: cameraEncodings(track.getSettings().height ?? 480, codec?.mimeType ?? "", layered) };
  }

  /** @param {Source} source */
  async #onEnded(source) {
    if (source === "microphone") {
      this.microphone = null;
      await this.#replace("microphone", this.silence);
      await this.setMuted(true);
    } else if (source === "screen_audio") {
      await this.#stop(source);
    } else {
      await this.stop(source);
    }
    this.onEnded(source);
  }
}

/**
 * @param {Source} source
 * @returns {import("./vendor/mediasoup-client.js").types.ProducerCodecOptions}
 */
function voiceOptions(source) {
  // Silence costs nothing (DTX) and a lost packet is in the next one (FEC); the sound of a screen is music as likely as
  // not.
  return { opusFec: true, opusDtx: source === "microphone", opusStereo: source === "screen_audio" };
}

/**
 * Brings one encoding from what we would send to what is asked for.
 * @param {RTCRtpEncodingParameters} encoding changed in place
 * @param {RtpEncodingParameters} own
 * @param {EncodingAdvice | undefined} advice
 * @param {number} lines of the captured picture
 */
function limit(encoding, own, advice, lines) {
  encoding.active = advice?.active ?? true;
  const bitrate = Math.min(own.maxBitrate ?? Infinity, advice?.max_bitrate_bps ?? Infinity);
  if (bitrate < Infinity) encoding.maxBitrate = bitrate;
  if (advice?.max_framerate) encoding.maxFramerate = advice.max_framerate;
  else delete encoding.maxFramerate;
  const scale = Math.max(own.scaleResolutionDownBy ?? 1, advice?.max_height ? lines / advice.max_height : 1);
  if (scale > 1) encoding.scaleResolutionDownBy = scale;
}
