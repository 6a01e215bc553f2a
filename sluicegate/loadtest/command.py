"""`sluicegate loadtest`: arguments, the live table, the summary."""

import argparse
import asyncio
import json
import math
import sys
from dataclasses import replace
from typing import Any

from sluicegate.errors import ConfigurationError
from sluicegate.loadtest.plan import MAX_CLIENTS, MAX_SECONDS, SCENARIOS, Feedback, Media, Pacing, Scenario
from sluicegate.rtp.srtp import SrtpProfile

PROFILES = {
    "AEAD_AES_128_GCM": SrtpProfile.AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": SrtpProfile.AEAD_AES_256_GCM,
    "AES128_CM_SHA1_80": SrtpProfile.AES128_CM_SHA1_80,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `loadtest`."""
    parser.add_argument("--url", default="http://127.0.0.1:8089", help="the server's API (default: %(default)s)")
    parser.add_argument("--token", help="a token for every channel (`sluicegate token --channel '*' --user load ...`)")
    parser.add_argument(
        "--pid", type=int, help="the server's process on this machine: CPU by thread, not from /metrics"
    )
    parser.add_argument("--scenario", choices=SCENARIOS, default="video-fanout", help="(default: %(default)s)")
    shape = parser.add_argument_group("size (what is not given is the scenario's)")
    shape.add_argument("--rooms", type=_count)
    shape.add_argument("--publishers", type=_count, help="in each room")
    shape.add_argument("--subscribers", type=_count_or_none, help="in each room, besides the publishers")
    shape.add_argument("--seconds", type=_seconds, default=10.0, help="measured (default: %(default)g)")
    shape.add_argument("--warm-up", type=_seconds, default=1.0, help="before that (default: %(default)g)")
    media = parser.add_argument_group("media")
    media.add_argument("--bitrate", type=_count, default=1_500_000, help="of one video, in bps (default: %(default)s)")
    media.add_argument("--fps", type=_count, default=30)
    media.add_argument(
        "--packet-bytes", type=_packet_bytes, default=1200, help="longest RTP packet (default: %(default)s)"
    )
    media.add_argument(
        "--pacing", choices=("burst", "paced"), default="burst", help="of a frame's packets (default: burst)"
    )
    media.add_argument("--profile", choices=PROFILES, default="AEAD_AES_128_GCM", help="SRTP (default: %(default)s)")
    media.add_argument("--transport-cc", action="store_true", help="receivers give feedback about every packet")
    parser.add_argument(
        "--verify-every", type=_count, default=1, help="decrypt each N-th packet of a stream (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when all media arrived intact (up to 1 % lost), 1 when not or when nobody could join."""
    from sluicegate.loadtest.cpu import MetricsCpu, ProcessCpu
    from sluicegate.loadtest.peer import JoinFailed
    from sluicegate.loadtest.result import title
    from sluicegate.loadtest.run import Options
    from sluicegate.loadtest.run import run as run_load
    from sluicegate.loadtest.server import ApiServer
    from sluicegate.loadtest.stages import Tick

    scenario = build_scenario(options)
    meter = ProcessCpu(options.pid) if options.pid else MetricsCpu(options.url, options.token)

    def show(tick: Tick) -> None:
        if not options.json:
            print(_row(tick), flush=True)

    if not options.json:
        print(title(scenario))
        print(f"joining {scenario.clients} clients …", flush=True)
        print(f"{'s':>5} {'sent/s':>9} {'received/s':>11} {'Mbps':>8} {'server µs/packet':>17}")
    adapter = ApiServer(options.url, options.token)
    limits = Options(options.seconds, options.warm_up, options.verify_every)
    try:
        result = asyncio.run(run_load(adapter, scenario, limits, meter, show))
    except JoinFailed as error:
        print(f"sluicegate loadtest: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        print("\n".join(result.lines()))
    intact = result.failed_authentication == 0 and result.wrong_payload == 0
    return 0 if intact and result.received and result.loss < 0.01 else 1


def build_scenario(options: argparse.Namespace) -> Scenario:
    """The scenario that the arguments describe; `ConfigurationError` when it is larger than allowed."""
    media = Media(
        video_bitrate_bps=options.bitrate,
        frames_per_second=options.fps,
        packet_bytes=options.packet_bytes,
        pacing=Pacing.PACED if options.pacing == "paced" else Pacing.BURST,
        feedback=Feedback.TRANSPORT_CC if options.transport_cc else Feedback.REPORTS,
    )
    scenario = SCENARIOS[options.scenario].altered(
        rooms=options.rooms, publishers=options.publishers, subscribers=options.subscribers
    )
    if scenario.clients > MAX_CLIENTS:
        raise ConfigurationError(f"{scenario.clients} clients are too many for one process; at most {MAX_CLIENTS}")
    return replace(scenario, media=media, profile=PROFILES[options.profile])


def _row(tick: Any) -> str:
    cost = "-"
    if tick.cpu_seconds is not None and tick.packets_received:
        cost = f"{tick.cpu_seconds / tick.packets_received * 1e6:.2f}"
    rate = tick.bytes_received * 8e-6
    return f"{tick.seconds:5.0f} {tick.packets_sent:9,} {tick.packets_received:11,} {rate:8.1f} {cost:>17}"


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 10**9:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return value


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _packet_bytes(text: str) -> int:
    value = int(text)
    if not 200 <= value <= 1300:
        raise argparse.ArgumentTypeError("must be from 200 to 1300")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= MAX_SECONDS):
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {MAX_SECONDS:g}")
    return value
