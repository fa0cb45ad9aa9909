"""Engines: the same answers, sooner; converted models on disk; the choice between them."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TimesformerConfig, TimesformerForVideoClassification

from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.device import Placement
from streamer.recognition.engines import comparison, tuning
from streamer.recognition.engines.cache import KEPT, Cache, entry_key, weights_hash
from streamer.recognition.engines.calibration import clip_windows
from streamer.recognition.engines.comparison import REFERENCE, Measurement, best_of, compare
from streamer.recognition.engines.engine import EngineVariant, build, check
from streamer.recognition.engines.packing import PackedLinear, PackedPatches, can_pack
from streamer.recognition.engines.tuning import candidates
from streamer.recognition.families.timesformer import FusedTimesformer
from streamer.system.user_folders import cache_folder
from tests.helpers.extras_parts import without

needs_packing = pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no packed kernels")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="NNCF is not installed")
SHAPE = (3, 3, 32, 32)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One thread, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(seed: int = 0, act: str = "gelu") -> TimesformerForVideoClassification:
    torch.manual_seed(seed)
    config = TimesformerConfig(
        image_size=32,
        patch_size=8,
        num_frames=3,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        hidden_act=act,
        id2label=dict(enumerate("abcdef")),
        label2id={label: index for index, label in enumerate("abcdef")},
        initializer_range=0.2,
        streamer={"interval": 0.2},
    )
    return TimesformerForVideoClassification(config).eval()


def clips(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def reference(model: TimesformerForVideoClassification, values: torch.Tensor) -> torch.Tensor:
    return model(values).logits


def error(logits: torch.Tensor, expected: torch.Tensor) -> float:
    return float((logits.float() - expected).norm() / expected.norm())


class TestPackedWeights:
    @pytest.mark.training
    @needs_packing
    @pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
    def test_same_answers(self, act: str) -> None:
        model = make_model(act=act)
        values = clips(3)
        expected = reference(model, values)
        fast = FusedTimesformer(model)
        forward = build(REFERENCE, fast, SHAPE)
        assert any(isinstance(layer, PackedLinear) for layer in fast.modules())
        with torch.inference_mode():
            assert error(forward(values), expected) < 1e-5

    @needs_packing
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("size", [(16, 16), (19, 30)], ids=["whole", "with a rest"])
    def test_patches_are_those_of_the_convolution(self, size: tuple[int, int], bias: bool) -> None:
        patches = torch.nn.Conv2d(3, 8, (4, 6), stride=(4, 6), bias=bias).requires_grad_(False)
        pictures = torch.randn(2, 3, *size)
        found, expected = PackedPatches(patches)(pictures), patches(pictures)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=1e-5)

    @needs_packing
    def test_bf16(self) -> None:
        if not can_pack(torch.bfloat16):
            pytest.skip("no bf16 kernels here")
        model, values = make_model(), clips(3)
        expected = reference(model, values)
        forward = build(EngineVariant("torch", "bf16"), FusedTimesformer(model).to(torch.bfloat16), SHAPE)
        with torch.inference_mode():
            logits = forward(values)  # takes fp32 pictures, whatever it computes in
        assert logits.dtype == torch.bfloat16
        assert 1e-6 < error(logits, expected) < 0.05

    @needs_packing
    def test_one_copy_of_the_weights(self) -> None:
        fast = FusedTimesformer(make_model())
        before = sum(p.numel() for p in fast.parameters())
        build(REFERENCE, fast, SHAPE)
        packed = [layer for layer in fast.modules() if isinstance(layer, PackedLinear)]
        moved = sum(layer.packed.numel() + layer.bias.numel() for layer in packed)
        assert sum(p.numel() for p in fast.parameters()) + moved == before

    def test_where_kernels_are_missing_layers_stay_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: object) -> torch.Tensor:
            raise RuntimeError("no such kernel")

        monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", missing)
        model, values = make_model(), clips(1)
        expected = reference(model, values)
        with torch.inference_mode():
            assert error(build(REFERENCE, FusedTimesformer(model), SHAPE)(values), expected) < 1e-5


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """With OpenVINO's file of `make_model()`, which takes seconds to make."""
    cache = Cache(tmp_path_factory.mktemp("engines"))
    build(EngineVariant("openvino", "fp32"), FusedTimesformer(make_model()), SHAPE, cache=cache)
    return cache


class TestOpenVino:
    @pytest.mark.training
    @needs_openvino
    def test_same_answers(self, converted: Cache) -> None:
        model, values = make_model(), clips(3)
        expected = reference(model, values)
        for precision, limit in (("fp32", 1e-4), ("bf16", 0.05)):
            way = EngineVariant("openvino", precision)
            forward = build(way, FusedTimesformer(model), SHAPE, cache=converted)
            assert error(forward(values), expected) < limit
        assert len(list(converted.folder.glob("*/model.xml"))) == 1  # rounded when it is compiled

    @pytest.mark.training
    @needs_openvino
    def test_int8_is_converted_once_and_a_changed_checkpoint_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("nncf")
        from streamer.recognition.engines import openvino

        made = []
        quantise = openvino._quantise

        def counted(model: object, pictures: list[object], floating: tuple[str, ...]) -> object:
            made.append(len(pictures))
            return quantise(model, pictures, floating)

        monkeypatch.setattr(openvino, "_quantise", counted)
        monkeypatch.setattr(openvino, "FEW_ROWS", 16)  # this model has 51 tokens
        model, values, variant = make_model(), clips(6), EngineVariant("openvino", "int8")
        expected = reference(model, values)
        first = build(variant, FusedTimesformer(model), SHAPE, clips=values)(values)
        again = build(variant, FusedTimesformer(model), SHAPE, clips=values)(values)
        assert made == [6]
        assert torch.equal(first, again)
        assert 1e-5 < error(first, expected) < 0.15
        model.classifier.weight[0, 0] += 0.5
        changed = build(variant, FusedTimesformer(model), SHAPE, clips=values)(values)
        assert made == [6, 6]
        assert not torch.equal(changed, first)

    @pytest.mark.training
    @needs_openvino
    def test_a_damaged_file_is_discarded(self, converted: Cache, caplog: pytest.LogCaptureFixture) -> None:
        model, values, variant = make_model(), clips(1), EngineVariant("openvino", "fp32")
        expected = reference(model, values)
        shutil.copytree(converted.folder, cache_folder() / "engines")
        [weights] = (cache_folder() / "engines").glob("*/model.bin")
        weights.write_bytes(weights.read_bytes()[:-100])
        assert error(build(variant, FusedTimesformer(model), SHAPE)(values), expected) < 1e-4
        assert "damaged" in caplog.text
        assert len(list((cache_folder() / "engines").glob("*/model.bin"))) == 1

    @pytest.mark.training
    @needs_openvino
    def test_without_room_on_the_disk_it_works_all_the_same(self, monkeypatch, caplog) -> None:
        def full(*_: object) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Cache, "store", full)
        model, values = make_model(), clips(1)
        forward = build(EngineVariant("openvino", "fp32"), FusedTimesformer(model), SHAPE)
        assert error(forward(values), reference(model, values)) < 1e-4
        assert "No space left" in caplog.text

    @needs_openvino
    def test_a_model_that_it_cannot_take_is_one_line(self) -> None:
        class Stubborn(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def forward(self, values: torch.Tensor) -> torch.Tensor:
                return values if values.sum().item() > 3 else values * self.weight

        with pytest.raises(ModelLoadError, match="--engine torch") as caught:
            build(EngineVariant("openvino", "fp32"), Stubborn(), SHAPE)
        assert "\n" not in str(caught.value)


class TestCache:
    @staticmethod
    def fill(folder: Path) -> None:
        (folder / "data.bin").write_bytes(b"weights")

    def test_found_again(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "engines")
        assert cache.find("a") is None
        entry = cache.store("a", self.fill)
        assert Cache(tmp_path / "engines").find("a") == entry
        assert (entry / "data.bin").read_bytes() == b"weights"

    @pytest.mark.parametrize("harm", ["change", "remove", "manifest", "empty"])
    def test_damaged_entries_are_deleted(self, tmp_path: Path, harm: str) -> None:
        cache = Cache(tmp_path)
        entry = cache.store("a", self.fill)
        if harm == "change":
            (entry / "data.bin").write_bytes(b"Weights")
        elif harm == "remove":
            (entry / "data.bin").unlink()
        else:
            (entry / "manifest.json").write_text("{" if harm == "manifest" else "{}")
        assert cache.find("a") is None
        assert not entry.exists()

    def test_a_failure_or_an_interrupt_leaves_nothing(self, tmp_path: Path) -> None:
        def broken(folder: Path) -> None:
            self.fill(folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Cache(tmp_path).store("a", broken)
        assert list(tmp_path.iterdir()) == []

    def test_the_number_of_entries_is_bounded_and_the_newest_stays(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)
        for number in range(KEPT + 3):
            cache.store(str(number), self.fill)
        assert len(list(tmp_path.iterdir())) == KEPT
        assert cache.find(str(KEPT + 2)) is not None

    def test_what_a_crash_left_is_cleared_away_after_a_day(self, tmp_path: Path) -> None:
        for name, age in ((".partial-old", 100_000), (".partial-new", 100)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "half").write_bytes(b"x")
            then = tmp_path.stat().st_mtime - age
            os.utime(tmp_path / name, (then, then))
        Cache(tmp_path).store("a", self.fill)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".partial-new", "a"]

    def test_two_at_once_write_the_same(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)

        def slow(folder: Path) -> None:
            cache.store("a", self.fill)  # the other was first
            self.fill(folder)

        cache.store("a", slow)
        assert cache.find("a") is not None
        assert len(list(tmp_path.iterdir())) == 1

    def test_keys_and_hashes_tell_models_apart(self) -> None:
        a, b = FusedTimesformer(make_model(0)), FusedTimesformer(make_model(0))
        assert weights_hash(a) == weights_hash(b)
        b.classifier.bias[0] += 1e-6
        assert weights_hash(a) != weights_hash(b)
        assert entry_key("a", (1, 2)) != entry_key("a", (1, 3))


class TestChoice:
    CPU = Placement(torch.device("cpu"), "fp32")

    def test_small_models_are_not_measured(self) -> None:
        assert candidates("auto", "auto", self.CPU, large=False) == [REFERENCE]

    def test_large_models_try_what_is_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tuning, "has_bf16", lambda device: True)
        monkeypatch.setattr(tuning, "has_openvino", lambda precision="fp32": True)
        variants = list(map(str, candidates("auto", "auto", self.CPU, large=True)))
        assert variants == ["torch fp32", "openvino fp32", "torch bf16", "openvino bf16", "openvino int8"]
        monkeypatch.setattr(tuning, "has_bf16", lambda device: False)
        monkeypatch.setattr(tuning, "has_openvino", lambda precision="fp32": False)
        assert candidates("auto", "auto", self.CPU, large=True) == [REFERENCE]

    @pytest.mark.parametrize(
        ("variant", "device", "message"),
        [
            (EngineVariant("torch", "int8"), "cpu", "--engine openvino"),
            (EngineVariant("torch", "fp16"), "cpu", "fp32, bf16"),
            (EngineVariant("openvino", "fp32"), "cuda", "--device cpu"),
        ],
    )
    def test_what_cannot_be_had_is_refused_with_the_way_out(
        self, variant: EngineVariant, device: str, message: str
    ) -> None:
        with pytest.raises(ModelLoadError, match=message):
            check(variant, device)

    def test_missing_openvino_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "openvino", "nncf")
        with pytest.raises(ModelLoadError, match=r"-m pip install openvino==.*; or do without: --engine"):
            check(EngineVariant("openvino", "int8"), "cpu")

    def test_a_different_best_label_counts_unless_fp32_has_a_tie(self) -> None:
        expected = torch.tensor([[0.5, 0.3, 0.2], [0.405, 0.395, 0.2]])
        swapped = torch.tensor([[0.3, 0.5, 0.2], [0.395, 0.405, 0.2]])
        agreement, difference = compare(expected, swapped)
        assert agreement == 0.5
        assert difference == pytest.approx((0.2 + 0.01) / 2)

    def test_fast_but_wrong_loses(self, caplog: pytest.LogCaptureFixture) -> None:
        int8, bf16 = EngineVariant("openvino", "int8"), EngineVariant("torch", "bf16")
        trials = [
            Measurement(REFERENCE, 1.0, 1.0, 0.0),
            Measurement(bf16, 0.6, 1.0, 0.004),
            Measurement(int8, 0.2, 0.9, 0.004),
        ]
        choice = best_of(trials, {REFERENCE, bf16, int8}, [], "window")
        assert choice.variant == bf16
        assert "openvino int8 200 ms but wrong (90.0% agree" in choice.why
        assert best_of(trials, {int8}, [], "window").variant == REFERENCE
        assert "openvino int8 fails its check" in caplog.text
        assert (
            best_of([trials[0], Measurement(int8, 0.2, 1.0, 0.021)], {int8}, [], "window").variant
            == REFERENCE
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tiny"
        make_model().save_pretrained(folder)
        numbers = {
            "image_processor_type": "VideoMAEImageProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
            "image_mean": [0.45] * 3,
            "image_std": [0.225] * 3,
            "resample": 2,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(numbers))
        return folder

    @pytest.fixture
    def video(self, tmp_path: Path) -> Path:
        return make_video(tmp_path / "clip.mp4")

    @pytest.mark.training
    @needs_openvino
    @needs_nncf
    def test_int8_is_checked_on_real_frames_and_the_verdict_is_kept(
        self, folder: Path, video: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from streamer.recognition.loading import load

        said: list[str] = []
        monkeypatch.setattr(comparison.log, "warning", lambda text, *values: said.append(text % values))
        monkeypatch.setattr(tuning, "WINDOWS", {True: 4, False: 4})
        monkeypatch.setattr(comparison, "MAX_DIFFERENCE", 1.0)
        monkeypatch.setattr(comparison, "MIN_AGREEMENT", 0.0)
        config = ModelConfig(id=str(folder), device="cpu", precision="int8", calibration=str(video))
        recognizer = load(config)
        assert (recognizer.spec.engine, recognizer.spec.precision) == ("openvino", "int8")
        assert recognizer.model is None
        recognizer.warm_up()
        assert load(config).spec.precision == "int8"
        assert [line.split()[0] for line in said] == ["measuring"]  # once

        monkeypatch.setattr(
            comparison, "MAX_DIFFERENCE", -1.0
        )  # other limits: measured again, nothing passes
        refused = load(config)
        assert (refused.spec.engine, refused.spec.precision) == ("torch", "fp32")
        assert said[-1] == "openvino int8 fails its check against fp32 and is not used"

    @pytest.mark.training
    @needs_openvino
    def test_openvino_by_name_gives_the_scores_of_torch(self, folder: Path) -> None:
        from streamer.recognition.loading import load

        values = clips(2)
        a = load(ModelConfig(id=str(folder), device="cpu"))
        b = load(ModelConfig(id=str(folder), device="cpu", engine="openvino"))
        assert (a.spec.engine, b.spec.engine) == ("torch", "openvino")
        torch.testing.assert_close(a._run(values), b._run(values), rtol=1e-3, atol=1e-4)

    def test_a_missing_calibration_video_is_one_line(self, folder: Path, tmp_path: Path) -> None:
        pytest.importorskip("nncf")
        from streamer.recognition.loading import load

        config = ModelConfig(
            id=str(folder), device="cpu", precision="int8", calibration=str(tmp_path / "no.mp4")
        )
        with pytest.raises(ModelLoadError, match=r"no\.mp4"):
            load(config)


@pytest.mark.soak
@needs_openvino
@needs_nncf
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_precisions_agree_with_fp32_on_the_demo_checkpoint(precision: str) -> None:
    """On 500 windows of the bundled clip (int8 is calibrated on 48 others of it); a minute."""
    from streamer.demo.assets import clip_path
    from streamer.recognition.loading import load

    exact = load(ModelConfig(device="cpu", precision="fp32", engine="torch"))
    rough = load(ModelConfig(device="cpu", precision=precision, engine="openvino"))
    assert rough.spec.precision == precision
    spec = exact.spec
    windows = clip_windows(clip_path(), exact.preprocessor, spec.frames, spec.interval, 500)
    expected, scores = (r._run(windows).softmax(-1) for r in (exact, rough))
    agreement = float((expected.argmax(1) == scores.argmax(1)).double().mean())
    difference = float((expected - scores).abs().max(1).values.mean())
    print(f"{precision}: {agreement:.2%} of best labels as in fp32, scores differ by {difference:.4f}")
    assert agreement >= 0.99


def make_video(path: Path, frames: int = 40, fps: int = 10) -> Path:
    """A bright square that wanders over noise; H.264."""
    import av

    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            picture = rng.integers(0, 80, (48, 64, 3), dtype=np.uint8)
            picture[10:30, index : index + 20] = (240, 200, 10)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class TestCalibrationWindows:
    def test_windows_are_spread_over_the_file_and_look_like_the_recognizers(self, tmp_path: Path) -> None:
        from streamer.recognition.checkpoints.processor import from_json
        from streamer.recognition.preprocessing import Preprocessor

        numbers = from_json(
            {
                "image_processor_type": "VideoMAEImageProcessor",
                "size": {"shortest_edge": 32},
                "crop_size": {"height": 32, "width": 32},
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
                "resample": 2,
            },
            None,
            "here",
        )
        video = make_video(tmp_path / "clip.mp4")
        windows = clip_windows(video, Preprocessor(numbers), 3, 0.4, 5)
        assert windows.shape == (5, 3, 3, 32, 32)
        assert windows.dtype == torch.float32
        assert -1.01 <= float(windows.min()) < -0.5 < 0.5 < float(windows.max()) <= 1.01
        bright = (windows[:, -1, 0] > 0.3).float()  # the square's place in each window's newest frame
        columns = (bright.sum(1) * torch.arange(32)).sum(1) / bright.sum((1, 2)).clamp(min=1)
        assert columns[0] < columns[-1]
        assert not torch.equal(windows[0, 0], windows[0, -1])
        short = clip_windows(video, Preprocessor(numbers), 8, 5.0, 2)  # a span of 35 s in a file of 4 s
        assert short.shape == (2, 8, 3, 32, 32)
        assert not torch.equal(short[0, 0], short[0, 4])

    def test_no_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").write_bytes(b"not a video")
        with pytest.raises(ModelLoadError, match=r"empty\.mp4"):
            clip_windows(tmp_path / "empty.mp4", None, 3, 0.4, 5)  # type: ignore[arg-type]
