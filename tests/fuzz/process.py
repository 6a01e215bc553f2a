"""Mutated datagrams against the real process: `python -m tests.fuzz.process --count 1000000 --seed 1`.

While two innocent people talk: their loss stays under 0.5 %, the server lives and writes no traceback, its memory
grows by less than 20 MB, and what it sends to others is well formed.
"""

import argparse
import asyncio
import time

from pylibsrtp import Error as SrtpError

from tests.attacks.innocent import InnocentCall
from tests.attacks.strangers import GREAT_DEAL_BPS, Stranger, dropped, flood
from tests.fuzz import seeds
from tests.fuzz.mutations import Mutator
from tests.fuzz.path import MOST_BYTES, Numbering
from tests.support import ice
from tests.support.parameters import CODECS
from tests.support.rtc_client import ScriptedClient
from tests.support.rtp_packet import is_rtcp
from tests.support.server import ServerProcess

MOST_LOST = 0.005
# A member may send 5,000 packets a second, and RTCP counts for more, so this is what gets in.
PER_SECOND = 3_500
WARM = 20_000


async def attack(server: ServerProcess, call: InnocentCall, count: int, seed: int) -> str:
    draw = Mutator(seed)
    numbered = Numbering(draw)
    async with (
        ScriptedClient.joined(server.url, "fuzz", "mallory") as mallory,
        ScriptedClient.joined(server.url, "fuzz", "eve") as eve,
    ):
        media: list[bytes] = []
        received: list[int] = []
        for index, codec in enumerate(("opus", "VP8", "VP9", "H264", "AV1")):
            ssrc = 1000 + 10 * index
            rtx = CODECS[codec].rtx_payload_type
            published = await mallory.publish(
                codec, ssrc=ssrc, rtx_ssrc=ssrc + 1 if rtx else None, max_bitrate=GREAT_DEAL_BPS
            )
            subscribed = await eve.subscribe(published.track_id)
            media += seeds.rtp(codec, ssrc, published.payload_type, (ssrc + 1, rtx) if rtx else None)
            received.append(subscribed.ssrc)
        own = await eve.publish("VP8", ssrc=3000, rtx_ssrc=3001)
        mine = await mallory.subscribe(own.track_id)
        media += seeds.rtcp((1000, 1010), (mine.ssrc, mine.rtx_ssrc or 0, received[0]))
        checks, flights = seeds.stun(mallory.credentials), seeds.dtls()
        anything = [*media, *checks, *flights]
        # A stranger has no good check: that would be answered, and rightly.
        unsigned = [*media, *flights, *seeds.stun(ice.IceCredentials("AAAAAAAA", "x" * 32))]

        def protect(plain: bytes) -> bytes:
            try:
                return mallory.protect_rtcp(plain) if is_rtcp(plain) else mallory.protect_rtp(plain)
            except (SrtpError, TypeError, ValueError):
                return plain + bytes(16)

        with Stranger(server.media_address) as stranger:

            def send(number: int) -> None:
                kind = number % 8
                if kind < 4:
                    mallory.send_raw(protect(numbered(draw.choice(media) if draw.chance(0.2) else draw.mutated(media))))
                elif kind == 4:
                    mallory.send_raw(draw.mutated([protect(draw.choice(media))]))
                elif kind == 5:
                    mallory.send_raw(draw.mutated(checks if draw.chance(0.5) else flights))
                elif kind == 6:
                    mallory.send_raw(draw.mutated(anything))
                else:
                    stranger.send(draw.mutated(unsigned))
                if number % 4096 == 0:
                    for client in (mallory, eve):
                        for log in (
                            client.rtp_log,
                            client.rtcp_log,
                            client.undecryptable,
                            client.stun_log,
                            client.dtls_log,
                        ):
                            log.clear()

            await flood(send, min(WARM, count // 4), PER_SECOND)
            call.mark()
            before, seen, began = server.rss_bytes(), dropped(server), time.monotonic()
            await flood(send, count, PER_SECOND)
            await asyncio.sleep(0.3)
            harm, took = call.mark(), time.monotonic() - began
            grown, now = server.rss_bytes() - before, dropped(server)
            back = len(stranger.received())
        assert server.alive, server.log_tail(40)
        assert "Traceback" not in server.log(), server.log_tail(60)
        assert eve.other_log == [], eve.other_log[0].data.hex()
        assert back == 0, f"{back} answers to a stranger"
        assert harm.fraction < MOST_LOST, harm
        assert grown < MOST_BYTES, f"resident memory grew by {grown} bytes"
        drops = {reason: n - seen.get(reason, 0) for reason, n in now.items() if n != seen.get(reason, 0)}
        return f"{count} datagrams in {took:.0f} s, innocent {harm}, memory {grown / 1e6:+.1f} MB, drops {drops}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ServerProcess() as server, InnocentCall(server.url) as call:
        print(asyncio.run(attack(server, call, options.count, options.seed)), flush=True)


if __name__ == "__main__":
    main()
