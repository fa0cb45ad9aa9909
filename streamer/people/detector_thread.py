"""When a camera's detector looks: at once, on the camera's own thread, or later, on one that all cameras
share.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from streamer.errors import ModelError
from streamer.people.detection import Detection, Detector
from streamer.types import Track

log = logging.getLogger(__name__)

FAILURES_ALLOWED = 5  # pictures in a row; one bad picture is skipped, a broken detector ends the program
IDLE_WAIT = 0.5  # seconds; only a safety net, pictures are signalled

Found = tuple[float, list[Detection]]  # a picture's time, and who is in it


class Looks(Protocol):
    """One camera's looks. `show` and `reset` are called by the camera's thread."""

    every: float

    def show(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> None:
        """Have the detector look at a picture, uint8 BGR (H, W, 3), of `time`."""

    def found(self) -> list[Found]:
        """What was found since the last call, oldest first."""

    def reset(self) -> None:
        """The next picture has nothing to do with those before."""


class LooksAtOnce:
    """The camera waits until its detector is ready: for quick ones, and files from which nothing is left out.

    Args:
        detector: used on the camera's thread.
        failed: called with the error of a detector that keeps failing.
        turn: held meanwhile, where the detector is shared.
    """

    def __init__(
        self, detector: Detector, failed: Callable[[ModelError], None], turn: threading.Lock | None = None
    ) -> None:
        self.every = detector.every
        self._detector = detector
        self._failures = _Failures(failed)
        self._turn = turn or threading.Lock()
        self._found: list[Found] = []

    def show(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> None:
        """See `Looks.show`."""
        with self._turn:
            found = self._failures.tried(lambda: self._detector.detect(image, time, followed))
        if found is not None:
            self._found.append((time, found))

    def found(self) -> list[Found]:
        """See `Looks.found`."""
        found, self._found = self._found, []
        return found

    def reset(self) -> None:
        """See `Looks.reset`."""
        self._found.clear()
        self._detector.reset()


@dataclass(frozen=True, slots=True)
class _Picture:
    image: NDArray[Any]
    time: float
    followed: Sequence[Track]


class LooksLater:
    """Live video does not wait: the newest picture is looked at when the detector is free.

    What is found is of a moment that is past by then; tracks are expected where they are meanwhile.
    """

    def __init__(
        self, thread: DetectionThread, detector: Detector, failed: Callable[[ModelError], None]
    ) -> None:
        self.every = detector.every
        self._thread = thread
        self._detector = detector
        self._failures = _Failures(failed)
        self._lock = threading.Lock()
        self._picture: _Picture | None = None
        self._found: deque[Found] = deque(maxlen=16)
        self._age = 0  # resets so far: what was begun before one is not told

    def show(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> None:
        """See `Looks.show`."""
        with self._lock:
            self._picture = _Picture(image, time, tuple(followed))
        self._thread.ask(self)

    def found(self) -> list[Found]:
        """See `Looks.found`."""
        with self._lock:
            found = list(self._found)
            self._found.clear()
        return found

    def reset(self) -> None:
        """See `Looks.reset`."""
        with self._lock:
            self._picture = None
            self._found.clear()
            self._age += 1

    def broken(self, error: ModelError) -> None:
        """Looking failed for a reason that another picture does not change."""
        self._failures.told(error)

    def look(self) -> None:
        """Look at the newest picture, if there is one; on the detection thread."""
        with self._lock:
            picture, self._picture, age = self._picture, None, self._age
        if picture is None:
            return
        found = self._failures.tried(
            lambda: self._detector.detect(picture.image, picture.time, picture.followed)
        )
        with self._lock:
            if found is not None and age == self._age:
                self._found.append((picture.time, found))


class DetectionThread(threading.Thread):
    """Runs the detectors of all cameras, in the order in which they asked."""

    def __init__(self) -> None:
        super().__init__(name="detection", daemon=True)
        self._lock = threading.Lock()
        self._asked: dict[LooksLater, None] = {}  # in the order of asking
        self._wake = threading.Event()
        self._stop_asked = threading.Event()

    def ask(self, looks: LooksLater) -> None:
        """There is a picture to look at; any thread."""
        with self._lock:
            self._asked.setdefault(looks)
        self._wake.set()

    def stop(self) -> None:
        """End after the picture in progress."""
        self._stop_asked.set()
        self._wake.set()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()
            while not self._stop_asked.is_set() and (looks := self._next()) is not None:
                try:
                    looks.look()
                except Exception as error:  # the top of a thread: reported, and the run ends with it
                    log.exception("the detector failed")
                    looks.broken(ModelError(f"people cannot be found: {type(error).__name__}: {error}"))

    def _next(self) -> LooksLater | None:
        with self._lock:
            looks = next(iter(self._asked), None)
            if looks is not None:
                del self._asked[looks]
            return looks


class _Failures:
    """A picture that a detector fails on is skipped; a detector that keeps failing is told."""

    def __init__(self, failed: Callable[[ModelError], None]) -> None:
        self._failed = failed
        self._count = 0

    def told(self, error: ModelError) -> None:
        self._failed(error)

    def tried(self, detect: Callable[[], list[Detection]]) -> list[Detection] | None:
        try:
            found = detect()
        except ModelError as error:
            self._count += 1
            log.warning("a picture could not be looked at: %s", error)
            if self._count >= FAILURES_ALLOWED:
                self._failed(error)
            return None
        self._count = 0
        return found
