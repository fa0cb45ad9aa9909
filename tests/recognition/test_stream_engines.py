"""Engines of streaming models: the same scores as torch in fp32, whatever computes, after any resets."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamer.errors import ModelError, ModelLoadError
from streamer.recognition.engines import comparison, stream_tuning
from streamer.recognition.engines.cache import Cache
from streamer.recognition.engines.engine import EngineVariant
from streamer.recognition.engines.openvino_stream import OpenVinoStream
from streamer.recognition.engines.packing import PackedLinear, can_pack
from streamer.recognition.engines.stream_tuning import build_stream
from streamer.recognition.engines.torch_stream import TorchStream
from streamer.recognition.families.stream_recognizer import StreamEngine, StreamRecognizer
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer
from tests.helpers.model_parts import load, refused
from tests.helpers.streaming_parts import save_streaming

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="NNCF is not installed")
SIZE = (3, 32, 32)
TICKS = 14


def model(ages: int = 4, bias: bool = True) -> StreamingTimesformer:
    """Random, with tables that matter; the same each time."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    torch.manual_seed(3)
    config = TimesformerConfig(
        image_size=32, patch_size=16, num_frames=ages, hidden_size=64, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=128, qkv_bias=bias, num_labels=5, initializer_range=0.2,
    )  # fmt: skip
    made = StreamingTimesformer(TimesformerForVideoClassification(config).eval(), fused=True)
    made.adopt({name: torch.randn(t.shape) * 0.3 for name, t in made.own_tensors().items()})
    return made.eval().requires_grad_(False)


def frames() -> Tensor:
    """(2 streams, TICKS, C, H, W)."""
    return torch.randn(2, TICKS, *SIZE, generator=torch.Generator().manual_seed(5))


def played(engine: StreamEngine) -> Tensor:
    """Scores of two streams whose steps alternate or come together, one of them cut twice. (n, L)."""
    shown, found = frames(), []
    engine.grow(2)
    for tick in range(TICKS):
        if tick in (1, 9):
            engine.reset(1)
        rows = [0, 1] if tick % 3 else [1, 0]
        with torch.inference_mode():
            found.append(engine.step(shown[rows, tick], rows).float()[rows])
    return torch.cat(found).softmax(-1)


def plain(ages: int = 4, bias: bool = True) -> Tensor:
    """The same by the parallel form, which has no cache at all."""
    made, shown = model(ages, bias), frames()
    with torch.inference_mode():
        uncut = made.parallel(shown[:1])[0]
        parts = [made.parallel(shown[1:, a:b])[0] for a, b in ((0, 1), (1, 9), (9, TICKS))]
    return torch.stack((uncut, torch.cat(parts)), 1).flatten(0, 1).softmax(-1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ages", [4, 8, 16])
def test_torch_with_packed_weights_is_the_parallel_form(ages: int, bias: bool) -> None:
    engine = TorchStream(model(ages, bias))
    assert (played(engine) - plain(ages, bias)).abs().max() < 1e-5
    if can_pack(torch.float32):
        assert isinstance(engine.model.blocks[0].space_qkv, PackedLinear)


def test_torch_bf16_keeps_its_cache_in_bf16() -> None:
    engine = build_stream(EngineVariant("torch", "bf16"), model(), SIZE)
    assert isinstance(engine, TorchStream)
    assert engine.state.keys.dtype == torch.bfloat16
    assert 0 < (played(engine) - plain()).abs().max() < 0.05


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, StreamEngine]:
    """The cache with OpenVINO's file of `model()` in fp32, which takes seconds to make, and its engine."""
    cache = Cache(tmp_path_factory.mktemp("engines"))
    return cache, build_stream(EngineVariant("openvino", "fp32"), model(), SIZE, cache=cache)


@needs_openvino
@pytest.mark.training
def test_openvino_is_the_parallel_form(converted: tuple[Cache, StreamEngine]) -> None:
    cache, engine = converted
    assert (played(engine) - plain()).abs().max() < 1e-5
    way = EngineVariant("openvino", "fp32")
    again = build_stream(way, model(), SIZE, cache=cache)  # from the file
    assert torch.equal(played(again), played(build_stream(way, model(), SIZE, cache=cache)))
    assert len(list(cache.folder.iterdir())) == 1


@needs_openvino
@pytest.mark.training
def test_openvino_bf16_is_nearly_the_parallel_form(tmp_path: Path) -> None:
    cache, way = Cache(tmp_path), EngineVariant("openvino", "bf16")
    engine = build_stream(way, model(), SIZE, cache=cache)
    assert (played(engine) - plain()).abs().max() < 0.05
    again = build_stream(way, model(), SIZE, cache=cache)
    assert torch.equal(played(again), played(build_stream(way, model(), SIZE, cache=cache)))
    assert len(list(tmp_path.iterdir())) == 1


@needs_nncf
@pytest.mark.training
def test_openvino_int8_is_calibrated_on_streams(tmp_path: Path) -> None:
    way = EngineVariant("openvino", "int8")
    engine = build_stream(way, model(), SIZE, stretches=frames(), cache=Cache(tmp_path))
    assert 0 < (played(engine) - plain()).abs().max() < 0.2
    xml = next(tmp_path.glob("*/model.xml")).read_text()
    assert "FakeQuantize" in xml or 'element_type="i8"' in xml
    with pytest.raises(ModelLoadError, match="real pictures"):
        build_stream(way, model(), SIZE, cache=Cache(tmp_path))


@needs_openvino
@pytest.mark.training
def test_a_step_that_openvino_cannot_do_is_one_error(converted: tuple[Cache, StreamEngine]) -> None:
    engine = build_stream(EngineVariant("openvino", "fp32"), model(), SIZE, cache=converted[0])
    with pytest.raises(ModelError, match="OpenVINO failed on"):
        engine.step(torch.zeros(1, 3, 48, 48), [0])
    assert (played(engine) - plain()).abs().max() < 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_streaming(tmp_path_factory.mktemp("checkpoints") / "streaming")


def test_a_small_model_is_torch_fp32_on_one_thread(folder: Path) -> None:
    recognizer: StreamRecognizer = load(folder)
    assert (recognizer.spec.engine, recognizer.spec.precision) == ("torch", "fp32")
    assert recognizer.threads == 1


def test_bf16_is_had_by_asking(folder: Path) -> None:
    recognizer: StreamRecognizer = load(folder, precision="bf16")
    assert (recognizer.spec.engine, recognizer.spec.precision) == ("torch", "bf16")
    recognizer.warm_up()


@needs_openvino
@pytest.mark.training
def test_openvino_is_had_by_asking(folder: Path) -> None:
    recognizer: StreamRecognizer = load(folder, engine="openvino", precision="fp32")
    assert isinstance(recognizer.engine, OpenVinoStream)
    assert recognizer.spec.engine == "openvino"
    recognizer.warm_up()


def test_what_torch_cannot_do_is_refused(folder: Path) -> None:
    refused(folder, "has no precision int8", engine="torch", precision="int8")


@pytest.mark.training
def test_the_fastest_right_one_is_measured_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(stream_tuning, "BIG", 1)
    monkeypatch.setattr(stream_tuning, "STRETCHES", {True: 1, False: 1})
    ways = [EngineVariant("torch", "fp32"), EngineVariant("torch", "bf16")]
    monkeypatch.setattr(stream_tuning, "candidates", lambda *_, **__: ways)
    said: list[str] = []
    monkeypatch.setattr(comparison.log, "warning", lambda text, *values: said.append(text % values))
    times: dict[Any, float] = {ways[0]: 0.2, ways[1]: 0.1}
    monkeypatch.setattr(
        comparison.Comparison, "_alternating", lambda self, engines, _: {w: times[w] for w in engines}
    )
    first: StreamRecognizer = load(folder)
    again: StreamRecognizer = load(folder)
    assert first.spec.precision == again.spec.precision == "bf16"
    assert len(said) == 1
    monkeypatch.setattr(comparison, "MAX_DIFFERENCE", -1.0)  # other limits: measured again, none passes
    refused_all: StreamRecognizer = load(folder)
    assert refused_all.spec.precision == "fp32"
