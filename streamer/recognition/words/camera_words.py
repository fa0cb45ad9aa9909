"""Which words each camera looks for, and how each family of models that read words was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.errors import ModelError
from streamer.recognition.words.prompts import WordSet
from streamer.recognition.words.text_embeddings import TextEmbeddings, make_text_embeddings, texts_of
from streamer.recognition.words.text_encoder import TextEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextFamily:
    """How a family was trained to read."""

    templates: tuple[str, ...]
    independent: bool = False  # sigmoid instead of softmax
    padded: bool = False  # texts are padded to the full length, and the padding is read
    window: bool = False  # looks at whole windows, not at single frames


TEXT_FAMILIES = {
    "clip": TextFamily(("a photo of {}.", "a video frame of {}.")),
    "siglip": TextFamily(("This is a photo of {}.",), independent=True, padded=True),
    "xclip": TextFamily(("{}",), window=True),
}


class CameraWords:
    """Which words each camera looks for. `check` and `prepare` are for any thread but the inference's."""

    def __init__(self, encoder: TextEncoder, family: TextFamily, words: WordSet) -> None:
        self.encoder = encoder
        self.family = family
        self.common: TextEmbeddings = self.prepare(words)
        self._own: dict[str, TextEmbeddings] = {}

    def check(self, words: WordSet) -> None:
        """Quick: only the tokenizer is asked. Raises ConfigError: a prompt is too long."""
        self.encoder.tokens([text for row in texts_of(words, self.family.templates) for text in row])

    def prepare(self, words: WordSet) -> TextEmbeddings:
        """Compute the words' embeddings: up to seconds. Raises ConfigError or ModelError."""
        family = self.family
        return make_text_embeddings(
            words,
            self.encoder,
            family.templates,
            normalised=not family.window,
            independent=family.independent,
        )

    def use(self, camera: str, embeddings: TextEmbeddings) -> None:
        """From the next window on; on the thread that predicts."""
        self._own[camera] = embeddings

    def of(self, camera: str) -> TextEmbeddings:
        """The words of a camera now."""
        return self._own.get(camera, self.common)

    def scores(self, logits: Tensor, embeddings: TextEmbeddings) -> NDArray[Any]:
        """Logits (rows,) of one window -> float32 (L,)."""
        found = embeddings.scores(logits, independent=self.family.independent)
        if not bool(torch.isfinite(found).all()):
            raise ModelError("the model gave scores that are not numbers; try --precision fp32")
        return found.numpy()
