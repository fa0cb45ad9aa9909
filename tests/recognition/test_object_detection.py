"""Detectors that are checkpoints of transformers, by small ones with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamer.errors import ModelLoadError
from streamer.people.detection import Detection
from streamer.recognition import object_detection
from streamer.recognition.object_detection import ObjectDetector
from tests.helpers.detector_checkpoints import save_detector


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_detector(tmp_path_factory.mktemp("detector") / "nano", num_queries=10)


def test_what_it_finds_is_what_transformers_finds(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from PIL import Image
    from transformers import AutoModelForObjectDetection
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    monkeypatch.setattr(object_detection, "LEAST_SCORE", 0.0)
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8)
    ours = ObjectDetector(str(checkpoint), ("person",), "cpu").detect(image, 0.0, [])
    processor = RTDetrImageProcessorPil.from_pretrained(checkpoint)
    model = AutoModelForObjectDetection.from_pretrained(checkpoint).eval()
    inputs = processor(images=Image.fromarray(image[..., ::-1]), return_tensors="pt")
    with torch.inference_mode():
        found = processor.post_process_object_detection(
            model(**inputs), threshold=0.0, target_sizes=[(48, 96)]
        )[0]
    people = found["labels"] == 0
    expected = sorted(found["scores"][people].tolist(), reverse=True)
    assert len(ours) > 0
    assert all(isinstance(one, Detection) for one in ours)
    assert sorted((one.score for one in ours), reverse=True) == pytest.approx(expected, abs=1e-5)
    best, theirs = max(ours, key=lambda one: one.score), found["boxes"][people][0].tolist()
    left, top, width, height = best.box
    pixels = (left * 96, top * 48, (left + width) * 96, (top + height) * 48)
    assert pixels == pytest.approx(theirs, abs=0.01)


def test_a_class_that_it_does_not_have_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"finds no 'persn' \(follow.classes\); it finds person"):
        ObjectDetector(str(checkpoint), ("persn",), "cpu")


def test_a_checkpoint_that_finds_nothing_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="finds no objects in pictures; take moving"):
        ObjectDetector("demo", ("person",), "cpu")


def test_no_checkpoint_there_is_one_line() -> None:
    with pytest.raises(ModelLoadError) as caught:
        ObjectDetector("/nowhere/at/all", ("person",), "cpu")
    assert "\n" not in str(caught.value)
