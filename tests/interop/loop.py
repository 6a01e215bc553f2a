"""One page of the product's origin that publishes a track and views it, with the product's bundle of mediasoup-client.

window = await open_client(open_window, server)
await window.evaluate("client.join('room', 'ada', 'send')")
"""

from typing import Any

from tests.support.server import ServerProcess

# Leaves `client` behind, of which a test makes its own JavaScript:
#   call(method, path, body) → JSON of the answer
#   join(channel, user, direction, {narrow}) → {device, transport}
#     `narrow` changes what the client is told that the server has
#   choose({device}, (codec) → boolean) → the first such codec that the device can send
#   subscribe({device, transport}, track id) → Consumer
#   show(track) → the video element that plays it
#   figures(Producer or Consumer) → {rtp, codec, path}: its stream, that stream's codec, its candidate pair
CLIENT = """
(async () => {
  const { Device } = await import("/web/vendor/mediasoup-client.js");
  const call = async (method, path, body) => {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(path, { method, headers, body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
    return text ? JSON.parse(text) : null;
  };
  const join = async (channel, user, direction, { narrow = (all) => all } = {}) => {
    const session = await call("POST", "/sessions", { type: "video", channel_id: channel, user_id: user });
    const device = await Device.factory();
    await device.load({ routerRtpCapabilities: narrow(session.rtp_capabilities) });
    const transport = device[direction === "send" ? "createSendTransport" : "createRecvTransport"]({
      id: session.session_id,
      iceParameters: session.ice_parameters,
      iceCandidates: session.ice_candidates,
      dtlsParameters: session.dtls_parameters,
      iceServers: session.ice_servers,
    });
    transport.on("connect", ({ dtlsParameters }, done, failed) => {
      call("POST", `/sessions/${transport.id}/connect`, { dtls_parameters: dtlsParameters }).then(done, failed);
    });
    transport.on("produce", ({ kind, rtpParameters }, done, failed) => {
      const body = { kind, rtp_parameters: rtpParameters };
      call("POST", `/sessions/${transport.id}/publish`, body).then(({ track_id: id }) => done({ id }), failed);
    });
    return { device, transport };
  };
  const choose = ({ device }, wanted) => device.sendRtpCapabilities.codecs.find(wanted);
  const subscribe = async ({ device, transport }, producerId) => {
    const session = `/sessions/${transport.id}`;
    const wanted = { track_id: producerId, rtp_capabilities: device.recvRtpCapabilities, paused: true };
    const answer = await call("POST", `${session}/subscribe`, wanted);
    const { subscription_id: id, kind, rtp_parameters: rtpParameters } = answer;
    const consumer = await transport.consume({ id, producerId, kind, rtpParameters });
    await call("PATCH", `${session}/subscriptions/${id}`, { paused: false });
    return consumer;
  };
  const show = (track) => {
    const picture = Object.assign(document.createElement("video"), { muted: true, autoplay: true });
    picture.srcObject = new MediaStream([track]);
    document.body.append(picture);
    return picture;
  };
  const figures = async (one) => {
    const all = await one.getStats();
    const list = [...all.values()];
    const rtp = list.find(({ type }) => type === "outbound-rtp" || type === "inbound-rtp") ?? {};
    const path = list.find(({ type, nominated }) => type === "candidate-pair" && nominated) ?? {};
    return { rtp, path, codec: all.get(rtp.codecId) ?? {} };
  };
  window.client = { call, join, choose, subscribe, show, figures };
})()
"""


async def open_client(open_window: Any, server: ServerProcess, **options: Any) -> Any:
    """A Chromium at the server's page, with `client`; options are those of the window."""
    window = await open_window("chromium", **options)
    await window.goto(server.url)
    await window.evaluate(CLIENT)
    return window
