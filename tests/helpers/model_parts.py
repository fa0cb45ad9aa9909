"""What tests of checkpoints share: loading on the CPU, refusals of one line, editing a file, one score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import ModelConfig
from streamer.errors import ModelLoadError
from streamer.recognition.recognizer import load_recognizer
from streamer.types import Frame, Window
from tests.helpers.checkpoints import SIZE


def load(model: Path | str, **config: Any) -> Any:
    return load_recognizer(ModelConfig(id=str(model), **{"device": "cpu", "precision": "fp32", **config}))


def refused(model: Path | str, words: str, **config: Any) -> str:
    """Loading fails with a message of one line that has these words."""
    with pytest.raises(ModelLoadError, match=words) as caught:
        load(model, **config).warm_up()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(file.read_text("utf-8"))
    for key, value in changes.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    file.write_text(json.dumps(content), "utf-8")


def score(recognizer: Any) -> np.ndarray:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (recognizer.spec.frames, SIZE, SIZE, 3), np.uint8)
    frames = tuple(
        Frame("door", i, 0, i * 0.1, 0.0, 0.0, None, recognizer.reduce(image))
        for i, image in enumerate(images)
    )
    scores: np.ndarray = recognizer.predict([Window("door", 0, frames, 0.1)])[0]
    return scores
