/**
 * The menu of one tile: quality of the picture, volume of the person, large or not.
 */

import { icon, make } from "./dom.js";
/** @import { Tile, TileActions } from "./tiles.js" */
/** @import { Media, Quality } from "./types.js" */

/** @type {[Quality, string][]} */
const QUALITIES = [
  ["auto", "Auto"],
  ["high", "High, up to 720p"],
  ["medium", "Medium, up to 360p"],
  ["low", "Low, up to 180p"],
];

let count = 0;

export class TileMenu {
  /**
   * @param {Tile} tile
   * @param {TileActions} actions
   */
  constructor(tile, actions) {
    const id = `menu-${++count}`;
    const { person, shows } = tile;
    this.tile = tile;
    const options = QUALITIES.map(([value, text]) => make("option", { value }, [text]));
    this.quality = make("select", { id: `${id}-quality`, name: "quality" }, options);
    this.qualityRow = make("div", {}, [make("label", { for: `${id}-quality` }, ["Picture quality"]), this.quality]);
    this.volume = make("input", {
      id: `${id}-volume`,
      name: "volume",
      type: "range",
      min: "0",
      max: "100",
      value: "100",
    });
    const volumeRow = make("div", {}, [make("label", { for: `${id}-volume` }, ["Volume"]), this.volume]);
    volumeRow.hidden = person.self;
    this.figures = make("p", { class: "details" });
    this.large = make("button", { type: "button", class: "small" });
    this.panel = make(
      "div",
      { id, popover: "", class: "menu", role: "dialog", "aria-label": `Options for ${person.name}` },
      [this.qualityRow, volumeRow, this.large, this.figures],
    );
    this.button = make(
      "button",
      { type: "button", class: "more", popovertarget: id, "aria-label": `Options for ${person.name}` },
      [icon("more")],
    );

    this.quality.addEventListener("change", () =>
      actions.setQuality(person, shows, /** @type {Quality} */ (this.quality.value)),
    );
    this.volume.addEventListener("input", () => {
      person.volume = Number(this.volume.value) / 100;
      tile.update();
    });
    this.large.addEventListener("click", () => {
      actions.pin(tile);
      this.panel.hidePopover();
    });
    this.panel.addEventListener("toggle", () => {
      tile.updateFigures();
      this.#place();
    });
    this.panel.addEventListener("dblclick", (event) => event.stopPropagation());
  }

  /** @param {Media | undefined} picture */
  update(picture) {
    this.qualityRow.hidden = this.tile.person.self || picture?.kind !== "video";
    if (picture && document.activeElement !== this.quality) this.quality.value = picture.quality;
    const text = this.tile.pinned ? "Back to the grid" : "Show large";
    if (this.large.textContent !== text) this.large.textContent = text;
  }

  /** @param {string} text all that is known of the streams, a line for each */
  updateFigures(text) {
    if (this.panel.matches(":popover-open")) this.figures.textContent = text;
  }

  /** Below the button, and inside the window. */
  #place() {
    const { right, bottom } = this.button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.panel;
    this.panel.style.left = `${Math.max(8, Math.min(right, innerWidth - 8) - width)}px`;
    this.panel.style.top = `${Math.max(8, Math.min(bottom + 6, innerHeight - 8 - height))}px`;
  }
}
