"""`streamer demo dataset OUT`: the demo's motions as video files, and streams with ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from streamer.errors import ConfigError, DatasetError
from streamer.system.install_extras import need
from streamer.training.output import say
from streamer.training.synthetic import video_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = video_files.__doc__
    parser.add_argument(
        "what", metavar="dataset", choices=("dataset",), help="write the data set as video files"
    )
    parser.add_argument("out", metavar="OUT", help="a folder, new or empty")
    parser.add_argument(
        "--clips",
        type=int,
        default=50,
        metavar="N",
        help="training clips of each label; val/ and test/ get a quarter each (%(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of untrimmed streams (%(default)g)")
    parser.add_argument("--idle-minutes", type=float, default=30.0, help="of idle footage (%(default)g)")
    parser.add_argument(
        "--windows", type=int, default=0, metavar="N", help="training windows cut from streams (%(default)s)"
    )
    parser.add_argument(
        "--manner",
        choices=("calm", "restless"),
        default="calm",
        help="of the streams; restless: shorter and longer actions, faster, fewer rests (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other videos (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the data set.

    Raises:
        ConfigError: an option makes no sense, or a package is missing.
        DatasetError: the folder cannot be written.
    """
    if min(args.clips, args.windows, args.minutes, args.idle_minutes, args.seed) < 0:
        raise ConfigError("--clips, --windows, --minutes, --idle-minutes and --seed cannot be negative")
    need("demo", "drawing videos")
    out = Path(args.out).expanduser()
    try:
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(f"{out} is not empty; name a new folder")
        _write(out, args)
    except OSError as error:
        raise DatasetError(f"{out} cannot be written: {error.strerror or error}") from error
    return 0


def _write(out: Path, args: argparse.Namespace) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for folder in video_files.SPLITS:
        count = args.clips if folder == "train" else -(-args.clips // 4)
        if count:
            video_files.write_clips(out / "clips" / folder, folder, count, args.seed)
            say(f"{folder}: {count} clips of each label")
    if args.windows:
        from streamer.training.synthetic.stream_windows import write_windows

        for part, count in (("train", args.windows), ("val", -(-args.windows // 10))):
            write_windows(out / "windows" / part, video_files.SPLITS[part], count, args.seed)
            say(f"windows: {count} of {part} written")
    for number, seconds in enumerate(_parts(60 * args.minutes, 120.0)):
        video_files.write_stream(out / "streams", number, seconds, args.seed, args.manner)
        say(f"streams: {number + 1} written")
    from streamer.training.synthetic.untrimmed_videos import IDLE_KINDS

    each = 60 * args.idle_minutes / len(IDLE_KINDS)
    for number, kind in enumerate(IDLE_KINDS if each > 0 else ()):
        video_files.write_idle(out / "idle", number, kind, each, args.seed)
        say(f"idle: {kind} written")


def _parts(whole: float, longest: float) -> Iterator[float]:
    """Equal parts of `whole`, none longer than `longest`."""
    count = -(-whole // longest)
    return (whole / count for _ in range(int(count)))
