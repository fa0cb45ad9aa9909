"""The inference thread: takes the window that has waited longest, runs the model, hands the scores on.

Nothing queues here. Each camera's `Windows` holds at most what its policy allows (the newest window for live
video), so a model slower than the cameras stretches every camera's hop alike and latency does not grow.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from streamer.errors import ModelError, StreamerError
from streamer.recognition.motion_gate import MotionGate
from streamer.recognition.recognizer import Recognizer
from streamer.types import Prediction, Square, Subject, Window
from streamer.windows.window_source import WindowSource

log = logging.getLogger(__name__)

FAILURES_ALLOWED = 5  # windows in a row; one bad window is skipped, a broken model ends the program
IDLE_WAIT = 0.25  # seconds between two looks; readiness is signalled


class InferenceThread(threading.Thread):
    """Runs one recognizer over the windows of its cameras.

    Args:
        recognizer: the loaded model; used on this thread only, `reduce` excepted.
        windows: camera name -> its windows. Cameras may come and go at any time.
        deliver: called on this thread with each window's prediction, in the order of computing.
        batch: most windows in one forward. More than 1 pays on a GPU only.
        motion_gate: hold a camera's last scores while its picture does not change.
        labels: camera -> its labels, where they are not the model's; changed on this thread only (`call`).
        between: called on this thread between two batches, every `IDLE_WAIT` seconds where there is none.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        windows: Mapping[str, WindowSource],
        deliver: Callable[[Prediction], None],
        *,
        batch: int = 1,
        motion_gate: bool = False,
        labels: Mapping[str, tuple[str, ...]] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=f"inference-{recognizer.spec.name}", daemon=True)
        self._recognizer = recognizer
        self._windows = windows
        self._deliver = deliver
        self._batch = batch
        self._gates: dict[Subject, tuple[Square | None, MotionGate]] | None = {} if motion_gate else None
        self._scores: dict[Subject, NDArray[Any]] = {}  # the last of each
        self._ready = threading.Event()
        self._stop_asked = threading.Event()
        self._taking = threading.Lock()  # guards `_current`
        self._current: frozenset[str] = frozenset()  # cameras whose windows are being computed
        self._between = between
        self._labels = labels if labels is not None else {}
        self._calls: deque[Callable[[], None]] = deque()
        self._failures = 0
        self.error: StreamerError | None = None  # why the thread gave up

    def notify(self) -> None:
        """A window may be ready; any thread."""
        self._ready.set()

    def stop(self) -> None:
        """Ask the thread to end after the forward in progress."""
        self._stop_asked.set()
        self._ready.set()

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` called on this thread, between two windows; any thread."""
        self._calls.append(function)
        self._ready.set()

    def forget_scores(self, camera: str, track: int | None = None) -> None:
        """Nothing of before may be held for a camera, or for one who was followed there; on this thread."""
        for subject in [one for one in (*self._scores, *(self._gates or ())) if one[0] == camera]:
            if track in (None, subject[1]):
                self._scores.pop(subject, None)
                if self._gates is not None:
                    self._gates.pop(subject, None)

    def busy_with(self, camera: str) -> bool:
        """True while a window of this camera is being computed or delivered; any thread."""
        with self._taking:
            return camera in self._current

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._ready.clear()  # before looking, so that no signal is lost
                while self._calls:
                    self._calls.popleft()()
                self._between()
                with self._taking:
                    batch = self._take()
                    self._current = frozenset(window.camera for window in batch)
                if batch:
                    self._recognise([window for window in batch if not self._hold(window)])
                else:
                    self._ready.wait(IDLE_WAIT)
        except StreamerError as error:
            self.error = error
        except Exception as error:  # the top of a thread: reported to the main thread
            log.exception("the inference thread failed")
            self.error = ModelError(f"recognition stopped: {type(error).__name__}: {error}")
        finally:
            self._current = frozenset()

    def _take(self) -> list[Window]:
        """Up to `batch` windows, the one that has waited longest first."""
        sources = [part for windows in list(self._windows.values()) for part in windows.parts]
        waiting = [(since, w) for w in sources if (since := w.ready_since()) is not None]
        waiting.sort(key=lambda pair: pair[0])
        taken = (windows.take() for _, windows in waiting[: self._batch])
        return [window for window in taken if window is not None]

    def _hold(self, window: Window) -> bool:
        """Answer a window in which nothing moved with the scores before; False if it must be computed."""
        if self._gates is None:
            return False
        spec = self._recognizer.spec
        further = max(0, spec.reach - (spec.frames - 1))
        part, gate = self._gates.setdefault(window.subject, (window.frames[-1].part, MotionGate(further)))
        if part != window.frames[-1].part:  # pictures of different squares cannot be compared
            gate = MotionGate(further)
            self._gates[window.subject] = window.frames[-1].part, gate
        if any(step.begins for step in window.steps) or len(window.frames) < spec.frames:
            gate.forget_computed()  # a streaming model begins anew: what it says of few frames is not held
            return False
        if not gate.quiet(window) or window.subject not in self._scores:
            return False
        scores = self._scores[window.subject]
        labels = self._labels.get(window.camera, spec.labels)
        self._deliver(Prediction(window.camera, spec.name, window, labels, scores, held=True))
        return True

    def _recognise(self, batch: Sequence[Window]) -> None:
        if not batch:
            return
        started = perf_counter()
        try:
            found = self._recognizer.predict(batch)
        except ModelError as error:
            if len(batch) == 1:
                self._forget_gate(batch[0].subject)
                self._count_failure(batch[0], error)
                return
            for window in batch:  # find the bad one; the others keep their prediction
                self._recognise([window])
            return
        self._failures = 0
        elapsed = perf_counter() - started
        spec = self._recognizer.spec
        for window, scores in zip(batch, found, strict=True):
            self._scores[window.subject] = scores
            self._deliver(
                Prediction(
                    camera=window.camera,
                    model=spec.name,
                    window=window,
                    labels=self._labels.get(window.camera, spec.labels),
                    scores=scores,
                    preprocess_s=found.preprocess_s,
                    inference_s=max(0.0, elapsed - found.preprocess_s),
                )
            )

    def _forget_gate(self, subject: Subject) -> None:
        """A window of it was not computed: nothing may be held in its place."""
        if self._gates is not None:
            self._gates[subject][1].forget_computed()

    def _count_failure(self, window: Window, error: ModelError) -> None:
        self._failures += 1
        log.warning("%s: window %d could not be recognised: %s", window.camera, window.id, error)
        if self._failures >= FAILURES_ALLOWED:
            raise error
