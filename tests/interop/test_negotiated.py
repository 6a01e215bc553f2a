"""What Chromium and the server agree on besides the usual: FIR, codec profiles, header extensions.

One page publishes and views. What it is told of the server is narrowed until only the way under test is left.
"""

import time
from typing import Any

import pytest

from tests.interop.loop import open_client
from tests.interop.room import MOVES, PATIENCE
from tests.support.browser import browsers
from tests.support.server import ServerProcess

# Functions over the capabilities of the server: without RTCP feedback of some names, without a header extension.
WITHOUT_FEEDBACK = """
(({ codecs, ...others }) => ({ ...others, codecs: codecs.map(({ rtcpFeedback = [], ...codec }) =>
  ({ ...codec, rtcpFeedback: rtcpFeedback.filter(({ type, parameter }) => !%s.includes(parameter || type)) })) }))
"""
WITHOUT_EXTENSION = """
(({ headerExtensions, ...others }) =>
  ({ ...others, headerExtensions: headerExtensions.filter(({ uri }) => !uri.includes("%s")) }))
"""
EVERYTHING = "((all) => all)"

CAMERA = """
(() => navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } })
  .then((stream) => stream.getVideoTracks()[0]))
"""
# The camera, whose frames are said to lie on their side.
TURNED = f"""
(async () => {{
  const camera = await ({CAMERA})();
  const generator = new MediaStreamTrackGenerator({{ kind: "video" }});
  const turn = new TransformStream({{
    transform(frame, controller) {{
      controller.enqueue(new VideoFrame(frame, {{ rotation: 90 }}));
      frame.close();
    }},
  }});
  new MediaStreamTrackProcessor({{ track: camera }}).readable.pipeThrough(turn).pipeTo(generator.writable);
  return generator;
}})
"""
# (channel, narrow, track, wanted codec)
PUBLISH = """
(async (channel, narrow, track, wanted) => {
  window.out = await client.join(channel, "ada", "send", { narrow });
  const codec = client.choose(out, wanted);
  if (!codec) throw new Error("there is no such codec: " + JSON.stringify(out.device.sendRtpCapabilities.codecs));
  window.producer = await out.transport.produce({ track: await track(), codec });
})
"""
# (channel, user, narrow): the page gets `viewers[user]`: {consumer, picture}.
VIEW = """
(async (channel, user, narrow) => {
  const back = await client.join(channel, user, "recv", { narrow });
  const consumer = await client.subscribe(back, producer.id);
  window.viewers = { ...window.viewers, [user]: { consumer, picture: client.show(consumer.track) } };
})
"""
VP8 = "(({ mimeType }) => mimeType === 'video/VP8')"
PLAYOUT_DELAY = "--force-fieldtrials=WebRTC-ForceSendPlayoutDelay/min_ms:400,max_ms:600/"

# What chooses a codec, what its format parameters say.
PROFILES = {
    "VP9 profile 2": ("VP9", {"profile-id": "2"}),
    **{
        f"H.264 {name}, mode {mode}": ("H264", {"profile-level-id": profile, "packetization-mode": mode})
        for name, profile in (("constrained baseline", "42e01f"), ("main", "4d001f"))
        for mode in "01"
    },
}


class Call:
    """What one page publishes, and its viewers by name."""

    def __init__(self, window: Any, channel: str) -> None:
        self.window, self._channel = window, channel

    async def publish(self, *, narrow: str = EVERYTHING, track: str = CAMERA, codec: str = VP8) -> None:
        await self.window.evaluate(f"({PUBLISH})('{self._channel}', {narrow}, {track}, {codec})")

    async def view(self, user: str, narrow: str = EVERYTHING) -> None:
        await self.window.evaluate(f"({VIEW})('{self._channel}', '{user}', {narrow})")

    async def sees(self, user: str) -> dict[str, int]:
        """The size of the viewer's picture, once it moves."""
        picture = f"viewers.{user}.picture"
        await self.window.until(f"{picture}.videoWidth > 0", PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while (size := await self.window.evaluate(f"({MOVES})({picture}, false)")) is None:
            assert time.monotonic() < deadline, f"the picture of {user} stands still"
        found: dict[str, int] = size
        return found

    async def sent(self) -> dict[str, Any]:
        return await self._figures("producer")

    async def received(self, user: str) -> dict[str, Any]:
        return await self._figures(f"viewers.{user}.consumer")

    async def _figures(self, one: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.window.evaluate(f"client.figures({one})")
        return found


async def test_a_publisher_without_pli_is_asked_by_fir(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        call = Call(await open_client(open_window, server), channel)
        await call.publish(narrow=WITHOUT_FEEDBACK % "['pli']")
        await call.window.until("client.figures(producer).then(({ rtp }) => rtp.framesEncoded > 10)", PATIENCE)
        for user in ("ben", "cem"):
            before = (await call.sent())["rtp"]
            await call.view(user)
            await call.sees(user)
            after = (await call.sent())["rtp"]
            assert after["firCount"] > before["firCount"], f"{user} came without a request"
            assert after["keyFramesEncoded"] > before["keyFramesEncoded"]
        assert after["pliCount"] == 0


@pytest.mark.parametrize("name", PROFILES)
async def test_a_profile_is_published_and_viewed(name: str, server: ServerProcess, channel: str) -> None:
    codec, parameters = PROFILES[name]
    mime_type = f"video/{codec}"
    async with browsers() as open_window:
        call = Call(await open_client(open_window, server), channel)
        given = " && ".join(f"String(parameters['{key}']) === '{value}'" for key, value in parameters.items())
        await call.publish(codec=f"(({{ mimeType, parameters }}) => mimeType === '{mime_type}' && {given})")
        await call.view("ben")
        await call.sees("ben")
        for end in (await call.sent(), await call.received("ben")):
            assert end["codec"]["mimeType"] == mime_type
            said = dict(part.split("=", 1) for part in end["codec"]["sdpFmtpLine"].split(";"))
            assert parameters.items() <= said.items()


async def test_a_turned_picture_stands_upright(server: ServerProcess, channel: str) -> None:
    """The publisher's header extension says how; a viewer who does not know it sees the picture as it was sent."""
    async with browsers() as open_window:
        call = Call(await open_client(open_window, server), channel)
        await call.publish(track=TURNED)
        await call.view("ben")
        await call.view("cem", WITHOUT_EXTENSION % "video-orientation")
        assert await call.sees("ben") == {"width": 360, "height": 640}
        assert await call.sees("cem") == {"width": 640, "height": 360}


async def test_a_viewer_waits_as_long_as_the_publisher_says(server: ServerProcess, channel: str) -> None:
    async with browsers() as open_window:
        call = Call(await open_client(open_window, server, flags=(PLAYOUT_DELAY,)), channel)
        await call.publish()
        await call.view("ben")
        await call.view("cem", WITHOUT_EXTENSION % "playout-delay")
        for user in ("ben", "cem"):
            await call.sees(user)
        # Seconds summed over all frames; each of ben's is held for 0.4 s, the first ones still on their way to that.
        delay = "client.figures(viewers.%s.consumer).then(({ rtp }) => rtp.jitterBufferTargetDelay / rtp.jitterBufferEmittedCount)"
        await call.window.until(f"{delay % 'ben'}.then((seconds) => seconds > 0.35)", PATIENCE)
        assert await call.window.evaluate(delay % "cem") < 0.2
