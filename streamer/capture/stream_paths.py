"""Which path of a network camera has its video: the one that it tells by ONVIF, else those of common makers.

The paths were read in 2026 in support.reolink.com ("What is RTSP"), avycon.freshdesk.com ("RTSP syntax"),
github.com/CamioCam/rtsp (paths.csv, with links to the makers' manuals), the wiki of
github.com/alienatedsec/yi-hack-v5, smartcamalerts.com/blog/rtsp-camera-setup.html and getrealtime.com/blog
(RTSP URL vendor reference). The main stream of the first channel each; the most common makers first.

Cameras lock a user out after some wrong passwords, so the first refusal of a login ends the search, and a
camera is asked by ONVIF only after it has not refused the login at the first path.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.capture.address import parse
from streamer.capture.failure_reason import PLAYABLE, Reason, find_reason
from streamer.capture.onvif_stream import stream_address
from streamer.config import CameraConfig
from streamer.errors import SourceOpenError
from streamer.system.redaction import redact

PATHS = (  # path, whose
    ("/Streaming/Channels/101", "Hikvision"),
    ("/cam/realmonitor?channel=1&subtype=0", "Dahua, Amcrest, FLIR"),
    ("/h264Preview_01_main", "Reolink"),
    ("/h265Preview_01_main", "Reolink"),
    ("/stream1", "TP-Link Tapo"),
    ("/axis-media/media.amp", "Axis"),
    ("/profile2/media.smp", "Hanwha"),
    ("/live", "Wyze"),
    ("/videoMain", "Foscam"),
    ("/live1.sdp", "D-Link"),
    ("/rtsp_tunnel", "Bosch"),
    ("/MediaInput/h264", "Panasonic"),
    ("/profile1", "Avycon"),
    ("/ch0_0.h264", "Yi"),
    ("/live/0/h264.sdp", "Sharx"),
    ("/", "LTS, and others with one stream"),
)
EACH = 4.0  # seconds a path may take


@dataclass(frozen=True, slots=True)
class FoundStream:
    """An address that offers video, without the login, and whose path it is; "": the camera's own word."""

    url: str
    maker: str


def find_stream(host: str, user: str | None, password: str | None) -> FoundStream:
    """The address that `host` (HOST or HOST:PORT) tells, or its first known path that offers video.

    Raises:
        SourceOpenError: `auth_failed` where a login is wanted or refused; `unreachable` and `timeout` for the
            host as a whole; `not_found` where none of the paths is there.
    """
    reason: Reason | None = None
    for path, maker in PATHS:
        url = f"rtsp://{host}{path}"
        reason = asked(url, user, password)
        if reason is PLAYABLE:
            return FoundStream(url, maker)
        if reason.code in ("auth_failed", "unreachable", "timeout"):
            # who asks for the login says how it is given
            line = f"{host} {reason.what}" + (f"; {reason.remedy}" if reason.code != "auth_failed" else "")
            raise SourceOpenError(redact(line, *([password] if password else [])), reason.code)
        if path == PATHS[0][0]:
            told = stream_address(host, user, password)
            if told is not None and asked(told, user, password) is PLAYABLE:
                return FoundStream(told, "")
    last = f" (the last answer: it {reason.what})" if reason is not None else ""
    raise SourceOpenError(
        f"{host} answers, but none of {len(PATHS)} known paths has video{last}; its manual has its"
        f" RTSP address: streamer add rtsp://{host}/PATH",
        "not_found",
    )


def asked(url: str, user: str | None, password: str | None) -> Reason:
    """What a camera says to one address; PLAYABLE where it offers video. Raises SourceOpenError."""
    login = {"user": user, "password": password}
    address = parse(CameraConfig.model_validate({"name": "new", "source": url, **login}))
    return find_reason(address, None, EACH)
