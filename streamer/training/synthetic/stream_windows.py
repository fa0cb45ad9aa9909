"""Windows cut from drawn streams, labelled by what happens just before they end.

A clip of a data set shows its action from the first to the last frame; a live window mostly does not: the
action has just begun, or is over, or another one has taken its place. A model that knows only whole actions
answers such windows by chance, and late. Here a window's label is what happens `MOMENT` seconds before its
end, so a model that learns from them reports an action soon after it began, and its end soon after it ended.

The camera is worse than in the streams that measure it (`untrimmed_videos.idle`, `video_files.write_stream`):
more noise, shaking and darkness, lamps that are switched, an exposure that hunts, any quality of compression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.training.ground_truth import Segment
from streamer.training.synthetic import action_plans, motions, textures, untrimmed_videos
from streamer.training.synthetic.action_plans import Act
from streamer.training.synthetic.motions import Clip, Rng, Sample, Track
from streamer.training.synthetic.video_files import CLIP_FPS, QUALITIES, encode

MOMENT = 0.45  # seconds before a window's end of which its label speaks
UNSURE = 0.12  # seconds; a change nearer to that moment than this teaches nothing
SECONDS, STEP = 24.0, 0.4  # of one scene; between two windows of it
EVERY = round(motions.INTERVAL * untrimmed_videos.FPS)  # frames from one of a window to the next
LEAST_IDLE = 5  # every so many scenes one in which nothing acts
STILL_SHARE = 0.3  # of all windows, at most
POOLS = {"train": 600, "validation": 240}  # pictures of a split
OUT_OF_SIGHT = -9.0


def write_windows(folder: Path, split: str, count: int, seed: int) -> None:
    """About `count` windows as FOLDER/LABEL/sSSSS_cNNN.mp4, one group for each scene. Raises OSError."""
    written: Counter[int] = Counter()
    for label in motions.LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
    scene = 0
    while written.total() < count:
        rng = np.random.default_rng([textures.SEEDS[split], seed, 44, scene])
        idle = scene % LEAST_IDLE == LEAST_IDLE - 1
        for number, window in enumerate(windows(rng, split, idle=idle, step=STEP)):
            if window.label == motions.STILL and written[motions.STILL] > STILL_SHARE * (
                written.total() + 20
            ):
                continue
            path = folder / motions.LABELS[window.label] / f"s{scene:04d}_c{number:03d}.mp4"
            encode(path, window.clip, CLIP_FPS, int(rng.integers(*QUALITIES)))
            written[window.label] += 1
        scene += 1


def windows(
    rng: Rng,
    split: str,
    *,
    idle: bool,
    step: float,
    seconds: float = SECONDS,
    record: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> Iterator[Sample]:
    """Windows of one scene, about one every `step` seconds, with what moved in them.

    `record` makes of all its frames (N, H, W, 3) uint8 RGB what a model sees of them (compression, size).
    """
    frames, plan = scene(rng, split, idle=idle, seconds=seconds, record=record)
    truth = action_plans.segments(plan, seconds)
    yield from _cut(rng, frames, untrimmed_videos.tracks(plan, seconds), truth, step)


def scene(
    rng: Rng,
    split: str,
    *,
    idle: bool,
    seconds: float = SECONDS,
    record: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> tuple[NDArray[np.uint8], list[Act]]:
    """A drawn stream: frames (N, H, W, 3) uint8 RGB, `untrimmed_videos.FPS` a second, and what happens."""
    pool = textures.make_pool(split, POOLS[split])
    plan = [_rest(rng, seconds)] if idle else list(action_plans.plan(rng, seconds))
    cast = 1 + max(act.lead + act.members for act in plan)
    made = untrimmed_videos.make_scene(rng, pool, cast, int(rng.integers(4) if rng.random() < 0.5 else 0))
    troubled = idle or rng.random() < 0.35
    if troubled:
        made = _trouble(rng, made)
    light = _light(rng, seconds) if troubled else None
    frames = np.stack(list(untrimmed_videos.acted(rng, made, plan, seconds, light)))
    return (frames if record is None else record(frames)), plan


def _cut(
    rng: Rng, frames: NDArray[np.uint8], tracks: Track, truth: Sequence[Segment], step: float
) -> Iterator[Sample]:
    length, due = (motions.FRAMES - 1) * EVERY + 1, 0.0
    for last in range(length - 1, len(frames)):
        end = last / untrimmed_videos.FPS
        if end < due:
            continue
        due = end + step * float(rng.uniform(0.7, 1.3))
        label = label_at(truth, end - MOMENT)
        if label is not None:
            shown = slice(last - length + 1, last + 1, EVERY)
            yield _sample(frames[shown], motions.LABELS.index(label), tracks[:, shown])


def _sample(clip: Clip, label: int, tracks: Track) -> Sample:
    """`tracks` (M, T, 3) of the whole cast; what is never in sight is left out."""
    half = 0.42 * np.exp(tracks[..., 2])
    inside = np.all(np.abs(tracks[..., :2]) < 0.5 + half[..., None], axis=-1).sum(1)
    seen = [tracks[n] for n in np.argsort(-inside, kind="stable") if inside[n]]
    nowhere = np.full_like(tracks[0], OUT_OF_SIGHT)
    return Sample(clip, label, seen[0] if seen else nowhere, bool(seen), tuple(seen[1:3]))


def label_at(truth: Sequence[Segment], moment: float) -> str | None:
    """What happens then; None where it has just changed or is about to."""
    if any(abs(moment - edge) < UNSURE for segment in truth for edge in (segment.start, segment.end)):
        return None
    return next((s.label for s in truth if s.start <= moment < s.end), action_plans.STILL)


def _rest(rng: Rng, seconds: float) -> Act:
    """Nobody acts; mostly somebody stands there."""
    place = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.25, 0.25)))
    size = float(np.exp(rng.uniform(np.log(action_plans.SMALLEST), np.log(action_plans.LARGEST))))
    return Act(action_plans.STILL, seconds, place, size, size, members=int(rng.random() < 0.75))


def _trouble(rng: Rng, scene: untrimmed_videos.Scene) -> untrimmed_videos.Scene:
    return replace(
        scene,
        noise=float(rng.uniform(0, 14)),
        shake=float(rng.uniform(0, 2.2)) if rng.random() < 0.4 else float(rng.uniform(0, 0.5)),
        light=float(rng.uniform(0, 0.08)),
        gain=float(rng.uniform(0.15, 0.5)) if rng.random() < 0.25 else 1.0,
    )


def _light(rng: Rng, seconds: float) -> Callable[[float], float] | None:
    """Brightness by time: steady, an exposure that hunts, lamps switched at once, a flicker; or several."""
    hunting = float(rng.uniform(0.03, 0.25)) if rng.random() < 0.45 else 0.0
    pace, phase = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0, 6))
    flicker = float(rng.uniform(0, 0.06)) if rng.random() < 0.4 else 0.0
    every = float(rng.uniform(1.0, 9.0))
    lamps = rng.uniform(0.5, 1.2, int(seconds / every) + 2) if rng.random() < 0.45 else np.ones(1)
    blink = rng.standard_normal(round(seconds * untrimmed_videos.FPS) + 2)
    fade = float(rng.uniform(0.05, 0.6))  # seconds that a lamp or a cloud takes

    def gain(time: float) -> float:
        now, into = divmod(time, every)
        before, after = lamps[max(int(now) - 1, 0) % len(lamps)], lamps[int(now) % len(lamps)]
        lamp = after + (before - after) * max(0.0, 1 - into / fade)
        wave = 1 + hunting * np.sin(2 * np.pi * pace * time + phase)
        return float(lamp * wave * (1 + flicker * blink[round(time * untrimmed_videos.FPS)]))

    return gain


def compressed(frames: Iterable[NDArray[np.uint8]], fps: int, crf: int) -> NDArray[np.uint8]:
    """RGB frames (N, H, W, 3) as they come back from H.264 of `crf`."""
    import av
    import cv2

    encoder: Any = av.CodecContext.create("libx264", "w")
    decoder: Any = av.CodecContext.create("h264", "r")
    encoder.options = {"crf": str(crf), "preset": "veryfast"}
    encoder.framerate, encoder.pix_fmt, encoder.thread_count, decoder.thread_count = fps, "yuv420p", 1, 1
    packets: list[Any] = []
    for number, image in enumerate(frames):
        if not number:
            encoder.height, encoder.width = image.shape[:2]
        packets += encoder.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
    packets += encoder.encode()
    shown = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    # twice as fast as PyAV's own conversion, which sets itself up anew for each frame
    planes = [frame.to_ndarray(format="yuv420p") for frame in shown]
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_YUV2RGB_I420) for picture in planes]).astype(np.uint8)
