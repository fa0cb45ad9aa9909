"""Detectors that are checkpoints: any of transformers' object detection, by its own processor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from streamer.errors import ModelError, ModelLoadError
from streamer.people.detection import Detection
from streamer.recognition.checkpoints.checkpoint import Checkpoint, open_checkpoint
from streamer.recognition.checkpoints.metadata import labels_of
from streamer.recognition.device import Placement, choose_device
from streamer.recognition.families.recognizers import FORWARD_ERRORS
from streamer.recognition.loading import load_weights, quiet_transformers
from streamer.recognition.model_config import config_errors, model_config, one_line
from streamer.types import Track

LEAST_SCORE = 0.15  # what is less likely than this is not even doubtful
EVERY = 0.4  # seconds between two detections, where the settings do not say


class ObjectDetector:
    """A loaded checkpoint: finds objects of some classes. Without a state: all cameras share it, one at a
    time.

    Args:
        model_id: a folder or a Hub id.
        classes: labels of the checkpoint that are found.

    Raises:
        ModelLoadError: it cannot be found, read or used, or has no such class.
    """

    every = EVERY

    def __init__(self, model_id: str, classes: Collection[str], device: str = "auto") -> None:
        checkpoint = open_checkpoint(model_id)
        self._name = checkpoint.name
        with quiet_transformers():
            config = _config(checkpoint)
            labels = _labels(checkpoint)
            unknown = [name for name in classes if name not in labels]
            if unknown:
                some = ", ".join(labels[:8])
                raise ModelLoadError(
                    f"{self._name} finds no {unknown[0]!r} (follow.classes); it finds {some}"
                    + (", ..." if len(labels) > 8 else "")
                )
            from transformers import AutoImageProcessor, AutoModelForObjectDetection

            self._device = choose_device(device)
            placement = Placement(self._device, "fp32")
            self._model = load_weights(checkpoint, AutoModelForObjectDetection, config, placement)
            try:
                self._processor = AutoImageProcessor.from_pretrained(
                    checkpoint.folder, local_files_only=True, trust_remote_code=False
                )
            except config_errors() as error:
                raise ModelLoadError(
                    f"{self._name}: its processor cannot be used ({one_line(error)}); take the file "
                    "preprocessor_config.json that came with the checkpoint"
                ) from error
        self._wanted = {number for number, name in config.id2label.items() if name in classes}

    def detect(self, image: NDArray[Any], time: float, followed: Sequence[Track]) -> list[Detection]:
        """See `Detector.detect`."""
        height, width = image.shape[:2]
        try:
            with torch.inference_mode():
                inputs = self._processor(images=image[..., ::-1].copy(), return_tensors="pt").to(self._device)
                outputs = self._model(**inputs)
                (found,) = self._processor.post_process_object_detection(
                    outputs, threshold=LEAST_SCORE, target_sizes=[(1, 1)]
                )
        except FORWARD_ERRORS as error:
            reason = one_line(error)
            raise ModelError(f"{self._name} failed on a picture of {width} x {height}: {reason}") from error
        boxes = found["boxes"].cpu().tolist()
        scores, labels = found["scores"].cpu().tolist(), found["labels"].cpu().tolist()
        return [
            Detection((left, top, right - left, bottom - top), score)
            for (left, top, right, bottom), score, label in zip(boxes, scores, labels, strict=True)
            if label in self._wanted and right > left and bottom > top
        ]

    def reset(self) -> None:
        """See `Detector.reset`."""


def _config(checkpoint: Checkpoint) -> Any:
    from transformers import MODEL_FOR_OBJECT_DETECTION_MAPPING

    config = model_config(checkpoint)
    if type(config) not in MODEL_FOR_OBJECT_DETECTION_MAPPING:
        raise ModelLoadError(
            f"{checkpoint.name} is of type {checkpoint.family!r}, which finds no objects in pictures; take "
            "moving, or a checkpoint such as ustc-community/dfine-nano-coco"
        )
    return config


def _labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    labels, _ = labels_of(checkpoint)
    return labels
