"""The streaming TimeSformer: step by step it is the parallel form, whatever is reset; and it never drifts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from streamer.errors import WindowShapeError
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer

SHAPES = [
    {"num_frames": 4},
    {"num_frames": 8, "qkv_bias": False},
    {"num_frames": 16, "image_size": 48, "patch_size": 16},
    {"num_frames": 3, "image_size": 36, "patch_size": 12, "num_hidden_layers": 1},
]


def window_model(**more: Any) -> Any:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    small = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 3}
    small |= {"num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.2, "num_labels": 5}
    torch.manual_seed(0)
    model = TimesformerForVideoClassification(TimesformerConfig(**{**small, **more})).eval()
    torch.nn.init.normal_(model.timesformer.embeddings.time_embeddings)
    return model


def streaming(model: Any, *, fused: bool) -> StreamingTimesformer:
    """With tables that say something; the same for both forms."""
    made = StreamingTimesformer(model, fused=fused).eval()
    generator = torch.Generator().manual_seed(1)
    own = {
        name: 0.5 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in made.own_tensors().items()
    }
    made.adopt(own)
    return made


def stretch(model: Any, count: int, frames: int) -> Tensor:
    size = model.config.image_size
    return torch.randn(count, frames, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_step_by_step_it_is_the_parallel_form(shape: dict[str, Any]) -> None:
    model = window_model(**shape)
    trained, running = streaming(model, fused=False), streaming(model, fused=True)
    frames = stretch(model, 2, 3 * model.config.num_frames + 2)
    state = running.new_state(2)
    with torch.inference_mode():
        together = trained.parallel(frames).softmax(-1)
        steps = [running.step(frames[:, n], state, [0, 1]) for n in range(frames.shape[1])]
    assert (torch.stack(steps, 1).softmax(-1) - together).abs().max() < 1e-5


def test_cameras_that_reset_at_any_time_and_in_any_order_do_not_disturb_each_other() -> None:
    model = window_model(num_frames=4)
    trained, running = streaming(model, fused=False), streaming(model, fused=True)
    frames = stretch(model, 3, 23)
    resets = {0: (0, 5, 6), 1: (0, 13), 2: (0,)}
    state = running.new_state(5)
    rows = {0: 4, 1: 0, 2: 2}
    wanted = []
    with torch.inference_mode():
        for camera, starts in resets.items():
            ends = [*starts[1:], frames.shape[1]]
            parts = [
                trained.parallel(frames[camera : camera + 1, a:b]) for a, b in zip(starts, ends, strict=True)
            ]
            wanted.append(torch.cat(parts, 1)[0])
        for tick in range(frames.shape[1]):
            for camera, starts in resets.items():
                if tick in starts:
                    state.reset(rows[camera])
            order = [0, 1, 2] if tick % 2 else [2, 0, 1]  # a row of rows, and rows here and there
            logits = running.step(frames[order, tick], state, [rows[camera] for camera in order])
            for camera, found in zip(order, logits, strict=True):
                assert (found.softmax(-1) - wanted[camera][tick].softmax(-1)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "steps", [2_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_what_is_older_than_its_reach_does_not_matter_however_long_it_runs(steps: int) -> None:
    model = window_model(num_frames=3, image_size=16, hidden_size=16, num_hidden_layers=2)
    running = streaming(model, fused=True)
    reach = (model.config.num_hidden_layers + 1) * (model.config.num_frames - 1)
    generator = torch.Generator().manual_seed(3)
    old, young = running.new_state(1), running.new_state(1)
    with torch.inference_mode():
        for _ in range(steps):
            running.step(torch.randn(1, 3, 16, 16, generator=generator), old, [0])
        for _ in range(reach):
            frame = torch.randn(1, 3, 16, 16, generator=generator)
            running.step(frame, old, [0])
            running.step(frame, young, [0])
        for _ in range(10):
            frame = torch.randn(1, 3, 16, 16, generator=generator)
            difference = running.step(frame, old, [0]) - running.step(frame, young, [0])
            assert difference.abs().max() < 1e-5


def test_a_camera_takes_the_memory_that_the_definition_says() -> None:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    with torch.device("meta"):  # TimeSformer-base: no weights are needed to count
        model = TimesformerForVideoClassification(TimesformerConfig(num_frames=8))
        state = StreamingTimesformer(model, fused=False).to(torch.bfloat16).new_state(1)
    said = 12 * 8 * 196 * 2 * 768 * 2  # bytes: layers, T, patches, keys and values, width, bf16
    assert state.bytes_per_camera == pytest.approx(said, rel=0.01)


def test_its_own_tensors_travel_and_wrong_ones_are_refused() -> None:
    model = window_model(num_frames=4)
    one, other = streaming(model, fused=True), StreamingTimesformer(model, fused=True)
    other.adopt(one.own_tensors())
    for name, tensor in one.own_tensors().items():
        assert torch.equal(tensor, other.own_tensors()[name])
    short = {**one.own_tensors(), "streaming.keys": torch.zeros(2, 4, 32)}
    with pytest.raises(ValueError, match=r"streaming\.keys is of shape \(2, 4, 32\)"):
        other.adopt(short)
    with pytest.raises(ValueError, match=r"streaming\.\w+ is missing"):
        other.adopt({})


def test_only_divided_attention_has_something_to_cache() -> None:
    model = window_model(num_frames=4, attention_type="joint_space_time")
    with pytest.raises(ValueError, match="joint_space_time"):
        StreamingTimesformer(model, fused=True)


def test_frames_of_another_size_are_refused() -> None:
    running = streaming(window_model(num_frames=4), fused=True)
    with pytest.raises(WindowShapeError, match="16 places"):
        running.step(torch.zeros(1, 3, 64, 64), running.new_state(1), [0])
