"""The detectors of a run's cameras that follow people."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.config import CameraConfig, FollowConfig
from streamer.config.follow_section import MOVING
from streamer.errors import ModelError
from streamer.types import Box

if TYPE_CHECKING:
    from streamer.people.detection import Detector
    from streamer.people.detector_thread import DetectionThread, Looks


class Detectors:
    """Each checkpoint is loaded once, however many cameras use it.

    Args:
        complete: nothing is left out: cameras wait for the detector.
    """

    def __init__(self, complete: bool) -> None:
        self._complete = complete
        self._loaded: dict[tuple[str, tuple[str, ...]], Detector] = {}
        self._turn = threading.Lock()
        self._thread: DetectionThread | None = None

    def load(self, follow: FollowConfig) -> None:
        """Load what a camera needs; it takes its time.

        Raises:
            ModelLoadError: the checkpoint cannot be used.
        """
        key = follow.detector, follow.classes
        if not follow.follows or follow.detector == MOVING or key in self._loaded:
            return
        from streamer.recognition.object_detection import ObjectDetector

        self._loaded[key] = ObjectDetector(*key)

    def of(self, follow: FollowConfig, failed: Callable[[ModelError], None]) -> Looks:
        """A camera's own looks, by what was loaded; `failed` gets the error of one that keeps failing."""
        from streamer.people.detector_thread import DetectionThread, LooksAtOnce, LooksLater
        from streamer.people.moving import MovingDetector

        if follow.detector == MOVING:
            return LooksAtOnce(MovingDetector(), failed)
        detector = self._loaded[follow.detector, follow.classes]
        if self._complete:
            return LooksAtOnce(detector, failed, self._turn)
        if self._thread is None:
            self._thread = DetectionThread()
            self._thread.start()
        return LooksLater(self._thread, detector, failed)

    def stop(self, seconds: float) -> bool:
        """End; False if a picture is still being looked at after so long."""
        if self._thread is None:
            return True
        self._thread.stop()
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()


def shown_part(camera: CameraConfig) -> Box:
    """The part of a camera's picture that is looked at: what surrounds its region."""
    if camera.region is None:
        return 0.0, 0.0, 1.0, 1.0
    xs, ys = [x for x, _ in camera.region], [y for _, y in camera.region]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
