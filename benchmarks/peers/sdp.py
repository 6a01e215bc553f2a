"""As much SDP as a load client needs: an offer that publishes, and the answer to an offer that is received."""

from dataclasses import dataclass, field

from sluicegate.dtls.certificate import Fingerprint, parse_fingerprints
from sluicegate.ice.credentials import Credentials
from sluicegate.loadtest.parameters import OPUS, VP8, VP8_RTX, extensions
from sluicegate.loadtest.peer import JoinFailed, Remote, SendTrack
from sluicegate.loadtest.plan import Feedback
from sluicegate.rtp.names import EXTENSION_URIS, MediaKind

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


@dataclass(slots=True)
class Section:
    """One m-line of a peer's description and its attributes, in order, without `a=`."""

    kind: str
    protocol: str
    formats: list[str]
    attributes: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [one.partition(":")[2] for one in self.attributes if one.partition(":")[0] == name]

    def value(self, name: str) -> str:
        """The first value of an attribute; `JoinFailed` without one."""
        values = self.values(name)
        if not values:
            raise JoinFailed(f"the server's SDP has no a={name}")
        return values[0]


def parse(text: str) -> list[Section]:
    """The media sections; attributes of the session stand in each that does not have its own."""
    sections: list[Section] = []
    common: list[str] = []
    for line in text.splitlines():
        kind, _, value = line.partition("=")
        if kind == "m":
            media, _, protocol, *formats = value.split()
            sections.append(Section(media, protocol, formats))
        elif kind == "a":
            (sections[-1].attributes if sections else common).append(value)
    for section in sections:
        section.attributes += common
    return sections


def remote_of(section: Section) -> Remote:
    """The other end of the bundle's transport."""
    for candidate in section.values("candidate"):
        _, component, protocol, _, address, port, *_ = candidate.split()
        if component == "1" and protocol.lower() == "udp" and ":" not in address:
            break
    else:
        raise JoinFailed("the server's SDP has no UDP candidate on IPv4")
    algorithm, _, value = section.value("fingerprint").partition(" ")
    credentials = Credentials(section.value("ice-ufrag"), section.value("ice-pwd"))
    return Remote((address, int(port)), credentials, parse_fingerprints([(algorithm.lower(), value)]))


def offer(tracks: list[SendTrack], credentials: Credentials, fingerprint: Fingerprint, feedback: Feedback) -> str:
    """An offer that sends `tracks`; DTLS begins here (`setup:active`), as it does everywhere in a load test."""
    lines = [f"a=group:BUNDLE {' '.join(track.mid for track in tracks)}", "a=msid-semantic: WMS *"]
    for track in tracks:
        lines += _section_of(track, feedback)
        lines += _transport(credentials, fingerprint)
    return HEAD + "".join(f"{line}\r\n" for line in lines)


def _section_of(track: SendTrack, feedback: Feedback) -> list[str]:
    formats = f"{VP8} {VP8_RTX}" if track.kind is MediaKind.VIDEO else str(OPUS)
    lines = [
        f"m={track.kind.name.lower()} 9 UDP/TLS/RTP/SAVPF {formats}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{track.mid}",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    ids = extensions(track.kind, feedback)
    lines += [f"a=extmap:{number} {EXTENSION_URIS[extension]}" for extension, number in ids.items()]
    if track.kind is MediaKind.VIDEO:
        lines += [f"a=rtpmap:{VP8} VP8/90000", f"a=rtpmap:{VP8_RTX} rtx/90000", f"a=fmtp:{VP8_RTX} apt={VP8}"]
        wanted = ["nack", "nack pli", "ccm fir"]
        if feedback is Feedback.TRANSPORT_CC:
            wanted.append("transport-cc")
        lines += [f"a=rtcp-fb:{VP8} {one}" for one in wanted]
    else:
        lines += [f"a=rtpmap:{OPUS} opus/48000/2", f"a=fmtp:{OPUS} minptime=10;useinbandfec=1"]
    return [*lines, f"a=msid:load load-{track.mid}", f"a=ssrc:{track.ssrc} cname:load"]


def answer(sections: list[Section], credentials: Credentials, fingerprint: Fingerprint) -> str:
    """Receive all that is offered, in the formats and with the extensions in which it is offered."""
    mids = " ".join(section.value("mid") for section in sections)
    lines = [f"a=group:BUNDLE {mids}", "a=msid-semantic: WMS *"]
    for section in sections:
        lines += [f"m={section.kind} 9 {section.protocol} {' '.join(section.formats)}", "c=IN IP4 0.0.0.0"]
        lines += [f"a=mid:{section.value('mid')}", "a=recvonly", "a=rtcp-mux"]
        for name in ("rtpmap", "fmtp", "rtcp-fb", "extmap"):
            lines += [f"a={name}:{value}" for value in section.values(name)]
        lines += _transport(credentials, fingerprint)
    return HEAD + "".join(f"{line}\r\n" for line in lines)


def _transport(credentials: Credentials, fingerprint: Fingerprint) -> list[str]:
    return [
        f"a=ice-ufrag:{credentials.username_fragment}",
        f"a=ice-pwd:{credentials.password}",
        "a=ice-options:trickle",
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.text}",
        "a=setup:active",
    ]
