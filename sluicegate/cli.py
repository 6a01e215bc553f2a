"""The command line: `serve`, `token`, `doctor` and `loadtest`.

Exit codes: 0 done, 1 it failed, 2 a wrong argument or setting (said in one line on standard error). What a command
needs is imported when it runs, so that `--help` and `token` answer at once.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate import __version__, ids, logs
from sluicegate.config import VARIABLES, LogFormat, Settings
from sluicegate.errors import ConfigurationError

GRANTS = ("join", "publish", "subscribe", "record", "admin")
PRESETS = ("low", "medium", "high", "ultra")
LONGEST_TTL = 366 * 86400

_DURATION = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>[smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command; returns the exit code (argparse itself exits for `--help` and for wrong arguments)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    variables = os.environ if environ is None else environ
    options = build_parser(words).parse_args(words)
    try:
        return int(options.run(options, variables))
    except ConfigurationError as error:
        print(f"sluicegate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; a second error at exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser; `words` are looked at only to import `loadtest` when it is asked for."""
    parser = argparse.ArgumentParser(
        prog="sluicegate",
        description="A WebRTC media server: voice channels and video streams, forwarded by a compiled packet plane.",
        epilog="`sluicegate COMMAND --help` says more about one command.",
    )
    parser.add_argument("--version", action="version", version=f"sluicegate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_token(commands)
    _add_doctor(commands)
    _add_loadtest(commands, wanted=list(words[:1]) == ["loadtest"])
    return parser


def _add_serve(commands: Any) -> None:
    width = max(len(variable.name) for variable in VARIABLES)
    rows = "\n".join(f"  {one.name:<{width}}  {one.meaning}: {one.allowed}" for one in VARIABLES)
    parser = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until it is told to stop (SIGINT, SIGTERM). Settings come from the environment.",
        epilog=f"environment:\n{rows}\n\n`sluicegate doctor` shows what is in effect.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_serve)


def _serve(_options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = Settings.from_environment(environ)
    logs.configure(level=settings.log_level, json=settings.log_format is LogFormat.JSON)
    from sluicegate.app import serve

    return serve(settings)


def _add_token(commands: Any) -> None:
    parser = commands.add_parser(
        "token",
        help="make a token for a client",
        description="Print a token (JWT, HS256) signed with API_SECRET, for the header `Authorization: Bearer TOKEN`.",
        epilog=(
            "join opens a session; publish and subscribe say what may be done in it.\n\nexample:\n"
            "  sluicegate token --channel lobby --user alice --grant join --grant publish --grant subscribe --ttl 15m"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--channel", required=True, type=_channel, help="channel that it opens; * opens every one")
    parser.add_argument("--user", required=True, type=_user, help="user that it speaks for")
    parser.add_argument(
        "--grant",
        required=True,
        action="append",
        choices=GRANTS,
        help="what it allows; may be given several times (admin alone allows everything)",
    )
    parser.add_argument(
        "--ttl", type=_duration, default=3600, metavar="TIME", help="how long: 90s, 15m, 1h (default), 7d"
    )
    parser.add_argument("--max-preset", choices=PRESETS, help="best preset that the user may publish or receive")
    parser.add_argument(
        "--max-bitrate-bps", type=_positive, metavar="BPS", help="most bits per second that may be sent"
    )
    parser.add_argument("--max-tracks", type=_positive, metavar="N", help="most tracks that may be published at once")
    parser.set_defaults(run=_token)


def _token(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    secret = Settings.from_environment(environ).api_secret
    if secret is None:
        raise ConfigurationError(
            "API_SECRET is not set; set it to what the server has (without one, the server asks for no token)"
        )
    import jwt

    now = int(time.time())
    claims: dict[str, object] = {
        "sub": options.user,
        "channel_id": options.channel,
        "grants": list(dict.fromkeys(options.grant)),
        "iat": now,
        "exp": now + options.ttl,
    }
    for cap in ("max_preset", "max_bitrate_bps", "max_tracks"):
        if (value := getattr(options, cap)) is not None:
            claims[cap] = value
    print(jwt.encode(claims, secret, algorithm="HS256"))
    return 0


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="show the settings in effect and what the machine offers",
        description=(
            "Show the settings in effect (secrets masked), then check this machine and the services that are "
            "configured. Exits with 1 when a check failed."
        ),
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = Settings.from_environment(environ)
    from sluicegate.doctor.report import run

    return run(settings, environ, as_json=options.json)


def _add_loadtest(commands: Any, *, wanted: bool) -> None:
    parser = commands.add_parser(
        "loadtest",
        help="put load on a server and report what it did with it",
        description="Join a running server with many clients, over real ICE, DTLS and SRTP, and report what arrived.",
    )
    parser.set_defaults(run=_loadtest)
    if wanted:
        from sluicegate.loadtest.command import add_arguments

        add_arguments(parser)


def _loadtest(options: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    from sluicegate.loadtest.command import run

    return run(options)


def _user(text: str) -> str:
    if not ids.valid_name(text):
        raise argparse.ArgumentTypeError(f"{text[:100]!r} must be 1 to 128 of A-Z a-z 0-9 . _ : -")
    return text


def _channel(text: str) -> str:
    return text if text == "*" else _user(text)


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    seconds = int(found["number"]) * _SECONDS[found["unit"]] if found else 0
    if not 0 < seconds <= LONGEST_TTL:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} must be a time such as 90s, 15m, 1h or 7d, at most 366d")
    return seconds


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} must be a whole number above 0")
    return int(text)
