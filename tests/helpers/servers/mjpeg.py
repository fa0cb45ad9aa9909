"""An HTTP camera: MJPEG as multipart/x-mixed-replace, with faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from streamer.testing import FakeCamera
from tests.helpers.media import picture


class MjpegCamera(FakeCamera):
    """As `FakeCamera`, its pictures numbered (media.stamp); `/page` is a web page."""

    def __init__(
        self, fps: float = 25.0, draw: Callable[[int], Any] = picture, password: str | None = None
    ) -> None:
        super().__init__(draw, fps=fps, password=password)

    def __enter__(self) -> MjpegCamera:
        self.start()
        return self

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path != "/page":
            super().answer(request)
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.end_headers()
        request.wfile.write(b"<html>hello</html>" * 50)
