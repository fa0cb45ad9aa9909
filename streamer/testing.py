"""Fakes that users of the library may use in their own tests too: time, a model, a camera.

docs/contributing.md has an example that runs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from streamer.system.clock import Clock
from streamer.types import ModelSpec, Scores, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FakeCamera", "FakeClock", "FakeRecognizer"]


class FakeClock(Clock):
    """A clock that moves only when told to, or by exactly what is waited for.

    `wait` advances the time at once and never blocks, so a loop that waits runs as fast as it can.
    """

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def wall(self) -> float:
        with self._lock:
            return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        with self._lock:
            self._monotonic += seconds
            self._wall += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.advance(max(0.0, seconds))
        return event.is_set()


class FakeRecognizer:
    """A recognizer whose scores are a function of the window; it fails where that function raises.

    `score(window)` gives one score in [0, 1] for each of `labels`. Pictures are cut to `size` (H, W), not
    resized. `closed` tells whether the program has let go of it.
    """

    def __init__(
        self,
        score: Callable[[Window], Sequence[float]],
        *,
        labels: Sequence[str] = ("calm", "busy"),
        frames: int = 4,
        interval: float = 0.2,
        size: tuple[int, int] = (32, 32),
        name: str = "scripted",
    ) -> None:
        self.spec = ModelSpec(name, "scripted", tuple(labels), frames, interval, size)
        self.words, self.picture_key = None, name
        self.closed = False
        self._score = score

    def reduce(self, image: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        height, width = self.spec.size
        return np.ascontiguousarray(image[:height, :width, ::-1])

    def predict(self, windows: Sequence[Window]) -> Scores:
        import numpy as np

        return Scores([np.asarray(self._score(window), np.float32) for window in windows])

    def warm_up(self) -> None:
        return None

    def forget(self, camera: str, track: int | None = None) -> None:
        return None

    def close(self) -> None:
        self.closed = True


class FakeCamera:
    """A network camera on this machine: MJPEG over HTTP at `url`. A context manager.

    `draw(n)` gives the n-th picture (from 1), uint8 BGR (H, W, 3); set it at any time, another size included.
    `stall = True` keeps the connection and sends nothing; `stop()` hangs up, and `start()` listens again on
    the same port. With a `password` it asks for basic access, user `cam`. `sent` counts pictures.
    """

    def __init__(
        self, draw: Callable[[int], NDArray[Any]], *, fps: float = 25.0, password: str | None = None
    ) -> None:
        self.fps = fps
        self.draw = draw
        self.password = password
        self.stall = False
        self.sent = 0
        self.port = 0
        self._halt = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[Any] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def __enter__(self) -> FakeCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; again on the same port after a stop."""
        camera = self
        self._halt = threading.Event()

        class Request(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                camera.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, client_address: Any) -> None:
                camera._connections.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                camera._connections.discard(request)
                super().shutdown_request(request)

        server = Server(("127.0.0.1", self.port), Request)
        self.port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), name="fake camera", daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        self._halt.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in tuple(self._connections):  # a reader that asks nothing, or takes nothing, too
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """What one request is told."""
        if self.password is not None:
            wanted = "Basic " + base64.b64encode(f"cam:{self.password}".encode()).decode()
            if request.headers.get("Authorization") != wanted:
                request.send_response(401)
                request.send_header("WWW-Authenticate", 'Basic realm="cam"')
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        if request.path.startswith("/video"):
            self._stream(request, self._halt)
        else:
            request.send_error(404)

    def _stream(self, request: BaseHTTPRequestHandler, halt: threading.Event) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frameboundary")
        request.end_headers()
        begun, number = time.monotonic(), 0
        while not halt.wait(max(0.0, begun + number / self.fps - time.monotonic())):
            number += 1
            if self.stall:
                continue
            data = _jpeg(self.draw(number))
            head = f"--frameboundary\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                request.wfile.write(head.encode() + data + b"\r\n")
                request.wfile.flush()
            except OSError:  # the reader has gone
                return
            self.sent += 1


def _jpeg(image: NDArray[Any]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image[:, :, ::-1]).save(out, "JPEG", quality=95)
    return out.getvalue()
