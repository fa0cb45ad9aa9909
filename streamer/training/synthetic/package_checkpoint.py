"""Puts a training run's best weights into the package.

    python -m streamer.training.synthetic.package_checkpoint runs/demo [FOLDER]


Copies the checkpoint, measures it on clips that neither training nor the choice of weights has seen and on
the bundled clip, and writes the model card with those numbers and the run's ``notes.md``, if there is one.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.demo import assets
from streamer.training.synthetic import motions, samples, stream_windows, train_demo, training_batches

FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "training.json")
CHECK_SEED = 77  # validation clips of training use seed 0
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: video-classification
tags: [timesformer, motion, demo]
---

# Eight motions: streamer's demo checkpoint

A small TimeSformer ({parameters:.1f} M parameters, {frames} frames of {size} pixels, one every
{interval} s, span {span:.1f} s) trained from scratch to tell eight motions apart:
{labels}.
Left and right are the viewer's. It exists so that a newcomer sees live recognition work within
seconds, offline, and can point a webcam at a moving hand. It knows nothing about people, objects
or actions beyond these motions: for those, use a Kinetics checkpoint.

## Training

From scratch, on drawn clips: pieces of photographs and procedural textures moving over others, with
sensor noise, changing light, a shaking camera, compression, bystanders and processions
(`streamer/training/synthetic/samples.py`); then on those mixed with windows of drawn
streams, labelled by what happens {lag} s before their end
(`streamer/training/synthetic/stream_windows.py`), which is what live recognition sees. {steps} steps
of {batch}, {minutes} minutes on a CPU shared with other work.
`LICENCES.md` one folder up names every
photograph. To repeat it:

    pip install "streamer-actions[demo]"
    python -m streamer.training.synthetic.train_demo --out runs/demo --minutes {budget} --live-minutes {live}
    python -m streamer.training.synthetic.package_checkpoint runs/demo

The schedule follows the clock, so another machine gives other weights of about the same quality.

## Measured

| what | windows | right |
|---|---|---|
| fresh clips: photographs, textures, seeds never trained on; every difficulty | {count} | {fresh:.1%} |
| of these, several objects passing one behind the other | {rows} | {in_rows:.1%} |
| windows of fresh streams, a third of them idle or at rest, labelled as above | {count} | {windows:.1%} |
| the bundled clip, windows wholly inside one action, 0.2 s apart | {inside} | {clip:.1%} |

Truth by row, guess by column, on the fresh clips:

{matrix}

## Limits

- One moving thing before a camera that stands nearly still. A panning camera, two things moving
  differently, or motion slower than about a quarter of the frame in {span:.1f} s are outside what it
  learnt; several things passing one behind the other are hard for it (see the table).
- Measured on drawn clips and on a clip made of photographs, not on people: expect less from real footage.
- Always answers with one of its eight labels; `still` is also what an empty scene gets.

Licence: Apache-2.0, the weights included.
"""


def clip_windows(hop: float = 0.2) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Windows (T, 64, 64, 3) of the bundled clip that lie wholly inside one action, with its label.

    Frames are reduced as the processor does: shortest edge to 64 by Pillow's bilinear filter, centre crop.
    """
    import av
    from PIL import Image

    size, frames = motions.SIZE, []
    with av.open(str(assets.clip_path())) as container:
        rate = float(container.streams.video[0].average_rate or 25)
        for frame in container.decode(video=0):
            width = int(frame.width * size / frame.height)
            small = frame.to_image().resize((width, size), Image.Resampling.BILINEAR)
            left = (width - size) // 2
            frames.append(np.asarray(small.crop((left, 0, left + size, size))))
    span = (motions.FRAMES - 1) * motions.INTERVAL
    for start, end, label in assets.truth():
        for first in np.arange(start, end - span - 1 / rate + 1e-6, hop):
            times = first + motions.INTERVAL * np.arange(motions.FRAMES)
            yield np.stack([frames[round(float(t) * rate)] for t in times]), label


def measure(folder: Path, count: int = 960) -> dict[str, Any]:
    """Accuracy of the checkpoint in ``folder`` on fresh clips and on the bundled clip."""
    from transformers import TimesformerForVideoClassification

    model = TimesformerForVideoClassification.from_pretrained(folder)
    clips = samples.validation_set(count, seed=CHECK_SEED)
    validation, matrix = train_demo.evaluate(model, train_demo.collate(clips))
    rows = [sample for sample in clips if sample.followers]
    in_rows, _ = train_demo.evaluate(model, train_demo.collate(rows))
    windows = list(clip_windows())
    pictures = torch.from_numpy(np.stack([window for window, _ in windows]))
    labels = torch.tensor([motions.LABELS.index(label) for _, label in windows])
    right, clip_matrix = train_demo.evaluate(model, {"clips": pictures, "labels": labels})
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    numbers = {"fresh": validation, "matrix": matrix, "count": count, "parameters": parameters}
    numbers |= {"rows": len(rows), "in_rows": in_rows}
    numbers["windows"], _ = train_demo.evaluate(
        model, train_demo.collate(training_batches.validation_set(count, CHECK_SEED))
    )
    return {**numbers, "clip": right, "clip_matrix": clip_matrix, "inside": len(windows)}


def card(folder: Path, numbers: dict[str, Any]) -> str:
    """The model card's text for the checkpoint in ``folder`` with ``measure``'s numbers."""
    training = json.loads((folder / "training.json").read_text())
    names = [name.replace("moving ", "") for name in motions.LABELS]
    rows = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, row in zip(names, numbers["matrix"], strict=True):
        rows.append(f"| {name} | " + " | ".join(str(n) for n in row) + " |")
    return CARD.format(
        **{key: value for key, value in numbers.items() if key not in ("matrix", "clip_matrix")},
        matrix="\n".join(rows),
        frames=motions.FRAMES,
        size=motions.SIZE,
        interval=motions.INTERVAL,
        span=(motions.FRAMES - 1) * motions.INTERVAL,
        labels=", ".join(motions.LABELS),
        steps=f"{training['step']:,}",
        minutes=round(training["minutes"]),
        batch=training["recipe"]["batch"],
        budget=f"{training['recipe']['minutes']:g}",
        live=f"{training['recipe']['live_minutes']:g}",
        lag=stream_windows.MOMENT,
    )


def bundle(run: Path, folder: Path) -> dict[str, Any]:
    """Copies ``run``/best to ``folder``, measures it and writes its card. Raises FileNotFoundError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / "best" / name, folder / name)
    numbers = measure(folder)
    notes = run / "notes.md"
    said = "\n" + notes.read_text() if notes.exists() else ""
    (folder / "README.md").write_text(card(folder, numbers) + said)
    return numbers


if __name__ == "__main__":
    torch.set_num_threads(1)
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    result = bundle(source, Path(sys.argv[2]) if len(sys.argv) > 2 else assets.checkpoint_path())
    print("\n".join(f"{key}: {value}" for key, value in result.items()))
