"""Frames are prepared as transformers' own processors do it, within one grey level, once each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.processor import ProcessorSettings, from_json
from streamer.recognition.device_frames import DevicePool
from streamer.recognition.preprocessing import Preprocessor, stack_frames
from streamer.types import Frame

torch.set_num_threads(1)

TIMESFORMER = {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 2,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.45, 0.45, 0.45],
    "image_std": [0.225, 0.225, 0.225],
}
VIT = {
    **TIMESFORMER,
    "image_processor_type": "ViTImageProcessor",
    "do_center_crop": False,
    "size": {"height": 224, "width": 224},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
SIZES = [
    (480, 640),
    (720, 1280),
    (1080, 1920),
    (1920, 1080),
    (481, 641),
    (333, 227),
    (224, 224),
    (224, 301),
    (97, 61),
    (16, 23),
    (1, 1),
    (3, 400),
]


def numbers(**changes: Any) -> ProcessorSettings:
    return from_json({**TIMESFORMER, **changes}, None, "preprocessor_config.json")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """The hardest picture for a filter: every pixel another value. uint8 BGR."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def by_transformers(image: np.ndarray, processor: dict[str, Any]) -> np.ndarray:
    """uint8 RGB (h, w, 3) of transformers' Pillow processor, before rescaling."""
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    kinds = {
        "VideoMAEImageProcessor": VideoMAEImageProcessorPil,
        "ViTImageProcessor": ViTImageProcessorPil,
        "ConvNextImageProcessor": ConvNextImageProcessorPil,
    }
    given_numbers = {key: value for key, value in processor.items() if not key.endswith("_type")}
    plain = {**given_numbers, "do_rescale": False, "do_normalize": False}
    made = kinds[processor["image_processor_type"]](**plain)
    rgb = np.ascontiguousarray(image[..., ::-1])
    out = made(rgb, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    return np.moveaxis(np.asarray(out).reshape(out.shape[-3:]), 0, -1)


def assert_equal_within_a_level(image: np.ndarray, processor: dict[str, Any]) -> None:
    ours = Preprocessor(from_json(processor, None, "x")).reduce(image)
    theirs = by_transformers(image, processor)
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
def test_shortest_edge_and_crop(size: tuple[int, int], resample: int) -> None:
    assert_equal_within_a_level(noise(*size), {**TIMESFORMER, "resample": resample})


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
def test_full_picture_to_a_square(size: tuple[int, int]) -> None:
    assert_equal_within_a_level(noise(*size), VIT)


@pytest.mark.parametrize("resample", range(6))
def test_every_filter_that_a_file_can_name(resample: int) -> None:
    assert_equal_within_a_level(noise(97, 131), {**TIMESFORMER, "resample": resample})


@pytest.mark.parametrize("edge", [224, 384])
def test_convnext_and_its_crop_percentage(edge: int) -> None:
    processor = {
        **VIT,
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": edge},
        "crop_pct": 0.875,
        "resample": 3,
    }
    assert_equal_within_a_level(noise(300, 407), processor)


@pytest.mark.parametrize("crop", [(224, 224), (225, 301), (100, 400), (399, 11)], ids=str)
@pytest.mark.parametrize("edge", [99, 224, 255])
def test_crops_are_placed_alike_even_where_black_is_added(crop: tuple[int, int], edge: int) -> None:
    processor = {
        **TIMESFORMER,
        "size": {"shortest_edge": edge},
        "crop_size": {"height": crop[0], "width": crop[1]},
    }
    assert_equal_within_a_level(noise(180, 203), processor)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    edge=st.integers(1, 64),
    crop=st.integers(1, 64),
    resample=st.sampled_from([2, 3]),
)
def test_any_size_gives_what_transformers_gives(
    height: int, width: int, edge: int, crop: int, resample: int
) -> None:
    if max(height, width) * edge / min(height, width) > 4000:
        return  # a line a hundred times as long as wide: both make it, at a cost that says nothing
    processor = {
        **TIMESFORMER,
        "size": {"shortest_edge": edge},
        "crop_size": {"height": crop, "width": crop},
        "resample": resample,
    }
    assert_equal_within_a_level(noise(height, width), processor)


def test_the_longer_side_is_cut_off_not_rounded() -> None:
    assert numbers().resized(480, 640) == (224, 298)  # 298.67
    assert numbers().resized(640, 480) == (298, 224)


def test_colours_come_out_as_rgb() -> None:
    blue = np.zeros((300, 400, 3), np.uint8)
    blue[..., 0] = 255  # of BGR
    assert Preprocessor(numbers()).reduce(blue)[112, 112].tolist() == [0, 0, 255]


def test_pictures_that_are_views_or_read_only() -> None:
    """A region is a view, a mirrored picture has negative strides, a shared one cannot be written."""
    preprocessor, picture = Preprocessor(numbers()), noise(300, 400)
    region = picture[20:280, 30:391]
    assert np.array_equal(preprocessor.reduce(region), preprocessor.reduce(region.copy()))
    mirrored = picture[:, ::-1]
    assert np.array_equal(preprocessor.reduce(mirrored), preprocessor.reduce(mirrored.copy()))
    fixed = picture.copy()
    fixed.flags.writeable = False
    assert np.array_equal(preprocessor.reduce(fixed), preprocessor.reduce(picture))
    before = picture.copy()
    result = preprocessor.reduce(picture)
    assert np.array_equal(picture, before)
    assert not result.flags.writeable
    assert not np.shares_memory(result, picture)


def test_the_result_never_shares_the_cameras_buffer() -> None:
    """Also where nothing has to be resized: the decoder writes its next picture into the same memory."""
    picture = noise(224, 224)
    assert not np.shares_memory(Preprocessor(numbers()).reduce(picture), picture)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
    ids=["grey", "four channels", "float", "empty"],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        Preprocessor(numbers()).reduce(picture)


@pytest.mark.parametrize("family", ["timesformer", "vivit", "vivit video", "unscaled"])
def test_normalisation_is_the_processors(family: str) -> None:
    """ViViT's rescaling is 1/127.5 and minus 1; its video processor's file does not mention the minus 1."""
    from transformers import VivitImageProcessor
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    picture = noise(224, 224)
    rgb = np.ascontiguousarray(picture[..., ::-1])
    vivit = {**TIMESFORMER, "rescale_factor": 1 / 127.5, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if family == "timesformer":
        processor: dict[str, Any] = dict(TIMESFORMER)
        made: Any = VideoMAEImageProcessorPil
    elif family == "unscaled":
        processor = {**TIMESFORMER, "do_rescale": False, "image_mean": [99.0, 100, 101]}
        made = VideoMAEImageProcessorPil
    else:
        key = "image_processor_type" if family == "vivit" else "video_processor_type"
        processor = {**vivit, key: "VivitImageProcessor" if family == "vivit" else "VivitVideoProcessor"}
        if family == "vivit":
            processor["offset"] = True
        made = VivitImageProcessor
    arguments = {key: value for key, value in processor.items() if not key.endswith("_type")}
    theirs = made(**arguments)(rgb, return_tensors="pt")["pixel_values"].reshape(3, 224, 224)
    preprocessor = Preprocessor(from_json(processor, None, "x"))
    ours = preprocessor.normalise(torch.from_numpy(preprocessor.reduce(picture).copy())[None])[0]
    assert ours.is_contiguous()
    assert torch.allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_mean": None}, "not a processor's file"),
        ({"image_std": [1.0, 1.0]}, "2 channels"),
        ({"image_std": [0.0, 1.0, 1.0]}, "impossible numbers"),
        ({"size": {"longest_edge": 5}}, "neither a shortest edge nor"),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False}, "no fixed size"),
        ({"size": {"shortest_edge": -3}}, "impossible numbers"),
        ({"size": {"shortest_edge": 10**9}}, "impossible numbers"),
        ({"resample": 9}, "impossible numbers"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "EfficientNetImageProcessor"),
        ({"crop_size": "big"}, "not a processor's file"),
    ],
)
def test_files_that_say_nothing_usable(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelLoadError, match=words) as caught:
        numbers(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["image_mean", "image_std"])
def test_a_class_default_is_never_taken_for_mean_and_std(key: str) -> None:
    processor = {name: value for name, value in TIMESFORMER.items() if name != key}
    with pytest.raises(ModelLoadError, match=key):
        from_json(processor, None, "preprocessor_config.json")


def test_a_file_without_a_crop_takes_the_models_size() -> None:
    made = from_json({**TIMESFORMER, "do_center_crop": False}, (160, 160), "x")
    assert made.size == (160, 160)
    assert Preprocessor(made).reduce(noise(300, 400)).shape == (160, 160, 3)


def test_old_files_give_the_size_as_one_number() -> None:
    assert from_json({**VIT, "size": 192}, None, "x").size == (192, 192)
    old = {**TIMESFORMER, "size": 256, "crop_size": 224}
    assert from_json(old, None, "x").resized(480, 640) == (256, 341)


# --- frames on the device: the same code on a CPU, where it can be tested


def make_frames(count: int, camera: str = "door", epoch: int = 0, first: int = 0) -> list[Frame]:
    return [
        Frame(camera, first + i, epoch, float(i), 0.0, 0.0, None, noise(8, 8, seed=first + i + 100 * epoch))
        for i in range(count)
    ]


def test_a_frame_travels_once() -> None:
    pool = DevicePool(torch.device("cpu"), (8, 8), capacity=20)
    frames = make_frames(12)
    for end in range(8, 13):
        assert torch.equal(pool.gather(frames[end - 8 : end]), stack_frames(frames[end - 8 : end]))
    assert pool.uploaded == 12
    pool.gather([frames[0], frames[0], frames[11]])
    assert pool.uploaded == 12


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_pool_never_gives_a_wrong_frame(data: st.DataObject) -> None:
    """Whatever is asked in whatever order, with too small a pool, epochs and cameras that go."""
    pool = DevicePool(torch.device("cpu"), (8, 8), capacity=data.draw(st.integers(1, 6)))
    frames = [*make_frames(5), *make_frames(5, "hall", first=50), *make_frames(5, epoch=1)]
    for _ in range(10):
        batch = data.draw(st.lists(st.sampled_from(range(len(frames))), min_size=1, max_size=9))
        wanted = [frames[i] for i in batch]
        assert torch.equal(pool.gather(wanted), stack_frames(wanted))
        if data.draw(st.booleans()):
            pool.forget(data.draw(st.sampled_from(["door", "hall", "nobody"])))


def test_forgotten_frames_travel_again() -> None:
    pool = DevicePool(torch.device("cpu"), (8, 8), capacity=20)
    pool.gather(make_frames(4) + make_frames(4, "hall"))
    pool.forget("door")
    pool.gather(make_frames(4) + make_frames(4, "hall"))
    assert pool.uploaded == 12


def test_a_recognizer_with_a_pool_gives_the_same_scores() -> None:
    from streamer.config import ModelConfig
    from streamer.recognition.families.recognizers import LoadedModel, VideoRecognizer
    from streamer.recognition.loading import load
    from streamer.types import Window
    from tests.helpers.checkpoints import shared

    plain = load(ModelConfig(id=str(shared("timesformer")), device="cpu", precision="fp32"))
    assert isinstance(plain, VideoRecognizer)
    parts = LoadedModel(plain.spec, plain.preprocessor, plain.placement, plain.forward)
    pooled = VideoRecognizer(parts, DevicePool(torch.device("cpu"), plain.spec.size, capacity=9))
    frames = [
        Frame("door", i, 0, i * 0.1, 0.0, 0.0, None, plain.reduce(noise(40, 50, seed=i))) for i in range(12)
    ]
    for end in range(4, 13):
        window = Window("door", end, tuple(frames[end - 4 : end]), 0.1)
        assert np.array_equal(pooled.predict([window])[0], plain.predict([window])[0])


def test_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    """What is read is the file's text, whole: a round trip through JSON changes nothing."""
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(TIMESFORMER))
    made = from_json(json.loads(file.read_text()), None, str(file))
    assert (made.size, made.edge, made.mean, made.std) == ((224, 224), 224, (0.45,) * 3, (0.225,) * 3)
