"""`load_config`: a configuration from a file, the environment and options.

Precedence, weakest first: the defaults in `sections.py`, the file, `STREAMER_*` environment variables
(`STREAMER_BUS__BIND`), the command line. `configs/cameras.yaml` documents every key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.config.config import Config
from streamer.config.layers import Layers, Option


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
    layers = Layers(Config, None if path is None else Path(path))
    layers.add_environment(env)
    layers.add_options(overrides)
    return layers.validated(env)
