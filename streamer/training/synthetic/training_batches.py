"""Training batches of the second part: whole clips, and windows of streams as a live camera shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.training.synthetic import motions, samples, textures
from streamer.training.synthetic.motions import Rng, Sample
from streamer.training.synthetic.stream_windows import compressed, windows
from streamer.training.synthetic.untrimmed_videos import FPS
from streamer.training.synthetic.video_files import CLIP_FPS, CLIP_SIZE

BLOCK, SCENES = 24, 8  # batches that share so many scenes
IDLE_SCENES = 3  # of them, with nothing that acts
STEP = 0.13  # seconds from one window of a scene to the next
STILL_SHARE = 0.34  # of the windows, at most
QUALITIES = (18, 42)  # H.264's crf


def batches(seed: int, first: int, count: int, parts: int) -> Iterator[list[Sample]]:
    """Batches of `count` samples without end from batch number `first`, `parts` of each being windows.

    Batch n depends on `seed` and n alone.
    """
    plain = samples.Sampler(textures.make_pool("train", samples.POOL))
    filmed = samples.Sampler(textures.make_pool("train", samples.POOL), CLIP_SIZE)
    number = first
    while True:
        block = number // BLOCK
        rng = np.random.default_rng([textures.SEEDS["train"], seed, 55, block])
        drawn = _block(rng, "train", BLOCK * parts)
        for inside in range(number - block * BLOCK, BLOCK):
            rng = np.random.default_rng([textures.SEEDS["train"], seed, 66, number])
            clips = [_recorded(rng, sample) for sample in filmed.batch(rng, count // 2, (0.0, 1.0))]
            clips += plain.batch(rng, count // 2, (0.0, 1.0))
            chosen = rng.permutation(len(clips))[: count - parts]
            yield [clips[n] for n in chosen] + drawn[inside * parts : (inside + 1) * parts]
            number += 1


def validation_set(count: int, seed: int = 0) -> list[Sample]:
    """`count` windows of the validation split, a third of them idle or at rest, from many scenes."""
    parts = 4
    blocks = ([textures.SEEDS["validation"], seed, 55, part] for part in range(parts))
    each = -(-count // parts)
    return [s for block in blocks for s in _block(np.random.default_rng(block), "validation", each)][:count]


def _block(rng: Rng, split: str, count: int) -> list[Sample]:
    """`count` windows in random order, some mirrored or upside down."""
    acting: list[Sample] = []
    still: list[Sample] = []
    scene = 0
    while scene < SCENES or len(acting) < count * (1 - STILL_SHARE) or len(still) < count * STILL_SHARE:
        for sample in windows(rng, split, idle=scene % SCENES < IDLE_SCENES, step=STEP, record=recorder(rng)):
            (still if sample.label == motions.STILL else acting).append(sample)
        scene += 1
    quiet = round(count * STILL_SHARE)
    kept = [still[n] for n in rng.permutation(len(still))[:quiet]]
    kept += [acting[n] for n in rng.permutation(len(acting))[: count - quiet]]
    return [_turned(rng, kept[n]) for n in rng.permutation(len(kept))]


def _turned(rng: Rng, sample: Sample) -> Sample:
    if rng.random() < 0.5:
        sample = motions.mirror(sample)
    return motions.upend(sample) if rng.random() < 0.3 else sample


def recorder(rng: Rng) -> Any:
    """A camera of its own quality: frames as drawn -> as a model sees them."""
    quality = int(rng.integers(*QUALITIES))
    if rng.random() < 0.2:  # as drawn: a camera without compression
        return lambda frames: small(frames)
    return lambda frames: small(compressed(frames, FPS, quality))


def _recorded(rng: Rng, sample: Sample) -> Sample:
    clip = compressed(sample.clip, CLIP_FPS, int(rng.integers(*QUALITIES)))
    return sample.changed(small(clip), {}, lambda track: track)


def small(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8 -> (N, SIZE, SIZE, 3), resized as for live recognition."""
    from streamer.recognition.checkpoints.processor import BILINEAR
    from streamer.recognition.preprocessing import resize

    return np.stack([resize(frame, (motions.SIZE, motions.SIZE), BILINEAR) for frame in frames])
