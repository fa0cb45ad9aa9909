"""Recognizers of actions named in words: CLIP and SigLIP on single frames, X-CLIP on windows.

What the picture needs is computed once; comparing it with words costs microseconds, so each camera may have
its own words and they may change at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamer.errors import ModelError
from streamer.recognition.device_frames import key_of
from streamer.recognition.families.recognizers import Aggregate, FrameRecognizer, Loaded, VideoRecognizer
from streamer.recognition.words.prompts import WordSet
from streamer.recognition.words.text_embeddings import Bank, make_bank, texts_of
from streamer.recognition.words.text_encoder import TextEncoder
from streamer.recognition.words.towers import WordsToVideo
from streamer.types import Scores, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Family:
    """How a family was trained to read."""

    templates: tuple[str, ...]
    independent: bool = False  # sigmoid instead of softmax
    padded: bool = False  # texts are padded to the full length, and the padding is read
    window: bool = False  # looks at whole windows, not at single frames


FAMILIES = {
    "clip": Family(("a photo of {}.", "a video frame of {}.")),
    "siglip": Family(("This is a photo of {}.",), independent=True, padded=True),
    "xclip": Family(("{}",), window=True),
}


class Words:
    """Which words each camera is asked for. `check` and `prepare` are for any thread but the inference's."""

    def __init__(self, encoder: TextEncoder, family: Family, words: WordSet) -> None:
        self.encoder = encoder
        self.family = family
        self.common: Bank = self.prepare(words)
        self._own: dict[str, Bank] = {}

    def check(self, words: WordSet) -> None:
        """Quick: only the tokenizer is asked. Raises ConfigError: a prompt is too long."""
        self.encoder.tokens([text for row in texts_of(words, self.family.templates) for text in row])

    def prepare(self, words: WordSet) -> Bank:
        """Compute the words' embeddings: up to seconds. Raises ConfigError or ModelError."""
        family = self.family
        return make_bank(
            words,
            self.encoder,
            family.templates,
            normalised=not family.window,
            independent=family.independent,
        )

    def use(self, camera: str, bank: Bank) -> None:
        """From the next window on; on the thread that predicts."""
        self._own[camera] = bank

    def of(self, camera: str) -> Bank:
        """The words of a camera now."""
        return self._own.get(camera, self.common)

    def scores(self, logits: Tensor, bank: Bank) -> NDArray[Any]:
        """Logits (rows,) of one window -> float32 (L,)."""
        found = bank.scores(logits, independent=self.family.independent)
        if not bool(torch.isfinite(found).all()):
            raise ModelError("the model gave scores that are not numbers; try --precision fp32")
        return found.numpy()


class FrameWords(FrameRecognizer):
    """CLIP and SigLIP: each frame's embedding is computed once and kept, like a frame model's logits.

    `scale` and `bias` turn cosines into logits, as they were trained.
    """

    def __init__(
        self, loaded: Loaded, words: Words, aggregate: Aggregate, *, scale: float, bias: float, width: int
    ) -> None:
        super().__init__(loaded, aggregate)
        self.words: Words = words
        self._scale = scale
        self._bias = bias
        self._width = width

    def predict(self, windows: Sequence[Window]) -> Scores:
        """See `Recognizer.predict`; the labels are those of each window's camera."""
        if not windows:
            return Scores(())
        self._check(windows)
        seen, preprocess_s = self._logits_of([frame for window in windows for frame in window.frames])
        found = []
        for window in windows:
            bank = self.words.of(window.camera)
            frames = torch.stack([seen[key_of(frame)] for frame in window.frames])  # (T, D)
            logits = frames @ bank.text.T * self._scale + self._bias
            found.append(self.words.scores(self._join(logits, window), bank))
        return Scores(found, preprocess_s)

    def _outputs(self) -> int:
        return self._width


class WindowWords(VideoRecognizer):
    """X-CLIP: the words are adapted to what each window shows before they are compared with it."""

    def __init__(
        self, loaded: Loaded, words: Words, compare: WordsToVideo, *, width: int, patches: int
    ) -> None:
        super().__init__(loaded)
        self.words: Words = words
        self._compare = compare
        self._width = width
        self._patches = patches

    def predict(self, windows: Sequence[Window]) -> Scores:
        """See `Recognizer.predict`; the labels are those of each window's camera."""
        if not windows:
            return Scores(())
        self._check(windows)
        started = perf_counter()
        pixels = self._pixels([frame for window in windows for frame in window.frames])
        pixel_values = pixels.view(len(windows), self.spec.frames, *pixels.shape[1:])
        preprocess_s = perf_counter() - started
        seen = self._run(pixel_values).view(len(windows), 1 + self._patches, self._width)
        found = []
        with torch.inference_mode():
            for window, one in zip(windows, seen, strict=True):
                bank = self.words.of(window.camera)
                found.append(self.words.scores(self._compare(one[0], one[1:], bank.text), bank))
        return Scores(found, preprocess_s)

    def _outputs(self) -> int:
        return self._width * (1 + self._patches)
