"""The fault matrix: one camera with a fault beside two healthy ones, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from streamer.config import CaptureConfig
from streamer.types import CameraState, CameraStatus, Frame
from tests.helpers.cameras import QUICK, Watched
from tests.helpers.media import moving, picture, write_clip
from tests.helpers.servers.gst import GstRtsp
from tests.helpers.servers.mini_rtsp import MiniRtsp
from tests.helpers.servers.mjpeg import MjpegCamera

FPS = 25
LENGTH = 250  # frames of the clip
SECRET = "hunter2-Geheim"


@dataclass
class Clips:
    """What the servers send, Annex B H.264."""

    normal: Path
    small: Path

    @staticmethod
    def make(folder: Path) -> Clips:
        return Clips(
            write_clip(folder / "normal.h264", moving(LENGTH), container="h264", gop=10),
            write_clip(folder / "small.h264", moving(100, 288, 160), container="h264", gop=10),
        )


@dataclass
class Outcome:
    """Seconds; None where a fault is no fault and must not be noticed."""

    fault: str
    server: str
    detected: float | None
    recovered: float | None
    waited: float  # of `recovered`: the back-off in force
    lost_elsewhere: int
    reconnects: int
    states: list[str] = field(default_factory=list)


class Server(Protocol):
    """What the mini and the real server have in common."""

    @property
    def url(self) -> str: ...
    def start(self) -> Any: ...


@dataclass
class Scene:
    """The ill camera and its server."""

    seen: Watched
    server: Any
    clips: Clips
    folder: Path

    def kill(self) -> None:
        self.server.kill() if isinstance(self.server, GstRtsp) else self.server.stop()

    def freeze(self) -> None:
        if isinstance(self.server, GstRtsp):
            self.server.freeze()
        else:
            self.server.stall = True

    def thaw(self) -> None:
        if isinstance(self.server, GstRtsp):
            self.server.thaw()
        else:
            self.server.stall = False

    def load(self, clip: Path) -> None:
        if isinstance(self.server, GstRtsp):
            self.server.clip = clip
        else:
            self.server.load(clip)


def _nothing(_: Scene) -> None:
    pass


def _restart_smaller(scene: Scene) -> None:
    scene.load(scene.clips.small)
    scene.server.start()


def _right_password(scene: Scene) -> None:
    (scene.folder / "password").write_text(SECRET)


def _draw(draw: Callable[[int], Any]) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.server.draw = draw

    return act


def _lose(part: float) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.server.loss = part

    return act


def _black(_: int) -> Any:
    return np.zeros((240, 320, 3), np.uint8)


def _grey(_: int) -> Any:
    return np.full((240, 320, 3), 130, np.uint8)


def _still(_: int) -> Any:
    return picture(7)


def _not_running(status: CameraStatus) -> bool:
    return status.state is not CameraState.RUNNING


@dataclass(frozen=True)
class Fault:
    """`begin` makes the fault, `end` mends it; `shows` is how a status tells it (None: it must not)."""

    name: str
    servers: tuple[str, ...]
    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    shows: Callable[[CameraStatus], bool] | None = _not_running
    absent: bool = False  # the server is not there when the camera starts
    new_epoch: bool = True
    config: tuple[tuple[str, Any], ...] = ()
    fps: int = FPS
    slow: float = 0.0  # seconds a consumer takes for one frame
    given_up: bool = False  # mended only after the camera gave the connection up


FAULTS = (
    Fault(
        "absent at start",
        ("mini", "gst"),
        _nothing,
        lambda scene: scene.server.start(),
        lambda status: status.code == "unreachable",
        absent=True,
        new_epoch=False,
    ),
    Fault("killed", ("mini", "gst"), Scene.kill, lambda scene: scene.server.start()),
    Fault("frozen process, link open", ("mini", "gst"), Scene.freeze, Scene.thaw, given_up=True),
    Fault("restarted with another resolution", ("mini", "gst"), Scene.kill, _restart_smaller),
    Fault(
        "wrong password",
        ("mini", "gst"),
        _nothing,
        _right_password,
        lambda status: status.code == "auth_failed",
        new_epoch=False,
        config=(("user", "cam"),),
    ),
    Fault("5 frames a second", ("mini", "gst"), _nothing, _nothing, None, fps=5),
    Fault("slow consumer", ("mini", "gst"), _nothing, _nothing, None, slow=0.1),
    Fault("3 % of the packets lost", ("mini",), _lose(0.03), _lose(0.0), None),
    Fault("black picture", ("mjpeg",), _draw(_black), _draw(picture), lambda s: s.picture == "black"),
    Fault("grey picture", ("mjpeg",), _draw(_grey), _draw(picture), lambda s: s.picture == "grey"),
    Fault("frozen picture", ("mjpeg",), _draw(_still), _draw(picture), lambda s: s.picture == "frozen"),
)


@contextmanager
def _server(kind: str, fault: Fault, clips: Clips) -> Iterator[Any]:
    access = {"user": "cam", "password": SECRET} if dict(fault.config).get("user") else {}
    if kind == "gst":
        with GstRtsp(clips.normal, fault.fps, **access) as server:
            yield server
    elif kind == "mini":
        auth = "digest" if access else None
        with MiniRtsp(clips.normal, fault.fps, auth=auth, **access) as server:
            yield server
    else:
        with MjpegCamera(fps=fault.fps) as server:
            yield server


def run(
    fault: Fault, kind: str, clips: Clips, folder: Path, capture: CaptureConfig = QUICK, spell: float = 1.0
) -> tuple[Outcome, Watched]:
    """Play one fault; `spell`: seconds that a thing which must go unnoticed lasts."""
    config: dict[str, Any] = dict(fault.config)
    if config:
        (folder / "password").write_text("not-" + SECRET)
        config["password_file"] = str(folder / "password")
    with ExitStack() as stack:
        healthy = [
            stack.enter_context(Watched(stack.enter_context(MiniRtsp(clips.normal)).url, name=f"healthy-{i}"))
            for i in range(2)
        ]
        server = stack.enter_context(_server(kind, fault, clips))
        consumer = _slow_consumer(fault.slow) if fault.slow else None
        seen = Watched(server.url, capture=capture, deliver=consumer, **config)
        scene = Scene(seen, server, clips, folder)
        if fault.absent:
            scene.kill()
        stack.enter_context(seen)
        for camera in healthy if fault.absent or config else [*healthy, seen]:
            camera.until_frames(10)
        marks = [(len(camera.frames), _late(camera)) for camera in healthy]
        detected, recovered, waited = _play(fault, scene, spell)
        for camera in healthy:
            camera.until_frames(10)
        lost = 0
        for camera, (mark, late) in zip(healthy, marks, strict=True):
            # a machine that has no time for a camera makes its frames late; those are left out on purpose
            lost += max(0, _lost(camera.frames[mark:]) - (_late(camera) - late))
        states = [str(state) for state in seen.states]
        return (
            Outcome(
                fault.name, kind, detected, recovered, waited, lost, seen.camera.status.reconnects, states
            ),
            seen,
        )


def _play(fault: Fault, scene: Scene, spell: float) -> tuple[float | None, float | None, float]:
    seen = scene.seen
    mark, began = 0 if fault.absent or fault.config else len(seen.statuses), time.monotonic()
    fault.begin(scene)
    if fault.shows is None:
        before = len(seen.frames)
        threading.Event().wait(spell)
        fault.end(scene)
        seen.until(lambda: len(seen.frames) >= before + 5, "frames all the while")
        assert not any(_not_running(status) for status in seen.statuses[mark:])
        return None, None, 0.0
    shows = fault.shows
    seen.until(lambda: any(shows(status) for status in seen.statuses[mark:]), f"{fault.name} noticed")
    found = next(i for i in range(mark, len(seen.statuses)) if shows(seen.statuses[i]))
    detected = max(0.0, seen.times[found] - began) if mark else seen.times[found] - seen.times[0]
    if fault.given_up:
        seen.until_state(CameraState.RECONNECTING, mark)
    frames, epoch = len(seen.frames), seen.frames[-1].epoch if seen.frames else -1
    mended = time.monotonic()
    fault.end(scene)
    mended_and_up = time.monotonic()
    seen.until(lambda: any(f.captured > mended for f in seen.frames[frames:]), f"life after {fault.name}")
    seen.until(lambda: seen.camera.status.state is CameraState.RUNNING, "running")
    first = next(frame for frame in seen.frames[frames:] if frame.captured > mended)
    assert (first.epoch > epoch) or not fault.new_epoch, "the new frames are in a new epoch"
    return detected, max(0.0, first.captured - mended_and_up), _waited(seen, mended_and_up, first.captured)


def _waited(seen: Watched, begin: float, end: float) -> float:
    """Seconds of back-off still to go when the camera was there again."""
    waits = [
        (at, float(status.detail.rpartition("next try in ")[2].split()[0]))
        for at, status in zip(seen.times, seen.statuses, strict=True)
        if "next try in " in status.detail
    ]
    return sum(max(0.0, min(at + wait, end) - max(at, begin)) for at, wait in waits if at < end)


def _slow_consumer(seconds: float) -> Callable[[Frame], bool]:
    busy = threading.Event()

    def deliver(_: Frame) -> bool:
        busy.wait(seconds)
        return True

    return deliver


def _late(camera: Watched) -> int:
    return camera.camera.status.dropped.get("late", 0)


def _lost(frames: list[Frame]) -> int:
    """Frames missing between the first and the last, and broken time lines, of a healthy camera."""
    from tests.helpers.media import read_stamp

    numbers = [read_stamp(frame.image) for frame in frames]
    missing = sum((after - before - 1) % LENGTH for before, after in pairwise(numbers))
    return missing + (frames[-1].epoch - frames[0].epoch)
