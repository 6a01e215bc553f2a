/**
 * One tile: a person with voice and camera, or a screen that a person shares with its sound.
 */

import { icon, make } from "./dom.js";
import { TileMenu } from "./menu.js";
import { describeStreams, summary } from "./words.js";
/** @import { Person } from "./people.js" */
/** @import { Media, Quality } from "./types.js" */

/**
 * @typedef {object} TileActions
 * @property {(person: Person, shows: "camera" | "screen", quality: Quality) => void} setQuality
 * @property {(tile: Tile) => void} pin shows it large, or no longer
 * @property {() => void} soundBlocked the browser plays no sound before the person has touched the page
 */

export class Tile {
  pinned = false;

  /**
   * @param {Person} person
   * @param {"camera" | "screen"} shows
   * @param {TileActions} actions
   */
  constructor(person, shows, actions) {
    this.person = person;
    this.shows = shows;
    this.actions = actions;
    this.key = `${person.userId}/${shows}`;
    this.video = make("video", { playsinline: "", autoplay: "", tabindex: "-1", "aria-hidden": "true" });
    this.video.muted = true;
    this.audio = make("audio", { autoplay: "" });
    this.avatar = make("div", { class: "avatar", "aria-hidden": "true" });
    this.problem = make("p", { class: "tile-problem" });
    this.muted = icon("microphone-off");
    this.weak = icon("weak");
    this.name = make("span", { class: "name" });
    this.figures = make("span", { class: "figures" });
    const plate = make("div", { class: "plate" }, [this.muted, this.weak, this.name]);
    this.element = make("article", { class: "tile", role: "group" }, [
      this.avatar,
      this.video,
      this.audio,
      this.problem,
      plate,
      this.figures,
    ]);
    this.element.dataset.user = person.userId;
    this.element.dataset.shows = shows;
    this.element.classList.toggle("self", person.self);
    this.element.style.setProperty("--hue", String(hue(person.userId)));
    this.menu = new TileMenu(this, actions);
    this.element.append(this.menu.button, this.menu.panel);
    this.element.addEventListener("dblclick", () => actions.pin(this));
    // The first picture has come; until then the person's initials are shown.
    this.video.addEventListener("resize", () => this.update());
  }

  /** Draws what the person now is. */
  update() {
    const { person, shows } = this;
    const picture = person.media.get(shows);
    const voice = person.media.get(shows === "camera" ? "microphone" : "screen_audio");
    const shown = picture?.paused ? null : (picture?.track ?? null);
    play(this.video, shown);
    const visible = shown !== null && this.video.videoWidth > 0;
    if (!person.self) play(this.audio, voice?.track ?? null, this.actions.soundBlocked);
    this.audio.volume = person.volume;
    const muted = shows === "camera" && person.muted;
    this.element.classList.toggle("has-picture", visible);
    this.element.classList.toggle("muted", muted);
    toggle(this.muted, muted);
    toggle(this.weak, person.weak && shows === "camera");
    this.#write(muted);
    this.#writeProblem([picture, voice], visible);
    this.menu.update(picture);
    this.updateFigures();
  }

  /** @param {boolean} muted */
  #write(muted) {
    const { person, shows } = this;
    const name = person.self ? `${person.name} (you)` : person.name;
    const text = shows === "screen" ? (person.self ? "Your screen" : `${person.name}’s screen`) : name;
    setText(this.name, text);
    setText(this.avatar, initials(person.name));
    const label = [text, muted ? "muted" : "", person.weak ? "weak connection" : ""].filter(Boolean).join(", ");
    if (this.element.getAttribute("aria-label") !== label) this.element.setAttribute("aria-label", label);
    this.name.title = person.name === person.userId ? "" : person.userId;
  }

  /**
   * @param {(Media | undefined)[]} media
   * @param {boolean} visible
   */
  #writeProblem(media, visible) {
    const problem = media.find((one) => one?.problem)?.problem;
    const text = problem ?? (this.shows === "screen" && !visible ? "Waiting for the picture…" : "");
    setText(this.problem, text);
    this.problem.hidden = !text;
  }

  /** Draws the figures, which change once a second. */
  updateFigures() {
    const picture = this.person.media.get(this.shows);
    const voice = this.person.media.get(this.shows === "camera" ? "microphone" : "screen_audio");
    const { text, loss } = summary(picture, voice);
    setText(this.figures, text);
    const details = describeStreams(picture, voice);
    this.figures.title = details;
    this.menu.updateFigures(details);
    this.figures.classList.toggle("poor", loss >= 0.02);
    this.figures.classList.toggle("bad", loss >= 0.08);
  }

  /** Draws the voice, which changes ten times a second. */
  updateLevel() {
    if (this.shows !== "camera") return;
    const { level, speaking, active } = this.person;
    this.element.classList.toggle("speaking", speaking);
    this.element.classList.toggle("active", active);
    // Loudness is felt logarithmically: −50 dB is nothing, −10 dB is everything.
    const shown = speaking ? Math.min(1, Math.max(0, (20 * Math.log10(level + 1e-6) + 50) / 40)) : 0;
    this.element.style.setProperty("--level", shown.toFixed(2));
  }

  /** @param {string} speakerId */
  async setSpeaker(speakerId) {
    if ("setSinkId" in this.audio) await this.audio.setSinkId(speakerId);
  }

  remove() {
    play(this.video, null);
    play(this.audio, null);
    this.element.remove();
  }
}

/**
 * @param {HTMLMediaElement} element
 * @param {MediaStreamTrack | null} track
 * @param {() => void} [blocked]
 */
function play(element, track, blocked) {
  const stream = /** @type {MediaStream | null} */ (element.srcObject);
  if ((stream?.getTracks()[0] ?? null) === track) return;
  element.srcObject = track && new MediaStream([track]);
  if (!track) return;
  element.play().catch((/** @type {unknown} */ error) => {
    if (error instanceof DOMException && error.name === "NotAllowedError") blocked?.();
  });
}

/**
 * @param {Element} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {SVGElement} element
 * @param {boolean} shown
 */
function toggle(element, shown) {
  element.classList.toggle("gone", !shown);
}

/**
 * @param {string} name
 * @returns {string} at most two letters
 */
function initials(name) {
  const words = name.split(/[\s._:-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters
    .map((word) => [...word][0])
    .join("")
    .toUpperCase();
}

/**
 * @param {string} text
 * @returns {number} a colour of its own for everybody, the same in every window; degrees
 */
function hue(text) {
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 3600;
  return hash / 10;
}
