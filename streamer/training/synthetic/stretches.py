"""Draws the stretches of stream that the demo's streaming checkpoint is distilled on.

    python -m streamer.training.synthetic.stretches OUT --count 1500

Each file OUT/NNNNN.npz is one drawn scene as a streaming model sees it: frames on the grid of the interval,
what happens when, and what the window model says at each of them. Drawing costs more than learning from it,
so it is done beforehand, by as many processes as there are cores (`--part K/N`); what is there already is not
drawn again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamer.demo import assets
from streamer.recognition.families.timesformer import FusedTimesformer
from streamer.system.atomic_files import replacing
from streamer.training.synthetic import (
    action_plans,
    motions,
    stream_windows,
    textures,
    training_batches,
    untrimmed_videos,
)
from streamer.training.synthetic.motions import LABELS
from streamer.training.synthetic.small_timesformer import to_pixels
from streamer.training.teacher_answers import teach

IDLE_OF = 4  # every so many scenes, one in which nothing acts


def draw(number: int, split: str, seed: int) -> dict[str, Any]:
    """Scene `number`.

    Returns:
        frames (S, H, W, 3) uint8 RGB and times (S,) seconds, `motions.INTERVAL` apart; truth (K, 3) float32:
        start, end (seconds) and index of the label.
    """
    rng = np.random.default_rng([textures.SEEDS[split], seed, 88, number])
    record = training_batches.recorder(rng)
    frames, plan = stream_windows.scene(rng, split, idle=number % IDLE_OF == IDLE_OF - 1, record=record)
    truth = action_plans.segments(plan, stream_windows.SECONDS)
    rows = [(segment.start, segment.end, LABELS.index(segment.label)) for segment in truth]
    grid = np.arange(int(rng.integers(stream_windows.EVERY)), len(frames), stream_windows.EVERY)
    times = (grid / untrimmed_videos.FPS).astype(np.float32)
    return {
        "frames": frames[grid],
        "times": times,
        "truth": np.array(rows, np.float32).reshape(-1, 3),
    }


def write(folder: Path, numbers: range, split: str, seed: int) -> None:
    """Draw what is not there yet. Raises OSError."""
    from transformers import TimesformerForVideoClassification

    teacher = FusedTimesformer(TimesformerForVideoClassification.from_pretrained(assets.checkpoint_path()))
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"{number:05d}.npz"
        if path.exists():
            continue
        drawn = draw(number, split, seed)
        scores = teach(teacher, drawn["frames"], motions.FRAMES, to_pixels, bf16=True)
        with replacing(path) as part:
            np.savez(part, **drawn, scores=scores.astype(np.float16))


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--split", default="train", choices=sorted(textures.SEEDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="0/1", metavar="K/N", help="only every Nth scene, from the Kth")
    args = parser.parse_args(arguments)
    first, step = (int(number) for number in args.part.split("/"))
    torch.set_num_threads(1)
    write(args.out, range(first, args.count, step), args.split, args.seed)


if __name__ == "__main__":
    main()
