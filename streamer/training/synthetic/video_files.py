"""`streamer demo dataset OUT`: the demo's motions as video files, and streams with ground truth.

    OUT/clips/train|val|test/LABEL/*.mp4   labelled clips, in the layout that `streamer train` reads
    OUT/streams/NAME.mp4, NAME.csv         untrimmed videos with their truth, for `streamer evaluate`
    OUT/windows/train|val/LABEL/*.mp4      windows cut from other streams, to fine-tune with
    OUT/idle/NAME.mp4                      footage without any action, for `evaluate --idle` and `calibrate`

The splits share no photograph, texture or seed: clips/train/ is drawn from what the bundled checkpoint learnt
from, val/ from what chose its weights, test/, streams/ and idle/ from what neither has seen. The same
options give the same pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError, DatasetError
from streamer.system.atomic_files import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = {"train": "train", "val": "validation", "test": "clip"}  # folder -> pictures of textures.PHOTOS
CLIP_FPS = 5  # the checkpoint's interval is 0.2 s: one frame of the file for each of a window
CLIP_SIZE = 96  # pixels
QUALITIES = (20, 36)  # H.264's crf: 18 looks like the original, 40 is mud


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("what", choices=("dataset",), help="write the data set as video files")
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
    parser.add_argument("--seed", type=int, default=0, help="another seed, other videos (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the data set.

    Raises:
        ConfigError: an option makes no sense, or a package is missing.
        DatasetError: the folder cannot be written.
    """
    if min(args.clips, args.windows, args.minutes, args.idle_minutes, args.seed) < 0:
        raise ConfigError("--clips, --windows, --minutes, --idle-minutes and --seed cannot be negative")
    out = Path(args.out).expanduser()
    try:
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(f"{out} is not empty; name a new folder")
        _write(out, args)
    except ModuleNotFoundError as error:
        raise ConfigError(f'{error}: drawing videos needs: pip install "streamer[demo]"') from error
    except OSError as error:
        raise DatasetError(f"{out} cannot be written: {error.strerror or error}") from error
    return 0


def _write(out: Path, args: argparse.Namespace) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for folder in SPLITS:
        count = args.clips if folder == "train" else -(-args.clips // 4)
        if count:
            write_clips(out / "clips" / folder, folder, count, args.seed)
            _say(f"{folder}: {count} clips of each label")
    if args.windows:
        from streamer.training.synthetic.stream_windows import write_windows

        for part, count in (("train", args.windows), ("val", -(-args.windows // 10))):
            write_windows(out / "windows" / part, SPLITS[part], count, args.seed)
            _say(f"windows: {count} of {part} written")
    for number, seconds in enumerate(_parts(60 * args.minutes, 120.0)):
        write_stream(out / "streams", number, seconds, args.seed)
        _say(f"streams: {number + 1} written")
    from streamer.training.synthetic.untrimmed_videos import IDLE_KINDS

    each = 60 * args.idle_minutes / len(IDLE_KINDS)
    for number, kind in enumerate(IDLE_KINDS if each > 0 else ()):
        write_idle(out / "idle", number, kind, each, args.seed)
        _say(f"idle: {kind} written")


def write_clips(folder: Path, split: str, count: int, seed: int) -> None:
    """`count` clips of each label as FOLDER/LABEL/NNNN.mp4, difficulty spread evenly. Raises OSError."""
    import numpy as np

    from streamer.training.synthetic import motions, textures
    from streamer.training.synthetic.samples import Sampler

    pictures = SPLITS[split]
    sampler = Sampler(textures.make_pool(pictures, 240 if split != "train" else 600), CLIP_SIZE)
    for index, label in enumerate(motions.LABELS):
        target = folder / label
        target.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([textures.SEEDS[pictures], seed, 11, index, number])
            sample = sampler.sample(rng, index, (number + rng.random()) / count)
            quality = int(rng.integers(*QUALITIES))
            encode(target / f"{number:04d}.mp4", sample.clip, CLIP_FPS, quality)


def write_stream(folder: Path, number: int, seconds: float, seed: int) -> Path:
    """One untrimmed video with its truth beside it; returns the video. Raises OSError."""
    import numpy as np

    from streamer.training.ground_truth import write_truth
    from streamer.training.synthetic import action_plans, textures, untrimmed_videos

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([textures.SEEDS[untrimmed_videos.SPLIT], seed, 22, number])
    plan = action_plans.plan(rng, seconds)
    members = 1 + max(act.lead + act.members for act in plan)
    pool = textures.make_pool(untrimmed_videos.SPLIT, untrimmed_videos.PICTURES)
    scene = untrimmed_videos.make_scene(rng, pool, members, int(rng.random() < 0.3))
    video = folder / f"stream-{number:02d}.mp4"
    encode(
        video,
        untrimmed_videos.acted(rng, scene, plan, seconds),
        untrimmed_videos.FPS,
        int(rng.integers(*QUALITIES)),
    )
    write_truth(video.with_suffix(".csv"), action_plans.segments(plan, seconds))
    return video


def write_idle(folder: Path, number: int, kind: str, seconds: float, seed: int) -> Path:
    """One video in which nothing acts; returns it. Raises OSError."""
    import numpy as np

    from streamer.training.synthetic import textures, untrimmed_videos

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([textures.SEEDS[untrimmed_videos.SPLIT], seed, 33, number])
    pool = textures.make_pool(untrimmed_videos.SPLIT, untrimmed_videos.PICTURES)
    scene = untrimmed_videos.make_scene(rng, pool, 1, 3 if kind == "clutter" else 0)
    video = folder / f"{kind}.mp4"
    frames = untrimmed_videos.idle(rng, untrimmed_videos.trouble(scene, kind), kind, seconds)
    encode(video, frames, untrimmed_videos.FPS, 40 if kind == "compression" else 26)
    return video


def encode(path: Path, frames: Iterable[NDArray[np.uint8]], fps: int, crf: int) -> None:
    """H.264 of RGB frames (H, W, 3) uint8, even sizes; no half-written file stays. Raises OSError."""
    import av

    with replacing(path) as part, av.open(str(part), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        for number, image in enumerate(frames):
            if not number:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _parts(whole: float, longest: float) -> Iterator[float]:
    """Equal parts of `whole`, none longer than `longest`."""
    count = -(-whole // longest)
    return (whole / count for _ in range(int(count)))


def _say(text: str) -> None:
    print(f"streamer: {text}", file=sys.stderr, flush=True)
