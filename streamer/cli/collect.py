"""`streamer collect CAMERA --label NAME -o DATASET`: record labelled clips from a live camera.

With --uncertain it is `streamer run` with `uncertain.folder` switched on: it saves what its model is not sure
of. Where a run watches the camera already, that run should do it (`streamer run --set
uncertain.folder=FOLDER`): a second reader of one camera costs another decoder, and many cameras
allow only one.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, SourceOpenError
from streamer.system.private_files import folder_exposure
from streamer.training.clip_recorder import CHECK_EVERY, ClipRecorder
from streamer.training.output import make_folder, say

IDLE_LABEL = "background"

IDLE_SECONDS = 20.0  # of one file of idle footage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "With a terminal, Enter records the next clip; --every N records by the clock."
    parser.add_argument("camera", metavar="CAMERA", help="a webcam's number, rtsp://..., a file, as in run")
    parser.add_argument("--label", action="append", default=[], metavar="NAME",
                        help="what the clips show; given again, Enter after a number chooses")  # fmt: skip
    parser.add_argument("--idle", action="store_true",
                        help=f"record footage without any action, as label {IDLE_LABEL}")  # fmt: skip
    parser.add_argument("-o", "--out", required=True, metavar="DATASET", help="folder of class folders")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a clip (4; idle 20)")
    parser.add_argument("--count", type=int, metavar="N", help="stop after so many clips")
    parser.add_argument("--every", type=float, metavar="S",
                        help="record by itself, with a pause of S seconds before each clip")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="a config file: its camera of that name")
    parser.add_argument("--uncertain", action="store_true",
                        help="run a model and save windows whose two best labels are close")  # fmt: skip
    parser.add_argument("--model", metavar="ID_OR_DIR", help="with --uncertain: the checkpoint (demo)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="with --uncertain: any key, such as uncertain.margin=0.1")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Record until the count is reached, the input ends, or Ctrl+C.

    Raises:
        ConfigError, SourceError, DatasetError: wrong options, no camera, nowhere to write.
    """
    from streamer.system.signals import INTERRUPTED, Stopper

    if args.uncertain:
        return _run_uncertain(args)
    if args.model is not None or args.set:
        raise ConfigError("--model and --set go with --uncertain")
    labels = [IDLE_LABEL] if args.idle and not args.label else args.label
    seconds = args.seconds if args.seconds is not None else (IDLE_SECONDS if args.idle else 4.0)
    if not labels:
        raise ConfigError("name what the clips show: --label NAME, or --idle")
    if any("/" in label or label.strip() in ("", ".", "..") for label in labels):
        raise ConfigError("a label becomes a folder's name: it cannot be empty or hold a /")
    if not 0.2 <= seconds <= 3600 or (args.count is not None and args.count < 1):
        raise ConfigError("--seconds is 0.2 to 3600, --count at least 1")
    every = 0.0 if args.idle and args.every is None else args.every
    if every is None and len(labels) == 1 and not sys.stdin.isatty():
        every = 2.0
    if every is not None and (every < 0 or len(labels) > 1):
        raise ConfigError("--every is 0 or more, for one label at a time")
    out = Path(args.out).expanduser()
    for label in labels:
        make_folder(out / label, private=True)  # pictures of people
    if (exposure := folder_exposure(out, "the pictures")) is not None:
        say(exposure)
    from streamer.cli.command_line import EXIT_SOURCE
    from streamer.cli.run import set_up_talk

    talk = set_up_talk(False)
    with Stopper() as stopper:
        recorder = ClipRecorder(_camera(args), stopper.stop)
        say("waiting for the camera")  # before it starts: what it says itself comes after
        with recorder:
            chosen = _by_clock(every, labels[0], recorder) if every is not None else _by_key(labels, recorder)
            try:
                saved = _record(recorder, chosen, (out, seconds, args.count))
            except SourceOpenError as error:
                if str(error) not in talk.said:
                    raise
                return EXIT_SOURCE  # the reason stands there already
        if stopper.interrupted and not saved:
            return INTERRUPTED
    say(f"{saved} clip{'' if saved == 1 else 's'} in {out}")
    return 0


def _run_uncertain(args: argparse.Namespace) -> int:
    """Run a pipeline that saves what its model is not sure of, with the options of `streamer run`.

    Raises:
        ConfigError and what else `streamer run` raises.
    """
    from streamer.cli import run as run_command
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
    run_command.add_arguments(parser)
    options = [word for value in args.set for word in ("--set", value)]
    return run_command.run(parser.parse_intermixed_args([*words, *options]))


def _camera(args: argparse.Namespace) -> Any:
    from streamer.config import load_config

    if args.config:
        for camera in load_config(args.config).cameras:
            if camera.name == args.camera:
                return camera
        raise ConfigError(f"{args.config} has no camera {args.camera!r}")
    return load_config(None, {"cameras": [{"name": "cam0", "source": args.camera}]}).cameras[0]


def _record(recorder: ClipRecorder, labels: Iterator[str], how: tuple[Path, float, int | None]) -> int:
    out, seconds, count = how
    saved, session = 0, datetime.now().strftime("%Y%m%d-%H%M%S")
    recorder.wait_for_picture()
    for label in labels:
        path = _free_name(out / label, session)
        say(f"recording {label}, {seconds:g} s")
        problem = recorder.record(path, seconds)
        if recorder.over:
            break
        if problem is None:
            saved += 1
            say(f"saved {path} ({saved}{'' if count is None else f' of {count}'})")
        else:
            say(f"not saved: {problem}")
        if count is not None and saved >= count:
            break
    return saved


def _free_name(folder: Path, session: str) -> Path:
    """Clips of one session look alike: by their name `train` takes them for one recording."""
    names = (folder / f"{session}_clip{number:03d}.mp4" for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def _by_clock(every: float, label: str, recorder: ClipRecorder) -> Iterator[str]:
    while not recorder.over:
        if every:
            say(f"next clip in {every:g} s")
        if recorder.pause(every):
            return
        yield label


def _by_key(labels: Sequence[str], recorder: ClipRecorder) -> Iterator[str]:
    """A label for each line that is entered; q or the end of input ends."""
    choice = "Enter records" if len(labels) == 1 else "Enter after a number records"
    names = "" if len(labels) == 1 else ": " + ", ".join(f"{n} {label}" for n, label in enumerate(labels, 1))
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put("q")

    threading.Thread(target=read, name="keys", daemon=True).start()
    say(f"{choice}{names}; q and Enter ends")
    while not recorder.over:
        try:
            line = lines.get(timeout=CHECK_EVERY)
        except queue.Empty:
            continue
        if line.lower() == "q":
            return
        number = int(line) if line.isdigit() else (1 if len(labels) == 1 and not line else 0)
        if 1 <= number <= len(labels):
            yield labels[number - 1]
        else:
            say(f"{line!r} is none of 1 to {len(labels)}")
