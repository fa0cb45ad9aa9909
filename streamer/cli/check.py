"""`streamer check FILE`: is this configuration right, with what it names and the environment here?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import ConfigError, SourceOpenError
from streamer.system.redaction import redact
from streamer.system.terminal_text import printable

if TYPE_CHECKING:
    from streamer.config import CameraConfig, Config

EXIT_SOURCE = 3
_AT_A_TIME = 8


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
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also open every camera once; exit code 3 where one gives no picture",
    )


def check_what_is_named(config: Config) -> list[str]:
    """Look at what a configuration names: cameras, files of words and names, checkpoints and their labels.

    Returns notes on what a run waits for or fetches.

    Raises:
        ConfigError: what a run would refuse, one line each.
    """
    from streamer.cli.check_models import check_models
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
    notes: list[str] = []
    if not errors:
        wrong, notes = check_models(config, load_labels(config.language, config.label_set))
        errors += wrong
    for camera in (camera for camera in config.cameras if camera.enabled):
        wrong, waits = _check_camera(camera)
        errors += wrong
        notes += waits
    if not any(camera.enabled for camera in config.cameras):
        errors.append("no camera is enabled: list one under cameras:, or let streamer add find one")
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))
    return notes


def _check_camera(camera: CameraConfig) -> tuple[list[str], list[str]]:
    """(what is wrong, notes) about a camera's source, without opening it."""
    from streamer.capture import check_source, kind_of

    try:
        live = kind_of(camera).live
    except SourceOpenError as error:
        return [str(error)], []
    try:
        check_source(camera)
    except SourceOpenError as error:
        return ([], [f"{error}; a run waits for it"]) if live else ([str(error)], [])
    return [], []


def connect(config: Config) -> bool:
    """Open each enabled camera once and print what came of it; True: all give pictures."""
    from concurrent.futures import ThreadPoolExecutor

    from streamer.capture.first_picture import first_picture

    def tried(camera: CameraConfig) -> tuple[bool, str]:
        began = time.monotonic()
        try:
            height, width = first_picture(camera, config.capture).shape[:2]
        except SourceOpenError as error:
            return False, str(error)
        return True, f"camera {camera.name}: {width}x{height} after {time.monotonic() - began:.1f} s"

    watched = [camera for camera in config.cameras if camera.enabled]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        all_well = True
        for well, text in pool.map(tried, watched):
            all_well = all_well and well
            print(printable(redact(text)), file=sys.stdout if well else sys.stderr, flush=True)
    return all_well


def _is_for_speech(file: str) -> bool:
    """Whether a file that is no configuration has the settings of speech and captions."""
    from streamer.subscribers.narration.settings import load_settings

    try:
        load_settings(file, {})
    except ConfigError:
        return False
    return True


def run(args: argparse.Namespace) -> int:
    """Print `FILE: ok` with its cameras, and with --connect a line for each.

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
    try:
        notes = check_what_is_named(config)
    except ConfigError as error:
        raise ConfigError("\n".join(_placed(line, args.file) for line in str(error).split("\n"))) from error
    for note in notes:
        print(f"streamer: {printable(redact(note))}", file=sys.stderr)
    watched = [camera.name for camera in config.cameras if camera.enabled]
    off = [camera.name for camera in config.cameras if not camera.enabled]
    text = f"{args.file}: ok, {len(watched)} camera{'s' * (len(watched) != 1)}"
    text += f" ({', '.join(watched)})" if watched else ""
    print(printable(text + (f", switched off: {', '.join(off)}" if off else "")))
    return 0 if not args.connect or connect(config) else EXIT_SOURCE


def _placed(line: str, file: str) -> str:
    """A mistake with its file, where it does not have one already."""
    return line if line.split(":")[0].endswith((".yaml", ".yml")) else f"{file}: {line}"
