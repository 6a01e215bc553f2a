/**
 * Messages at the edge of the page, one for each thing that is wrong.
 */

import { icon, make } from "./dom.js";

// Long enough to read two sentences.
const PASSING_SECONDS = 6;

export class Toasts {
  /** @type {Map<string, HTMLElement>} by key */
  #shown = new Map();

  /** @param {HTMLElement} area a live region */
  constructor(area) {
    this.area = area;
  }

  /**
   * Says something until `calm` of the same key, or until it is closed by hand.
   * @param {string} key what it is about; a second message about it takes the place of the first
   * @param {string} text
   * @param {{label: string, act: () => void}} [action]
   */
  warn(key, text, action) {
    if (this.#shown.get(key)?.dataset.text === text) return;
    this.calm(key);
    const close = make("button", { type: "button", class: "close", "aria-label": "Close this message" }, [
      icon("close"),
    ]);
    const toast = make("div", { class: "toast", "data-key": key, "data-text": text }, [make("p", {}, [text])]);
    if (action) {
      const button = make("button", { type: "button", class: "small" }, [action.label]);
      button.addEventListener("click", () => (action.act(), this.calm(key)));
      toast.append(button);
    }
    toast.append(close);
    close.addEventListener("click", () => this.calm(key));
    this.#shown.set(key, toast);
    this.area.append(toast);
  }

  /**
   * Says something that needs no answer, for a few seconds.
   * @param {string} text
   */
  tell(text) {
    const toast = make("div", { class: "toast passing" }, [make("p", {}, [text])]);
    this.area.append(toast);
    setTimeout(() => toast.remove(), PASSING_SECONDS * 1000);
  }

  /** @param {string} key what is no longer wrong */
  calm(key) {
    this.#shown.get(key)?.remove();
    this.#shown.delete(key);
  }

  clear() {
    for (const key of [...this.#shown.keys()]) this.calm(key);
  }
}
