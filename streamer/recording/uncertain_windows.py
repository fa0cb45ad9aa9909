"""Windows worth labelling: those between two labels, and those that people say were wrong.

FOLDER/labels.csv                      label and guess of each clip; `streamer train FOLDER` reads it
FOLDER/CAMERA/2026-11-21/…-close.mp4   the window's T frames, `interval` apart, as the model saw them

The model's guess is never written as the label: a clip without a label that a person gave is left out of
training. The inference thread only compares numbers and holds on to frames that it has anyway; encoding and
writing happen on a thread of their own, behind a queue of `MOST_WAITING` clips.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.config import UncertainConfig
from streamer.errors import DatasetError, RequestError
from streamer.recording.privacy import Privacy, Reduce
from streamer.recording.uncertain_files import MARKED, SelectedWindow, UncertainFolder
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Event, LabelScore, LaneResult, Prediction, UncertainStats

if TYPE_CHECKING:
    from streamer.bus.requests import Peer

log = logging.getLogger(__name__)

MOST_WAITING = 8  # clips between the inference thread and the disk
APART = 2.0  # times the margin: so far apart a pair must have been to be worth another clip
LONGEST_LABEL = 100  # characters


@dataclass(slots=True)
class _PairState:
    """What is known of one camera and model."""

    pair: frozenset[str] = frozenset()  # the labels that are close, or have not been apart since
    saved_at: float | None = None  # time line of the last clip


class UncertainWindows:
    """Decides what is saved, and has it saved. `observe` is for the lanes' threads, `mark` for any.

    Args:
        config: `folder` is not empty.
        note: gets one line for people whenever they should know something.
        privacy: what no clip shows.
        reduce_of: (camera, model) -> what made the model's frames of the camera's pictures.

    Raises:
        DatasetError: the folder cannot be used, or PyAV is missing.
    """

    def __init__(
        self,
        config: UncertainConfig,
        *,
        note: Callable[[str], None],
        clock: Clock = SYSTEM_CLOCK,
        privacy: Privacy | None = None,
        reduce_of: Callable[[str, str], Reduce | None] = lambda camera, model: None,
    ) -> None:
        self._config, self._note, self._clock = config, note, clock
        self._privacy, self._reduce_of = privacy, reduce_of
        self._folder = UncertainFolder(Path(config.folder).expanduser(), config.max_mb)
        if (exposure := self._folder.exposure) is not None:
            note(f"uncertain: {exposure}")
        self._lock = threading.Lock()
        self._pairs: dict[tuple[str, str], _PairState] = {}
        self._peaks: dict[
            str, OrderedDict[str, SelectedWindow]
        ] = {}  # camera -> event id -> its best window so far
        self._day, self._today = "", 0
        self._saved: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._jobs: queue.Queue[SelectedWindow | None] = queue.Queue(MOST_WAITING)
        self._failing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="uncertain", daemon=True)

    def start(self) -> None:
        """Clips are written from now on."""
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """Write what waits, for at most `deadline` seconds; may be called again."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        if self._thread.ident is None:
            return
        try:
            self._jobs.put(None, timeout=deadline)
        except queue.Full:
            self._note(f"uncertain: {self._config.folder} does not take the last clips; they are lost")
            return
        self._thread.join(deadline)

    @property
    def stats(self) -> UncertainStats:
        """What was saved and what was not; any thread."""
        with self._lock:
            return UncertainStats(dict(self._saved), dict(self._dropped), self._jobs.qsize(), self._failing)

    # --- what is worth it ---

    def result(self, result: LaneResult) -> None:
        """A window was recognised, perhaps."""
        prediction = result.prediction
        selected = None if prediction is None else self._select(prediction, result.smoothed)
        if prediction is None or selected is None:
            return
        with self._lock:
            self._remember_peaks(selected, result.open_events)
            if self._is_worth_it(selected, prediction):
                self._put(selected)

    def _select(self, prediction: Prediction, smoothed: Mapping[str, float]) -> SelectedWindow | None:
        if self._config.scores == "smoothed" and smoothed:
            best = nlargest(2, smoothed.items(), key=lambda pair: pair[1])
            top = [LabelScore(label, score) for label, score in best]
        else:
            top = prediction.top(2)
        if not top:
            return None
        second = top[1] if len(top) > 1 else None
        hidden = () if self._privacy is None else self._privacy.areas_of(prediction.window)
        return SelectedWindow(prediction.window, prediction.model, top[0], second, hidden=hidden)

    def _remember_peaks(self, selected: SelectedWindow, open_events: Sequence[Event]) -> None:
        """Hold the best window of each open event; the oldest events are forgotten."""
        if not self._config.events:
            return
        peaks = self._peaks.setdefault(selected.window.camera, OrderedDict())
        for event in open_events:
            held = peaks.get(event.id)
            if held is None or event.score >= event.peak:
                believed = LabelScore(event.label, event.score)
                peaks[event.id] = replace(selected, best=believed, second=None, event=event.id, reason=MARKED)
        while len(peaks) > self._config.events:
            peaks.popitem(last=False)

    def _is_worth_it(self, selected: SelectedWindow, prediction: Prediction) -> bool:
        """Whether two labels compete, for the first time since they were apart, and no bound is reached."""
        config, window = self._config, selected.window
        state = self._pairs.setdefault((window.camera, selected.model), _PairState())
        if selected.second is None or prediction.held:
            return False
        difference = selected.best.score - selected.second.score
        pair = frozenset((selected.best.label, selected.second.label))
        close = difference < config.margin and selected.second.score >= config.least
        if not close:
            if difference >= APART * config.margin:
                state.pair = frozenset()
            return False
        if pair == state.pair:
            return False
        # the camera's own time line, so that files played fast are treated as live video is; it begins anew
        # with each loop of a file
        now = window.end
        if state.saved_at is not None and 0.0 <= now - state.saved_at < config.every:
            return False
        if not self._today_has_room():
            self._dropped["daily bound"] += 1
            return False
        state.pair, state.saved_at = pair, now
        self._today += 1
        return True

    def _today_has_room(self) -> bool:
        day = datetime.fromtimestamp(self._clock.wall(), UTC).date().isoformat()
        if day != self._day:
            self._day, self._today = day, self._folder.close_of(day)
        return self._today < self._config.per_day

    # --- marks ---

    def mark(self, camera: str, event: str, label: str | None) -> Mapping[str, Any]:
        """A person says that an event was wrong, and perhaps what it was. Returns the answer's keys.

        Raises RequestError.
        """

        with self._lock:
            selected = self._peaks.get(camera, OrderedDict()).get(event)
            if selected is None:
                raise RequestError(
                    "unknown_event",
                    f"no window of event {event[:60]!r} is held, only of the last {self._config.events}",
                )
            if self._folder.full:
                raise RequestError("full", self._folder.full_text)
            if self._stopped or not self._put(replace(selected, label=label or "")):
                raise RequestError("busy", "the disk is behind; try again in a moment")
        return {"type": "marked", "camera": camera, "event": event, "label": label}

    def _put(self, selected: SelectedWindow) -> bool:
        try:
            self._jobs.put_nowait(selected)
        except queue.Full:
            self._dropped["queue full"] += 1
            return False
        return True

    # --- the thread that writes ---

    def _run(self) -> None:
        while (selected := self._jobs.get()) is not None:
            try:
                self._count(selected.reason, self._folder.save(self._as_shown(selected)))
            except (OSError, DatasetError) as error:
                self._report_failure(str(error))
            except Exception as error:  # the thread's top: a clip is lost, the next one has its chance
                log.exception("an uncertain window could not be saved")
                self._report_failure(f"{type(error).__name__}: {error}")

    def _as_shown(self, selected: SelectedWindow) -> SelectedWindow:
        if self._privacy is None:
            return selected
        reduce = self._reduce_of(selected.window.camera, selected.model)
        return replace(selected, window=self._privacy.window(selected.window, selected.hidden, reduce))

    def _count(self, reason: str, refused: str | None) -> None:
        with self._lock:
            if refused is None:
                self._saved[reason] += 1
                self._failing = False
                return
            self._dropped["folder full"] += 1
            first, self._failing = not self._failing, True
        if first:
            self._note(f"uncertain: {refused}")

    def _report_failure(self, why: str) -> None:
        with self._lock:
            self._dropped["disk"] += 1
            first, self._failing = not self._failing, True
        if first:
            self._note(f"uncertain: a clip could not be saved in {self._config.folder}: {why}")


def answer(uncertain: UncertainWindows | None, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
    """`op: mark`: `camera`, `event` (its id), `label` (what it was; null or absent: not that).

    Raises RequestError.
    """

    if uncertain is None:
        raise RequestError(
            "not_collecting", "this run holds no windows to mark; start it with --set uncertain.folder=FOLDER"
        )
    if not (peer.local or peer.key is not None):
        raise RequestError("forbidden", "events are marked from this machine, or with an encryption key")
    camera, event, label = (request.get(key) for key in ("camera", "event", "label"))
    if not isinstance(camera, str) or not isinstance(event, str):
        raise RequestError("bad_request", "op 'mark' needs 'camera' and 'event' (its id)")
    if label is not None:
        label = " ".join(label.split()) if isinstance(label, str) else ""
        if not label or len(label) > LONGEST_LABEL or not label.isprintable():
            raise RequestError("bad_request", f"'label' is null or text of 1 to {LONGEST_LABEL} characters")
    return uncertain.mark(camera, event, label)
