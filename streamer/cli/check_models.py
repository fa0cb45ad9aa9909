"""What `streamer check` says of models and labels: as a run would, without loading anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import ConfigError, ModelLoadError

if TYPE_CHECKING:
    from streamer.config import CameraConfig, Config, FollowConfig, ModelConfig
    from streamer.labels.label_set import LabelSet
    from streamer.labels.model_labels import ModelLabels


def check_models(config: Config, names: LabelSet) -> tuple[list[str], list[str]]:
    """(what is wrong, notes): checkpoints that are not there, and labels in events: that no model has."""
    errors: list[str] = []
    notes: list[str] = []
    for camera in config.cameras:
        if camera.enabled:
            _check_camera(config, camera, names, errors, notes)
            _check_detector(config.follow_of(camera), camera.name, errors, notes)
    return list(dict.fromkeys(errors)), list(dict.fromkeys(notes))


def _check_camera(
    config: Config, camera: CameraConfig, names: LabelSet, errors: list[str], notes: list[str]
) -> None:
    from streamer.events.event_settings import events_for
    from streamer.events.presence import PRESENT
    from streamer.events.rules import EventLabels

    models = config.models_of(camera)
    known: dict[str, ModelLabels | None] = {}
    for model in models:
        try:
            known[model.id] = _labels(model)
        except ModelLoadError as error:
            known[model.id] = None
            errors.append(str(error))
        else:
            if known[model.id] is None:
                get = f"streamer models get {model.id}"
                notes.append(f"{model.id} is not on this machine, so its labels are not checked: {get}")
    for model in models:
        own = known[model.id]
        if own is None:
            continue
        others = [known[other.id] for other in models if other is not model]
        elsewhere = None
        if None not in others:
            elsewhere = [PRESENT, *(label for one in others if one for label in one.labels)]
        try:
            settings = events_for(camera.events or config.events, own, names, elsewhere)
            EventLabels(config.model_names[model.id], own.labels, settings)
        except ConfigError as error:
            errors.append(f"camera {camera.name}: {error}")


def _check_detector(follow: FollowConfig, camera: str, errors: list[str], notes: list[str]) -> None:
    """What a camera follows people with."""
    from streamer.config.follow_section import MOVING
    from streamer.recognition.checkpoints.checkpoint import open_checkpoint
    from streamer.recognition.checkpoints.metadata import labels_of

    if follow.detector in ("", MOVING):
        return
    if _not_here(follow.detector):
        get = f"streamer models get {follow.detector}"
        notes.append(f"{follow.detector} is not on this machine, so its classes are not checked: {get}")
        return
    try:
        labels, _ = labels_of(open_checkpoint(follow.detector, download=False))
    except ModelLoadError as error:
        errors.append(str(error))
        return
    for name in follow.classes:
        if name not in labels:
            some = ", ".join(labels[:8])
            errors.append(
                f"camera {camera}: follow.classes: {follow.detector} finds no {name!r}; it finds {some}"
            )


def _not_here(model_id: str) -> bool:
    """A published checkpoint that would have to be fetched."""
    from streamer.recognition.checkpoints.checkpoint import HUB_ID
    from streamer.recognition.checkpoints.checkpoint_files import cached_folder

    published = HUB_ID.fullmatch(model_id) and model_id != "demo" and not Path(model_id).exists()
    return bool(published) and cached_folder(model_id) is None


def _labels(model: ModelConfig) -> ModelLabels | None:
    """A checkpoint's labels; None where it is a published one that is not here yet. Raises ModelLoadError."""
    from streamer.labels.model_labels import ModelLabels
    from streamer.recognition.checkpoints.checkpoint import open_checkpoint
    from streamer.recognition.checkpoints.metadata import compares_words, labels_of
    from streamer.recognition.words.prompts import read_words

    if _not_here(model.id):
        return None
    checkpoint = open_checkpoint(model.id, download=False)
    if compares_words(checkpoint) and model.labels:
        return read_words(model.labels).model_labels
    return ModelLabels(labels_of(checkpoint)[0])
