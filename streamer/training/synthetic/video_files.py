"""The demo's motions as video files, and streams with ground truth (`streamer demo dataset OUT`).

    OUT/clips/train|val|test/LABEL/*.mp4   labelled clips, in the layout that `streamer train` reads
    OUT/streams/NAME.mp4, NAME.csv         untrimmed videos with their truth, for `streamer evaluate`
    OUT/windows/train|val/LABEL/*.mp4      windows cut from other streams, to fine-tune with
    OUT/idle/NAME.mp4                      footage without any action, for `evaluate --idle` and `calibrate`

The splits share no photograph, texture or seed: clips/train/ is drawn from what the bundled checkpoint learnt
from, val/ from what chose its weights, test/, streams/ and idle/ from what neither has seen. The same
options give the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.system.atomic_files import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = {"train": "train", "val": "validation", "test": "clip"}  # folder -> pictures of textures.PHOTOS
CLIP_FPS = 5  # the checkpoint's interval is 0.2 s: one frame of the file for each of a window
CLIP_SIZE = 96  # pixels
QUALITIES = (20, 36)  # H.264's crf: 18 looks like the original, 40 is mud


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


def write_stream(folder: Path, number: int, seconds: float, seed: int, manner: str = "calm") -> Path:
    """One untrimmed video with its truth beside it, in one of the planner's manners; returns the video.

    Raises OSError.
    """
    import numpy as np

    from streamer.training.ground_truth import write_truth
    from streamer.training.synthetic import action_plans, textures, untrimmed_videos

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([textures.SEEDS[untrimmed_videos.SPLIT], seed, 22, number])
    plan = action_plans.plan(rng, seconds, action_plans.MANNERS[manner])
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
