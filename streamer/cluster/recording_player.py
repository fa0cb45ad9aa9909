"""Plays recordings through the program's own fast path, one after the other; models are loaded once."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from streamer.cluster import archive_settings
from streamer.cluster.archive_jobs import Job, News, What
from streamer.config import Config
from streamer.errors import ModelError, SourceError
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.loaded_models import LoadedModels

TELL_EVERY = 1.0  # seconds between two signs of progress
KINDS = ("prediction", "event")  # what a result holds; the rest is of the run, not of the recording

Tell = Callable[[News], None]


class WriteError(Exception):
    """A result cannot be written: no fault of the recording."""


def import_ahead() -> None:
    """Seconds of importing, so that loading, which players do one after the other, takes a moment."""
    import_module("streamer.recognition.loading")
    import_module("transformers.models.timesformer.modeling_timesformer")  # what all video models need


class RecordingPlayer:
    """One thread. `load` first.

    Args:
        tell: gets signs of progress, on a thread of the run.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._models = LoadedModels()
        self._config = Config()

    def load(self, settings: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
        """Load and warm up the models of a configuration; says what computes each.

        Raises:
            ModelError: one cannot be used.
            ConfigError: its words are wrong.
        """
        self._config = Config.model_validate(settings)
        names, told = self._config.model_names, []
        for model in archive_settings.models_of(self._config):
            spec = self._models.load(model, names[model.id]).spec
            chosen = {"device": spec.device, "engine": spec.engine, "precision": spec.precision}
            told.append({"id": model.id, **chosen, "machine": socket.gethostname()})
        return tuple(told)

    def play(self, job: Job) -> News:
        """Play one recording; its result is there, whole, when this returns DONE.

        Raises:
            ModelError: a model failed; this process may be of no more use.
            WriteError: the result cannot be written.
        """
        config = archive_settings.for_recording(self._config, job.source, job.camera)
        try:
            length = self._length(config)
            with open(job.part, "w", encoding="utf-8", newline="\n") as out:
                os.chmod(job.part, 0o600)  # what people did: for their owner only
                sink = _Lines(out, job.number, length, self._tell)
                with Pipeline(config, load=self._models.load, sinks=[sink]) as pipeline:
                    run = pipeline.run(threading.Event())
                if sink.failure is not None:
                    raise sink.failure
                if run.error is not None:
                    raise run.error
                if run.nothing_seen:
                    return self._failed(job, run.cameras[0].reason)
                if run.lost:
                    raise ModelError(f"{run.lost} messages were lost")
                out.write(_line(sink.summary(job, run.cameras[0].captured)))
                out.flush()
                os.fsync(out.fileno())
            Path(job.result).parent.mkdir(parents=True, exist_ok=True)
            os.replace(job.part, job.result)
        except OSError as error:
            raise WriteError(f"{job.result} cannot be written: {error.strerror or error}") from error
        return News(What.DONE, job.number, sink.seconds, length, sink.windows, sink.events)

    def close(self) -> None:
        self._models.close()

    def _failed(self, job: Job, why: str) -> News:
        Path(job.part).unlink(missing_ok=True)
        reason = (why or "it cannot be opened").removeprefix(f"camera {job.camera}: ")
        return News(What.FAILED, job.number, reason=reason)

    def _length(self, config: Config) -> float | None:
        """Seconds of a recording as its container declares; None where that cannot be told."""
        from streamer.capture.source import open_source

        try:
            opened = open_source(config.cameras[0], config.capture)
        except SourceError:
            return None  # the run says why
        length = opened.length
        opened.release()
        return length


class _Lines:
    """A sink of the bus that writes each message as one line of JSON."""

    def __init__(self, out: TextIO, number: int, length: float | None, tell: Tell) -> None:
        self._out, self._number, self._length, self._tell = out, number, length, tell
        self._told_at = time.monotonic()
        self.seconds, self.windows, self.events = 0.0, 0, 0
        self.failure: OSError | None = None

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        if message["type"] not in KINDS:
            return
        if message["type"] == "prediction":
            self.windows += 1
            self.seconds = max(self.seconds, message["window"].get("media_end") or 0.0)
        elif message["event"]["phase"] == "end":
            self.events += 1
        try:
            self._out.write(_line(message))
        except OSError as error:
            self.failure = error
            raise
        if (now := time.monotonic()) - self._told_at >= TELL_EVERY:
            self._told_at = now
            self._tell(News(What.AT, self._number, self.seconds, self._length, self.windows))

    def summary(self, job: Job, frames: int) -> dict[str, Any]:
        """The last line: that all is there, and what it was made of."""
        return {
            "v": 1, "type": "recording", "camera": job.camera, "file": job.source, "bytes": job.size,
            "modified": job.modified, "frames": frames, "windows": self.windows, "events": self.events,
            "seconds": round(self.seconds, 4), **job.note,
        }  # fmt: skip


def _line(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
