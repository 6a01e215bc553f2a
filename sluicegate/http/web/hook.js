/**
 * `window.sluicegate`: a window into the page for debugging and for tests. It can be read, not written.
 *
 *     sluicegate.state          {connection, channel, userId, sessions: {send, receive}, links: {send, receive}, microphone, camera,
 *                               screen, recording, activeSpeaker, rtt}: plain values of this moment. `connection` is "idle", "joining",
 *                               "connected", "reconnecting" or "unroutable"; a link is "new", "connecting", "connected", "interrupted",
 *                               "lost", "closed" or null.
 *     sluicegate.peers          Map of user id → peer, oneself included (`self` true); made afresh at each reading
 *       peer.videoElement       the element that shows the camera (its `videoWidth` is 0 until the first picture)
 *       peer.screenElement      the same for a shared screen, null while there is none
 *       peer.audio              {muted, level, speaking, figures, track}: `level` 0–1 now, `track` the MediaStreamTrack
 *                               that is played, to be analysed; `figures` as in `stats()`
 *     await sluicegate.stats()  {user id: {source: figures}} measured now: {width, height, framesPerSecond, bitrateBps, loss, codec, bytes,
 *                               packets, packetsLost, framesDecoded, audioEnergy}. Rates are over the last half to one and a
 *                               half seconds.
 */

/** @import { Meters } from "./meters.js" */
/** @import { People, Person } from "./people.js" */
/** @import { Room } from "./room.js" */
/** @import { Stage } from "./stage.js" */

/**
 * @param {() => {room: Room | null, meters: Meters | null, people: People, stage: Stage}} page
 */
export function installHook(page) {
  const hook = Object.freeze({
    get state() {
      return Object.freeze(readState(page()));
    },
    get peers() {
      const { people, stage } = page();
      return new Map([...people].map((person) => [person.userId, Object.freeze(readPeer(person, stage))]));
    },
    async stats() {
      const { people, meters } = page();
      await meters?.measureFigures();
      return Object.fromEntries([...people].map((person) => [person.userId, figuresOf(person)]));
    },
  });
  Object.defineProperty(window, "sluicegate", { value: hook, enumerable: true });
}

/** @param {{room: Room | null, meters: Meters | null, people: People}} page */
function readState({ room, meters, people }) {
  const publisher = room?.publisher;
  return {
    connection: room?.connection ?? "idle",
    channel: room?.identity.channel ?? null,
    userId: room?.identity.userId ?? null,
    sessions: { send: room?.send?.sessionId ?? null, receive: room?.receive?.sessionId ?? null },
    links: { send: room?.send?.state ?? null, receive: room?.receive?.state ?? null },
    microphone: publisher?.has("microphone") ?? false,
    camera: publisher?.has("camera") ?? false,
    screen: publisher?.has("screen") ?? false,
    recording: room?.recording ?? false,
    activeSpeaker: [...people].find(({ active }) => active)?.userId ?? null,
    rtt: meters?.rtt ?? null,
  };
}

/**
 * @param {Person} person
 * @param {Stage} stage
 */
function readPeer(person, stage) {
  const voice = person.media.get("microphone");
  return {
    userId: person.userId,
    name: person.name,
    self: person.self,
    videoElement: stage.tiles.get(`${person.userId}/camera`)?.video ?? null,
    screenElement: stage.tiles.get(`${person.userId}/screen`)?.video ?? null,
    audio: {
      muted: person.muted,
      level: person.level,
      speaking: person.speaking,
      track: voice?.track ?? null,
      figures: voice?.figures ?? null,
    },
  };
}

/** @param {Person} person */
function figuresOf(person) {
  return Object.fromEntries([...person.media].map(([source, media]) => [source, media.figures]));
}
