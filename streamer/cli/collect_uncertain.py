"""`streamer collect CAMERA --uncertain -o FOLDER`: `streamer run` with `uncertain.folder` switched on.

Where a run watches the camera already, that run should do it (`streamer run --set uncertain.folder=FOLDER`):
a second reader of one camera costs another decoder, and many cameras allow only one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from streamer.errors import ConfigError


def watch(args: argparse.Namespace) -> int:
    """Run a pipeline that saves what its model is not sure of, with the options of `streamer run`.

    Raises:
        ConfigError and what else `streamer run` raises.
    """
    from streamer.cli import run as watching
    from streamer.config import load_config

    if args.label or args.idle or {args.seconds, args.count, args.every} != {None}:
        raise ConfigError(
            "--uncertain saves by itself: --label, --idle, --seconds, --count, --every do not apply"
        )
    words = ["--set", f"uncertain.folder={Path(args.out).expanduser().absolute()}"]
    if args.config:
        names = [camera.name for camera in load_config(args.config).cameras]
        if args.camera not in names:
            raise ConfigError(f"{args.config} has no camera {args.camera!r}; it has {', '.join(names)}")
        words += ["--config", args.config]
        words += [w for n in names if n != args.camera for w in ("--set", f"cameras.{n}.enabled=false")]
    else:
        words.append(args.camera)
    words += ["--model", args.model] if args.model is not None else []
    parser = argparse.ArgumentParser(prog="streamer collect")
    watching.add_arguments(parser)
    options = [word for value in args.set for word in ("--set", value)]
    return watching.run(parser.parse_intermixed_args([*words, *options]))
