"""Recognizers of actions named in words: CLIP and SigLIP on single frames, X-CLIP on windows.

What the picture needs is computed once; comparing it with words costs microseconds, so each camera may have
its own words and they may change at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from streamer.recognition.device_frames import frame_key
from streamer.recognition.families.recognizers import Aggregate, FrameRecognizer, LoadedModel, VideoRecognizer
from streamer.recognition.words.camera_words import CameraWords
from streamer.recognition.words.towers import WordsToVideo
from streamer.types import Scores, Window

if TYPE_CHECKING:
    pass


class FrameTextRecognizer(FrameRecognizer):
    """CLIP and SigLIP: each frame's embedding is computed once and kept, like a frame model's logits.

    `scale` and `bias` turn cosines into logits, as they were trained.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        words: CameraWords,
        aggregate: Aggregate,
        *,
        scale: float,
        bias: float,
        width: int,
    ) -> None:
        super().__init__(loaded, aggregate)
        self.words: CameraWords = words
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
            embeddings = self.words.of(window.camera)
            frames = torch.stack([seen[frame_key(frame)] for frame in window.frames])  # (T, D)
            logits = frames @ embeddings.text.T * self._scale + self._bias
            found.append(self.words.scores(self._aggregated(logits, window), embeddings))
        return Scores(found, preprocess_s)

    def _outputs(self) -> int:
        return self._width


class WindowTextRecognizer(VideoRecognizer):
    """X-CLIP: the words are adapted to what each window shows before they are compared with it."""

    def __init__(
        self, loaded: LoadedModel, words: CameraWords, compare: WordsToVideo, *, width: int, patches: int
    ) -> None:
        super().__init__(loaded)
        self.words: CameraWords = words
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
                embeddings = self.words.of(window.camera)
                found.append(self.words.scores(self._compare(one[0], one[1:], embeddings.text), embeddings))
        return Scores(found, preprocess_s)

    def _outputs(self) -> int:
        return self._width * (1 + self._patches)
