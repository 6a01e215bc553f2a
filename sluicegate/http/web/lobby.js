/**
 * The form to join with: what it is filled with, what it says when it is wrong, what it remembers.
 */

import { byId } from "./dom.js";
import { explain, Problem } from "./errors.js";
import { identify, readToken, toId } from "./identity.js";
import { savePreferences } from "./preferences.js";
/** @import { Preferences } from "./preferences.js" */
/** @import { Identity } from "./types.js" */

export class Lobby {
  #form = byId("join-form", HTMLFormElement);
  #button = byId("join", HTMLButtonElement);
  #problem = byId("join-error", HTMLElement);
  #name = byId("name", HTMLInputElement);
  #channel = byId("channel", HTMLInputElement);
  #token = byId("token", HTMLInputElement);
  #withMicrophone = byId("with-microphone", HTMLInputElement);
  #withCamera = byId("with-camera", HTMLInputElement);

  /**
   * @param {URLSearchParams} query of the page's address
   * @param {Preferences} preferences
   * @param {(identity: Identity, token: string) => Promise<void>} join throws when it was refused
   */
  constructor(query, preferences, join) {
    this.preferences = preferences;
    this.join = join;
    this.#prefill(query);
    this.#hintName();
    this.#name.addEventListener("input", () => this.#hintName());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
  }

  get withMicrophone() {
    return this.#withMicrophone.checked;
  }

  get withCamera() {
    return this.#withCamera.checked;
  }

  /** Joins with what the form holds, or says what is missing. */
  async submit() {
    if (this.#button.disabled) return;
    const token = this.#token.value.trim();
    const identity = identify(this.#name.value, this.#channel.value, token);
    if (!this.#name.value.trim())
      return this.#ask(this.#name, "Type a name first, so that the others know who you are.");
    if (!identity.channel) return this.#ask(this.#channel, "Type the channel's name: letters, digits and . _ : -");
    this.say("");
    this.#remember();
    this.#button.disabled = true;
    this.#button.textContent = "Joining…";
    try {
      await this.join(identity, token);
    } catch (error) {
      this.refuse(explain(error), error instanceof Problem ? error.status : 0);
    } finally {
      this.#button.disabled = false;
      this.#button.textContent = "Join";
    }
  }

  /**
   * @param {string} text
   * @param {number} status of the answer; 401 asks for a token
   */
  refuse(text, status) {
    // The first 401 is no mistake of anybody's: the field that appears says all.
    if (status !== 401 || this.#token.value) this.say(text);
    if (status !== 401) return;
    byId("token-row", HTMLElement).hidden = false;
    this.#token.focus();
  }

  /** @param {string} text empty: nothing is wrong */
  say(text) {
    this.#problem.textContent = text;
    this.#problem.hidden = !text;
  }

  focus() {
    this.#button.focus();
  }

  /**
   * @param {HTMLInputElement} field
   * @param {string} text
   */
  #ask(field, text) {
    this.say(text);
    field.focus();
  }

  /** @param {URLSearchParams} query */
  #prefill(query) {
    const token = query.get("token") ?? "";
    const claims = readToken(token);
    const ofToken = claims.channel_id === "*" ? "" : claims.channel_id;
    this.#name.value = query.get("name") ?? claims.sub ?? this.preferences.name;
    this.#channel.value = query.get("channel") ?? ofToken ?? (this.preferences.channel || "lobby");
    this.#token.value = token;
    this.#withMicrophone.checked = flag(query.get("microphone"), this.preferences.withMicrophone);
    this.#withCamera.checked = flag(query.get("camera"), this.preferences.withCamera);
    // A token in the address bar ends up in screenshots, histories and invitations.
    if (!token) return;
    query.delete("token");
    history.replaceState(null, "", `?${query}`);
  }

  #remember() {
    Object.assign(this.preferences, {
      name: this.#name.value.trim(),
      channel: this.#channel.value.trim(),
      withMicrophone: this.withMicrophone,
      withCamera: this.withCamera,
    });
    savePreferences(this.preferences);
  }

  #hintName() {
    const name = this.#name.value.trim();
    const id = toId(name);
    const hint = byId("name-hint", HTMLElement);
    hint.hidden = !name || id === name;
    hint.textContent = id
      ? `Known to the server as ${id}`
      : "The server needs a letter or a digit and makes up a name.";
  }
}

/**
 * @param {string | null} asked of the address
 * @param {boolean} otherwise
 */
function flag(asked, otherwise) {
  return asked === null ? otherwise : asked !== "0";
}
