"""Which engine at which precision: what the user asked for, or what measures fastest here and is right.

`choose_engine` gives a loaded recognizer its engine. Where something is left to "auto" and the model is large
enough to matter, the possible variants (engine and precision) are measured once on this machine, on real
frames, and the result is kept.

A variant is *right* when, against fp32 on the same windows, at least MIN_AGREEMENT of the best labels are the
same and scores differ by at most MAX_DIFFERENCE (the mean over windows of the largest difference of any
label). A different best label is no error where fp32 itself scores the two within TIE.
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from streamer.config import ModelConfig
from streamer.errors import ModelError, ModelLoadError
from streamer.recognition.device import BIG, has_bf16, model_threads, use_threads
from streamer.recognition.engines.cache import Cache, entry_key, weights_hash
from streamer.recognition.engines.calibration import clip_windows
from streamer.recognition.engines.engine import EngineVariant, build, check, has_openvino
from streamer.recognition.engines.machine import processor, versions

if TYPE_CHECKING:
    from streamer.recognition.forward import Forward

log = logging.getLogger(__name__)

MIN_AGREEMENT = 0.99
MAX_DIFFERENCE = 0.02
TIE = 0.02
BUDGET = 120.0  # seconds of measuring after which no further variant is tried
ROUNDS = 3  # timed forwards of each variant, alternating
WINDOWS = {True: 8, False: 48}  # for checking, and as many others for calibration; by "is it large"
RECIPE = "1"  # part of the key of measurements
REFERENCE = EngineVariant("torch", "fp32")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One variant, measured."""

    variant: EngineVariant
    seconds: float  # median of a window
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


class LogitsOnly(nn.Module):
    """A transformers model as a module from `pixel_values` to logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, T, C, H, W) or (B, C, H, W) -> (B, L)."""
        logits: Tensor = self.model(pixel_values).logits
        return logits


def choose_engine(recognizer: Any, config: ModelConfig, cache: Cache | None = None) -> Choice:
    """Choose the engine, build it, and let the recognizer compute with it.

    Args:
        recognizer: a `VideoRecognizer` or `FrameRecognizer`; on a CPU its weights are fp32. It lets go of its
            transformers model: one copy of the weights stays.
        config: `engine`, `precision`, and `calibration` (a video; None = the bundled clip).
        cache: where measurements and converted models are kept.

    Raises:
        ModelLoadError: what was asked for cannot be had here.
    """
    device = recognizer.placement.device.type
    module = recognizer.forward if isinstance(recognizer.forward, nn.Module) else LogitsOnly(recognizer.model)
    recognizer.model = None
    parameters = sum(p.numel() for p in module.parameters())
    large = parameters >= BIG
    recognizer.threads = model_threads(parameters, recognizer.placement.device)
    use_threads(recognizer.threads)  # for measuring and converting here; each forward sees to it again
    variants = candidates(config.engine, config.precision, recognizer.placement, large=large)
    for variant in variants:
        check(variant, device)
    if len(variants) == 1 and variants[0].precision != "int8":
        why = "the only one that fits" if config.engine != "auto" or large else "a small model needs no more"
        choice, forward = Choice(variants[0], why), _build(variants[0], module, _shape(recognizer), None)
    else:
        choice, forward = _Comparison(recognizer, config, module, large, cache or Cache()).decide(variants)
    log.info("model: %s; %s", choice.variant, choice.why)
    recognizer.use(forward, engine=choice.variant.engine, precision=choice.variant.precision)
    return choice


def candidates(engine: str, precision: str, placement: Any, *, large: bool) -> list[EngineVariant]:
    """The ways that fit what was asked for, the expected slowest first. Never empty."""
    device = placement.device
    if device.type != "cpu":  # chosen by the hardware when the weights were loaded
        wanted = precision if precision == "int8" else placement.precision
        return [EngineVariant("openvino" if engine == "openvino" else "torch", wanted)]
    if engine == "auto":
        use_openvino = has_openvino(precision if precision == "int8" else "fp32") and (
            large or precision == "int8"
        )
        engines = ["torch", "openvino"] if use_openvino else ["torch"]
        if precision == "int8":
            engines = ["openvino"]
    else:
        engines = [engine]
    if precision != "auto":
        precisions = [precision]
    elif not large:
        precisions = ["fp32"]
    else:
        precisions = ["fp32", *(["bf16"] if has_bf16(device) else []), "int8"]
    variants = [EngineVariant(name, kind) for kind in precisions for name in engines]  # type: ignore[arg-type]
    if precision == "auto":
        variants = [variant for variant in variants if variant.precision != "int8" or _has_int8(variant)]
    return variants


def compare(expected: Tensor, scores: Tensor) -> tuple[float, float]:
    """(agreement of best labels, difference of scores) of (n, L) scores with fp32's."""
    best = expected.max(1).values
    chosen = expected.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
    agreement = (best - chosen <= TIE).float().mean()
    return float(agreement), float((scores - expected).abs().max(1).values.mean())


class _Comparison:
    """Measures ways against each other and fp32."""

    def __init__(self, recognizer: Any, config: ModelConfig, module: Any, large: bool, cache: Cache) -> None:
        self._recognizer = recognizer
        self._config = config
        self._module = module
        self._large = large
        self._cache = cache
        self._shape = _shape(recognizer)
        self._clips: Tensor | None = None

    def decide(self, variants: list[EngineVariant]) -> tuple[Choice, Forward]:
        """The fastest right variant, from the cache or measured now."""
        key = self._key(variants)
        known = self._known(key, variants)
        if known is not None:
            return known, self._make(known.variant)
        log.warning(
            "measuring %s once on this machine, which may take some minutes (skip it with --engine torch "
            "--precision fp32)", ", ".join(map(str, variants))
        )  # fmt: skip
        choice, forward = self._measure(variants)
        try:
            text = json.dumps(asdict(choice))
            self._cache.store(key, lambda folder: _write(folder / "choice.json", text))
        except OSError as error:
            log.warning("the measurement could not be kept for the next start: %s", error)
        return choice, forward

    def _measure(self, variants: list[EngineVariant]) -> tuple[Choice, Forward]:
        started = perf_counter()
        reference = _build(REFERENCE, copy.deepcopy(self._module), self._shape, None)
        windows = self._windows()[1]
        expected = self._scores(reference, windows)
        forwards: dict[EngineVariant, Forward] = {REFERENCE: reference}
        failed: list[str] = []
        checked: dict[EngineVariant, tuple[float, float]] = {REFERENCE: (1.0, 0.0)}
        for variant in variants:
            if variant == REFERENCE:
                continue
            if perf_counter() - started > BUDGET:
                failed.append(f"{variant} not tried (time)")
                continue
            try:
                forwards[variant] = self._make(variant)
                checked[variant] = compare(expected, self._scores(forwards[variant], windows))
            except ModelError as error:
                forwards.pop(variant, None)
                failed.append(f"{variant} failed")
                log.warning("%s cannot be used: %s", variant, error)
        seconds = _alternating(forwards, windows[:1])
        trials = [Measurement(variant, seconds[variant], *checked[variant]) for variant in forwards]
        choice = _best(trials, set(variants), failed)
        return choice, forwards[choice.variant]

    def _scores(self, forward: Forward, windows: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = torch.cat([forward(window[None]).float() for window in windows])
        return torch.sigmoid(logits) if self._recognizer.spec.independent else logits.softmax(-1)

    def _make(self, variant: EngineVariant) -> Forward:
        clips = self._windows()[0] if variant.precision == "int8" else None
        module = copy.deepcopy(self._module) if variant.engine == "torch" else self._module
        return _build(variant, module, self._shape, clips, self._cache)

    def _windows(self) -> tuple[Tensor, Tensor]:
        """(for calibration, for checking): (n, *shape) each, taking turns over the file."""
        if self._clips is None:
            spec, count = self._recognizer.spec, 2 * WINDOWS[self._large]
            frames = spec.frames if len(self._shape) == 4 else 1
            clips = clip_windows(
                _calibration_file(self._config), self._recognizer.preprocessor, frames, spec.interval, count
            )
            self._clips = clips.reshape(count, *self._shape)
        return self._clips[0::2], self._clips[1::2]

    def _key(self, variants: list[EngineVariant]) -> str:
        file = _calibration_file(self._config)
        try:
            video = (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
        except OSError as error:
            raise ModelLoadError(f"the calibration video {file} cannot be read: {error.strerror}") from error
        limits = (MIN_AGREEMENT, MAX_DIFFERENCE, TIE, WINDOWS)
        machine = (processor(), torch.get_num_threads(), sorted(versions().items()))
        return entry_key(
            "choice", RECIPE, weights_hash(self._module), self._shape, variants, video, limits, machine
        )

    def _known(self, key: str, variants: list[EngineVariant]) -> Choice | None:
        entry = self._cache.find(key)
        if entry is None:
            return None
        try:
            stored = json.loads((entry / "choice.json").read_text(encoding="utf-8"))
            variant = EngineVariant(**stored["variant"])
            return Choice(variant, str(stored["why"])) if variant in {*variants, REFERENCE} else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("%s: %s", entry, error)
            self._cache.discard(key)
            return None


def _best(trials: list[Measurement], asked: set[EngineVariant], failed: list[str]) -> Choice:
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
        f"{winner.seconds * 1e3:.0f} ms a window, {winner.agreement:.0%} of best labels as in fp32, "
        f"scores differ by {winner.difference:.3f}"
    )
    rest = "; ".join([*others, *failed])
    wrong = [trial for trial in trials if trial.variant in asked and not trial.right]
    if not right and wrong:
        log.warning(
            "%s fails its check against fp32 and is not used", ", ".join(str(t.variant) for t in wrong)
        )
    return Choice(winner.variant, f"{why} ({rest})" if rest else why)


def _alternating(forwards: dict[EngineVariant, Forward], window: Tensor) -> dict[EngineVariant, float]:
    """Median seconds of a forward of each variant, taking turns, so that a busy moment hits all alike."""
    seconds: dict[EngineVariant, list[float]] = {variant: [] for variant in forwards}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for variant, forward in forwards.items():
                started = perf_counter()
                forward(window)
                seconds[variant].append(perf_counter() - started)
    return {variant: median(taken) for variant, taken in seconds.items()}


def _build(
    variant: EngineVariant,
    module: Any,
    shape: tuple[int, ...],
    clips: Tensor | None,
    cache: Cache | None = None,
) -> Forward:
    if variant.engine == "torch":
        from streamer.recognition.device import DTYPES

        module = module.to(DTYPES[variant.precision])
    return build(variant, module, shape, clips=clips, cache=cache)


def _shape(recognizer: Any) -> tuple[int, ...]:
    """Of one window, or of one frame for models of single frames; without B."""
    from streamer.recognition.families.recognizers import FrameRecognizer

    spec = recognizer.spec
    picture = (3, *spec.size)
    return picture if isinstance(recognizer, FrameRecognizer) else (spec.frames, *picture)


def _calibration_file(config: ModelConfig) -> Path:
    if config.calibration is not None:
        return Path(config.calibration)
    from streamer.demo.assets import clip_path

    return clip_path()


def _has_int8(variant: EngineVariant) -> bool:
    return variant.engine == "openvino" and has_openvino("int8")


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
