"""What the rest of the program knows of a model: windows in, scores out; and how one is loaded.

Importing this imports no torch; `load_recognizer` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from streamer.types import ModelSpec, Scores, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.config import ModelConfig
    from streamer.recognition.words.camera_words import CameraWords

__all__ = ["Recognizer", "load_recognizer"]


class Recognizer(Protocol):
    """A loaded checkpoint, and all that the rest of the program knows of it.

    `reduce` may be called from any thread, everything else from one thread.
    """

    @property
    def spec(self) -> ModelSpec:
        """What it is and what it needs."""

    @property
    def words(self) -> CameraWords | None:
        """What a model that reads words is asked for, by camera; None for models with labels of their own."""

    @property
    def picture_key(self) -> Hashable:
        """Equal for recognizers whose `reduce` makes the same of a picture: it is then done once for all."""

    def reduce(self, image: NDArray[Any]) -> NDArray[Any]:
        """A camera's picture, uint8 BGR (H, W, 3) -> what the model needs of it, uint8 RGB (h, w, 3)."""

    def predict(self, windows: Sequence[Window]) -> Scores:
        """Scores of each window, and how long preparing them took.

        Raises:
            WindowShapeError: a window's number of frames or their size is not the checkpoint's.
            ModelError: the model failed.
        """

    def warm_up(self) -> None:
        """One forward of full size, so that the first real one is not slow.

        Raises:
            ModelLoadError: the model does not take what its own processor makes.
        """

    def forget(self, camera: str, track: int | None = None) -> None:
        """Drop what is kept for a camera, or for one who was followed there."""

    def close(self) -> None:
        """Free the model."""


def load_recognizer(config: ModelConfig, name: str | None = None) -> Recognizer:
    """Load the checkpoint `config.id`: "demo", "demo-streaming", a local folder, or a Hub id.

    `name`: what it is called in messages; None: its Hub id, or the folder's name.

    Raises:
        ModelLoadError: it cannot be found, read or used here; the message says what to do.
    """
    from streamer.system import threads

    threads.prepare()
    from streamer.recognition.loading import load  # torch and transformers: seconds, so only here

    return load(config, name)
