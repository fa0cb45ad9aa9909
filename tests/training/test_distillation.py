"""Distilling a window model into a streaming one: it learns, and goes on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamer.training.distillation import (
    UNKNOWN,
    Distiller,
    Settings,
    Stretch,
    loss_of,
    start_tables,
)

LABELS, TICKS, SIZE = 3, 12, 16


def window_model() -> Any:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    torch.manual_seed(0)
    config = TimesformerConfig(
        image_size=SIZE, patch_size=8, num_frames=4, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32, num_labels=LABELS, initializer_range=0.2,
    )  # fmt: skip
    model = TimesformerForVideoClassification(config).eval()
    torch.nn.init.normal_(model.timesformer.embeddings.time_embeddings)
    return model


def pixels(frames: Tensor) -> Tensor:
    return frames.permute(0, 1, 4, 2, 3).float() / 128 - 1


class Taught:
    """Noise, with what the teacher says of each window of it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def draw(self, rng: np.random.Generator) -> Stretch:
        frames = rng.integers(0, 256, (TICKS, SIZE, SIZE, 3), np.uint8)
        scores = np.full((TICKS, LABELS), np.nan, np.float32)
        clip = pixels(torch.from_numpy(frames)[None])[0]
        with torch.inference_mode():
            windows = torch.stack([clip[end - 3 : end + 1] for end in range(3, TICKS)])
            scores[3:] = self.model(pixel_values=windows).logits.softmax(-1).numpy()
        labels = np.full(TICKS, UNKNOWN, np.int64)
        labels[5:] = scores[5:].argmax(-1)
        return Stretch(frames, scores, labels)


def distiller(folder: Path, steps: int) -> Distiller:
    model = window_model()
    settings = Settings(steps=steps, batch=4, warmup=2, rate=2e-3, bf16=False, smoothing=0.5, save_every=1e9)
    return Distiller(model, Taught(model), pixels, settings, folder)


def test_it_learns_what_its_teacher_says(tmp_path: Path) -> None:
    learner = distiller(tmp_path, 60)
    losses = list(learner.run(lambda: False))
    assert len(losses) == 60
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:5])


def test_killed_and_resumed_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = distiller(tmp_path / "whole", 8)
    for _ in whole.run(lambda: False):
        pass
    first = distiller(tmp_path / "parts", 8)
    for _ in first.run(lambda: first.step == 4):
        pass
    first.save()
    second = distiller(tmp_path / "parts", 8)
    second.load()
    assert second.step == 4
    for _ in second.run(lambda: False):
        pass
    for name, tensor in whole.average.state_dict().items():
        assert torch.equal(tensor, second.average.state_dict()[name]), name


def test_a_run_begins_with_the_averaged_weights_of_another(tmp_path: Path) -> None:
    first = distiller(tmp_path / "first", 3)
    for _ in first.run(lambda: False):
        pass
    first.save()
    second = distiller(tmp_path / "second", 3)
    second.begin_with(tmp_path / "first")
    assert second.step == 0
    for name, tensor in first.average.state_dict().items():
        assert torch.equal(tensor, second.student.state_dict()[name]), name
        assert torch.equal(tensor, second.average.state_dict()[name]), name


def test_the_tables_start_at_what_a_place_in_the_window_changes(tmp_path: Path) -> None:
    learner = distiller(tmp_path, 1)
    layer = learner.student.blocks[0]
    windows = pixels(torch.randint(0, 256, (6, 4, SIZE, SIZE, 3), dtype=torch.uint8))
    start_tables(learner.student, learner.model, [windows])
    tables: Any = layer.tables
    assert torch.equal(tables.keys[0], torch.zeros(16))  # the newest frame is where the others are seen from
    assert (tables.keys[1:].abs().sum(1) > 0).all()
    embedded = learner.model.timesformer.embeddings(windows)  # (B, 1 + T·N, D)
    patches = embedded[:, 1:].reshape(6 * 4, 4, 16)  # (B·N, T, D)
    first = learner.model.timesformer.encoder.layer[0]
    with torch.no_grad():
        qkv = first.temporal_attention.attention.qkv(first.temporal_layernorm(patches)).mean(0)  # (T, 3 D)
    assert torch.allclose(tables.keys[2], qkv[1, 16:32] - qkv[3, 16:32], atol=1e-5)
    assert torch.allclose(tables.values[3], qkv[0, 32:] - qkv[3, 32:], atol=1e-5)


@pytest.mark.parametrize("truth", [0.0, 0.5])
def test_ticks_that_nobody_knows_teach_nothing(truth: float) -> None:
    logits = torch.randn(2, 5, LABELS, requires_grad=True)
    scores = torch.full((2, 5, LABELS), float("nan"))
    labels = torch.full((2, 5), UNKNOWN)
    assert loss_of(logits, scores, labels, truth) == 0
    scores[0, 3] = torch.tensor([1.0, 0.0, 0.0])
    loss_of(logits, scores, labels, truth).backward()
    assert logits.grad is not None
    assert logits.grad.flatten(0, 1).abs().sum(1).nonzero().flatten().tolist() == [3]
