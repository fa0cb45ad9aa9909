"""Values for the screen to show."""

from __future__ import annotations

import time
from dataclasses import replace

from streamer.types import (
    Belief,
    CameraState,
    CameraStats,
    CameraStatus,
    Event,
    LabelScore,
    ModelSpec,
    ModelStats,
    Moment,
    Phase,
    PublisherState,
    Stats,
)

NOW = 5000.0


WALL = time.mktime((2026, 3, 4, 14, 3, 22, 0, 0, -1))


LABELS = ("still", "moving left", "moving right", "moving up", "waving")


def moment(ago: float) -> Moment:
    return Moment(NOW - ago, WALL - ago)


def event(id: str, camera: str, ago: float, lasted: float | None = None, label: str = "waving") -> Event:
    ended = None if lasted is None else moment(ago - lasted)
    phase = Phase.UPDATE if ended is None else Phase.END
    return Event(id, camera, "m", label, phase, 0.7, 0.93, moment(ago), moment(ago), ended)


def camera(name: str = "front-door", state: CameraState = CameraState.RUNNING, **more: object) -> CameraStats:
    status = CameraStatus(name, state, WALL, fps=25.0, width=640, height=480, newest=NOW - 0.04)
    if state is not CameraState.RUNNING:
        status = replace(status, fps=None, detail="the camera stopped answering", newest=NOW - 12.3)
    scores = (0.05, 0.02, 0.01, 0.02, 0.82)
    top = tuple(
        sorted((LabelScore(*pair) for pair in zip(LABELS, scores, strict=True)), key=lambda e: -e.score)
    )
    smoothed, stable = {"waving": 0.74, "still": 0.1}, LabelScore("waving", 0.74)
    past = tuple(Belief(NOW - 60 + 0.5 * i, stable if 60 < i < 90 else None) for i in range(120))
    of_camera = {key: more.pop(key) for key in ("status", "open_events") if key in more}
    model = ModelStats(
        "demo", top, smoothed, stable, past=past, windows=9, windows_per_s=1.0, asked_per_s=1.0
    )
    made = CameraStats(status, (replace(model, **more),))  # type: ignore[arg-type]
    return replace(made, **of_camera)  # type: ignore[arg-type]


def stats(*cameras: CameraStats, **more: object) -> Stats:
    spec = ModelSpec("demo-motions", "timesformer", LABELS, 8, 0.25, (64, 64), "Apache-2.0")
    latency = {"capture_to_publish": (0.043, 0.061), "inference": (0.028, 0.04)}
    made = Stats(
        NOW,
        WALL,
        4925.0,
        cameras,
        spec,
        float(len(cameras)),
        latency,
        publisher=PublisherState(endpoint="tcp://127.0.0.1:5555", subscribers=2),
    )
    return replace(made, **more)  # type: ignore[arg-type]
