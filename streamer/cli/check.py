"""`streamer check FILE`: is this configuration right, with the files it names and the environment here?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import ConfigError
from streamer.system.terminal_text import printable

if TYPE_CHECKING:
    from streamer.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="the config file")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of a config file, for editors"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="as in run: any key of the configuration",
    )


def check_named_files(config: Config) -> None:
    """Read the files of words and names that a configuration names.

    Raises:
        ConfigError: what is wrong in any of them, one line each.
    """
    from streamer.labels.label_files import load_labels
    from streamer.recognition.words.prompts import read_words

    models = [model for camera in config.cameras for model in config.models_of(camera)]
    words = dict.fromkeys(model.labels for model in models or [config.model] if model.labels)
    checks: list[Callable[[], object]] = [partial(read_words, labels) for labels in words]
    checks.append(partial(load_labels, config.language, config.label_set))
    errors: list[str] = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            errors.append(str(error))
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))


def _is_for_speech(file: str) -> bool:
    """Whether a file that is no configuration has the settings of speech and captions."""
    from streamer.subscribers.narration.settings import load_settings

    try:
        load_settings(file, {})
    except ConfigError:
        return False
    return True


def run(args: argparse.Namespace) -> int:
    """Print `FILE: ok` with its cameras.

    Raises:
        ConfigError: what is wrong, one line each.
    """
    if args.schema:
        from streamer.config import Config
        from streamer.config.schema import schema_of

        print(json.dumps(schema_of(Config).json, indent=2))
        return 0
    if args.file is None:
        raise ConfigError("name a config file: streamer check FILE")
    from streamer.config import load_config

    try:
        config = load_config(Path(args.file), args.set)
    except ConfigError:
        if args.set or not _is_for_speech(args.file):
            raise
        raise ConfigError(
            f"{args.file}: settings of what is said, not of cameras; streamer speak and streamer captions"
            f" take it: streamer speak --config {args.file}"
        ) from None
    check_named_files(config)
    watched = [camera.name for camera in config.cameras if camera.enabled]
    off = [camera.name for camera in config.cameras if not camera.enabled]
    text = f"{args.file}: ok, {len(watched)} camera{'s' * (len(watched) != 1)}"
    text += f" ({', '.join(watched)})" if watched else ""
    print(printable(text + (f", switched off: {', '.join(off)}" if off else "")))
    return 0
