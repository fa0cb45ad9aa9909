"""The bundled checkpoint: a plain transformers folder that knows the eight motions, and its training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, TimesformerForVideoClassification

from streamer.demo import assets
from streamer.training.synthetic import motions, samples, train_demo

FOLDER = assets.checkpoint_path()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> TimesformerForVideoClassification:
    return TimesformerForVideoClassification.from_pretrained(FOLDER).eval()


def guesses(model: TimesformerForVideoClassification, windows: list[list[Image.Image]]) -> list[str]:
    """Plain transformers: its own processor and forward, nothing of ours."""
    processor = AutoImageProcessor.from_pretrained(FOLDER)
    names: list[str] = []
    for start in range(0, len(windows), 40):
        pixels = processor(windows[start : start + 40], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            names += [model.config.id2label[int(i)] for i in model(pixel_values=pixels).logits.argmax(-1)]
    return names


def test_the_folder_is_small_and_says_what_the_design_asks(model: TimesformerForVideoClassification) -> None:
    weights = FOLDER / "model.safetensors"
    assert weights.stat().st_size < 12e6
    config = json.loads((FOLDER / "config.json").read_text())
    assert [config["id2label"][str(i)] for i in range(8)] == list(motions.LABELS)
    assert config["streamer"] == {"interval": 0.2, "lag": 0.45, "licence": "Apache-2.0"}
    assert (model.config.num_frames, model.config.image_size) == (motions.FRAMES, motions.SIZE)
    assert (FOLDER / "README.md").read_text().startswith("---\nlicense: apache-2.0")


def test_the_interval_survives_loading_and_saving(
    model: TimesformerForVideoClassification, tmp_path: Path
) -> None:
    assert model.config.streamer["interval"] == 0.2
    model.save_pretrained(tmp_path)
    again = TimesformerForVideoClassification.from_pretrained(tmp_path)
    assert again.config.streamer == {"interval": 0.2, "lag": 0.45, "licence": "Apache-2.0"}


def test_training_and_serving_prepare_pixels_alike() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(FOLDER)
    served = processor([Image.fromarray(frame) for frame in clip], return_tensors="pt")["pixel_values"]
    trained = train_demo.to_pixels(clip[None])
    torch.testing.assert_close(served.reshape(trained.shape), trained, atol=1e-5, rtol=0)


@pytest.mark.training
def test_it_knows_motions_of_pictures_it_has_never_seen(model: TimesformerForVideoClassification) -> None:
    clips = samples.validation_set(160, seed=4321)
    windows = [[Image.fromarray(frame) for frame in sample.clip] for sample in clips]
    truth = [motions.LABELS[sample.label] for sample in clips]
    told = guesses(model, windows)
    right = sum(a == b for a, b in zip(truth, told, strict=True))
    assert right >= 0.8 * len(truth), f"{right} of {len(truth)}"
    for label in motions.LABELS:
        of_label = [b for a, b in zip(truth, told, strict=True) if a == label]
        assert of_label.count(label) >= 0.6 * len(of_label), f"{label}: {of_label}"


@pytest.mark.training
def test_it_knows_what_the_bundled_clip_shows(model: TimesformerForVideoClassification) -> None:
    import av

    shown: list[list[int]] = []  # numbers of the frames of each window
    truth = []
    for start, end, label in assets.truth():
        for last in np.arange(start + 1.4, end - 0.05, 0.4):
            shown.append([round((last - 0.2 * k) * 25) for k in range(7, -1, -1)])
            truth.append(label)
    wanted = {number for numbers in shown for number in numbers}
    with av.open(str(assets.clip_path())) as container:
        frames = {
            number: frame.to_image().resize((160, 120))
            for number, frame in enumerate(container.decode(video=0))
            if number in wanted
        }
    windows = [[frames[number] for number in numbers] for numbers in shown]
    told = guesses(model, windows)
    right = sum(a == b for a, b in zip(truth, told, strict=True))
    assert len(truth) > 80
    assert right >= 0.8 * len(truth), f"{right} of {len(truth)}"


def small_trainer(folder: Path) -> train_demo.Trainer:
    return train_demo.Trainer(train_demo.Recipe(folder, hidden=32, layers=1, batch=8, bf16=False, checks=16))


def test_training_goes_on_exactly_where_it_was_stopped(tmp_path: Path) -> None:
    batches = [train_demo.collate(samples.validation_set(8, seed=n)) for n in range(3)]
    first = small_trainer(tmp_path)
    first.learn(batches[0])
    first.learn(batches[1])
    first.save()
    expected = first.learn(batches[2])

    second = small_trainer(tmp_path)
    second.load()
    assert second.step == 2
    assert second.learn(batches[2]) == pytest.approx(expected, rel=1e-6)
    for one, two in zip(first.average.parameters(), second.average.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_training_batches_depend_on_the_seed_and_their_number_alone() -> None:
    def clips(seed: int, first: int) -> list[np.ndarray]:
        stream = samples.batches(seed, first, 4, lambda number: (0.0, 1.0))
        return [np.stack([sample.clip for sample in next(stream)]) for _ in range(2)]

    np.testing.assert_array_equal(clips(1, 0)[1], clips(1, 1)[0])
    assert (clips(1, 0)[0] != clips(2, 0)[0]).any()
