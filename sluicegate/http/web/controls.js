/**
 * The buttons of a call and their keys.
 */

import { byId } from "./dom.js";
import { explainCapture } from "./errors.js";
/** @import { Room } from "./room.js" */
/** @import { Toasts } from "./toasts.js" */

/** @typedef {"microphone" | "camera" | "screen"} Control */

/** @type {Record<Control, {key: string, on: string, off: string, whenOn: string, whenOff: string}>} */
const CONTROLS = {
  microphone: { key: "m", on: "microphone", off: "microphone-off", whenOn: "Mute", whenOff: "Unmute" },
  camera: { key: "v", on: "camera", off: "camera-off", whenOn: "Stop camera", whenOff: "Start camera" },
  screen: { key: "s", on: "screen", off: "screen", whenOn: "Stop sharing", whenOff: "Share screen" },
};
const NAMES = /** @type {Control[]} */ (Object.keys(CONTROLS));

export class Controls {
  /** @type {Set<Control>} those that wait for the browser or the server */
  #busy = new Set();

  /**
   * @param {() => Room | null} room
   * @param {Toasts} toasts
   */
  constructor(room, toasts) {
    this.room = room;
    this.toasts = toasts;
    this.buttons = {
      microphone: byId("microphone", HTMLButtonElement),
      camera: byId("camera", HTMLButtonElement),
      screen: byId("screen", HTMLButtonElement),
    };
    for (const name of NAMES) this.buttons[name].addEventListener("click", () => this.toggle(name));
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /**
   * Switches one on or off.
   * @param {Control} name
   * @param {boolean} [on]
   */
  async toggle(name, on) {
    const publisher = this.room()?.publisher;
    if (!publisher || this.#busy.has(name) || this.buttons[name].disabled) return;
    const next = on ?? !publisher.has(name);
    if (next === publisher.has(name)) return;
    this.#busy.add(name);
    this.render();
    try {
      if (name === "microphone") await publisher.setMuted(!next);
      else if (!next) await publisher.stop(name);
      else if (name === "camera") await publisher.startCamera();
      else await publisher.startScreen();
      this.toasts.calm(name);
    } catch (error) {
      const text = explainCapture(error, name);
      if (text) this.toasts.warn(name, text);
    } finally {
      this.#busy.delete(name);
      this.render();
    }
  }

  /** Draws what is on. */
  render() {
    const publisher = this.room()?.publisher;
    for (const name of NAMES) {
      const button = this.buttons[name];
      const { key, on, off, whenOn, whenOff } = CONTROLS[name];
      const active = publisher?.has(name) ?? false;
      const allowed = publisher?.allowed ?? true;
      const text = active ? whenOn : whenOff;
      button.setAttribute("aria-pressed", String(active));
      button.setAttribute("aria-busy", String(this.#busy.has(name)));
      button.disabled = !allowed || (name === "screen" && !navigator.mediaDevices?.getDisplayMedia);
      button.title = allowed ? `${text} (${key.toUpperCase()})` : "Your token lets you listen, not speak";
      button.querySelector("use")?.setAttribute("href", `#icon-${active ? on : off}`);
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (!this.room() || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof HTMLElement ? event.target : null;
    if (target?.closest("input:not([type=range]), select, textarea, dialog")) return;
    const name = NAMES.find((one) => CONTROLS[one].key === event.key.toLowerCase());
    if (!name) return;
    event.preventDefault();
    void this.toggle(name);
  }
}
