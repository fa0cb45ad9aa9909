"""The live screen of a run: what its keys do there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.dashboard.live_screen import Screen
    from streamer.pipeline.pipeline import Pipeline
    from streamer.system.signals import Stopper


def screen(pipeline: Pipeline, config: Config, stopper: Stopper) -> Screen:
    """Not shown yet: a context manager. On the main thread."""
    from streamer.dashboard.label_language import LabelLanguage
    from streamer.dashboard.live_screen import Actions, Screen

    names = [camera.name for camera in config.cameras if camera.enabled]
    recorded = config.recording.snapshots or config.recording.clips
    actions = Actions(
        quit=stopper.ask,
        snapshot=partial(_snapshot, pipeline, names) if recorded else None,
        newest=pipeline.picture if config.picture else None,
        language=LabelLanguage(config.language, config.label_set),
    )
    made = Screen(pipeline.stats, actions=actions)
    stopper.on_pause(made.pause, made.go_on)
    return made


def _snapshot(pipeline: Pipeline, names: list[str], camera: str | None) -> str:
    """Keep the newest picture of a camera, or of each."""
    wanted = names if camera is None else [camera]
    kept = [path for name in wanted if (path := pipeline.snapshot(name)) is not None]
    if not kept:
        return "nothing kept: there is no picture yet, or this camera is not recorded"
    if len(kept) == 1:
        return f"kept: {kept[0]}"
    return f"{len(kept)} pictures kept below {Path(*kept[0].parts[:-3])}"
