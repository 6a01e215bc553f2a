/**
 * The place where the tiles are: makes and removes them as people come and go, and lays them out.
 */

import { make } from "./dom.js";
import { grid, spotlight } from "./layout.js";
import { Tile } from "./tiles.js";
/** @import { People, Person } from "./people.js" */
/** @import { TileActions } from "./tiles.js" */

const GAP = 10;

export class Stage {
  /** @type {Map<string, Tile>} by `user/camera` and `user/screen` */
  tiles = new Map();
  #pinned = "";
  #speaker = "";

  /**
   * @param {HTMLElement} element
   * @param {People} people
   * @param {Omit<TileActions, "pin"> & {invite: () => void}} actions
   */
  constructor(element, people, actions) {
    this.element = element;
    this.people = people;
    this.actions = { ...actions, pin: (/** @type {Tile} */ tile) => this.#pin(tile) };
    const button = make("button", { type: "button", class: "small" }, ["Copy the link to this channel"]);
    button.addEventListener("click", actions.invite);
    this.alone = make("div", { class: "alone" }, [make("p", {}, ["Nobody else is here yet."]), button]);
    new ResizeObserver(() => this.#layout()).observe(element);
  }

  /** Brings the tiles in line with the people. */
  render() {
    /** @type {Map<string, [Person, "camera" | "screen"]>} */
    const wanted = new Map();
    for (const person of this.people) {
      wanted.set(`${person.userId}/camera`, [person, "camera"]);
      if (person.media.has("screen")) wanted.set(`${person.userId}/screen`, [person, "screen"]);
    }
    for (const [key, tile] of this.tiles) {
      // Somebody who left and came back is another person object.
      if (wanted.get(key)?.[0] === tile.person) continue;
      tile.remove();
      this.tiles.delete(key);
    }
    for (const [key, [person, shows]] of wanted) {
      if (this.tiles.has(key)) continue;
      const tile = new Tile(person, shows, this.actions);
      this.tiles.set(key, tile);
      if (this.#speaker) void tile.setSpeaker(this.#speaker).catch(() => undefined);
      this.element.append(tile.element);
    }
    for (const tile of this.tiles.values()) {
      tile.pinned = tile.key === this.#pinned;
      tile.update();
    }
    this.#layout();
  }

  updateLevels() {
    for (const tile of this.tiles.values()) tile.updateLevel();
  }

  updateFigures() {
    for (const tile of this.tiles.values()) tile.updateFigures();
  }

  /**
   * Plays everybody on this device.
   * @param {string} speakerId empty: the browser's default
   */
  async setSpeaker(speakerId) {
    this.#speaker = speakerId;
    await Promise.all([...this.tiles.values()].map((tile) => tile.setSpeaker(speakerId)));
  }

  /**
   * Plays what the browser held back; to be called while a click is fresh.
   * @param {() => void} played
   */
  resumeSound(played) {
    for (const { audio } of this.tiles.values()) {
      if (audio.srcObject && audio.paused) audio.play().then(played, () => undefined);
    }
  }

  /** @param {Tile} tile */
  #pin(tile) {
    this.#pinned = tile.pinned ? "" : tile.key;
    this.render();
  }

  #layout() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === 0 || height === 0) return;
    const area = { x: GAP, y: GAP, width: width - 2 * GAP, height: height - 2 * GAP };
    const tiles = [...this.tiles.values()];
    const large = this.#largeTiles(tiles);
    const ordered = [...large, ...tiles.filter((tile) => !large.includes(tile))].map(({ element }) => element);
    const alone = this.people.size === 1 && large.length === 0;
    if (alone) ordered.push(this.alone);
    if (alone !== this.alone.isConnected) alone ? this.element.append(this.alone) : this.alone.remove();
    const rects =
      large.length > 0
        ? spotlight(large.length, ordered.length - large.length, area, GAP)
        : grid(ordered.length, area, GAP);
    ordered.forEach((element, index) => {
      const rect = rects[index];
      element.classList.toggle("large", index < large.length);
      element.style.width = `${rect.width}px`;
      element.style.height = `${rect.height}px`;
      element.style.transform = `translate(${rect.x}px, ${rect.y}px)`;
    });
  }

  /**
   * What is looked at: the pinned tile, else the screens of others.
   * @param {Tile[]} tiles
   * @returns {Tile[]}
   */
  #largeTiles(tiles) {
    const pinned = tiles.filter((tile) => tile.key === this.#pinned);
    if (pinned.length > 0) return pinned;
    return tiles.filter((tile) => tile.shows === "screen" && !tile.person.self);
  }
}
