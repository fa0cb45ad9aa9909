"""Loaded models that several pipelines use one after the other: a pipeline's end does not close them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from streamer.config import ModelConfig
from streamer.recognition.recognizer import Recognizer, load_recognizer
from streamer.types import ModelSpec, Scores, Window


class SharedRecognizer:
    """A loaded model as one pipeline sees it. Its end forgets what the model keeps of that pipeline: the next
    one may call its cameras the same and number their frames from the start again.

    `warm`: it has computed already, and needs no warming up.
    """

    def __init__(self, recognizer: Recognizer, *, warm: bool = False) -> None:
        self._recognizer = recognizer
        self._warm = warm
        self._cameras: set[str] = set()
        self.spec: ModelSpec = recognizer.spec
        self.words = recognizer.words
        self.picture_key = recognizer.picture_key

    def reduce(self, image: NDArray[Any]) -> NDArray[Any]:
        return self._recognizer.reduce(image)

    def predict(self, windows: Sequence[Window]) -> Scores:
        self._cameras.update(window.camera for window in windows)
        return self._recognizer.predict(windows)

    def warm_up(self) -> None:
        if not self._warm:
            self._recognizer.warm_up()

    def forget(self, camera: str, track: int | None = None) -> None:
        if track is None:
            self._cameras.discard(camera)
        self._recognizer.forget(camera, track)

    def close(self) -> None:
        """Only the owner closes it."""
        for camera in self._cameras:
            self._recognizer.forget(camera)
        self._cameras.clear()


class LoadedModels:
    """Each different model once. `load` is what a `Pipeline` takes for loading; one thread."""

    def __init__(self) -> None:
        self._models: dict[ModelConfig, Recognizer] = {}

    def load(self, model: ModelConfig, name: str | None = None) -> Recognizer:
        """The model, loaded and warmed up when it is first asked for.

        Raises:
            ModelLoadError: it cannot be used.
        """
        key = model.model_copy(update={"labels": ("words",) if model.labels else None})
        if key not in self._models:
            recognizer = load_recognizer(model, name)
            recognizer.warm_up()
            self._models[key] = recognizer
        return SharedRecognizer(self._models[key], warm=True)

    def close(self) -> None:
        """Let go of all of them."""
        for recognizer in self._models.values():
            recognizer.close()
        self._models.clear()
