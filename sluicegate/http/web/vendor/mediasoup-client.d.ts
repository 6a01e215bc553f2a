// Types of the bundle beside this file, for the check of the page's modules (`npm run check` in web-build). Browsers never load it.
export { Device, detectDevice, types } from "mediasoup-client";
