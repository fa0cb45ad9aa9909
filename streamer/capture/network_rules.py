"""What a camera on the network may make FFmpeg do: no redirects, no playlists, no wrong certificate.

A camera is somebody else's computer. What it answers must not send requests of ours into networks that only
this machine reaches. Measured on the FFmpeg in opencv 5.0.0: `max_redirects`, `format_whitelist`,
`protocol_whitelist`, `tls_verify` and `ca_file` are heeded. What they leave open: an RTSP camera's redirect
is followed with RTSP requests, and an HLS playlist (only where the address itself is one) names its segments.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from streamer.capture.address import Address, Kind, split_userinfo

QUICK = "rtsp_flags;prefer_tcp|probesize;32|analyzeduration;0"  # the SDP tells all: no probing
CAREFUL = "rtsp_flags;prefer_tcp"  # for cameras whose SDP lacks the parameter sets
# Containers that hold their pictures themselves: no playlist, no list of other files.
_FORMATS = (
    "mpjpeg,mjpeg,jpeg_pipe,png_pipe,h264,hevc,m4v,mpegvideo,mpegts,mpeg,flv,live_flv,matroska,mov,avi,asf,ogg,"
    "ivf,obu,image2,image2pipe,yuv4mpegpipe"
)
_RULES = frozenset({"protocol_whitelist", "format_whitelist", "max_redirects", "tls_verify", "ca_file"})
_HTTP = "http,https,httpproxy,tcp,tls"


def options_of(address: Address, authorities: str | None) -> tuple[str | None, ...]:
    """FFmpeg's options for each attempt at an open, best first; None: none are needed.

    `authorities`: file of the certificates to trust, for encrypted addresses; None: nothing is verified.
    """
    if not address.network:
        return (None,)
    rules = {
        Kind.RTSP: (QUICK, CAREFUL),
        Kind.RTMP: ("",),
        Kind.HLS: (f"protocol_whitelist;{_HTTP},crypto,hls|max_redirects;0",),
    }.get(address.kind, (f"protocol_whitelist;{_HTTP}|format_whitelist;{_FORMATS}|max_redirects;0",))
    verified = f"|tls_verify;1|ca_file;{authorities}" if authorities else ""
    return tuple(f"{rule}{verified}".removeprefix("|") or None for rule in rules)


def moved(address: Address, target: str) -> Address | None:
    """The address to open instead where a camera's redirect may be followed; None where it may not.

    Followed are http and https, never from https to http: to the same host, or to public addresses; to a
    private one only where the camera itself has one, and never to this machine. Another host than the
    camera's own gets no password.
    """
    url = split_userinfo(str(address.secret_url))[0]
    here, there = urlsplit(url), urlsplit(target)
    schemes = ("https",) if here.scheme.lower() == "https" else ("http", "https")
    if address.kind not in (Kind.HTTP, Kind.FILE, Kind.HLS) or there.scheme.lower() not in schemes:
        return None
    target = split_userinfo(target)[0]
    host, other = here.hostname or "", there.hostname or ""
    if other == host:
        if address.user is None:
            return Address(address.kind, target)
        word = "" if address.password is None else ":" + quote(address.password, safe="")
        head, _, rest = target.partition("://")
        with_user = f"{head}://{quote(address.user, safe='')}{word}@{rest}"
        return Address(address.kind, with_user, address.user, address.password)
    found = _addresses(other)
    if all(one.is_global for one in found) and found:
        return Address(address.kind, target)
    private = bool(found) and all(_private(one) for one in found) and all(map(_private, _addresses(host)))
    return Address(address.kind, target) if private and _addresses(host) else None


def _addresses(host: str) -> Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """In a private network, and neither this machine nor a link's own addresses (cloud metadata is there)."""
    return address.is_private and not (address.is_loopback or address.is_link_local or address.is_unspecified)


def joined(users: str | None, ours: str | None) -> str | None:
    """The user's own FFmpeg options instead of ours, with those of our rules that they do not name."""
    if users is None or ours is None:
        return users if ours is None else ours
    left = _RULES - {part.partition(";")[0] for part in users.split("|")}
    return "|".join([users, *(part for part in ours.split("|") if part.partition(";")[0] in left)])
