"""Streaming as a way of computing: the newest frame of each camera at each hop, by its weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch

from streamer.bench.inputs import Clip
from streamer.bench.machine_limits import count_flops
from streamer.bench.peak_memory import Peak
from streamer.bench.runner import Runner, Timed
from streamer.recognition.engines.engine import EngineVariant
from streamer.recognition.engines.stream_tuning import build_stream
from streamer.recognition.families.recognizers import LoadedModel, closed
from streamer.recognition.families.stream_recognizer import StreamRecognizer
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer
from streamer.types import Step, Window

TABLES = 0.02  # standard deviation of the tables; zeros might be left out by a compiler
TICKS, STRETCHES = 8, 2  # of each; calibrating int8


class StreamingRunners:
    """Makes a runner of each engine and precision.

    Args:
        recognizer: of the window model.
        eager: `TimesformerForVideoClassification`; it is not changed.
        clip: what cameras show.
        tensors: a streaming checkpoint's own; None: random ones.
    """

    def __init__(
        self, recognizer: Any, eager: Any, clip: Clip, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        self._recognizer = recognizer
        self._clip = clip
        self._size = (3, *recognizer.spec.size)
        self._model = _streaming(copy.deepcopy(eager), tensors)
        with torch.device("meta"):
            bare = _streaming(type(eager)(copy.deepcopy(eager.config)))
        self._gflop = count_flops(lambda x: bare.step(x, bare.new_state(1), [0]), (1, *self._size))
        self._bytes = bare.new_state(1).bytes_per_camera

    @staticmethod
    def fits(eager: Any) -> bool:
        """True for a TimeSformer with divided attention and as many places as its processor makes."""
        config = eager.config
        return bool(config.model_type == "timesformer" and config.attention_type == "divided_space_time")

    @property
    def megabytes(self) -> str:
        """The cache of a camera, in words."""
        fp32 = self._bytes / 1e6
        return f"cache of a camera: {fp32:.1f} MB in fp32 and int8, {fp32 / 2:.1f} MB in bf16"

    def runner(self, way: EngineVariant) -> Runner:
        """Built, and run once. Raises ModelError: it cannot be had."""
        window = self._recognizer
        stretches = self._stretches() if way.precision == "int8" else None
        if way.engine == "openvino":  # converted before, so that the memory is that of using it
            build_stream(way, self._model, self._size, stretches=stretches)
        peak = Peak(window.placement.device)
        model = self._model if way.engine == "openvino" else copy.deepcopy(self._model)
        engine = build_stream(way, model, self._size, stretches=stretches)
        loaded = LoadedModel(
            dataclasses.replace(window.spec, streaming=True), window.preprocessor, window.placement, closed
        )
        recognizer = StreamRecognizer(loaded, engine)
        recognizer.threads = window.threads

        def run(pictures: list[Any], windows: list[Window]) -> Timed:
            started = perf_counter()
            for images in pictures:
                recognizer.reduce(images[-1])
            reduced = perf_counter() - started
            hop = [
                dataclasses.replace(one, camera=f"bench {n}", steps=(Step(0, one.frames[-1], begins=False),))
                for n, one in enumerate(windows)
            ]
            found = recognizer.predict(hop)
            seconds = perf_counter() - started
            preprocess = reduced + found.preprocess_s
            return Timed(np.stack(list(found)), preprocess, seconds - preprocess, (seconds,) * len(hop))

        length = window.spec.frames
        run([self._clip.pictures[:length]], [self._clip.window(0, length, window.spec.interval)])
        return Runner("streaming", way.engine, way.precision, run, peak.mb(), self._gflop, same=False)

    def _stretches(self) -> torch.Tensor:
        """(STRETCHES, TICKS, C, H, W), normalised."""
        images = [frame.image for frame in self._clip.frames]
        chosen = [images[n % len(images)] for n in range(STRETCHES * TICKS)]
        pixels: torch.Tensor = self._recognizer.preprocessor.normalise(torch.from_numpy(np.stack(chosen)))
        return pixels.view(STRETCHES, TICKS, *pixels.shape[1:])


def _streaming(model: Any, tensors: Mapping[str, torch.Tensor] | None = None) -> StreamingTimesformer:
    made = StreamingTimesformer(model, fused=True).eval().requires_grad_(False)
    if tensors is None:
        tensors = {name: TABLES * torch.randn_like(tensor) for name, tensor in made.own_tensors().items()}
    made.adopt(tensors)
    return made
