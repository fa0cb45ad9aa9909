"""The cameras that are being read: added and removed while the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamer.config import CameraConfig, Config, Pace
from streamer.errors import UNMENDABLE, ConfigError, SourceOpenError
from streamer.metrics.counters import Counters
from streamer.pipeline.lane_pool import Lanes
from streamer.pipeline.statuses import CameraStatuses
from streamer.system.clock import Clock
from streamer.types import CameraState, CameraStatus

if TYPE_CHECKING:
    from streamer.capture import Camera
    from streamer.recording.event_pictures import EventPictures

FINAL = (CameraState.ENDED, CameraState.FAILED)
LEAVE = 2.0  # seconds given to a camera that is removed; a native call that hangs is left behind


class RunningCameras:
    """Thread-safe. Removing waits for a camera's last frame, which holds up no other camera.

    Args:
        lanes, statuses, counters: what a camera reports to.
        show: gets the labels that a camera may be answered with.
        forget: called with the name of a camera that has gone, after its last message.
    """

    def __init__(
        self,
        lanes: Lanes,
        statuses: CameraStatuses,
        counters: Counters,
        show: Callable[[Iterable[str]], None],
        forget: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._lanes, self._statuses, self._counters = lanes, statuses, counters
        self._show, self._forget, self._clock = show, forget, clock
        self._changing = threading.RLock()  # held while one comes or goes; never by a camera's own threads
        self._cameras: dict[str, Camera] = {}
        self._closed = False
        self._starting = threading.Lock()  # guards `_closed` against a camera that starts
        self.abandoned = False  # a native call that hangs was left behind

    @property
    def by_name(self) -> Mapping[str, Camera]:
        """Those that are read now."""
        return self._cameras

    def all(self) -> list[Camera]:
        return list(self._cameras.values())

    def newest_picture(self, camera: str) -> tuple[Any, float] | None:
        """A camera's newest full-size picture, uint8 BGR (H, W, 3), with its time; nothing is hidden."""
        found = self._cameras.get(camera)
        return None if found is None else found.newest_picture()

    def any_can_be_had(self, cameras: Sequence[CameraConfig], give_up: bool) -> bool:
        """A mistyped file name is said at once, not after the model is loaded."""
        from streamer.capture import check_source, kind_of

        failed = []
        for camera in cameras:
            try:
                # a live source may come at any time, and its password's file too: it is tried for ever
                if give_up or not kind_of(camera).live:
                    check_source(camera)
            except SourceOpenError as error:
                failed.append((camera.name, error))
        if len(failed) < len(cameras):
            return True
        for name, reason in failed:
            detail = str(reason).removeprefix(f"camera {name}: ")
            self._statuses.changed(
                CameraStatus(name, CameraState.FAILED, self._clock.wall(), detail, reason.code)
            )
        return False

    def check(self, name: str) -> None:
        """Whether a camera of this name may come. Raises ConfigError."""
        if self._closed or name in self._cameras:
            why = "the program ends" if self._closed else f"there is a camera {name} already"
            raise ConfigError(f"cannot add camera {name}: {why}")

    def make(self, config: Config, camera: CameraConfig, pictures: EventPictures) -> Camera:
        """A camera with its lanes and its counters; not started. Its models are loaded before, so that nobody
        waits here for one.

        Raises:
            ConfigError: there is one of this name, or its settings do not fit its models.
        """
        from streamer.capture import Camera

        with self._changing:
            self.check(camera.name)
            fan = self._lanes.watch(camera, config)
            lanes = self._lanes.of[camera.name]
            fast = config.pace is Pace.FAST
            asked = {lane.recognizer.spec.name: 0.0 if fast else 1.0 / lane.hop for lane in lanes}
            follow = config.follow_of(camera)
            self._counters.camera_models(camera.name, asked, whole=follow.whole or not follow.follows)
            for lane in lanes:
                self._show(lane.outcomes(camera.name).labels)
            made = self._cameras[camera.name] = Camera(
                camera,
                reduce=fan.reduce,
                deliver=fan.deliver,
                capture=config.capture,
                pace=config.pace,
                loop=config.loop,
                on_status=self._statuses.teller(camera.name),
                rate=fan.rate,
                clock=self._clock,
                on_picture=pictures.receiver(camera.name),
            )
            return made

    def start(self, camera: Camera) -> None:
        """Read one that was made; unless all end."""
        with self._starting:
            if not self._closed:
                camera.start()

    def waiting(self, camera: str, detail: str = "waiting for the model") -> None:
        """Say that a camera is to come."""
        self._statuses.changed(CameraStatus(camera, CameraState.CONNECTING, self._clock.wall(), detail))

    def remove(self, name: str, reason: str) -> bool:
        """Stop reading a camera; its open events end for `reason`. False where there is none of this name."""
        with self._changing:
            camera = self._cameras.get(name)
            if camera is None or self._closed:
                return False
            camera.stop()
            for windows in self._lanes.windows_of(name):
                windows.close()  # a camera thread that waits for room is let go
            self.abandoned |= not camera.join(LEAVE)
            self._cameras.pop(name, None)  # it may be the end
            self._lanes.remove(name, reason)
            ended = CameraStatus(name, CameraState.ENDED, self._clock.wall(), reason)
            self._statuses.changed(ended)
            self._statuses.forget(name)
            self._counters.forget(name)
            self._forget(name)
            return True

    def refresh(self) -> None:
        """Bring the numbers that change all the time up to date."""
        for camera in self.all():
            self._statuses.refresh(camera)

    def all_done(self, give_up: bool) -> bool:
        """True when nothing can come any more: files played to their end, sources that cannot be had."""
        done = [
            (status.state in FINAL and self._lanes.drain(status.camera))
            or (give_up and status.code in UNMENDABLE and status.captured == 0)
            for status in (camera.status for camera in self.all())
        ]
        return all(done)  # every camera that has ended got its look

    def stop(self) -> None:
        """Ask all for their end; none comes any more. Returns at once."""
        with self._starting:
            self._closed = True
        for camera in self.all():
            camera.stop()

    def join(self, until: float) -> None:
        """Wait for their end, until `until` (monotonic seconds)."""
        for camera in self.all():
            self.abandoned |= not camera.join(until - self._clock.monotonic())
        self._cameras.clear()
