"""Windows cut from drawn streams, labelled by what happens just before they end.

A clip of a data set shows its action from the first to the last frame; a live window mostly does not: the
action has just begun, or is over, or another one has taken its place. A model that knows only whole actions
answers such windows by chance, and late. Here a window's label is what happens `MOMENT` seconds before its
end, so a model that learns from them reports an action soon after it began, and its end soon after it ended.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.demo import acts, motions, textures, untrimmed
from streamer.demo.dataset import CLIP_FPS, QUALITIES, encode
from streamer.training.truth import Segment

MOMENT, UNSURE = (
    0.45,
    0.12,
)  # seconds before the end; a change nearer to that moment than this teaches nothing
SECONDS, STEP = 24.0, 0.4  # of one scene; between two windows of it
EVERY = round(motions.INTERVAL * untrimmed.FPS)  # frames from one of a window to the next
LEAST_IDLE = 5  # every so many scenes one in which nothing acts
STILL_SHARE = 0.3  # of all windows, at most


def write_windows(folder: Path, split: str, count: int, seed: int) -> None:
    """About `count` windows as FOLDER/LABEL/sSSSS_cNNN.mp4, one group for each scene. Raises OSError."""
    written: Counter[str] = Counter()
    for label in motions.LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
    scene = 0
    while written.total() < count:
        rng = np.random.default_rng([textures.SEEDS[split], seed, 44, scene])
        for number, (label, clip) in enumerate(windows(rng, split, idle=scene % LEAST_IDLE == 4)):
            if label == acts.STILL and written[label] > STILL_SHARE * (written.total() + 20):
                continue
            path = folder / label / f"s{scene:04d}_c{number:03d}.mp4"
            encode(path, clip, CLIP_FPS, int(rng.integers(*QUALITIES)))
            written[label] += 1
        scene += 1


def windows(rng: np.random.Generator, split: str, *, idle: bool) -> Iterator[tuple[str, NDArray[Any]]]:
    """(label, uint8 RGB (T, H, W, 3)) of one scene."""
    pool = textures.make_pool(split, 600 if split == "train" else 240)
    plan = acts.plan(rng, SECONDS)
    cast = 1 + max(act.lead + act.members for act in plan)
    scene = untrimmed.make_scene(rng, pool, cast, int(rng.integers(3) if rng.random() < 0.5 else 0))
    if idle:
        kind = str(rng.choice(untrimmed.IDLE_KINDS))
        truth: Sequence[Segment] = ()
        frames = untrimmed.idle(rng, untrimmed.trouble(scene, kind), kind, SECONDS)
    else:
        truth = acts.segments(plan, SECONDS)
        frames = untrimmed.acted(rng, scene, plan, SECONDS)
    length = (motions.FRAMES - 1) * EVERY + 1
    seen: deque[NDArray[Any]] = deque(maxlen=length)
    due = 0.0
    for number, frame in enumerate(frames):
        seen.append(frame)
        end = number / untrimmed.FPS
        if len(seen) < length or end < due:
            continue
        due = end + STEP * float(rng.uniform(0.7, 1.3))
        label = label_at(truth, end - MOMENT)
        if label is not None:
            yield label, np.stack(list(seen)[::EVERY])


def label_at(truth: Sequence[Segment], moment: float) -> str | None:
    """What happens then; None where it has just changed or is about to."""
    if any(abs(moment - edge) < UNSURE for segment in truth for edge in (segment.start, segment.end)):
        return None
    return next((s.label for s in truth if s.start <= moment < s.end), acts.STILL)
