"""Cameras that are edited in the config file while the program runs: new ones come, removed ones go, changed
ones are opened anew; the others never notice.

A model may take long to load, so this has a thread of its own. Words are changed by label_changes.py.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from streamer.config import CameraConfig, Config
from streamer.errors import ConfigError, StreamerError

log = logging.getLogger(__name__)


class Watching(Protocol):
    """What changes its cameras: the pipeline."""

    @property
    def config(self) -> Config: ...

    @property
    def add(self) -> Callable[[CameraConfig, Config], None]: ...

    @property
    def remove(self) -> Callable[[str, str], bool]: ...

    @property
    def warn(self) -> Callable[[str], None]: ...


def definition(config: Config, camera: CameraConfig) -> tuple[Any, ...]:
    """All that a camera is made of, but the words asked for; equal where nothing needs to be opened anew."""
    models = tuple(model.model_copy(update={"labels": None}) for model in config.models_of(camera))
    inherited = {"model": None, "models": (), "events": None, "privacy": None, "follow": None}
    events, privacy, follow = (
        camera.events or config.events,
        config.privacy_of(camera),
        config.follow_of(camera),
    )
    return camera.model_copy(update=inherited), models, events, privacy, follow


def with_camera(config: Config, camera: CameraConfig, common: Config) -> Config:
    """A configuration with one more camera, which inherits what `common` says."""
    others = tuple(one for one in config.cameras if one.name != camera.name)
    inherited = {key: getattr(common, key) for key in ("model", "models", "events", "privacy", "follow")}
    return config.model_copy(update={"cameras": (*others, camera), **inherited})


class CameraEdits:
    """`edited` is for the main loop; the newest configuration counts."""

    def __init__(self, pipeline: Watching) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._wanted: Config | None = None
        self._thread: threading.Thread | None = None
        self._stop = False

    @property
    def busy(self) -> bool:
        """Whether cameras are on their way."""
        with self._lock:
            return self._thread is not None

    def edited(self, config: Config) -> None:
        """Take over what an edited configuration says of cameras; returns at once.

        Raises:
            ConfigError: no camera would be left.
        """
        if not any(camera.enabled for camera in config.cameras):
            raise ConfigError("no camera is enabled there")
        with self._lock:
            self._wanted = config
            if self._thread is None and not self._stop:
                self._thread = threading.Thread(target=self._run, name="camera-edits", daemon=True)
                self._thread.start()

    def stop(self, deadline: float) -> bool:
        """What waits is dropped; False where a model is still being loaded after `deadline` seconds."""
        with self._lock:
            self._stop, self._wanted, thread = True, None, self._thread
        if thread is not None:
            thread.join(deadline)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                config, self._wanted = self._wanted, None
                if config is None:
                    self._thread = None
                    return
            self._take(config)

    def _take(self, edited: Config) -> None:
        now = self._pipeline.config
        before = {camera.name: definition(now, camera) for camera in now.cameras if camera.enabled}
        after = {camera.name: camera for camera in edited.cameras if camera.enabled}
        for name in before:
            if name not in after:
                self._try(name, partial(self._pipeline.remove, name, "camera removed"))
        for name, camera in after.items():
            if before.get(name) == definition(edited, camera):
                continue
            if name in before:
                self._try(name, partial(self._pipeline.remove, name, "camera changed"))
            self._try(name, partial(self._pipeline.add, camera, edited))

    def _try(self, name: str, change: Callable[[], object]) -> None:
        if self._stop:
            return
        try:
            change()
        except StreamerError as error:
            if self._stop:
                return  # the program ended meanwhile
            self._pipeline.warn(f"camera {name} is not changed as the configuration now says: {error}")
        except Exception as error:  # a thread's top: an edit ends no run
            log.exception("an edited camera could not be taken over")
            self._pipeline.warn(f"camera {name} cannot be changed: {type(error).__name__}: {error}")
