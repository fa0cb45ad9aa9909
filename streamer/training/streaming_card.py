"""The model card of a streaming checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamer.training.agreement import agreement_lines
from streamer.training.recipe import StreamingRecipe
from streamer.training.starting_checkpoint import StartingCheckpoint
from streamer.training.streaming_data import Teaching

CARD = """---
library_name: transformers
pipeline_tag: video-classification
license: {licence}
base_model: {base}
tags: [streamer]
---

# {name}

A streaming TimeSformer, distilled with streamer from `{base}`. It tells the same {count} labels apart:
{labels}.

    streamer run 0 --model {name}

It computes one frame every {interval:g} s and asks the {before} frames before it from a cache, where a
window model computes all {frames} of them each time. What it says depends on the newest {reach} frames and
on nothing older.

## What plain transformers loads

`TimesformerForVideoClassification.from_pretrained` loads a model of windows: the teacher's weights as
distilling changed them, without the tensors `streaming.*` of model.safetensors, which it does not know. That
is neither this streaming model nor its teacher, and nobody has measured how good it is: take `{base}` for
windows.

## Training

{steps} steps of {batch} stretches, learning rate {lr:g}, seed {seed}, {minutes:.0f} minutes on {device}; the
averaged weights are kept. {learnt} ticks of video were learnt from; the hash of the split is
`{split}`.{ahead}

## Measured

{measured}

On video that was not learnt from, held out by recording where there was more than one. The student begins
each stretch cold. A tick counts where the teacher has a whole window.

## Limits

It was taught by what its teacher said of these videos, mistakes included. What it does on long video is
another question: `streamer evaluate VIDEO --model {name} --against TEACHER` answers it. The base's licence
({licence}) holds for these weights.
"""


def card(
    recipe: StreamingRecipe,
    base: StartingCheckpoint,
    teaching: Teaching,
    metrics: Mapping[str, Any],
    name: str,
    *,
    layers: int,
) -> str:
    """README.md. `metrics`: what metrics.json holds."""
    ahead = ""
    if recipe.ahead:
        ahead = f" It was taught to say what its teacher says {recipe.ahead} ticks later."
    return CARD.format(
        licence=(base.licence or "other").lower(),
        base=base.checkpoint.name,
        name=name,
        count=len(teaching.labels),
        labels=", ".join(teaching.labels),
        interval=teaching.interval,
        frames=teaching.frames,
        before=teaching.frames - 1,
        reach=(layers + 1) * (teaching.frames - 1) + 1,
        steps=metrics["steps"],
        batch=recipe.batch,
        lr=recipe.lr,
        seed=recipe.seed,
        minutes=metrics["seconds"] / 60,
        device=metrics["device"],
        learnt=metrics["ticks"]["learnt_from"],
        split=metrics["split"],
        ahead=ahead,
        measured="\n".join(f"    {line}" for line in agreement_lines(metrics["held_out"])),
    )
