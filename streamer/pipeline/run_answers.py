"""Answers to what a page asks of the run: what it offers (`op: features`), and the scores around a moment
(`op: scores`). On the bus thread, so both are quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.config import Config
from streamer.errors import ConfigError, RequestError
from streamer.events.event_settings import events_for, with_recommended
from streamer.events.rules import EventLabels, Rule
from streamer.labels.label_set import LabelSet
from streamer.pipeline.score_history import ScoreHistory
from streamer.recording import files
from streamer.recording.retention import default_folder

if TYPE_CHECKING:
    from streamer.bus.requests import Handler, Peer
    from streamer.pipeline.lane import Lane

LONGEST = 3600.0  # seconds of scores in one answer


class RunAnswers:
    """`history` takes in results; `handlers` are for the publisher."""

    def __init__(self, config: Config, names: LabelSet, lanes_of: Callable[[str], tuple[Lane, ...]]) -> None:
        self.config, self._names, self._lanes_of = config, names, lanes_of
        self.history = ScoreHistory()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The table of operations."""
        return {"features": self._features, "scores": self._scores}

    # ---- what the run offers

    def _features(self, _request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        config = self.config
        known = peer.local or peer.key is not None
        return {
            "pictures": {
                "live": config.preview is not None,
                "snapshots": config.recording.snapshots,
                "clips": config.recording.clips,
                # a path is for this machine's programs only
                "folder": self._folder() if peer.local else None,
            },
            "marks": bool(config.uncertain.folder) and known,
            "labels": self._labels(),
            "models": {
                name: str(model_id) for model_id, name in config.model_names.items()
            } if peer.local else {},
        }  # fmt: skip

    def _labels(self) -> list[str]:
        """Of the first camera's first model, in its order; none until it is loaded."""
        lanes = (lane for camera in self.config.cameras for lane in self._lanes_of(camera.name))
        return list(next((lane.recognizer.spec.labels for lane in lanes), ()))

    def _folder(self) -> str | None:
        """Where pictures of events are, also those that earlier runs have kept."""
        named = self.config.recording.folder
        folder = Path(named).expanduser().absolute() if named else default_folder().absolute()
        return str(folder) if (folder / files.MARKER).is_file() else None

    # ---- why something was or was not an event

    def _scores(self, request: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        camera, label, model = (request.get(key) for key in ("camera", "label", "model"))
        if not isinstance(camera, str) or not all(isinstance(one, str | None) for one in (label, model)):
            raise RequestError("bad_request", "op 'scores' needs 'camera'; 'label' and 'model' are text")
        track = request.get("track")
        if isinstance(track, bool) or not isinstance(track, int | None):
            raise RequestError("bad_request", "op 'scores': 'track' is a person's number, or null")
        since, until = (_time(request, key) for key in ("since", "until"))
        if not 0 <= until - since <= LONGEST:
            raise RequestError("bad_request", f"'until' is at most {LONGEST:g} s after 'since'")
        models = self.history.models(camera)
        if model is None:
            model = models[0] if models else ""
        curves = self.history.curves(camera, model, track, label, since, until)
        if curves is None:
            what = "of this camera and model"
            if model in models:
                what = "of this label" if track is None else "of this person, or not of this label,"
            raise RequestError("unknown", f"no scores {what} are kept")
        rules = self._rules(camera, model)
        return {
            "camera": camera,
            "model": model,
            "track": track,
            "since": curves.since,
            "times": curves.times,
            "series": [
                {
                    "label": name,
                    "display": self._names.display(name),
                    "scores": scores,
                    "rule": _rule(rules.get(name)),
                }
                for name, scores in curves.scores.items()
            ],
            "half_life": self._half_life(camera, model),
        }

    def _half_life(self, camera: str, model: str) -> float:
        lanes = (lane for lane in self._lanes_of(camera) if lane.recognizer.spec.name == model)
        own = next((lane.outcomes(camera).events for lane in lanes), ())
        return with_recommended(self._events_of(camera), own).half_life

    def _events_of(self, camera: str) -> Any:
        own = next((one.events for one in self.config.cameras if one.name == camera), None)
        return own or self.config.events

    def _rules(self, camera: str, model: str) -> Mapping[str, Rule]:
        """Label -> its thresholds; labels that are never an event are not in it."""
        for lane in self._lanes_of(camera):
            if lane.recognizer.spec.name != model:
                continue
            own = lane.outcomes(camera)
            try:
                settings = events_for(self._events_of(camera), own, self._names, elsewhere=None)
                labels = EventLabels(model, own.labels, settings)
            except ConfigError:  # words that were changed meanwhile
                return {}
            return {labels.names[index]: rule for index, rule in labels.rules.items()}
        return {}


def _rule(rule: Rule | None) -> Mapping[str, float] | None:
    if rule is None:
        return None
    return {"enter": rule.enter, "exit": rule.exit, "min_on": rule.min_on, "min_off": rule.min_off}


def _time(request: Mapping[str, Any], key: str) -> float:
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RequestError("bad_request", f"op 'scores' needs {key!r}, Unix seconds")
    return float(value)
