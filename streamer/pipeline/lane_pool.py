"""All lanes of a run: which models each camera needs, loaded once each, and taken apart again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.config import CameraConfig, Config, ModelConfig, Pace
from streamer.labels.label_set import LabelSet

if TYPE_CHECKING:
    from streamer.pipeline.fan_out import FanOut
    from streamer.pipeline.lane import Lane, Outlet
    from streamer.recognition.recognizer import Recognizer


class Lanes:
    """One lane for each different model; cameras that ask a model for different words share its lane.

    Args:
        config: which camera runs what.
        names: other names of labels in the events' settings.
        given: used instead of loading anything.
        loaded: called with each model when it is ready.
    """

    def __init__(
        self,
        config: Config,
        names: LabelSet,
        outlet: Outlet,
        given: Recognizer | None,
        loaded: Callable[[Recognizer], None],
    ) -> None:
        self._config = config
        self._names = names
        self._outlet = outlet
        self._given = given
        self._loaded = loaded
        self._lanes: dict[ModelConfig, Lane] = {}
        self.of: dict[str, tuple[Lane, ...]] = {}  # camera -> its lanes, the main one first

    def all(self) -> list[Lane]:
        """Every lane once."""
        return list(self._lanes.values())

    def clear(self) -> None:
        """Let go of every model; the lanes are stopped already."""
        self._lanes.clear()

    def load(self, camera: CameraConfig) -> tuple[Lane, ...]:
        """The camera's lanes; what is not loaded yet takes its time.

        Raises:
            ModelLoadError: a model cannot be used.
            ConfigError: its words are wrong.
        """
        return tuple(self._load(camera.name, model) for model in self._config.models_of(camera))

    def watch(self, camera: CameraConfig) -> FanOut:
        """Let the camera's lanes take its frames; returns what the camera needs for it.

        Raises:
            ConfigError: the events' settings name a label that none of its models has.
        """
        from streamer.pipeline.fan_out import FanOut

        lanes = self.of[camera.name] = self.load(camera)
        events = camera.events or self._config.events
        outcomes = [lane.outcomes(camera.name).labels for lane in lanes]
        everywhere = {label for labels in outcomes for label in labels}
        return FanOut(
            [
                (lane, lane.add(camera, events, self._names, everywhere.difference(own)))
                for lane, own in zip(lanes, outcomes, strict=True)
            ]
        )

    def drain(self, camera: str) -> bool:
        """Its video has ended: True once the last window of each model is computed."""
        drained = [lane.drain(camera) for lane in self.of[camera]]
        return all(drained)  # every lane got its look

    def _load(self, camera: str, model: ModelConfig) -> Lane:
        from streamer.pipeline.lane import Lane
        from streamer.recognition.recognizer import load_recognizer

        key = model.model_copy(update={"labels": ("words",) if model.labels else None})
        if key not in self._lanes:
            recognizer = self._given or load_recognizer(model, self._config.model_names[model.id])
            recognizer.warm_up()
            self._loaded(recognizer)
            complete = self._config.pace is Pace.FAST
            self._lanes[key] = Lane(recognizer, model, self._outlet, complete=complete)
        lane = self._lanes[key]
        if model.labels:
            lane.prepare(camera, model.labels)
        return lane
