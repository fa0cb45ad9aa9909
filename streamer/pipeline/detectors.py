"""The detectors of a run's cameras that follow people."""

from __future__ import annotations

from streamer.config import CameraConfig, FollowConfig
from streamer.people.detection import Detector
from streamer.types import Box

MOVING = "moving"  # the detector that needs no weights


class Detectors:
    """Each checkpoint is loaded once, however many cameras use it."""

    def load(self, follow: FollowConfig) -> None:
        """Load what a camera needs; it takes its time.

        Raises:
            ModelLoadError: the checkpoint cannot be used.
        """

    def of(self, follow: FollowConfig) -> Detector:
        """A camera's own detector; `follow` names one, which was loaded."""
        from streamer.people.moving import MovingDetector

        return MovingDetector()


def shown_part(camera: CameraConfig) -> Box:
    """The part of a camera's picture that is looked at: what surrounds its region."""
    if camera.region is None:
        return 0.0, 0.0, 1.0, 1.0
    xs, ys = [x for x, _ in camera.region], [y for _, y in camera.region]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
