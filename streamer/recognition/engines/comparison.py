"""Measuring engines at their precisions against each other, and against fp32 by torch.

A variant is *right* when, against fp32 on the same samples, at least MIN_AGREEMENT of the best labels are the
same and scores differ by at most MAX_DIFFERENCE (the mean over samples of the largest difference of any
label). A different best label is no error where fp32 itself scores the two within TIE.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from streamer.config import ModelConfig
from streamer.errors import ModelError, ModelLoadError
from streamer.recognition.engines.cache import Cache, entry_key, weights_hash
from streamer.recognition.engines.calibration import clip_windows
from streamer.recognition.engines.engine import EngineVariant
from streamer.recognition.engines.machine import processor, versions

log = logging.getLogger(__name__)

MIN_AGREEMENT = 0.99
MAX_DIFFERENCE = 0.02
TIE = 0.02
BUDGET = 120.0  # seconds of measuring after which no further variant is tried
ROUNDS = 3  # timed forwards of each variant, alternating
RECIPE = "1"  # part of the key of measurements
REFERENCE = EngineVariant("torch", "fp32")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One variant, measured."""

    variant: EngineVariant
    seconds: float  # median of a window (or step)
    agreement: float  # of best labels with fp32's, 0 to 1, ties forgiven
    difference: float  # of scores from fp32's

    @property
    def right(self) -> bool:
        return self.agreement >= MIN_AGREEMENT and self.difference <= MAX_DIFFERENCE


@dataclass(frozen=True, slots=True)
class Choice:
    """What is used and why, in one line."""

    variant: EngineVariant
    why: str


def compare(expected: Tensor, scores: Tensor) -> tuple[float, float]:
    """(agreement of best labels, difference of scores) of (n, L) scores with fp32's."""
    best = expected.max(1).values
    chosen = expected.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
    agreement = (best - chosen <= TIE).float().mean()
    return float(agreement), float((scores - expected).abs().max(1).values.mean())


class Comparison(ABC):
    """Measures ways against each other and fp32. What is measured, windows or steps, its subclasses say.

    Args:
        recognizer: tells the model's preprocessor, shapes and labels.
        config: `calibration` (a video; None = the bundled clip).
        module: fp32, on the CPU.
        large: few samples are enough.
        cache: None: the user's.
    """

    KIND = "window"  # in words for the user
    ROUNDS = ROUNDS  # timed calls of each variant, alternating

    def __init__(
        self, recognizer: Any, config: ModelConfig, module: Any, *, large: bool, cache: Cache | None
    ) -> None:
        self.recognizer = recognizer
        self.module = module
        self.cache = cache or Cache()
        self.shape, self.count = self.samples_wanted(large)
        self._config = config
        self._clips: Tensor | None = None

    @abstractmethod
    def samples_wanted(self, large: bool) -> tuple[tuple[int, ...], int]:
        """(shape of a sample, samples for checking; as many others calibrate)."""

    @abstractmethod
    def build(self, variant: EngineVariant, clips: Tensor | None) -> Any:
        """The engine; `clips` are for the calibration of int8. Raises ModelError."""

    @abstractmethod
    def logits(self, engine: Any, sample: Tensor) -> Tensor:
        """(n, L) of one sample."""

    @abstractmethod
    def once(self, engine: Any, sample: Tensor) -> None:
        """What is timed."""

    def decide(self, variants: list[EngineVariant]) -> tuple[Choice, Any]:
        """The fastest right variant, from the cache or measured now, and its engine."""
        key = self._key(variants)
        known = self._known(key, variants)
        if known is not None:
            return known, self._make(known.variant)
        log.warning(
            "measuring %s once on this machine, which may take some minutes (skip it with --engine torch "
            "--precision fp32)", ", ".join(map(str, variants))
        )  # fmt: skip
        choice, engine = self._measure(variants)
        try:
            text = json.dumps(asdict(choice))
            self.cache.store(key, lambda folder: _write(folder / "choice.json", text))
        except OSError as error:
            log.warning("the measurement could not be kept for the next start: %s", error)
        return choice, engine

    def _measure(self, variants: list[EngineVariant]) -> tuple[Choice, Any]:
        started = perf_counter()
        reference = self._make(REFERENCE)
        samples = self._samples()[1]
        expected = self._scores(reference, samples)
        engines: dict[EngineVariant, Any] = {REFERENCE: reference}
        failed: list[str] = []
        checked: dict[EngineVariant, tuple[float, float]] = {REFERENCE: (1.0, 0.0)}
        for variant in variants:
            if variant == REFERENCE:
                continue
            if perf_counter() - started > BUDGET:
                failed.append(f"{variant} not tried (time)")
                continue
            try:
                engines[variant] = self._make(variant)
                checked[variant] = compare(expected, self._scores(engines[variant], samples))
            except ModelError as error:
                engines.pop(variant, None)
                failed.append(f"{variant} failed")
                log.warning("%s cannot be used: %s", variant, error)
        seconds = self._alternating(engines, samples[0])
        trials = [Measurement(variant, seconds[variant], *checked[variant]) for variant in engines]
        choice = best_of(trials, set(variants), failed, self.KIND)
        return choice, engines[choice.variant]

    def _make(self, variant: EngineVariant) -> Any:
        return self.build(variant, self._samples()[0] if variant.precision == "int8" else None)

    def _scores(self, engine: Any, samples: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = torch.cat([self.logits(engine, sample).float() for sample in samples])
        return torch.sigmoid(logits) if self.recognizer.spec.independent else logits.softmax(-1)

    def _alternating(self, engines: dict[EngineVariant, Any], sample: Tensor) -> dict[EngineVariant, float]:
        """Median seconds of each variant, taking turns, so that a busy moment hits all alike."""
        seconds: dict[EngineVariant, list[float]] = {variant: [] for variant in engines}
        with torch.inference_mode():
            for _ in range(self.ROUNDS):
                for variant, engine in engines.items():
                    started = perf_counter()
                    self.once(engine, sample)
                    seconds[variant].append(perf_counter() - started)
        return {variant: median(taken) for variant, taken in seconds.items()}

    def _samples(self) -> tuple[Tensor, Tensor]:
        """(for calibration, for checking): (n, *shape) each, taking turns over the file."""
        if self._clips is None:
            spec, count = self.recognizer.spec, 2 * self.count
            frames = self.shape[0] if len(self.shape) == 4 else 1
            clips = clip_windows(
                _calibration_file(self._config), self.recognizer.preprocessor, frames, spec.interval, count
            )
            self._clips = clips.reshape(count, *self.shape)
        return self._clips[0::2], self._clips[1::2]

    def _key(self, variants: list[EngineVariant]) -> str:
        file = _calibration_file(self._config)
        try:
            video = (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
        except OSError as error:
            raise ModelLoadError(f"the calibration video {file} cannot be read: {error.strerror}") from error
        limits = (MIN_AGREEMENT, MAX_DIFFERENCE, TIE, self.count)
        machine = (processor(), torch.get_num_threads(), sorted(versions().items()))
        return entry_key(
            "choice", RECIPE, weights_hash(self.module), self.shape, variants, video, limits, machine
        )

    def _known(self, key: str, variants: list[EngineVariant]) -> Choice | None:
        entry = self.cache.find(key)
        if entry is None:
            return None
        try:
            stored = json.loads((entry / "choice.json").read_text(encoding="utf-8"))
            variant = EngineVariant(**stored["variant"])
            return Choice(variant, str(stored["why"])) if variant in {*variants, REFERENCE} else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("%s: %s", entry, error)
            self.cache.discard(key)
            return None


def best_of(trials: list[Measurement], asked: set[EngineVariant], failed: list[str], kind: str) -> Choice:
    """The fastest right variant among those asked for; fp32 where none is."""
    right = [trial for trial in trials if trial.right and trial.variant in asked]
    reference = next(trial for trial in trials if trial.variant == REFERENCE)
    winner = min(right, key=lambda trial: trial.seconds, default=reference)
    others = [
        f"{t.variant} {t.seconds * 1e3:.0f} ms"
        + ("" if t.right else f" but wrong ({t.agreement:.1%} agree, scores differ by {t.difference:.3f})")
        for t in sorted(trials, key=lambda t: t.seconds)
        if t != winner
    ]
    why = (
        f"{winner.seconds * 1e3:.0f} ms a {kind}, {winner.agreement:.0%} of best labels as in fp32, "
        f"scores differ by {winner.difference:.3f}"
    )
    rest = "; ".join([*others, *failed])
    wrong = [trial for trial in trials if trial.variant in asked and not trial.right]
    if not right and wrong:
        log.warning(
            "%s fails its check against fp32 and is not used", ", ".join(str(t.variant) for t in wrong)
        )
    return Choice(winner.variant, f"{why} ({rest})" if rest else why)


def _calibration_file(config: ModelConfig) -> Path:
    if config.calibration is not None:
        return Path(config.calibration)
    from streamer.demo.assets import clip_path

    return clip_path()


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
