"""`streamer check FILE`: is this configuration right, with the environment as it is here?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from streamer.errors import ConfigError


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

    config = load_config(Path(args.file), args.set)
    watched = [camera.name for camera in config.cameras if camera.enabled]
    off = [camera.name for camera in config.cameras if not camera.enabled]
    text = f"{args.file}: ok, {len(watched)} camera{'s' * (len(watched) != 1)}"
    text += f" ({', '.join(watched)})" if watched else ""
    print(text + (f", switched off: {', '.join(off)}" if off else ""))
    return 0
