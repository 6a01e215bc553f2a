"""A Janus of Debian's package with a configuration of its own, as installed or tuned."""

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self

from benchmarks.process import PinnedProcess, free_port

PLUGIN = "janus.plugin.videoroom"

GENERAL = """
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{library}/plugins"
    transports_folder = "{library}/transports"
    events_folder = "{library}/events"
    loggers_folder = "{library}/loggers"
    debug_level = {debug_level}
    {event_loops}
}}
media: {{ rtp_port_range = "{first_port}-{last_port}" }}
nat: {{ ice_lite = true }}
plugins: {{ disable = "{other_plugins}" }}
transports: {{ disable = "{other_transports}" }}
"""
HTTP = """
general: {{ json = "plain" base_path = "/janus" http = true port = {port} interface = "lo" https = false }}
admin: {{ admin_http = false }}
"""
FIRST_PORT, LAST_PORT = 20000, 29999


class JanusProcess(PinnedProcess):
    """VideoRoom over HTTP. Tuned: one event loop for all handles in place of a thread each, and a quieter log.

    ICE-lite in both, since the load's clients answer no checks. Raises RuntimeError where Janus is not installed.
    """

    def __init__(self, core: int, *, tuned: bool) -> None:
        program = shutil.which("janus")
        libraries = sorted(Path("/usr/lib").glob("*/janus"))
        if program is None or not libraries:
            raise RuntimeError("Janus is not installed (Debian: apt-get install janus)")
        self._folder = tempfile.TemporaryDirectory(prefix="janus-")
        port = free_port(socket.SOCK_STREAM)
        self.url = f"http://127.0.0.1:{port}/janus"
        self._configure(libraries[0], port, tuned)
        super().__init__([program, "--configs-folder", self._folder.name], core)
        try:
            self.wait_http(f"{self.url}/info")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def stop(self) -> None:
        super().stop()
        self._folder.cleanup()

    def _configure(self, library: Path, port: int, tuned: bool) -> None:
        folder = Path(self._folder.name)
        general = GENERAL.format(
            folder=folder,
            library=library,
            debug_level=2 if tuned else 4,
            event_loops="event_loops = 1" if tuned else "",
            first_port=FIRST_PORT,
            last_port=LAST_PORT,
            other_plugins=_others(library / "plugins", "libjanus_videoroom.so"),
            other_transports=_others(library / "transports", "libjanus_http.so"),
        )
        (folder / "janus.jcfg").write_text(general)
        (folder / "janus.transport.http.jcfg").write_text(HTTP.format(port=port))
        (folder / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")


def _others(folder: Path, kept: str) -> str:
    """Every library in `folder` but one."""
    return ",".join(sorted(one.name for one in folder.glob("*.so") if one.name != kept))
