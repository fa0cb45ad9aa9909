"""What windows and reading threads count by themselves: asked of them when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from streamer.types import CameraStats, InferenceStats

if TYPE_CHECKING:
    from streamer.windows.window_source import WindowSource


def with_what_others_count(
    camera: CameraStats, asked: Mapping[tuple[str, str], WindowSource], readers: Mapping[str, tuple[int, int]]
) -> CameraStats:
    """With the numbers of its windows and of its reading threads.

    Windows are asked after predictions were counted: what came due is never less than what was recognised.
    """
    name = camera.status.camera
    models = tuple(
        one
        if (windows := asked.get((name, one.model))) is None
        else replace(
            one,
            asked=windows.due,
            skipped=windows.skipped,
            lacking=windows.waiting,
            waiting_since=windows.ready_since(),
        )
        for one in camera.models
    )
    alive, hanging = readers.get(name, (0, 0))
    return replace(camera, models=models, readers=alive, readers_hanging=hanging)


def inference_of(
    lanes: Sequence[tuple[str, Mapping[str, WindowSource]]], cameras: Sequence[CameraStats]
) -> tuple[InferenceStats, ...]:
    """Each lane: since when it is waited for, and when it last gave something, whichever the camera."""
    known = {(camera.status.camera, one.model): one for camera in cameras for one in camera.models}
    found = []
    for model, windows in lanes:
        own = [one for camera in list(windows) if (one := known.get((camera, model))) is not None]
        since = [one.waiting_since for one in own if one.waiting_since is not None]
        newest = [one.newest for one in own if one.newest is not None]
        found.append(InferenceStats(model, min(since, default=None), max(newest, default=None)))
    return tuple(found)
