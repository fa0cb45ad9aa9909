"""What a worker watches, and what it is to watch. One thread lets cameras go, another opens them: a lease
that has run out does not wait for a model that is being loaded.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamer.cluster.camera_definitions import camera_of
from streamer.cluster.model_speed import windows_per_second
from streamer.cluster.worker_leases import Leases
from streamer.config import CameraConfig, ModelConfig
from streamer.errors import ConfigError, StreamerError
from streamer.pipeline.lane_pool import Load
from streamer.pipeline.model_rules import hop_of
from streamer.recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from streamer.pipeline.pipeline import Pipeline

log = logging.getLogger(__name__)

LOOK = 0.1  # seconds between two looks at whether the lease still holds
RETRY = 30.0  # seconds until a camera that failed is tried again; twice as long after each time
RETRY_MOST = 600.0
SHOWN = 5  # names of cameras in a line of the log


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a camera cannot be watched here, as it was defined."""

    fingerprint: str
    why: str
    pause: float = math.inf  # seconds; a definition that is not understood is not tried again
    since: float = 0.0  # monotonic seconds

    @property
    def over(self) -> bool:
        """It may have passed: a disk that was not mounted, memory that others had."""
        return time.monotonic() >= self.since + self.pause


class WatchedCameras:
    """Thread-safe; `run` is one thread's, and has one more open the cameras."""

    def __init__(self, leases: Leases, load: Load) -> None:
        self._leases, self._load = leases, load
        self._lock = threading.Lock()
        self._changed = threading.Event()  # cameras may have to go
        self._news = threading.Event()  # cameras may have to come
        self._wanted: dict[str, int] = {}  # camera -> number of its lease
        self._definitions: dict[str, tuple[str, CameraConfig]] = {}  # with their fingerprints
        self._watched: dict[str, tuple[str, int]] = {}  # camera -> fingerprint, number of its lease
        self._coming = ""  # the one of these that is being opened
        self._failed: dict[str, _Failure] = {}
        self._loaded: dict[str, dict[str, float]] = {}
        self._ahead: list[tuple[str, ModelConfig]] = []  # name, what is loaded before a camera needs it

    # ---- for the link to the front

    def wanted(self, leases: Mapping[str, int], define: Mapping[str, Any], prints: Mapping[str, str]) -> None:
        """What the front wants now. A definition that is not understood is that camera's failure alone."""
        new, failed = {}, {}
        for camera, told in define.items():
            try:
                new[camera] = prints[camera], camera_of(told)
            except ConfigError as error:
                log.warning("camera %s: %s", camera, error)
                failed[camera] = _Failure(prints[camera], str(error))
        with self._lock:
            self._definitions.update(new)
            self._failed.update(failed)
            for camera in failed:
                self._definitions.pop(camera, None)
            changed = self._wanted != dict(leases) or new or failed
            others = self._wanted.keys() != leases.keys()
            self._wanted = dict(leases)
        if others:
            log.info("cameras to watch: %s", _some(leases))
        if changed:
            self._changed.set()
            self._news.set()

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
            failed = self._refused()
            held = {camera: epoch for camera, epoch in self._wanted.items() if camera not in failed}
            return {**{camera: epoch for camera, (_, epoch) in self._watched.items()}, **held}

    def defined(self) -> dict[str, str]:
        with self._lock:
            return {camera: known[0] for camera, known in self._definitions.items() if camera in self._wanted}

    def failed(self) -> dict[str, str]:
        """Camera -> why it cannot be watched here."""
        with self._lock:
            return {camera: one.why[:200] for camera, one in self._refused().items()}

    def failed_as(self) -> dict[str, str]:
        """Camera -> the fingerprint of the definition that cannot be watched here."""
        with self._lock:
            return {camera: one.fingerprint for camera, one in self._refused().items()}

    def _refused(self) -> dict[str, _Failure]:
        """What is not tried now, of the definitions that are known."""
        found = {}
        for camera, one in self._failed.items():
            known = self._definitions.get(camera)
            if not one.over and (known is None or known[0] == one.fingerprint):
                found[camera] = one
        return found

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

    # ---- the threads

    def run(self, pipeline: Pipeline, over: threading.Event) -> None:
        """Until `over` is set, and a model that is being loaded then is there."""
        while pipeline.stats().ready_since is None:
            if over.wait(LOOK):
                return
        openings = threading.Thread(target=self._open, args=(pipeline, over), name="openings", daemon=True)
        openings.start()
        while not over.is_set():
            self._changed.wait(LOOK)
            self._changed.clear()
            try:
                self._let_go(pipeline)
            except Exception:  # a thread's top
                log.exception("a camera could not be let go")
                over.wait(LOOK)
        openings.join()

    def _let_go(self, pipeline: Pipeline) -> None:
        """End what is not to be watched any more, or not as it is."""
        held, withheld = self._leases.hold, self._leases.withheld()
        with self._lock:
            wanted = dict(self._wanted)
            watched = {camera: one for camera, one in self._watched.items() if camera != self._coming}
            prints = {camera: known[0] for camera, known in self._definitions.items()}
        for camera, (print_, epoch) in watched.items():
            if not held:
                reason = "lease lost"
            elif camera not in wanted:
                reason = "moved"
            elif print_ != prints.get(camera):
                reason = "camera changed"
            elif epoch != wanted[camera] or camera in withheld:
                reason = "lease lost"  # and held again, before this thread saw it
            else:
                continue
            pipeline.remove(camera, reason)
            self._leases.closed(camera)
            with self._lock:
                del self._watched[camera]
            self._news.set()

    def _open(self, pipeline: Pipeline, over: threading.Event) -> None:
        while not over.is_set():
            self._news.wait(LOOK)
            self._news.clear()
            with self._lock:
                wanted = dict(self._wanted)
            for camera, epoch in wanted.items():
                if over.is_set() or not self._leases.hold:
                    break
                self._add(camera, epoch, pipeline)
            self._load_ahead()

    def _load_ahead(self) -> None:
        """One model; one that cannot be used here is told of when a camera needs it."""
        with self._lock:
            if not self._ahead or self._news.is_set():
                return
            name, model = self._ahead.pop(0)
        try:
            self.load(model, name).close()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a model, the others are loaded
            log.warning("model %s cannot be loaded ahead: %s", name, error)

    def _add(self, camera: str, epoch: int, pipeline: Pipeline) -> None:
        with self._lock:
            known = self._definitions.get(camera)
            if known is None or self._wanted.get(camera) != epoch or camera in self._watched:
                return
            if camera in self._refused():
                return
            failed = self._failed.get(camera)
            self._watched[camera] = (known[0], epoch)
            self._coming = camera
        try:
            pipeline.add(known[1])
        except Exception as error:  # one camera must not end the others
            log.log(logging.WARNING, "%s", error, exc_info=not isinstance(error, StreamerError))
            again = failed is not None and failed.fingerprint == known[0]
            pause = RETRY if failed is None or not again else min(failed.pause * 2, RETRY_MOST)
            with self._lock:
                del self._watched[camera]
                self._failed[camera] = _Failure(known[0], str(error), pause, time.monotonic())
        else:
            with self._lock:
                self._failed.pop(camera, None)
        with self._lock:
            self._coming = ""
        self._changed.set()  # it may have to go again


def _some(names: Iterable[str]) -> str:
    """Names for one line, however many there are."""
    known = sorted(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more if known else "none"
