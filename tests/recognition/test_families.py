"""Every model family gives the scores of plain transformers code on the same frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.config import ModelConfig
from streamer.errors import ModelError, ModelLoadError, WindowShapeError
from streamer.recognition.families.recognizers import FrameRecognizer
from streamer.recognition.recognizer import Recognizer, load_recognizer
from streamer.types import Frame, Window
from tests.helpers.checkpoints import FRAME_FAMILIES, LABELS, SIZE, VIDEO_FAMILIES, save, shared

torch.set_num_threads(1)
TOLERANCE = 1e-4
FRAMES = {"timesformer": 4, "videomae": 6, "vivit": 8, "vjepa2": 4, "videoprism": 4, "vit": 8, "resnet": 8}


def pictures(count: int, height: int = 47, width: int = 61, seed: int = 0) -> np.ndarray:
    """Smooth random BGR pictures, uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 3, 6, 7), np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def frames_of(
    recognizer: Recognizer, images: np.ndarray, camera: str = "door", first: int = 0
) -> list[Frame]:
    return [
        Frame(camera, first + i, 0, 0.1 * (first + i), 0.0, 0.0, None, recognizer.reduce(image))
        for i, image in enumerate(images)
    ]


def window_of(frames: list[Frame], identity: int = 0) -> Window:
    return Window(frames[0].camera, identity, tuple(frames), 0.1)


def load(family: str, **config: Any) -> Any:
    return load_recognizer(ModelConfig(id=str(shared(family)), device="cpu", precision="fp32", **config))


def pixel_values(family: str, images: np.ndarray) -> torch.Tensor:
    """(T, C, H, W) by transformers' own processor classes, as far as they work without torchvision."""
    from transformers import VivitImageProcessor
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    rgb = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    if family in ("timesformer", "videomae", "vivit"):
        kind = VivitImageProcessor if family == "vivit" else VideoMAEImageProcessorPil
        return kind.from_pretrained(shared(family))(rgb, return_tensors="pt")["pixel_values"][0]
    if family in ("vit", "resnet"):
        kind = ViTImageProcessorPil if family == "vit" else ConvNextImageProcessorPil
        return kind.from_pretrained(shared(family))(rgb, return_tensors="pt")["pixel_values"]
    return _documented(family, rgb)


def _documented(family: str, rgb: list[np.ndarray]) -> torch.Tensor:
    """V-JEPA 2's and VideoPrism's processors want torchvision: their documented arithmetic, with Pillow.

    V-JEPA 2: shortest edge int(crop x 256 / 224), centre crop, / 255, ImageNet mean and std.
    VideoPrism: the full picture to a square, bicubic, / 255.
    """
    from PIL import Image

    done = []
    for image in rgb:
        height, width = image.shape[:2]
        if family == "vjepa2":
            edge = int(SIZE * 256 / 224)
            size = (
                (int(edge * width / height), edge) if height <= width else (edge, int(edge * height / width))
            )
            left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
            small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
            values = np.asarray(small.crop((left, top, left + SIZE, top + SIZE))) / 255.0
            values = (values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        else:
            values = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255.0
        done.append(torch.from_numpy(values).permute(2, 0, 1).float())
    return torch.stack(done)


def plain_logits(family: str, values: torch.Tensor) -> torch.Tensor:
    """transformers' own model: (B, T, C, H, W) -> (B, L), or (N, C, H, W) -> (N, L)."""
    from transformers import AutoModelForImageClassification, AutoModelForVideoClassification

    auto = AutoModelForVideoClassification if family in VIDEO_FAMILIES else AutoModelForImageClassification
    model = auto.from_pretrained(shared(family), dtype=torch.float32).eval()
    with torch.no_grad():
        return model(values).logits.flatten(1)


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
@pytest.mark.parametrize("size", [(32, 32), (240, 321), (101, 57)], ids=str)
def test_scores_of_a_window_are_those_of_plain_transformers(family: str, size: tuple[int, int]) -> None:
    recognizer = load(family)
    # Exactly the processor's pixels first: then only the model is compared, not a grey level of rounding.
    images = pictures(FRAMES[family], *size)
    frames = frames_of(recognizer, images)
    ours = recognizer.preprocessor.normalise(torch.from_numpy(np.stack([f.image for f in frames])))
    theirs = pixel_values(family, images)
    level = max(recognizer.preprocessor.numbers.scale)  # one grey level, normalised
    assert (ours - theirs).abs().max() <= level * 1.01
    [scores] = recognizer.predict([window_of(frames)])
    expected = torch.softmax(plain_logits(family, ours[None]), -1)[0].numpy()
    assert scores.dtype == np.float32
    assert scores == pytest.approx(expected, abs=TOLERANCE)
    assert scores.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_scores_from_the_processor_to_the_end_agree(family: str) -> None:
    """At the model's own size resizing changes nothing, so the processors agree to the last digit."""
    recognizer = load(family)
    size = recognizer.preprocessor.numbers.edge or SIZE
    images = pictures(FRAMES[family], size, size, seed=3)
    [scores] = recognizer.predict([window_of(frames_of(recognizer, images))])
    expected = torch.softmax(plain_logits(family, pixel_values(family, images)[None]), -1)[0].numpy()
    assert scores == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("family", FRAME_FAMILIES)
@pytest.mark.parametrize("aggregate", ["mean", "max", "recent"])
def test_a_frame_model_joins_its_frames_logits(family: str, aggregate: str) -> None:
    recognizer = load(family, aggregate=aggregate)
    images = pictures(8, seed=4)
    frames = frames_of(recognizer, images)
    [scores] = recognizer.predict([window_of(frames)])
    exact = recognizer.preprocessor.normalise(torch.from_numpy(np.stack([f.image for f in frames])))
    assert (exact - pixel_values(family, images)).abs().max() <= max(
        recognizer.preprocessor.numbers.scale
    ) * 1.01
    logits = plain_logits(family, exact)
    if aggregate == "mean":
        joined = logits.mean(0)
    elif aggregate == "max":
        joined = logits.max(0).values
    else:  # half the weight for each half second of age
        weights = 0.5 ** (torch.tensor([frames[-1].time - frame.time for frame in frames]) / 0.5)
        joined = (weights[:, None] * logits).sum(0) / weights.sum()
    assert scores == pytest.approx(torch.softmax(joined, -1).numpy(), abs=TOLERANCE)


@pytest.mark.parametrize("family", [*VIDEO_FAMILIES, *FRAME_FAMILIES])
def test_a_batch_gives_what_each_window_gives_alone(family: str) -> None:
    recognizer = load(family)
    windows = [
        window_of(frames_of(recognizer, pictures(FRAMES[family], seed=s), camera=f"cam{s}"), s)
        for s in range(3)
    ]
    together = recognizer.predict(windows)
    for window, scores in zip(windows, together, strict=True):
        assert scores == pytest.approx(load(family).predict([window])[0], abs=1e-5)
    assert not np.allclose(
        together[0], together[1], atol=1e-3
    )  # and they differ: the comparison says something


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_the_order_of_frames_matters(family: str) -> None:
    recognizer = load(family)
    frames = frames_of(recognizer, pictures(FRAMES[family], seed=5))
    forwards, backwards = recognizer.predict([window_of(frames), window_of(frames[::-1])])
    assert not np.allclose(forwards, backwards, atol=1e-5)


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
@pytest.mark.parametrize("change", [-2, 2, 4])
def test_a_wrong_number_of_frames_is_refused(family: str, change: int) -> None:
    """transformers takes 16 frames in an 8-frame TimeSformer and answers nonsense."""
    recognizer = load(family)
    frames = frames_of(recognizer, pictures(FRAMES[family] + change))
    with pytest.raises(WindowShapeError) as caught:
        recognizer.predict([window_of(frames)])
    assert f"({FRAMES[family]}, {SIZE}, {SIZE}, 3)" in str(caught.value)
    assert f"({FRAMES[family] + change}, {SIZE}, {SIZE}, 3)" in str(caught.value)


def test_a_wrong_size_is_refused() -> None:
    recognizer = load("timesformer")
    frames = frames_of(recognizer, pictures(4))
    wide = Frame("door", 3, 0, 0.3, 0.0, 0.0, None, np.zeros((SIZE, SIZE + 8, 3), np.uint8))
    with pytest.raises(WindowShapeError, match=r"window 0 of door is \(4, 32, 32, 3\) and \(4, 32, 40, 3\)"):
        recognizer.predict([window_of([*frames[:3], wide])])


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_frames_interval_size_and_labels_come_from_the_checkpoint(family: str) -> None:
    spec = load(family).spec
    assert (spec.frames, spec.size, spec.labels) == (FRAMES[family], (SIZE, SIZE), LABELS)
    intervals = {
        "timesformer": 32 / 30,
        "videomae": 4 / 30,
        "vivit": 2 / 30,
        "vjepa2": 4 / 30,
        "videoprism": 0.25,
    }
    assert spec.interval == pytest.approx(intervals[family])


def test_each_frame_is_computed_exactly_once() -> None:
    """A camera at 30 fps, a hop of one frame of the window: only new frames reach the model."""
    recognizer = load("vit")
    assert isinstance(recognizer, FrameRecognizer)
    seen: list[int] = []
    plain = recognizer.forward
    recognizer.forward = lambda values: (seen.append(len(values)), plain(values))[1]
    frames = frames_of(recognizer, pictures(20, seed=6))
    for end in range(8, 21):
        recognizer.predict([window_of(frames[end - 8 : end], end)])
    assert seen == [8] + [1] * 12
    assert recognizer.computed == 20
    # the same frame standing in several windows of one batch, or twice in one window, is one frame
    other = frames_of(recognizer, pictures(9, seed=7), camera="hall")
    recognizer.predict([window_of(other[:8]), window_of([other[1], *other[1:8]]), window_of(other[1:])])
    assert recognizer.computed == 29


def test_a_frame_model_forgets_what_it_no_longer_needs() -> None:
    recognizer = load("vit")
    bounded = FrameRecognizer(recognizer_parts(recognizer), kept=10)
    frames = frames_of(bounded, pictures(30, seed=8))
    for end in range(8, 31, 2):
        bounded.predict([window_of(frames[end - 8 : end], end)])
    assert len(bounded._logits) == 10
    bounded.predict([window_of(frames_of(bounded, pictures(8), camera="hall"))])
    bounded.forget("hall")
    assert {key[0] for key in bounded._logits} == {"door"}
    # a new epoch is another time line: its frames are other frames even where their index were the same
    again = [Frame("door", f.index, 1, f.time, 0.0, 0.0, None, f.image) for f in frames[-8:]]
    before = bounded.computed
    bounded.predict([window_of(again)])
    assert bounded.computed == before + 8


def recognizer_parts(recognizer: Any) -> Any:
    from streamer.recognition.families.recognizers import LoadedModel

    return LoadedModel(
        recognizer.spec, recognizer.preprocessor, recognizer.placement, recognizer.forward, recognizer.model
    )


def test_frames_of_a_frame_model_may_be_chosen() -> None:
    recognizer = load("vit", frames=3, interval=0.4)
    assert (recognizer.spec.frames, recognizer.spec.interval) == (3, 0.4)
    assert len(recognizer.predict([window_of(frames_of(recognizer, pictures(3)))])) == 1
    assert load("vit").spec.frames == 8


def test_frames_of_a_window_model_may_not() -> None:
    with pytest.raises(ModelLoadError, match="made for windows of 4 frames, not 16"):
        load("timesformer", frames=16)
    assert load("timesformer", frames=4).spec.frames == 4


def test_independent_labels_get_a_sigmoid_each(tmp_path: Path) -> None:
    save("timesformer", tmp_path, problem_type="multi_label_classification")
    recognizer: Any = load_recognizer(ModelConfig(id=str(tmp_path), device="cpu", precision="fp32"))
    assert recognizer.spec.independent
    frames = frames_of(recognizer, pictures(4))
    [scores] = recognizer.predict([window_of(frames)])
    exact = recognizer.preprocessor.normalise(torch.from_numpy(np.stack([f.image for f in frames])))
    expected = torch.sigmoid(plain_logits("timesformer", exact[None]))[0].numpy()  # the same random weights
    assert scores == pytest.approx(expected, abs=TOLERANCE)


def test_a_family_that_streamer_has_never_heard_of(tmp_path: Path) -> None:
    """Anything registered with AutoModelForVideoClassification works, given its interval."""
    from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import ImageClassifierOutput

    class NovelConfig(PreTrainedConfig):  # type: ignore[misc]
        model_type = "novel-video"
        num_frames: int = 5

    class NovelModel(PreTrainedModel):  # type: ignore[misc]
        config_class = NovelConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.classifier = torch.nn.Linear(3 * config.num_frames, config.num_labels)
            self.post_init()

        def forward(self, pixel_values: torch.Tensor) -> Any:
            return ImageClassifierOutput(logits=self.classifier(pixel_values.mean((-1, -2)).flatten(1)))

    AutoConfig.register("novel-video", NovelConfig)
    AutoModelForVideoClassification.register(NovelConfig, NovelModel)
    NovelModel(NovelConfig(id2label=dict(enumerate(LABELS)))).save_pretrained(tmp_path)
    processor = json.loads((shared("timesformer") / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(ModelLoadError, match="--interval"):
        load_recognizer(ModelConfig(id=str(tmp_path), device="cpu"))
    recognizer = load_recognizer(ModelConfig(id=str(tmp_path), device="cpu", interval=0.2))
    recognizer.warm_up()
    assert (recognizer.spec.family, recognizer.spec.frames, recognizer.spec.interval) == (
        "novel-video",
        5,
        0.2,
    )
    assert recognizer.predict([window_of(frames_of(recognizer, pictures(5)))])[0].shape == (3,)


def test_bf16_is_near_fp32() -> None:
    exact = load("timesformer")
    rough: Any = load_recognizer(ModelConfig(id=str(shared("timesformer")), device="cpu", precision="bf16"))
    assert rough.spec.precision == "bf16"
    window = window_of(frames_of(exact, pictures(4, seed=9)))
    [a], [b] = exact.predict([window]), rough.predict([window])
    assert b.dtype == np.float32
    assert b == pytest.approx(a, abs=0.05)
    assert not np.array_equal(a, b)


def test_out_of_memory_halves_the_batch() -> None:
    recognizer = load("timesformer")
    plain, sizes = recognizer.forward, []

    def small_memory(values: torch.Tensor) -> torch.Tensor:
        sizes.append(len(values))
        if len(values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(values)

    windows = [window_of(frames_of(recognizer, pictures(4, seed=s)), s) for s in range(5)]
    expected = recognizer.predict(windows)
    recognizer.forward = small_memory
    got = recognizer.predict(windows)
    assert sizes == [5, 3, 2, 1, 2]
    assert np.allclose(got, expected, atol=1e-5)
    recognizer.forward = lambda values: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ModelError, match="not enough memory"):
        recognizer.predict(windows[:1])


def test_scores_that_are_not_numbers_are_an_error() -> None:
    recognizer = load("timesformer")
    recognizer.forward = lambda values: torch.full((len(values), 3), float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        recognizer.predict([window_of(frames_of(recognizer, pictures(4)))])


def test_closed_recognizers_say_so() -> None:
    recognizer = load("timesformer")
    frames = frames_of(recognizer, pictures(4))
    recognizer.close()
    with pytest.raises(ModelError, match="closed"):
        recognizer.predict([window_of(frames)])
