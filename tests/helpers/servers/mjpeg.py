"""An HTTP camera: MJPEG as multipart/x-mixed-replace, with faults on demand."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.media import picture

BOUNDARY = "frameboundary"


class MjpegCamera:
    """`http://127.0.0.1:PORT/video`. A context manager.

    `draw(n)` gives the n-th picture, uint8 BGR; set it at any time (another size included). `stall`: keep
    the connection and send nothing. `password`: basic access, user `cam`. `/page` is a web page.
    """

    def __init__(
        self, fps: float = 25.0, draw: Callable[[int], Any] = picture, password: str | None = None
    ) -> None:
        self.fps = fps
        self.draw = draw
        self.password = password
        self.stall = False
        self.sent = 0
        self._halt = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def __enter__(self) -> MjpegCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self._halt = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self, self._halt))
        server.daemon_threads = True
        self.port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), name="mjpeg", daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        self._halt.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _handler(camera: MjpegCamera, halt: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if camera.password is not None:
                wanted = "Basic " + base64.b64encode(f"cam:{camera.password}".encode()).decode()
                if self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="cam"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            if self.path == "/page":
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<html>hello</html>" * 50)
            elif self.path.startswith("/video"):
                self._stream()
            else:
                self.send_error(404)

        def _stream(self) -> None:
            import cv2

            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.end_headers()
            begun, number = time.monotonic(), 0
            while not halt.wait(max(0.0, begun + number / camera.fps - time.monotonic())):
                number += 1
                if camera.stall:
                    continue
                data = cv2.imencode(".jpg", camera.draw(number))[1].tobytes()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + data + b"\r\n")
                    self.wfile.flush()
                except OSError:
                    return
                camera.sent += 1

    return Handler
