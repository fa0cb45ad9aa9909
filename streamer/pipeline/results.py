"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streamer.errors import StreamerError
from streamer.types import CameraState, CameraStatus


class Ending(StrEnum):
    """Why a run ended."""

    STOPPED = "stopped"  # somebody asked for it
    DURATION = "duration"  # `duration` had passed
    COMPLETE = (
        "complete"  # nothing could come any more: files played to their end, sources that cannot be had
    )
    FAILED = "failed"  # a model failed: `RunResult.error`


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    `cameras`: each camera's last status before it was stopped, in the order of the configuration. `lost`:
    messages that somebody was to get and did not: predictions that newer ones overtook, what a sink that
    failed or was too slow missed, what could not be sent before the end.
    """

    ending: Ending
    cameras: tuple[CameraStatus, ...] = ()
    error: StreamerError | None = None
    lost: int = 0

    @property
    def nothing_seen(self) -> bool:
        """It ended by itself, and no source could be had."""
        if self.ending is Ending.COMPLETE:
            return all(camera.state is not CameraState.ENDED for camera in self.cameras)
        return self.ending is Ending.DURATION and all(camera.captured == 0 for camera in self.cameras)

    @property
    def ok(self) -> bool:
        """No error, and there was something to see."""
        return self.error is None and not self.nothing_seen
