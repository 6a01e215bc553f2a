/**
 * The page: the form to join, the room, and what connects the two. Everything it is made of is created here.
 *
 * The address may say it all: `?channel=`, `name=`, `token=`, and `join=1` to join at once. `microphone=0|1` and
 * `camera=0|1` choose what to join with, `processing=0` leaves the voice as it is, `codec=vp8|vp9|h264|av1` asks for a
 * video codec.
 */

import { Api } from "./api.js";
import { Controls } from "./controls.js";
import { byId } from "./dom.js";
import { explain, explainCapture } from "./errors.js";
import { installHook } from "./hook.js";
import { Lobby } from "./lobby.js";
import { Meters, MicrophoneMeter } from "./meters.js";
import { People } from "./people.js";
import { loadPreferences, savePreferences } from "./preferences.js";
import { Room } from "./room.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";
import { Toasts } from "./toasts.js";
import { keepAwake } from "./wakelock.js";
/** @import { Person } from "./people.js" */
/** @import { Connection, Identity, Quality, Source } from "./types.js" */

/** @type {Record<Connection, string>} */
const CONNECTION_WORDS = {
  idle: "Not connected",
  joining: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  unroutable: "No route for media",
};

class Page {
  /** @type {Room | null} */
  room = null;
  /** @type {Meters | null} */
  meters = null;
  /** Made at the first joining, while the click is fresh: browsers let pages make sound only after one. @type {AudioContext | null} */
  #sound = null;
  /** @type {MicrophoneMeter | null} */
  #microphone = null;
  #drawingSoon = false;

  constructor() {
    const query = new URLSearchParams(location.search);
    this.preferences = loadPreferences();
    this.choices = this.preferences.choices;
    this.choices.videoCodec = query.get("codec") ?? "";
    if (query.has("processing")) this.choices.processing = query.get("processing") !== "0";
    this.toasts = new Toasts(byId("toasts", HTMLElement));
    this.people = new People(() => this.#drawSoon());
    this.lobby = new Lobby(query, this.preferences, (identity, token) => this.#join(identity, token));
    this.stage = new Stage(byId("stage", HTMLElement), this.people, {
      setQuality: (person, shows, quality) => void this.#setQuality(person, shows, quality),
      soundBlocked: () => this.#askForTouch(),
      invite: () => void this.#invite(),
    });
    void this.stage.setSpeaker(this.choices.speakerId);
    this.controls = new Controls(() => this.room, this.toasts);
    this.settings = new Settings(this.choices, (device) => void this.#onDevice(device));
    this.#listen();
    installHook(() => this);
    if (query.get("join") === "1") void this.lobby.submit();
  }

  #listen() {
    byId("leave", HTMLButtonElement).addEventListener("click", () => this.#leave());
    byId("settings", HTMLButtonElement).addEventListener("click", () => void this.settings.show());
    byId("invite", HTMLButtonElement).addEventListener("click", () => void this.#invite());
    window.addEventListener("online", () => this.room?.networkChanged());
    window.addEventListener("pagehide", () => this.room?.leave());
    // A page from the back-forward cache has lost its sessions.
    window.addEventListener("pageshow", (event) => event.persisted && location.reload());
    for (const type of ["pointerdown", "keydown"]) document.addEventListener(type, () => this.#resumeSound(), true);
  }

  /**
   * @param {Identity} identity
   * @param {string} token
   */
  async #join(identity, token) {
    this.#sound ??= new AudioContext();
    this.#microphone ??= new MicrophoneMeter(this.#sound);
    const room = new Room(new Api(location.origin, token), identity, this.people, {
      changed: () => this.#drawSoon(),
      warn: (key, text) => this.toasts.warn(key, text),
      calm: (key) => this.toasts.calm(key),
      announce: (text) => this.#announce(text),
      ended: (text, status) => (this.#leave(), this.lobby.refuse(text, status)),
    });
    try {
      await room.join(this.choices, this.#sound);
    } catch (error) {
      room.leave();
      throw error;
    }
    this.#enter(room, this.#microphone);
  }

  /**
   * @param {Room} room
   * @param {MicrophoneMeter} microphone
   */
  #enter(room, microphone) {
    this.room = room;
    this.meters = new Meters(room, this.people, microphone, {
      onLevels: () => this.stage.updateLevels(),
      onFigures: () => (this.stage.updateFigures(), this.#drawHeader()),
    });
    this.meters.start();
    void keepAwake(true);
    this.#show("room");
    document.title = `${room.identity.channel} · Sluicegate`;
    this.controls.buttons.microphone.focus();
    this.#draw();
    if (this.lobby.withMicrophone) void this.controls.toggle("microphone", true);
    if (this.lobby.withCamera) void this.controls.toggle("camera", true);
  }

  #leave() {
    this.meters?.stop();
    this.room?.leave();
    this.room = this.meters = null;
    void keepAwake(false);
    this.toasts.clear();
    this.#show("lobby");
    document.title = "Sluicegate";
    this.#draw();
    this.lobby.focus();
  }

  /** @param {"lobby" | "room"} place */
  #show(place) {
    byId("lobby", HTMLElement).hidden = place !== "lobby";
    byId("room", HTMLElement).hidden = place !== "room";
  }

  /**
   * @param {Person} person
   * @param {Source} source
   * @param {Quality} quality
   */
  async #setQuality(person, source, quality) {
    try {
      await this.room?.subscriber?.setQuality(person.userId, source, quality);
      this.toasts.calm("quality");
    } catch (error) {
      this.toasts.warn("quality", explain(error));
    }
  }

  /** @param {"microphone" | "camera" | "speaker"} device */
  async #onDevice(device) {
    savePreferences(this.preferences);
    try {
      if (device === "speaker") await this.stage.setSpeaker(this.choices.speakerId);
      else await this.room?.publisher?.changeDevice(device);
      this.toasts.calm(device);
    } catch (error) {
      const text = device === "speaker" ? explain(error) : explainCapture(error, device);
      if (text) this.toasts.warn(device, text);
    }
  }

  async #invite() {
    const link = new URL("/", location.origin);
    link.searchParams.set("channel", this.room?.identity.channel ?? "");
    try {
      await navigator.clipboard.writeText(link.href);
      this.toasts.tell("The link is copied. Send it to whoever should come.");
    } catch {
      this.toasts.warn("invite", `The browser did not let the link be copied. Here it is: ${link.href}`);
    }
  }

  #askForTouch() {
    this.toasts.warn("sound", "The browser keeps the others silent until you touch the page.", {
      label: "Turn the sound on",
      act: () => this.#resumeSound(),
    });
  }

  #resumeSound() {
    if (this.#sound?.state === "suspended") void this.#sound.resume();
    this.stage.resumeSound(() => this.toasts.calm("sound"));
  }

  /** @param {string} text */
  #announce(text) {
    byId("announcer", HTMLElement).textContent = text;
  }

  // Drawing

  #drawSoon() {
    if (this.#drawingSoon) return;
    this.#drawingSoon = true;
    // Not requestAnimationFrame, which stands still in a window that nobody sees while its sound must go on.
    setTimeout(() => {
      this.#drawingSoon = false;
      this.#draw();
    });
  }

  #draw() {
    this.stage.render();
    this.controls.render();
    this.#drawHeader();
  }

  #drawHeader() {
    const { room } = this;
    if (!room) return;
    const state = room.connection;
    const weak = state === "connected" && room.self?.weak;
    const rtt = state === "connected" ? this.meters?.rtt : null;
    write("channel-name", room.identity.channel);
    write("head-count", this.people.size === 1 ? "1 person" : `${this.people.size} people`);
    write("connection-text", weak ? "Weak connection" : CONNECTION_WORDS[state]);
    write("round-trip", rtt == null ? "" : `${Math.max(1, Math.round(rtt * 1000))} ms`);
    byId("connection", HTMLElement).dataset.state = weak ? "weak" : state;
    byId("recording", HTMLElement).hidden = !room.recording;
  }
}

/**
 * @param {string} id
 * @param {string} text
 */
function write(id, text) {
  const element = byId(id, HTMLElement);
  if (element.textContent !== text) element.textContent = text;
}

new Page();
