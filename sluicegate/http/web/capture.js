/**
 * The microphone, the camera and the screen of this machine, and how each is encoded.
 */

import { Unsupported } from "./errors.js";
/** @import { RtpEncodingParameters } from "./types.js" */

/**
 * What the person chose under Settings, or with the page's address.
 * @typedef {object} Choices
 * @property {string} microphoneId empty: the browser's default
 * @property {string} cameraId
 * @property {string} speakerId
 * @property {boolean} processing echo cancellation, noise suppression and gain control; wrong for music
 * @property {string} videoCodec empty: the server's first
 */

/** @returns {MediaDevices} */
function devices() {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw new Unsupported(
    window.isSecureContext
      ? "This browser has no access to microphones and cameras. Use a current Chrome, Edge, Firefox or Safari."
      : "Browsers allow microphones and cameras only on https:// addresses and on localhost. Open this page there.",
  );
}

/**
 * @param {Choices} choices
 * @returns {Promise<MediaStreamTrack>}
 */
export async function captureMicrophone({ microphoneId, processing }) {
  const stream = await devices().getUserMedia({
    audio: {
      ...device(microphoneId),
      echoCancellation: processing,
      noiseSuppression: processing,
      autoGainControl: processing,
    },
  });
  const [track] = stream.getAudioTracks();
  track.contentHint = processing ? "speech" : "music";
  return track;
}

/**
 * @param {Choices} choices
 * @returns {Promise<MediaStreamTrack>}
 */
export async function captureCamera({ cameraId }) {
  const video = { ...device(cameraId), width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  const stream = await devices().getUserMedia({ video });
  return stream.getVideoTracks()[0];
}

/**
 * Asks for the screen, and for its sound where the browser can give it.
 * @returns {Promise<{video: MediaStreamTrack, audio: MediaStreamTrack | null}>}
 */
export async function captureScreen() {
  const source = devices();
  if (!source.getDisplayMedia) throw new Unsupported("This browser cannot share a screen. Use one on a computer.");
  /** @type {DisplayMediaStreamOptions & {systemAudio?: string, surfaceSwitching?: string}} */
  const options = {
    video: { frameRate: { ideal: 30, max: 30 }, width: { max: 1920 }, height: { max: 1080 } },
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    systemAudio: "include",
    surfaceSwitching: "include",
  };
  const stream = await source.getDisplayMedia(options);
  const [video] = stream.getVideoTracks();
  // Text must stay readable: better fewer pictures than blurred ones.
  video.contentHint = "detail";
  return { video, audio: stream.getAudioTracks()[0] ?? null };
}

/**
 * @param {string} id
 * @returns {MediaTrackConstraints}
 */
function device(id) {
  // Not `exact`: a device that was unplugged since gives way to the one there is.
  return id ? { deviceId: { ideal: id } } : {};
}

/**
 * A microphone that says nothing: it is what a person publishes who has none, or has not allowed it yet.
 *
 * Publishing it opens the way to the server at once, so that joining waits for no permission and a listener is a member
 * as well.
 * @param {AudioContext} context
 * @returns {MediaStreamTrack}
 */
export function silentTrack(context) {
  return context.createMediaStreamDestination().stream.getAudioTracks()[0];
}

// The rates at which each size still looks like itself; the server's presets have the same steps.
const LAYERS = [
  { height: 180, maxBitrate: 200_000 },
  { height: 360, maxBitrate: 500_000 },
  { height: 720, maxBitrate: 1_500_000 },
];

/**
 * Lowest first. A picture of 720 lines or more is sent three times (a quarter, half and all of it), one of 360 twice,
 * so that every viewer can have the size that fits; codecs with layers of their own send one stream that holds them.
 * @param {number} height lines that the camera gives
 * @param {string} codec for example "video/VP8"
 * @param {boolean} layered whether the browser can put layers into one stream
 * @returns {RtpEncodingParameters[]}
 */
export function cameraEncodings(height, codec, layered) {
  if (/vp9|av1/i.test(codec)) {
    return [layered ? { scalabilityMode: "L3T3_KEY", maxBitrate: 1_500_000 } : { maxBitrate: 1_500_000 }];
  }
  const count = height >= 720 ? 3 : height >= 360 ? 2 : 1;
  return LAYERS.slice(0, count).map(({ maxBitrate }, index) => ({
    maxBitrate,
    scaleResolutionDownBy: 2 ** (count - 1 - index),
  }));
}

/** @returns {RtpEncodingParameters[]} */
export function screenEncodings() {
  return [{ maxBitrate: 2_500_000 }];
}
