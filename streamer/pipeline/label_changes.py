"""Words that change while the program runs: asked for on the bus, or by editing the config file.

A request is checked at once (the tokenizer is quick) and answered; the words' embeddings are computed on a
thread of their own, so that neither the bus nor a model waits; the model takes them between two windows.
Of several requests for one camera that wait, the newest counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, RequestError, StreamerError
from streamer.system.file_watch import FileWatch

if TYPE_CHECKING:
    from streamer.bus.requests import Peer
    from streamer.config import Config
    from streamer.pipeline.lane import Lane
    from streamer.recognition.words.prompts import WordSet

log = logging.getLogger(__name__)

IDLE_WAIT = 0.5  # seconds; only a safety net, changes are signalled


@dataclass(frozen=True, slots=True)
class _Wanted:
    lane: Lane
    words: WordSet
    number: int


class LabelChanges:
    """Thread-safe. `start` it when the lanes are complete.

    Args:
        lanes_of: camera -> its lanes.
        changed: called on a lane's thread: camera, and what the status message says of the change.
        warn: gets one line for people.
        wall: Unix seconds.
    """

    def __init__(
        self,
        lanes_of: Mapping[str, tuple[Lane, ...]],
        changed: Callable[[str, dict[str, Any]], None],
        warn: Callable[[str], None],
        wall: Callable[[], float],
    ) -> None:
        self._lanes_of = lanes_of
        self._changed = changed
        self._warn = warn
        self._wall = wall
        self._lock = threading.Lock()
        self._wanted: dict[tuple[str, int], _Wanted] = {}  # by camera and lane
        self._number = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._started = False
        self._thread = threading.Thread(target=self._run, name="label-changes", daemon=True)

    def start(self) -> None:
        """Requests are served from now on."""
        self._started = True
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """What waits is dropped; at most `deadline` seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(deadline)

    # --- requests ---

    def answer(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """`op: labels`: `labels` (words, or an object as in a file), optional `camera`. Without `labels` it
        says what is asked for now. Raises RequestError.
        """

        from streamer.recognition.words.prompts import words_of

        camera, value = request.get("camera"), request.get("labels")
        if camera is not None and not (isinstance(camera, str) and camera in self._lanes_of):
            known = ", ".join(self._lanes_of) or "none yet"
            raise RequestError(
                "unknown_camera", f"there is no camera {str(camera)[:100]!r}; there are {known}"
            )
        if value is None:
            return {"cameras": self.now(camera)}
        if not (peer.local or peer.key is not None):
            raise RequestError("forbidden", "labels are changed from this machine, or with an encryption key")
        if not self._started:
            raise RequestError("not_ready", "the model is being loaded; ask again when predictions come")
        try:
            return self.ask(words_of(value), camera)
        except ConfigError as error:
            raise RequestError("bad_labels", str(error)) from None

    def now(self, camera: str | None = None) -> dict[str, list[str]]:
        """Camera -> the words asked for now; cameras whose models have their own labels are left out."""
        found = {}
        for name in [camera] if camera is not None else list(self._lanes_of):
            for lane in self._lanes_of.get(name, ()):  # it may be removed meanwhile
                if lane.words is not None:
                    found[name] = list(lane.outcomes(name).labels)
        return found

    def ask(self, words: WordSet, camera: str | None = None, only: Lane | None = None) -> dict[str, Any]:
        """Have words asked for on one camera, or on all whose models read words; any thread.

        `only`: of this lane alone.

        Raises:
            ConfigError: a prompt is too long, a label is a group's name too, or no model here reads words.
        """
        names = [camera] if camera is not None else list(self._lanes_of)
        found = [
            (name, lane)
            for name in names
            for lane in self._lanes_of.get(name, ())
            if lane.words is not None and only in (None, lane)
        ]
        if not found:
            raise ConfigError(
                f"{'camera ' + camera if camera is not None else 'every camera'} runs models with labels of "
                "their own; words need a model such as openai/clip-vit-base-patch32"
            )
        for name, lane in found:
            lane.check_words(name, words)
        with self._lock:
            self._number += 1
            number = self._number
            self._wanted.update({(name, id(lane)): _Wanted(lane, words, number) for name, lane in found})
        self._wake.set()
        return {"change": number, "cameras": {name: list(words.labels) for name, _ in found}}

    # --- the thread ---

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()
            with self._lock:
                wanted, self._wanted = self._wanted, {}
            for (camera, _), one in wanted.items():
                if self._stop.is_set():
                    return
                try:
                    self._change(camera, one)
                except Exception as error:  # noqa: BLE001 - the thread's top: reported there
                    self._report_failure(camera, error)

    def _change(self, camera: str, wanted: _Wanted) -> None:
        if wanted.lane.words is None:
            return
        embeddings = wanted.lane.words.prepare(wanted.words)
        told = {
            "change": wanted.number,
            "model": wanted.lane.recognizer.spec.name,
            "labels": list(embeddings.labels),
        }
        wanted.lane.change_labels(
            camera,
            embeddings,
            lambda: self._changed(camera, {"at": round(self._wall(), 3), **told}),
            lambda error: self._report_failure(camera, error),
        )

    def _report_failure(self, camera: str, error: Exception) -> None:
        """What was asked for cannot be done after all; the run goes on."""
        reason = str(error)
        if not isinstance(error, StreamerError):
            log.error("changing labels failed", exc_info=error)
            reason = f"{type(error).__name__}: {error}"
        self._warn(f"{camera}: the labels stay as they are: {reason}")


class LabelEdits:
    """Words that are edited in the config file, or in the files it names, while the program runs.

    Only edits count: what was changed over the bus stays until the file says something new. A broken edit is
    reported, and the words stay as they are.

    Args:
        config: as it was read; edits are counted from here on.
        file: the config file; None: only files of labels are watched.
        reload: reads the whole configuration again.
        cameras: gets the whole of an edited configuration, for what it says of cameras.

    Raises:
        ConfigError: a file of labels is wrong.
    """

    def __init__(
        self,
        config: Config,
        file: Path | None,
        reload: Callable[[], Config] | None,
        cameras: Callable[[Config], None] = lambda config: None,
    ) -> None:
        self._config = config
        self._cameras = cameras
        self._file = file
        self._reload = reload
        self._watch = FileWatch(self._files(config))
        self._read = self._words(config)  # (camera, model id) -> what the files say

    def observe(
        self,
        lanes_of: Mapping[str, tuple[Lane, ...]],
        changes: LabelChanges,
        warn: Callable[[str], None],
    ) -> None:
        """Notice an edit and have it taken over; costs a few `stat`s."""
        if not self._watch.changed():
            return
        try:
            edited = self._reload() if self._reload is not None else self._config
            words = self._words(edited)
            files = self._files(edited)
            self._take(edited, words, lanes_of, changes)
            self._cameras(edited)
        except Exception as error:  # an edit's edge: whatever is wrong with it, it ends no run
            reason = str(error)
            if not isinstance(error, StreamerError):
                log.exception("reading the edited configuration failed")
                reason = f"{type(error).__name__}: {error}"
            warn(f"the edited configuration is not used, the labels stay as they are: {reason}")
            return
        self._watch.files(files)
        self._read = words

    def _files(self, config: Config) -> list[Path]:
        from streamer.recognition.words.prompts import label_file

        models = [model for camera in config.cameras for model in config.models_of(camera)]
        named = [file for model in models if (file := label_file(model.labels or ())) is not None]
        return list(dict.fromkeys([*([self._file] if self._file is not None else []), *named]))

    def _words(self, config: Config) -> dict[tuple[str, str], WordSet]:
        from streamer.recognition.words.prompts import read_words

        return {
            (camera.name, model.id): read_words(model.labels)
            for camera in config.cameras
            for model in config.models_of(camera)
            if model.labels
        }

    def _take(
        self,
        config: Config,
        words: Mapping[tuple[str, str], WordSet],
        lanes_of: Mapping[str, tuple[Lane, ...]],
        changes: LabelChanges,
    ) -> None:
        """All that is new is checked before any of it is asked for."""
        new = []
        for camera in config.cameras:
            for lane in lanes_of.get(camera.name, ()):  # models that are new to the file are not running
                key = camera.name, lane.model_id
                wanted = words.get(key)
                if wanted is None or lane.words is None or wanted == self._read.get(key):
                    continue
                lane.check_words(camera.name, wanted)
                new.append((camera.name, lane, wanted))
        for name, lane, wanted in new:
            changes.ask(wanted, name, lane)
