/**
 * The settings dialog: which devices, and whether the voice is cleaned up.
 */

import { byId, make } from "./dom.js";
/** @import { Choices } from "./capture.js" */

/** @typedef {"microphone" | "camera" | "speaker"} DeviceName */

/** @type {Record<DeviceName, MediaDeviceKind>} */
const KINDS = { microphone: "audioinput", camera: "videoinput", speaker: "audiooutput" };

export class Settings {
  #dialog = byId("settings-dialog", HTMLDialogElement);
  #processing = byId("processing", HTMLInputElement);
  /** @type {Record<DeviceName, HTMLSelectElement>} */
  #selects = {
    microphone: byId("choose-microphone", HTMLSelectElement),
    camera: byId("choose-camera", HTMLSelectElement),
    speaker: byId("choose-speaker", HTMLSelectElement),
  };

  /**
   * @param {Choices} choices changed in place
   * @param {(device: DeviceName) => void} onChange
   */
  constructor(choices, onChange) {
    this.choices = choices;
    // Firefox and Safari name speakers only after asking; where they cannot be chosen the row would be a lie.
    byId("speaker-row", HTMLElement).hidden = !("setSinkId" in HTMLMediaElement.prototype);
    for (const name of /** @type {DeviceName[]} */ (Object.keys(KINDS))) {
      this.#selects[name].addEventListener("change", () => {
        choices[`${name}Id`] = this.#selects[name].value;
        onChange(name);
      });
    }
    this.#processing.addEventListener("change", () => {
      choices.processing = this.#processing.checked;
      onChange("microphone");
    });
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#fill());
  }

  async show() {
    this.#processing.checked = this.choices.processing;
    await this.#fill();
    this.#dialog.showModal();
  }

  async #fill() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    for (const name of /** @type {DeviceName[]} */ (Object.keys(KINDS))) {
      // Before a permission is given devices have neither name nor id.
      const found = devices.filter(({ kind, deviceId }) => kind === KINDS[name] && deviceId && deviceId !== "default");
      const options = found.map(({ deviceId, label }, index) =>
        make("option", { value: deviceId }, [label || `${name} ${index + 1}`]),
      );
      this.#selects[name].replaceChildren(make("option", { value: "" }, ["The system’s choice"]), ...options);
      const chosen = this.choices[`${name}Id`];
      this.#selects[name].value = found.some(({ deviceId }) => deviceId === chosen) ? chosen : "";
    }
  }
}
