"""A frame's way from the decoder to the windows, and the counters along it: captured = stored + dropped."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from streamer.capture.frame_rate import RateChoice, RateMeter
from streamer.capture.frozen_picture_check import OK, PictureCheck
from streamer.capture.region_of_interest import Region
from streamer.config import CameraConfig
from streamer.system.clock import Clock
from streamer.types import Frame

Image = NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """What has come in so far, at one moment."""

    captured: int
    stored: int
    dropped: Mapping[str, int]
    fps: float | None
    newest: float | None
    width: int | None
    height: int | None
    picture: str


class FrameDelivery:
    """One camera's frames. `take` and `drop` are called by the one thread that reads; `counts` by any.

    `picture_check`: None for files, where a still or dark picture is what the file shows. `on_picture` gets
    each good picture, full size, with its time on the time line; it must neither block nor change it.
    """

    def __init__(
        self,
        config: CameraConfig,
        reduce: Callable[[Image], Image],
        deliver: Callable[[Frame], bool],
        clock: Clock,
        rate: float | None,
        picture_check: PictureCheck | None,
        on_picture: Callable[[Image, float], None] | None = None,
    ) -> None:
        self._camera = config.name
        self._region = Region(config.region) if config.region else None
        self._reduce = reduce
        self._deliver = deliver
        self._clock = clock
        self._choice = RateChoice(rate)
        self._check = picture_check
        self._on_picture = on_picture
        self._lock = threading.Lock()
        self._stored = 0
        self._dropped: Counter[str] = Counter()
        self._meter = RateMeter()
        self._newest: float | None = None
        self._image: Image | None = None
        self._newest_picture: tuple[Image, float] | None = None
        self._picture = OK
        self._index = 0
        self._epoch = 0
        self._broken = False

    def break_line(self) -> None:
        """The time line is broken here: the next delivered frame begins a new epoch."""
        self._broken = True
        self._choice.reset()

    def begin(self) -> None:
        """A new handle: nothing of the old one counts."""
        self.break_line()
        if self._check is not None:
            self._check.reset()
        with self._lock:
            self._meter.clear()
            self._picture = OK

    def arrived(self, captured: float) -> None:
        """A frame has come out of the decoder at `captured`, monotonic seconds."""
        with self._lock:
            self._newest = captured
            self._meter.add(captured)

    def wants(self, time: float) -> bool:
        """Whether the frame at `time` on the time line is worth converting; counted as dropped if not."""
        if self._choice.keeps(time):
            return True
        self.drop("rate")
        return False

    def drop(self, cause: str) -> None:
        """Count a frame that arrived and goes nowhere."""
        with self._lock:
            self._dropped[cause] += 1

    def take(self, image: Image | None, time: float, captured: float, media_time: float | None) -> None:
        """Check, cut, reduce and deliver one frame (uint8 BGR (H, W, 3)); None is a damaged one."""
        if image is None:
            self.drop("damaged")
            return
        cause = "error"  # what it is if anything below raises
        try:
            cause = self._check_picture(image, captured)
            if cause == OK:
                cause = "error"
                cause = OK if self._deliver(self._frame(image, time, captured, media_time)) else "refused"
                if self._on_picture is not None:  # now it is known who is where in it
                    self._on_picture(image, time)
        finally:
            with self._lock:
                self._newest_picture = (image, time)
                if cause == OK:
                    self._stored += 1
                else:
                    self._dropped[cause] += 1

    def _frame(self, image: Image, time: float, captured: float, media_time: float | None) -> Frame:
        if self._broken:
            self._epoch += 1 if self._index else 0
            self._broken = False
        reduced = self._reduce(self._region.cut(image) if self._region else image)
        reduced.setflags(write=False)
        wall = self._clock.wall() - (self._clock.monotonic() - captured)
        index, self._index = self._index, self._index + 1
        size = (image.shape[0], image.shape[1])
        return Frame(self._camera, index, self._epoch, time, captured, wall, media_time, reduced, size=size)

    def _check_picture(self, image: Image, captured: float) -> str:
        wrong, picture = OK, OK
        if self._check is not None:
            wrong = self._check.see(image, captured)
            picture = self._check.state
        with self._lock:
            if self._picture != OK and picture == OK:
                self._broken = True
                self._choice.reset()
            self._image = image
            self._picture = picture
        return wrong

    @property
    def newest_picture(self) -> tuple[Image, float] | None:
        """The newest picture that was taken, uint8 BGR (H, W, 3), full size, and its time on the time line.
        Who is where in it is known by now.
        """
        with self._lock:
            return self._newest_picture

    @property
    def picture_state(self) -> tuple[object, ...]:
        """What a changed picture looks like from outside: its size and what is wrong with it."""
        with self._lock:
            return (self._picture, None if self._image is None else self._image.shape[:2])

    @property
    def counts(self) -> Counts:
        with self._lock:
            height, width = self._image.shape[:2] if self._image is not None else (None, None)
            dropped = dict(self._dropped)
            captured = self._stored + sum(dropped.values())
            return Counts(
                captured, self._stored, dropped, self._meter.fps, self._newest, width, height, self._picture
            )
