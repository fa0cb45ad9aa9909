"""The end of a training run: the new checkpoint measured as it will run, metrics.json, and the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.config import ModelConfig
from streamer.system.terminal_text import printable
from streamer.training.clips import measure_timed_clips
from streamer.training.evaluation_report import clip_lines, table, write_confusion

if TYPE_CHECKING:
    from streamer.training.clips import TimedClip
    from streamer.training.recipe import Recipe
    from streamer.training.starting_checkpoint import StartingCheckpoint

CARD = """---
library_name: transformers
pipeline_tag: video-classification
license: {licence}
base_model: {base}
tags: [streamer]
---

# {name}

Fine-tuned with streamer from `{base}` to tell {count} labels apart: {labels}.

    streamer run 0 --model {name}

It looks at {frames} frames, one every {interval:g} s (span {span:.2f} s); config.json says so to streamer.

## Data

{clips}

The split is by recording; its hash is `{split}`. split.csv names every clip and its side.

## Training

{steps} steps of {batch} clips, learning rate {lr:g} ({body}), seed {seed}; the best weights by {metric} on
the val clips.

## Measured

{measured}

{views} windows of each clip, scores averaged, by the same program that runs it live.

## Limits

Known are the labels above and nothing else: everything is one of them to it{background}. How it does on
long video is another question: `streamer evaluate VIDEO --model {name}` answers it, with idle footage too.
The base's licence ({licence}) holds for these weights.
"""


def finish(
    recipe: Recipe,
    base: StartingCheckpoint,
    timed_clips: dict[str, list[TimedClip]],
    run: tuple[str, Any, Any],
    out: Path,
) -> dict[str, Any]:
    """Load OUT as `streamer run` does, measure val and test, and write metrics, confusion and card.

    Args:
        run: the split's hash, the Talk of the run, the Trainer's state.

    Raises:
        ModelLoadError: it does not load. OSError.
    """
    from streamer.recognition.recognizer import load_recognizer

    split, reporter, state = run
    recognizer = load_recognizer(ModelConfig(id=str(out), precision="fp32", engine="torch"))
    try:
        measured = {
            side: measure_timed_clips(recognizer, timed_clips[side], recipe.views)
            for side in ("val", "test")
            if timed_clips[side]
        }
        labels = recognizer.spec.labels
    finally:
        recognizer.close()
    last = "test" if "test" in measured else "val"
    write_confusion(out, measured[last]["confusion"], labels)
    metrics: dict[str, Any] = {
        "v": 1,
        "labels": list(labels),
        "split": split,
        "steps": state.global_step,
        "chosen_by": recipe.metric,
        "best_step": state.best_global_step,
        "waited_for_clips": round(reporter.share, 4),
        **measured,
    }
    (out / "README.md").write_text(_card(recipe, base, timed_clips, metrics, out.resolve().name), "utf-8")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print("\n".join(map(printable, [f"{last} clips:", *clip_lines(measured[last])])))
    return metrics


def _card(
    recipe: Recipe,
    base: StartingCheckpoint,
    timed_clips: dict[str, list[TimedClip]],
    metrics: dict[str, Any],
    name: str,
) -> str:
    labels = metrics["labels"]
    counts = [
        [
            label,
            *(
                str(sum(p.clip.label == label for p in timed_clips[side]))
                for side in ("train", "val", "test")
            ),
        ]
        for label in labels
    ]
    measured = [
        f"{side}:\n\n" + _code(clip_lines(metrics[side])) for side in ("val", "test") if side in metrics
    ]
    body = "body frozen" if recipe.freeze else f"times {recipe.layer_decay:g} for each layer below"
    own = [label for label in labels if label in _background(recipe, labels)]
    return CARD.format(
        licence=(base.licence or "other").lower(),
        base=base.checkpoint.name,
        name=name,
        count=len(labels),
        labels=", ".join(labels),
        frames=base.sampling.frames,
        interval=base.sampling.interval,
        span=base.sampling.span,
        clips=_code(table(["label", "train", "val", "test"], counts)),
        split=metrics["split"],
        steps=metrics["steps"],
        batch=recipe.batch * recipe.accumulate,
        lr=recipe.lr,
        body=body,
        seed=recipe.seed,
        metric=recipe.metric,
        measured="\n\n".join(measured),
        views=recipe.views,
        background=f"; `{'`, `'.join(own)}` stands for no action" if own else "",
    )


def _background(recipe: Recipe, labels: list[str]) -> tuple[str, ...]:
    from streamer.training.ground_truth import background_of

    return background_of(labels, recipe.background)


def _code(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
