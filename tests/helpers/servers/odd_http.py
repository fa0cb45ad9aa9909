"""An HTTP(S) camera that does what it should not: huge pictures, redirects, playlists, endless heads."""

from __future__ import annotations

import contextlib
import functools
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Answer = Callable[[BaseHTTPRequestHandler, threading.Event], None]


class OddHttp:
    """Serves `answer(request, ended)` on loopback; `asked`: (path, Authorization) of each request."""

    def __init__(self, answer: Answer, certificate: tuple[Path, Path] | None = None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization")))
                with contextlib.suppress(OSError):
                    answer(self, outer._ended)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}/video"

    def __enter__(self) -> OddHttp:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


@functools.cache
def jpeg(width: int, height: int) -> bytes:
    """A grey ramp as JPEG."""
    image = np.broadcast_to(np.linspace(40, 200, width, dtype=np.uint8)[None, :, None], (height, width, 3))
    return cv2.imencode(".jpg", np.ascontiguousarray(image))[1].tobytes()


def mjpeg(*pictures: bytes) -> Answer:
    """Sends these pictures over and over, 20 a second."""

    def answer(request: BaseHTTPRequestHandler, ended: threading.Event) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        request.end_headers()
        number = 0
        while not ended.wait(0.05):
            data = pictures[min(number, len(pictures) - 1)]
            request.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            request.wfile.write(data + b"\r\n")
            number += 1

    return answer


def redirect(target: str) -> Answer:
    """Sends to another address."""

    def answer(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
        request.send_response(302)
        request.send_header("Location", target)
        request.end_headers()

    return answer


def playlist(target: str) -> Answer:
    """An HLS playlist, whatever the path says, whose segments lie elsewhere."""

    def answer(request: BaseHTTPRequestHandler, _: threading.Event) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/vnd.apple.mpegurl")
        request.end_headers()
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-MEDIA-SEQUENCE:1", "#EXT-X-TARGETDURATION:2"]
        lines += [f"#EXTINF:2,\n{target}/{number}.ts" for number in range(4)]
        request.wfile.write("\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode())

    return answer
