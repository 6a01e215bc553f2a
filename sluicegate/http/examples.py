"""Bodies that the documentation shows. A test decodes each by the Struct that it is an example of."""

from typing import Any

_FINGERPRINT = ":".join(["A1", "5C", "09", "F3"] * 8)

_OPUS: dict[str, Any] = {"mimeType": "audio/opus", "clockRate": 48000, "channels": 2}
_OPUS_PARAMETERS: dict[str, Any] = {"useinbandfec": 1, "usedtx": 1}

CREATE_SESSION: dict[str, Any] = {
    "type": "video",
    "channel_id": "lobby",
    "user_id": "ada",
    "metadata": {"name": "Ada"},
}

CONNECT: dict[str, Any] = {
    "dtls_parameters": {"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": _FINGERPRINT}]},
}

PUBLISH: dict[str, Any] = {
    "kind": "audio",
    "source": "microphone",
    "rtp_parameters": {
        "mid": "0",
        "codecs": [
            {**_OPUS, "payloadType": 111, "parameters": _OPUS_PARAMETERS, "rtcpFeedback": [{"type": "transport-cc"}]}
        ],
        "headerExtensions": [{"uri": "urn:ietf:params:rtp-hdrext:ssrc-audio-level", "id": 1}],
        "encodings": [{"ssrc": 3735928559}],
        "rtcp": {"cname": "ada", "reducedSize": True},
    },
}

SUBSCRIBE: dict[str, Any] = {
    "track_id": "0b9f3c1e-7a52-4d0e-9a58-2f6f0f1d8f11",
    "rtp_capabilities": {
        "codecs": [{**_OPUS, "kind": "audio", "preferredPayloadType": 111, "parameters": {}, "rtcpFeedback": []}],
        "headerExtensions": [],
    },
    "paused": True,
}

ROUTES: dict[str, Any] = {"default": 1, "gains": [{"listener": "ada", "speaker": "*", "gain": 0.5}]}
