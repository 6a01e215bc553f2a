// What the page uses of mediasoup-client.
export { Device, detectDevice } from "mediasoup-client";
