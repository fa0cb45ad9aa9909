"""What a worker watches, and what it is to watch: one thread brings them together, camera by camera."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamer.cluster.definitions import camera_of
from streamer.cluster.lease import Leases
from streamer.cluster.model_speed import windows_per_second
from streamer.config import CameraConfig, ModelConfig
from streamer.errors import ConfigError, StreamerError
from streamer.pipeline.lane_pool import Load
from streamer.pipeline.model_rules import hop_of
from streamer.recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from streamer.pipeline.pipeline import Pipeline

log = logging.getLogger(__name__)

LOOK = 0.1  # seconds between two looks at whether the lease still holds


class WatchedCameras:
    """Thread-safe; `run` is one thread's."""

    def __init__(self, leases: Leases, load: Load) -> None:
        self._leases, self._load = leases, load
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._wanted: dict[str, int] = {}  # camera -> number of its lease
        self._definitions: dict[str, tuple[str, CameraConfig]] = {}  # with their fingerprints
        self._watched: dict[str, tuple[str, int]] = {}  # camera -> fingerprint, number of its lease
        self._failed: dict[str, tuple[str, str]] = {}  # camera -> fingerprint, why
        self._loaded: dict[str, dict[str, float]] = {}
        self._ahead: list[tuple[str, ModelConfig]] = []  # name, what is loaded before a camera needs it
        self.problem = ""

    # ---- for the link to the front

    def wanted(self, leases: Mapping[str, int], define: Mapping[str, Any], prints: Mapping[str, str]) -> None:
        """What the front wants now. Raises ConfigError where a definition is not understood."""
        new = {camera: (prints[camera], camera_of(told)) for camera, told in define.items()}
        with self._lock:
            self._definitions.update(new)
            changed = self._wanted != dict(leases) or new
            self._wanted = dict(leases)
        if changed:
            self._changed.set()

    def ahead(self, models: Sequence[tuple[str, ModelConfig]]) -> None:
        """Models that cameras of the cluster use: loaded when there is nothing else to do, so that a camera
        of a worker that dies need not wait for its model.
        """
        with self._lock:
            self._ahead = list(models)

    def holding(self) -> dict[str, int]:
        """What is watched or about to be, or has not stopped yet; nothing where the lease has run out."""
        if not self._leases.hold:
            return {}
        with self._lock:
            stopping = {camera: epoch for camera, (_, epoch) in self._watched.items()}
            return {name: n for name, n in {**stopping, **self._wanted}.items() if name not in self._failed}

    def defined(self) -> dict[str, str]:
        with self._lock:
            return {camera: known[0] for camera, known in self._definitions.items() if camera in self._wanted}

    def failed(self) -> dict[str, str]:
        """Camera -> why it cannot be watched here."""
        with self._lock:
            return {camera: why[:200] for camera, (_, why) in self._failed.items()}

    def failed_as(self) -> dict[str, str]:
        """Camera -> the fingerprint of the definition that cannot be watched here."""
        with self._lock:
            return {camera: print_ for camera, (print_, _) in self._failed.items()}

    def loaded(self) -> dict[str, dict[str, float]]:
        """Model id -> windows a second, and the hop that it asks for."""
        with self._lock:
            return dict(self._loaded)

    # ---- for the pipeline

    def load(self, model: ModelConfig, name: str) -> Recognizer:
        """Load a model, and measure it the first time."""
        recognizer = self._load(model, name)
        if model.id not in self._loaded:
            recognizer.warm_up()
            speed = windows_per_second(recognizer)
            hop = hop_of(model.model_copy(update={"hop": None}), recognizer.spec)
            with self._lock:
                self._loaded[model.id] = {"speed": speed, "hop": hop}
            log.info("model %s: %.1f windows/s here", model.id, speed)
        return recognizer

    # ---- the thread

    def run(self, pipeline: Pipeline, over: threading.Event) -> None:
        while not over.is_set():
            self._changed.wait(LOOK)
            self._changed.clear()
            if pipeline.stats().ready_since is None:
                self._changed.set()
                over.wait(LOOK)
                continue
            try:
                self._bring_together(pipeline, over)
                self._load_ahead()
            except Exception:  # a thread's top
                log.exception("cameras could not be changed")
                over.wait(LOOK)

    def _bring_together(self, pipeline: Pipeline, over: threading.Event) -> None:
        held = self._leases.hold
        with self._lock:
            wanted = dict(self._wanted) if held else {}
            watched = dict(self._watched)
            prints = {camera: known[0] for camera, known in self._definitions.items()}
        for camera, (print_, _) in watched.items():
            if camera not in wanted or print_ != prints.get(camera):
                reason = "lease lost" if not held else "moved" if camera not in wanted else "camera changed"
                pipeline.remove(camera, reason)
                with self._lock:
                    del self._watched[camera]
        for camera, epoch in wanted.items():
            if over.is_set() or not self._leases.hold:
                return
            self._add(camera, epoch, pipeline)

    def _load_ahead(self) -> None:
        """One model; one that cannot be used here is told of when a camera needs it."""
        with self._lock:
            if not self._ahead or self._changed.is_set():
                return
            name, model = self._ahead.pop(0)
        try:
            self.load(model, name).close()
        except StreamerError as error:
            log.warning("model %s cannot be loaded ahead: %s", name, error)

    def _add(self, camera: str, epoch: int, pipeline: Pipeline) -> None:
        with self._lock:
            known = self._definitions.get(camera)
            before = self._watched.get(camera)
            failed = self._failed.get(camera)
            if known is None or self._wanted.get(camera) != epoch:
                return
            if before is not None:
                self._watched[camera] = (before[0], epoch)
                return
            if failed is not None and failed[0] == known[0]:
                return  # tried already
            self._failed.pop(camera, None)
            self._watched[camera] = (known[0], epoch)
        try:
            pipeline.add(known[1])
        except StreamerError as error:
            log.warning("%s", error)
            with self._lock:
                self._watched.pop(camera, None)
                self._failed[camera] = (known[0], str(error))
            if not isinstance(error, ConfigError):
                log.info("camera %s: the model cannot be used here", camera)
