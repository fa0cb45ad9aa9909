"""Recording labelled clips from a live camera.

Each clip becomes DATASET/LABEL/TIME-NNN.mp4, the layout that `streamer train` reads, at the camera's own size
and rate. Nothing is recorded but between "recording" and "saved", and it stays in that folder.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import DatasetError, SourceOpenError
from streamer.system.atomic_files import replacing
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.install_extras import need
from streamer.system.private_files import create_private

if TYPE_CHECKING:
    from streamer.types import CameraStatus, Frame

CLOCK_RATE = 90_000  # ticks a second of the files' time stamps
MOST_WAITING = 300  # frames between the camera and the encoder; more are dropped and make the clip useless
CHECK_EVERY = 0.1  # seconds
PATIENCE = 15.0  # seconds until the first picture, and without any


class ClipRecorder:
    """A camera whose frames go to a file while a clip is recorded. For one thread; a context manager."""

    def __init__(self, camera: Any, stop: threading.Event, clock: Clock = SYSTEM_CLOCK) -> None:
        from streamer.capture import Camera
        from streamer.config import CaptureConfig, Pace

        need("video", "recording clips", raising=DatasetError)
        self._stop = stop
        self._clock = clock
        self._frames: queue.Queue[Frame] = queue.Queue(MOST_WAITING)
        self._wanted = threading.Event()
        self._lost = threading.Event()
        self._camera = Camera(
            camera,
            reduce=lambda image: image[..., ::-1].copy(),  # whole, in RGB
            deliver=self._deliver,
            capture=CaptureConfig(),
            pace=Pace.REALTIME,
            loop=False,
            on_status=self._changed,
        )
        self._status: CameraStatus | None = None

    def __enter__(self) -> ClipRecorder:
        self._camera.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._camera.stop()
        self._camera.join(1.0)

    @property
    def over(self) -> bool:
        """True when there is nothing more to record: stopped, or the camera has ended."""
        return self._stop.is_set() or (self._status is not None and self._status.state in ("ended", "failed"))

    def pause(self, seconds: float) -> bool:
        """Wait; True when it is over."""
        self._clock.wait(self._stop, seconds)
        return self.over

    def wait_for_picture(self) -> None:
        """Raises SourceError where none comes in time."""
        until = self._clock.monotonic() + PATIENCE
        while not self._stop.is_set():
            status = self._camera.status
            if status.captured:
                return
            late = self._clock.monotonic() > until
            if late or status.state in ("failed", "ended"):
                none = f"no picture came within {PATIENCE:g} s" if late else "it gives no picture"
                raise SourceOpenError(f"camera {status.camera}: {status.reason or none}", "timeout")
            self._clock.wait(self._stop, CHECK_EVERY)

    def record(self, path: Path, seconds: float) -> str | None:
        """Record one clip; why it was not saved, or None.

        Raises:
            DatasetError: it cannot be written.
        """
        self._lost.clear()
        self._wanted.set()
        try:
            with replacing(path) as part:
                create_private(part)
                if _encode(part, self._during(seconds)) and not self._lost.is_set():
                    return None
                part.unlink(missing_ok=True)
        except OSError as error:
            raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            self._wanted.clear()
            while not self._frames.empty():
                self._frames.get_nowait()
        return "frames were lost; the machine is too slow" if self._lost.is_set() else "the camera broke off"

    def _during(self, seconds: float) -> Iterator[Frame | None]:
        """The clip's frames; a last None: it was cut short."""
        first: Frame | None = None
        patience = PATIENCE
        while True:
            try:
                frame = self._frames.get(timeout=CHECK_EVERY)
            except queue.Empty:
                patience -= CHECK_EVERY
                if self.over or patience <= 0:
                    yield None
                    return
                continue
            first = first or frame
            if frame.epoch != first.epoch or self._stop.is_set():
                yield None
                return
            yield frame
            if frame.time - first.time >= seconds:
                return

    def _deliver(self, frame: Frame) -> bool:
        if not self._wanted.is_set():
            return False
        try:
            self._frames.put_nowait(frame)
        except queue.Full:
            self._lost.set()
            return False
        return True

    def _changed(self, status: CameraStatus) -> None:
        self._status = status


def _encode(path: Path, frames: Iterator[Frame | None]) -> bool:
    """H.264 with the frames' own times; False where it was cut short."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = None
        begin = 0.0
        for frame in frames:
            if frame is None:
                return False
            image = frame.image[: frame.image.shape[0] // 2 * 2, : frame.image.shape[1] // 2 * 2]
            if stream is None:
                stream, begin = container.add_stream("libx264", rate=30), frame.time
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                stream.codec_context.time_base = Fraction(1, CLOCK_RATE)
            picture = av.VideoFrame.from_ndarray(image.copy(), format="rgb24")
            picture.pts = round((frame.time - begin) * CLOCK_RATE)
            picture.time_base = Fraction(1, CLOCK_RATE)
            container.mux(stream.encode(picture))
        if stream is None:
            return False
        container.mux(stream.encode())
    return True
