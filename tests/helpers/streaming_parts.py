"""A small streaming checkpoint: the demo's window model with tables that are not trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from streamer.demo import assets
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer
from streamer.training.distillation import save_checkpoint


def teacher() -> Any:
    """The demo's window model, as transformers loads it."""
    from transformers import TimesformerForVideoClassification

    return TimesformerForVideoClassification.from_pretrained(assets.checkpoint_path()).eval()


def save_streaming(folder: Path, model: Any = None) -> Path:
    """A streaming checkpoint that says something else than zero by age."""
    model = teacher() if model is None else model
    student = StreamingTimesformer(model, fused=False)
    generator = torch.Generator().manual_seed(1)
    own = student.own_tensors()
    student.adopt(
        {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in own.items()}
    )
    save_checkpoint(model, student, folder, dict(model.config.streamer))
    shutil.copy(assets.checkpoint_path() / "preprocessor_config.json", folder)
    return folder
