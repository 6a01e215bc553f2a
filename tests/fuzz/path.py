"""The whole way of a datagram, in this process: `python -m tests.fuzz.path --count 1000000 --seed 1`.

Before authentication: anything to a transport's port. After it: mutated packets with good keys, mutated ciphertext,
mutated STUN and DTLS of a known address. No exception but `ParseError` (which the product catches), no read beyond a
datagram (interpreted), no turn over 5 ms of processor time (compiled), memory within 20 MB, everything that is sent
well formed, and two innocent peers whose packets all arrive.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np

from sluicegate import logs
from sluicegate.compiled import INTERPRETED
from tests.fuzz import seeds
from tests.fuzz.mutations import Mutator
from tests.fuzz.plane import Bench, Peer
from tests.support import ice
from tests.support.parameters import CODECS
from tests.support.rtp_packet import is_rtcp
from tests.support.sources import AudioSource

MOST_SECONDS = 0.005
MOST_BYTES = 20 << 20
INNOCENT_EVERY = 50
REST_EVERY = 200
STRANGER = ("127.0.0.9", 9)
SUBSCRIBED, MALLORYS = 5000, 1000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Numbering:
    """Gives RTP packets fresh sequence numbers, or SRTP's replay check would be all that is ever tested."""

    def __init__(self, draw: Mutator) -> None:
        self._draw = draw
        self._next: dict[bytes, int] = {}

    def __call__(self, data: bytes) -> bytes:
        if len(data) < 12 or data[0] >> 6 != 2 or is_rtcp(data) or self._draw.chance(0.01):
            return data
        ssrc = data[8:12]
        if ssrc not in self._next and len(self._next) > 500:
            return data
        number = self._next.get(ssrc, 200)
        self._next[ssrc] = number + (1 if self._draw.chance(0.95) else 7)
        return data[:2] + (number & 0xFFFF).to_bytes(2) + data[4:]


async def connected(bench: Bench) -> tuple[Peer, Peer, list[bytes], list[bytes], list[bytes]]:
    """Mallory publishes one track of each codec to Eve, and gets one of hers; the seeds that go with it."""
    mallory, eve = await bench.connect(101), await bench.connect(102)
    media: list[bytes] = []
    for index, codec in enumerate(("opus", "VP8", "VP9", "H264", "AV1")):
        ssrc = MALLORYS + 10 * index
        track = bench.publish(mallory, codec, ssrc)
        bench.subscribe(eve, track, codec, SUBSCRIBED + 10 * index)
        bench.subscribe(eve, track, codec, SUBSCRIBED + 500 + 10 * index, rtx=False)
        rtx = CODECS[codec].rtx_payload_type
        media += seeds.rtp(codec, ssrc, CODECS[codec].payload_type, (ssrc + 1, rtx) if rtx else None)
    track = bench.publish(eve, "VP8", 3000)
    bench.subscribe(mallory, track, "VP8", 4000)
    media += seeds.rtcp((MALLORYS, MALLORYS + 10), (4000, 4001, SUBSCRIBED))
    return mallory, eve, media, seeds.stun(mallory.credentials), seeds.dtls()


async def run(count: int, seed: int) -> str:
    """Raises whatever was found; a sentence about the run otherwise."""
    draw = Mutator(seed)
    async with Bench() as bench:
        mallory, eve, media, checks, flights = await connected(bench)
        good, hearer = await bench.connect(103), await bench.connect(104)
        track = bench.publish(good, "opus", 7000)
        bench.subscribe(hearer, track, "opus", 8000)
        innocent = AudioSource(ssrc=7000, payload_type=CODECS["opus"].payload_type)
        numbered = Numbering(draw)
        anything = [*media, *checks, *flights]
        before, began, sent, last = resident(), time.monotonic(), 0, b""
        bench.longest = 0.0  # the first turns loaded what is compiled
        try:
            for number in range(count):
                kind = number % 8
                if kind < 4:
                    # One of five is good as it is: key frames and the like keep the streams going.
                    last = mallory.protect(numbered(draw.choice(media) if draw.chance(0.2) else draw.mutated(media)))
                elif kind == 4:
                    last = draw.mutated([mallory.protect(draw.choice(media))])
                elif kind == 5:
                    last = draw.mutated(checks if draw.chance(0.5) else flights)
                else:
                    last = draw.mutated(anything)
                bench.inject(last, STRANGER if kind == 7 else mallory.address)
                if number % INNOCENT_EVERY == 0:
                    bench.inject(good.protect(innocent.next_frame()[0].serialize()), good.address)
                    sent += 1
                if number % REST_EVERY == 0:
                    # Checks keep everybody's consent; and the thread that shakes hands gets its turn.
                    for peer in (mallory, eve, good, hearer):
                        bench.inject(bytes(ice.binding_request(peer.credentials)), peer.address)
                    await bench.settle()
                    bench.control.clear()
                    for peer in (mallory, eve):
                        peer.media.clear()
                if number == count // 10:
                    before = resident()
        except Exception as error:
            raise AssertionError(f"datagram {last.hex()} of seed {seed}: {type(error).__name__}: {error}") from error
        took, grown = time.monotonic() - began, resident() - before
        assert len(hearer.media) == sent, f"{len(hearer.media)} of {sent} innocent packets arrived"
        assert grown < MOST_BYTES, f"resident memory grew by {grown} bytes"
        if not INTERPRETED:
            assert bench.longest < MOST_SECONDS, f"{bench.longest} s for {bench.longest_datagram.hex()}"
        drops = {reason: dropped for reason, dropped in bench.plane.drops().items() if dropped}
        counters = bench.plane.counters()
        assert counters["packets_out"] > sent, "nothing hostile was ever forwarded: the seeds do not get in"
        return (
            f"{count} datagrams in {took:.0f} s, {counters['packets_out']} sent on, longest turn {bench.longest * 1e6:.0f} µs, "
            f"memory {grown / 1e6:+.1f} MB, drops {drops}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # An addition that wraps is what compiled code does; anything else that numpy warns of is a fault.
    np.seterr(all="raise", over="ignore", under="ignore")
    logs.configure(level="error")
    asyncio.run(run_and_tell(options.count, options.seed))


async def run_and_tell(count: int, seed: int) -> None:
    failures: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(str(context)))
    print(await run(count, seed), flush=True)
    if failures:
        sys.exit("\n".join(failures[:3]))


if __name__ == "__main__":
    main()
