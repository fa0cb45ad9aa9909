"""GStreamer's RTSP server, for the system's python3: gst_server.py CLIP FPS [PORT [USER PASSWORD]].

Serves an Annex B H.264 file at rtsp://127.0.0.1:PORT/cam and /stream1, with the machine's clock as a
camera's. Prints `READY PORT` when it listens.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( appsrc name=src is-live=true do-timestamp=true format=time max-bytes=4000000 "
    'caps="video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1" '
    "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def access_units(stream: bytes) -> list[bytes]:
    """The pictures of an Annex B stream made with one slice a picture."""
    starts = [match.start() for match in re.finditer(b"\x00\x00\x01", stream)]
    units: list[bytes] = []
    current, has_slice = b"", False
    for begin, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        kind = stream[begin + 3] & 31
        if has_slice:
            units.append(current)
            current, has_slice = b"", False
        current += b"\x00" + stream[begin:end].rstrip(b"\x00")
        has_slice = kind in (1, 5)
    return [*units, current] if current else units


def serve(clip: Path, fps: int, port: int, user: str | None, password: str | None) -> None:
    Gst.init(None)
    units = access_units(clip.read_bytes())
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    if user is not None:
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(2)  # digest
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(user, password, token)
        server.set_auth(auth)
    factory = GstRtspServer.RTSPMediaFactory()
    if user is not None:
        role = Gst.Structure.new_empty("viewer")
        for right in ("media.factory.access", "media.factory.construct"):
            role.set_value(right, True)
        factory.add_role_from_structure(role)
    factory.set_launch(PIPELINE.format(fps=fps))
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: feed(media, units, fps))
    for path in ("/cam", "/stream1"):
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print("READY", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def feed(media: GstRtspServer.RTSPMedia, units: list[bytes], fps: int) -> None:
    source = media.get_element().get_child_by_name("src")
    state = {"number": 0, "alive": True}

    def push() -> bool:
        if not state["alive"]:
            return False
        unit = units[state["number"] % len(units)]
        state["number"] += 1
        result = source.emit("push-buffer", Gst.Buffer.new_wrapped(unit))
        return result == Gst.FlowReturn.OK

    media.connect("unprepared", lambda _: state.update(alive=False))
    GLib.timeout_add(1000 // fps, push)


if __name__ == "__main__":
    arguments = sys.argv[1:] + [""] * 5
    serve(
        Path(arguments[0]),
        int(arguments[1]),
        int(arguments[2] or 0),
        arguments[3] or None,
        arguments[4] or None,
    )
