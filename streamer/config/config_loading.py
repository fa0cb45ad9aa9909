"""`load_config`: a configuration from a file, the environment and options.

Precedence, weakest first: the defaults in `sections.py`, the file, `STREAMER_*` environment variables
(`STREAMER_BUS__BIND`), the command line. `configs/cameras.yaml` documents every key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamer.config.config import OF_CHECKPOINT, Config
from streamer.config.placeholders import resolved_path
from streamer.config.precedence import Layers, Option
from streamer.config.sections import DEMO
from streamer.config.yaml_values import KeyPath


class _ConfigLayers(Layers[Config]):
    """Where a layer names another checkpoint, what weaker ones said of the one before says nothing of it."""

    def add_environment(self, env: Mapping[str, str]) -> None:
        with self._layer():
            super().add_environment(env)

    def add_options(self, options: Mapping[str, Any] | Iterable[str | Option]) -> None:
        with self._layer():
            super().add_options(options)

    @contextmanager
    def _layer(self) -> Iterator[None]:
        self._set.clear()
        before = self._checkpoints()
        yield
        for section, checkpoint in self._checkpoints().items():
            if before.get(section, checkpoint) == checkpoint:
                continue
            for path in ((*section, key) for key in OF_CHECKPOINT):
                said_now = any(path[:length] in self._set for length in range(1, len(path) + 1))
                if not said_now and self.document.has(path):
                    del self.document.value(section)[path[-1]]

    def _checkpoints(self) -> dict[KeyPath, str]:
        """Which checkpoint each section of a model means."""
        sections: list[KeyPath] = [("model",), *self._indexed(("models",))]
        for camera in self._indexed(("cameras",)):
            sections += [(*camera, "model"), *self._indexed((*camera, "models"))]
        return {section: self._checkpoint(section) for section in sections}

    def _indexed(self, path: KeyPath) -> list[KeyPath]:
        found = self.document.value(path)
        return [(*path, index) for index in range(len(found))] if isinstance(found, list) else []

    def _checkpoint(self, section: KeyPath) -> str:
        for path in ((*section, "id"), ("model", "id")):
            if self.document.has(path):
                folder = self.document.origin(path).folder
                name = resolved_path(str(self.document.value(path)), "checkpoint", folder)
                return os.path.realpath(name) if os.path.isdir(name) else name
        return DEMO


def load_config(
    path: Path | str | None = None,
    overrides: Mapping[str, Any] | Sequence[str | Option] = (),
    env: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from a file, the environment and overrides, the later the stronger.

    Args:
        path: a YAML file; relative paths in it are relative to its folder. None: no file.
        overrides: `{"events.enter": 0.6}` or `["events.enter=0.6"]`; list items by index or camera name.
        env: None means `os.environ`; only `STREAMER_*` and the variables that cameras name are read.

    Raises:
        ConfigError: everything that is wrong, one line each: file, line, key, value and what is allowed.
    """
    env = os.environ if env is None else env
    layers = _ConfigLayers(Config, None if path is None else Path(path))
    layers.add_environment(env)
    layers.add_options(overrides)
    return layers.validated(env)
