"""The fast TimeSformer gives transformers' answers."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TimesformerConfig, TimesformerForVideoClassification

from streamer.errors import WindowShapeError
from streamer.recognition.families.timesformer import FusedTimesformer
from tests.helpers.no_float64 import MPS, PretendedMps, on_mps

ATTENTION = ("divided_space_time", "joint_space_time", "space_only")
SMALL = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 3,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_labels": 5,
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(seed: int = 0, **changes) -> TimesformerForVideoClassification:
    """A model in which every parameter matters (transformers starts many at zero)."""
    torch.manual_seed(seed)
    model = TimesformerForVideoClassification(TimesformerConfig(**{**SMALL, **changes})).eval()
    for name, parameter in model.named_parameters():
        spread = 1.5 / parameter.shape[-1] ** 0.5 if name.endswith("weight") and parameter.dim() == 2 else 0.5
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=spread)
    return model


@torch.no_grad()
def expected(model: TimesformerForVideoClassification, clip: torch.Tensor) -> torch.Tensor:
    """transformers' logits. Space-only: the mean over frames as in the paper's code."""
    if model.config.attention_type != "space_only":
        return model(clip).logits
    inner = model.timesformer
    tokens = inner.encoder(inner.embeddings(clip))[0][:, 0].unflatten(0, clip.shape[:2]).mean(1)
    return model.classifier(inner.layernorm(tokens))


def relative_error(model, clip: torch.Tensor) -> float:
    reference = expected(model, clip)
    with torch.inference_mode():
        logits = FusedTimesformer(model)(clip)
    assert logits.shape == reference.shape == (len(clip), model.config.num_labels)
    return float((logits - reference).norm() / reference.norm())


@pytest.mark.training
@settings(max_examples=60, deadline=None)
@given(
    attention=st.sampled_from(ATTENTION),
    windows=st.integers(1, 3),
    frames=st.integers(1, 5),
    patch=st.sampled_from((4, 7, 8)),
    grid=st.integers(1, 4),
    heads=st.sampled_from((1, 2, 3)),
    layers=st.integers(1, 3),
    act=st.sampled_from(("gelu", "gelu_new", "relu", "silu")),
    bias=st.booleans(),
    eps=st.sampled_from((1e-6, 1e-3)),
    channels=st.sampled_from((1, 3)),
    seed=st.integers(0, 2**31),
)
def test_random_configurations(
    attention, windows, frames, patch, grid, heads, layers, act, bias, eps, channels, seed
):
    model = make_model(
        seed,
        attention_type=attention,
        num_frames=frames,
        patch_size=patch,
        image_size=patch * grid,
        hidden_size=8 * heads,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        hidden_act=act,
        qkv_bias=bias,
        layer_norm_eps=eps,
        num_channels=channels,
    )
    clip = torch.randn(windows, frames, channels, patch * grid, patch * grid)
    assert relative_error(model, clip) < 1e-4


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 16), (16, 48), (35, 37)])
def test_other_sizes_stretch_the_places_as_transformers_does(attention, height, width):
    model = make_model(attention_type=attention)
    assert relative_error(model, torch.randn(2, 3, 3, height, width)) < 1e-4


@pytest.mark.training
@pytest.mark.parametrize(
    ("frames", "size", "hidden", "labels"),
    [(8, 224, 768, 400), (16, 448, 96, 600), (96, 224, 96, 174), (64, 224, 96, 174)],
    ids=["base", "hr", "large", "large-ssv2"],
)
def test_published_shapes(frames, size, hidden, labels):
    """Frames, size, patch and heads as published; fewer layers, and narrower where that takes minutes."""
    model = make_model(
        num_frames=frames,
        image_size=size,
        patch_size=16,
        hidden_size=hidden,
        num_attention_heads=12,
        intermediate_size=4 * hidden,
        num_labels=labels,
    )
    assert relative_error(model, torch.randn(1, frames, 3, size, size)) < 1e-4


@pytest.mark.parametrize("attention", ATTENTION)
def test_bf16_is_as_near_as_transformers_own_bf16(attention):
    model = make_model(attention_type=attention, hidden_size=96, num_hidden_layers=3)
    clip = torch.randn(4, 3, 3, 16, 16)
    reference = expected(model, clip)
    with torch.inference_mode():
        ours = FusedTimesformer(model).to(torch.bfloat16)(clip.bfloat16()).float()
    theirs = expected(model.to(torch.bfloat16), clip.bfloat16()).float()
    error = (ours - reference).norm() / reference.norm()
    assert 0 < error < max(0.02, 1.5 * float((theirs - reference).norm() / reference.norm()))


@pytest.mark.parametrize("attention", ATTENTION)
def test_windows_of_a_batch_do_not_touch_each_other(attention):
    model = FusedTimesformer(make_model(attention_type=attention))
    clips = torch.randn(3, 3, 3, 16, 16)
    with torch.inference_mode():
        together, alone = model(clips), torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_order_of_frames_matters():
    model = FusedTimesformer(make_model())
    clip = torch.randn(1, 3, 3, 16, 16)
    with torch.inference_mode():
        assert (model(clip) - model(clip.flip(1))).abs().max() > 1e-3


def test_the_clip_is_not_written_to():
    clip = torch.randn(1, 3, 3, 16, 16)
    before = clip.clone()
    with torch.inference_mode():
        FusedTimesformer(make_model())(clip)
    assert torch.equal(clip, before)


@pytest.mark.parametrize("frames", [1, 2, 4, 6])
def test_another_number_of_frames_is_refused(frames):
    model = FusedTimesformer(make_model())
    with pytest.raises(WindowShapeError, match=f"3 frames, got {frames}"):
        model(torch.randn(1, frames, 3, 16, 16))


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (1, 3, 1, 16, 16), (1, 3, 3, 7, 16), (1, 3, 3, 16, 7)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(WindowShapeError, match="at least 8"):
        FusedTimesformer(make_model())(torch.randn(shape))


def test_one_copy_of_the_weights():
    model = make_model(hidden_size=48, intermediate_size=96)
    shared = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    count = sum(parameter.numel() for parameter in model.parameters())
    fused_away = weakref.ref(model.timesformer.encoder.layer[0].temporal_dense.weight)

    fast = FusedTimesformer(model)
    new = [p for p in fast.parameters() if p.untyped_storage().data_ptr() not in shared]
    assert sum(p.numel() for p in new) == 2 * (48 * 48 + 48)  # the fused time projection of each layer
    del model, shared
    gc.collect()
    assert fused_away() is None
    assert sum(p.numel() for p in fast.parameters()) == count - 2 * (48 * 48 + 48)


@pytest.mark.training
def test_an_exported_graph_agrees_with_eager_code():
    model = FusedTimesformer(make_model())
    clip = torch.randn(2, 3, 3, 16, 16)
    with torch.no_grad():
        eager = model(clip)
        exported = torch.export.export(model, (clip,)).module()(clip)
    torch.testing.assert_close(exported, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_on_a_gpu(device):
    if not (torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {device} device here")
    model = make_model()
    clip = torch.randn(2, 3, 3, 16, 16)
    reference = expected(model, clip)
    with torch.inference_mode():
        logits = FusedTimesformer(model).to(device)(clip.to(device)).cpu()
    torch.testing.assert_close(logits, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_device_without_float64_gives_the_same_logits(attention: str) -> None:
    """Apple's GPUs: the time projections are fused on the host, and the result is moved."""
    model, clip = make_model(attention_type=attention), torch.randn(2, 3, 3, 16, 16)
    with torch.no_grad():
        reference = FusedTimesformer(model)(clip)
        with PretendedMps():
            there = FusedTimesformer(on_mps(model))
            assert {parameter.device for parameter in there.parameters()} == {MPS}
            logits = there(clip.to(MPS)).cpu()
    assert torch.equal(logits, reference)


def test_the_pretended_device_refuses_float64() -> None:
    with PretendedMps(), pytest.raises(TypeError, match="doesn't support float64"):
        torch.ones(2).to(MPS).double()
