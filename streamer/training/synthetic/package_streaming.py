"""Puts a distillation's averaged weights into the package, as `demo-streaming`.

    python -m streamer.training.synthetic.package_streaming runs/streaming runs/validation [FOLDER]

The weights are kept in half precision and measured as they are kept: against the window model, and by frames
since a reset, on drawn scenes of pictures that training has not seen.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from streamer.demo import assets
from streamer.recognition.families.streaming_timesformer import PREFIX, StreamingTimesformer
from streamer.recognition.loading import quiet_transformers
from streamer.training.agreement import agreement_lines, measure_agreement
from streamer.training.distillation import Distiller, Settings, save_checkpoint
from streamer.training.synthetic import motions, stream_windows
from streamer.training.synthetic.distil_demo import Scenes
from streamer.training.synthetic.small_timesformer import to_pixels

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: video-classification
tags: [timesformer, streaming, motion, demo]
---

# Eight motions, one frame of work a hop: streamer's streaming demo checkpoint

`streamer run --model demo-streaming`. Distilled from the demo's window checkpoint (`../checkpoint`; its card
says what it knows and what not): it computes each frame once and asks the {frames} newest from a cache
(docs/streaming.md). It was taught what happens {moment:g} s before its newest frame; its events are dated
back by {lag:g} s, which fits the validation's scenes. Weights in half precision.

1,335 steps of {batch} stretches in 112 minutes, then {steps:,} more from their averaged
weights on in {minutes:.0f}, on two busy CPU cores. To repeat it:

    pip install "streamer-actions[demo]"
    python -m streamer.training.synthetic.stretches runs/stretches
    python -m streamer.training.synthetic.stretches runs/validation --split validation
    python -m streamer.training.synthetic.distil_demo runs/stretches runs/validation --out runs/first
    python -m streamer.training.synthetic.distil_demo runs/stretches runs/validation --out runs/streaming \\
        --begin runs/first --steps 2800
    python -m streamer.training.synthetic.package_streaming runs/streaming runs/validation

On drawn scenes of pictures that training has not seen ("right" by what happens {moment:g} s before a frame,
the teacher's as much later as it needs):

```
{measured}
```

docs/quality.md has events, delays and false alarms on streams. **Plain transformers loads these weights as a
model of windows, which they are not any more**: for windows take the window checkpoint.

Licence: Apache-2.0, the weights included.
"""


def package(run: Path, validation: Path, folder: Path, ahead: int, own: dict[str, Any]) -> str:
    """Write the checkpoint and its card; returns what was measured. Raises FileNotFoundError."""
    from transformers import TimesformerForVideoClassification

    model = TimesformerForVideoClassification.from_pretrained(assets.checkpoint_path()).eval()
    scenes = Scenes(validation, ahead=ahead)
    distiller = Distiller(model, scenes, to_pixels, Settings(steps=1), run)
    distiller.load()
    save_checkpoint(distiller.average_model, distiller.average, folder, own)
    file = folder / "model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(half, file, metadata={"format": "pt"})
    file.chmod(0o644)
    processor = "preprocessor_config.json"
    shutil.copyfile(assets.checkpoint_path() / processor, folder / processor)
    with quiet_transformers():
        kept = TimesformerForVideoClassification.from_pretrained(folder, dtype=torch.float32).eval()
    student = StreamingTimesformer(kept, fused=True)
    student.adopt({name: tensor.float() for name, tensor in half.items() if name.startswith(PREFIX)})
    lines = "\n".join(agreement_lines(measure_agreement(student, scenes.all(), to_pixels)))
    text = CARD.format(
        frames=motions.FRAMES,
        lag=own["lag"],
        moment=round(stream_windows.MOMENT - ahead * motions.INTERVAL, 6),
        steps=distiller.step,
        batch=Settings(steps=1).batch,
        minutes=distiller.seconds / 60,
        measured=lines,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=assets.checkpoint_path(assets.STREAMING))
    parser.add_argument("--ahead", type=int, default=1, help="as it was distilled with (%(default)s)")
    parser.add_argument(
        "--lag", type=float, default=0.3, help="its events are dated back by it (%(default)s s)"
    )
    parser.add_argument("--half-life", type=float, default=0.05, help="of its events (%(default)s s)")
    parser.add_argument("--min-on", type=float, default=0.4, help="of its events (%(default)s s)")
    args = parser.parse_args(arguments)
    own = {
        "interval": motions.INTERVAL,
        "lag": args.lag,
        "licence": "Apache-2.0",
        "events": {"half_life": args.half_life, "min_on": args.min_on},
    }
    print(package(args.run, args.validation, args.folder, args.ahead, own))


if __name__ == "__main__":
    main()
