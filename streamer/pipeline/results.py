"""What a run gives out: values for its subscribers while it runs, and a result when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from streamer.errors import StreamerError
from streamer.types import CameraState, CameraStatus

Value = TypeVar("Value")


class Feed(Generic[Value]):
    """Hands frozen values to all who have subscribed, in the order of subscribing, on the giver's thread.

    Givers hold no lock meanwhile. A subscriber that must not hold up the giver has a queue of its own; while
    files are played fast the publisher's makes the giver wait.
    """

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Value], None]] = []

    def subscribe(self, take: Callable[[Value], None]) -> None:
        """Before the first value."""
        self._subscribers.append(take)

    def publish(self, value: Value) -> None:
        for take in self._subscribers:
            take(value)


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
