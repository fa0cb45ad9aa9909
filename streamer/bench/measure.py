"""Runs transformers' way and ours in turns on the same windows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.bench import inputs
from streamer.bench.machine_limits import count_flops, gemm_peaks
from streamer.bench.peak_memory import Peak
from streamer.bench.plan import Plan, Report, Result
from streamer.bench.runner import Runner, Timed
from streamer.bench.streaming_runners import StreamingRunners
from streamer.bench.stronger_baselines import compiled, with_sdpa
from streamer.config import ModelConfig
from streamer.errors import ConfigError, ModelError
from streamer.recognition.checkpoints.checkpoint import open_checkpoint
from streamer.recognition.device import DTYPES, has_bf16, use_threads
from streamer.recognition.engines.calibration import clip_windows
from streamer.recognition.engines.engine import GPU_PRECISIONS, PRECISIONS, EngineVariant, build, has_openvino
from streamer.recognition.engines.machine import processor, versions
from streamer.recognition.engines.tuning import LogitsOnly
from streamer.recognition.families.timesformer import FusedTimesformer
from streamer.recognition.loading import load, quiet_transformers
from streamer.recognition.model_config import ATTENTION, model_config, one_line
from streamer.recognition.stream_loading import streaming_tensors

SATURATED = 1.05  # less gain than this from more cameras, and larger numbers are left out
NONE_LEFT = "no engine and precision of those asked for is available here"
CALIBRATION = 12  # windows for int8
Say = Callable[[str], None]


def measure(plan: Plan, say: Say) -> Report:
    """Everything of one run.

    Raises:
        ModelError: the checkpoint cannot be loaded or computed.
        ConfigError: no way is left.
    """
    with inputs.checkpoint(plan.model) as model_id:
        stage = _Stage(plan, model_id, say)
        results: list[Result] = []
        for cameras in plan.cameras:
            rounds = f"{plan.rounds} round{'s' if plan.rounds > 1 else ''}"
            say(f"measuring {cameras} camera{'s' if cameras > 1 else ''}, {rounds}")
            now = stage.results(cameras)
            before = {(r.way, r.engine, r.precision): r.windows_per_s for r in results}
            results += now
            gains = [
                r.windows_per_s / before[key]
                for r in now
                if (key := (r.way, r.engine, r.precision)) in before
            ]
            if gains and max(gains) < SATURATED:
                say(f"more than {cameras} cameras give no more windows/s: stopping")
                break
        return Report(stage.machine(), stage.model(), tuple(results), tuple(stage.notes))


class _Stage:
    """The runners, ready to take turns."""

    def __init__(self, plan: Plan, model_id: str, say: Say) -> None:
        self.notes: list[str] = []
        self._plan = plan
        self._say = say
        config = ModelConfig(id=model_id, device=plan.device, engine="torch", precision="fp32")  # type: ignore[arg-type]
        recognizer: Any = load(config)
        self._recognizer = recognizer
        if plan.threads is not None:
            recognizer.threads = plan.threads
        use_threads(recognizer.threads)  # transformers' way too
        self._spec = self._recognizer.spec
        self._device = self._recognizer.placement.device
        self._folder = open_checkpoint(model_id).folder
        clip = plan.clip or _bundled_clip()
        count = self._spec.frames + max(plan.rounds * plan.cameras[0], 8)
        self._clip = inputs.read_clip(clip, plan.size, self._spec.interval, count, self._recognizer)
        self._eager = self._load_eager()
        self._calibration = clip_windows(
            clip, self._recognizer.preprocessor, self._spec.frames, self._spec.interval, CALIBRATION
        )
        shape = (1, self._spec.frames, 3, *self._spec.size)
        self._gflops = [count_flops(self._meta(fast), shape) for fast in (False, True)]
        say("measuring the machine's own matrix products")
        self._peaks: dict[str, float] = {}
        self._measure_peaks()
        self._runners = [self._baseline("transformers", self._eager)]
        if plan.strong:
            self._runners += self._stronger()
        if not self._spec.streaming:
            self._runners += self._ours()
        self._runners += self._steps()

    def machine(self) -> dict[str, Any]:
        """Who was measured."""
        gpu = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else None
        return {
            "processor": gpu or processor(),
            "threads": torch.get_num_threads(),
            "gemm_gflops": {name: round(rate, 1) for name, rate in self._peaks.items()},
            "versions": versions(),
        }

    def model(self) -> dict[str, Any]:
        """What was measured."""
        height, width = self._plan.size
        return {
            "name": self._spec.name if self._plan.model else inputs.RANDOM_BASE,
            "frames": self._spec.frames,
            "size": list(self._spec.size),
            "picture": [width, height],
            "gflop_transformers": self._gflops[0],
            "gflop_streamer": self._gflops[1],
        }

    def results(self, cameras: int) -> list[Result]:
        """Warm up once, then `rounds` times each runner in turn."""
        length, interval = self._spec.frames, self._spec.interval
        for runner in self._runners:
            runner.rounds.clear()
        for number in range(-1, self._plan.rounds):
            numbers = range(max(0, number) * cameras, (max(0, number) + 1) * cameras)
            windows = [self._clip.window(i, length, interval) for i in numbers]
            ends = [i % self._clip.count(length) for i in numbers]
            for runner in self._runners:
                timed = runner.run([self._clip.pictures[end : end + length] for end in ends], windows)
                if number >= 0:
                    runner.rounds.append(timed)
            self._measure_peaks()
        return [self._result(runner, cameras) for runner in self._runners]

    def _result(self, runner: Runner, cameras: int) -> Result:
        theirs = self._runners[0]
        ratios = [a.seconds / b.seconds for a, b in zip(theirs.rounds, runner.rounds, strict=True)]
        expected = np.concatenate([timed.scores for timed in theirs.rounds])
        scores = np.concatenate([timed.scores for timed in runner.rounds])
        seconds = float(np.median([timed.seconds for timed in runner.rounds])) / cameras
        model_s = float(np.median([timed.model for timed in runner.rounds])) / cameras
        delays = [delay for timed in runner.rounds for delay in timed.delays]
        low, high = np.quantile(ratios, [0.25, 0.75])
        peak = self._peaks.get(runner.precision)
        return Result(
            way=runner.way,
            engine=runner.engine,
            precision=runner.precision,
            cameras=cameras,
            windows_per_s=1 / seconds,
            ratio=float(np.median(ratios)),
            spread=float(high - low) / 2,
            preprocess_ms=1e3 * float(np.median([timed.preprocess for timed in runner.rounds])) / cameras,
            model_ms=1e3 * model_s,
            p50_ms=1e3 * float(np.quantile(delays, 0.5)),
            p95_ms=1e3 * float(np.quantile(delays, 0.95)),
            top1_agreement=float((scores.argmax(1) == expected.argmax(1)).mean()) if runner.same else None,
            score_error=float(np.linalg.norm(scores - expected) / np.linalg.norm(expected))
            if runner.same
            else None,
            peak_fraction=None if peak is None else runner.gflop / model_s / peak,
            memory_mb=runner.memory_mb,
        )

    def _measure_peaks(self) -> None:
        """Between the rounds, too: on a busy machine the best moment is what the machine can do."""
        for precision, rate in gemm_peaks(self._device, self._plan.precisions).items():
            self._peaks[precision] = max(rate, self._peaks.get(precision, 0.0))

    def _load_eager(self) -> Any:
        from transformers import AutoModelForVideoClassification

        self._say("loading transformers' model")
        self._memory = Peak(self._device)
        with quiet_transformers():
            model = AutoModelForVideoClassification.from_pretrained(
                self._folder,
                config=model_config(open_checkpoint(str(self._folder))),
                attn_implementation=ATTENTION,
                local_files_only=True,
            )
        return model.to(self._device).eval().requires_grad_(False)

    def _meta(self, fast: bool) -> Any:
        """The model without weights, for counting."""
        with torch.device("meta"):
            model = type(self._eager)(copy.deepcopy(self._eager.config)).eval()
        return self._module(model) if fast else LogitsOnly(model)

    def _module(self, model: Any) -> Any:
        return FusedTimesformer(model) if self._spec.family == "timesformer" else LogitsOnly(model)

    def _baseline(self, way: str, model: Any) -> Runner:
        """transformers' processor and model, window by window, as its users write it."""
        from transformers import AutoImageProcessor

        processor_ = AutoImageProcessor.from_pretrained(self._folder, local_files_only=True)

        def run(pictures: list[Any], windows: list[Any]) -> Timed:
            preprocess, model_s, delays, scores = 0.0, 0.0, [], []
            for images in pictures:
                started = perf_counter()
                pixels = processor_([image[..., ::-1] for image in images], return_tensors="pt")[
                    "pixel_values"
                ]
                ready = perf_counter()
                with torch.inference_mode():
                    logits = model(pixels.to(self._device)).logits.float().cpu()
                done = perf_counter()
                preprocess += ready - started
                model_s += done - ready
                delays.append(preprocess + model_s)
                scores.append(self._scores(logits)[0])
            return Timed(np.stack(scores), preprocess, model_s, tuple(delays))

        runner = Runner(way, "torch", "fp32", run, None, self._gflops[0])
        length = self._spec.frames
        run([self._clip.pictures[:length]], [])
        runner.memory_mb = self._memory.mb()
        return runner

    def _stronger(self) -> list[Runner]:
        """transformers' model with SDPA, and that one compiled, where they can be had."""
        if self._spec.family != "timesformer":
            self.notes.append("transformers with SDPA left out: only for TimeSformers, which come without")
            return []
        runners = []
        for way, make in (("with SDPA", with_sdpa), ("compiled", compiled)):
            self._say(f"building transformers, {way}")
            self._memory = Peak(self._device)
            try:
                runners.append(self._baseline(f"transformers, {way}", make(self._eager)))
            except (RuntimeError, OSError) as error:  # of torch's compiler, or there is no C++ compiler
                self.notes.append(f"transformers, {way}, left out: {one_line(error)}")
        return runners

    def _steps(self) -> list[Runner]:
        """One frame a hop, where the model can be streamed.

        Raises:
            ConfigError: the model is streaming, and no way is left.
        """
        if not StreamingRunners.fits(self._eager):
            return []
        own = streaming_tensors(self._folder) if self._spec.streaming else None
        ways = StreamingRunners(self._recognizer, self._eager, self._clip, own)
        runners = []
        for way in self._variants():
            self._say(f"building streaming {way}")
            try:
                runners.append(ways.runner(way))
            except ModelError as error:
                self.notes.append(f"streaming {way} left out: {error}")
        if self._spec.streaming and not runners:
            raise ConfigError(NONE_LEFT)
        if runners:
            windows = "transformers computes its weights as a model of windows"
            said = windows if own else "its tables are random"
            told = f"streaming: one frame a hop; {said}: its time counts, not its scores; {ways.megabytes}"
            self.notes.append(told)
        return runners

    def _scores(self, logits: torch.Tensor) -> NDArray[Any]:
        scores = torch.sigmoid(logits) if self._spec.independent else logits.softmax(-1)
        return scores.numpy()

    def _ours(self) -> list[Runner]:
        runners = []
        for way in self._variants():
            self._say(f"building streamer {way}")
            try:
                runners.append(self._our(way))
            except ModelError as error:
                self.notes.append(f"{way} left out: {error}")
        if not runners:
            raise ConfigError(NONE_LEFT)
        return runners

    def _our(self, way: EngineVariant) -> Runner:
        shape = (self._spec.frames, 3, *self._spec.size)
        if way.engine == "openvino":  # converted before, so that the memory is that of using it
            build(way, self._copy(way), shape, clips=self._calibration)
        peak = Peak(self._device)
        forward = build(way, self._copy(way), shape, clips=self._calibration)
        batch = 1 if self._device.type == "cpu" else 8

        def run(pictures: list[Any], windows: list[Any]) -> Timed:
            self._recognizer.use(forward)
            started = perf_counter()
            for images in pictures:  # of each camera one new frame; the others were reduced when they came
                self._recognizer.reduce(images[-1])
            reduced = perf_counter() - started
            delays, scores, preprocess = [], [], reduced
            for first in range(0, len(windows), batch):
                part = windows[first : first + batch]
                found = self._recognizer.predict(part)
                scores += found
                preprocess += found.preprocess_s
                delays += [perf_counter() - started] * len(part)
            return Timed(np.stack(scores), preprocess, delays[-1] - preprocess, tuple(delays))

        window = self._clip.window(0, self._spec.frames, self._spec.interval)
        run([self._clip.pictures[: self._spec.frames]], [window])
        return Runner("streamer", way.engine, way.precision, run, peak.mb(), self._gflops[1])

    def _copy(self, way: EngineVariant) -> Any:
        """The engine's own module; OpenVINO only reads it: that one shares transformers' weights."""
        if way.engine == "openvino":
            return self._module(self._eager)
        return self._module(copy.deepcopy(self._eager)).to(DTYPES[way.precision])

    def _variants(self) -> list[EngineVariant]:
        """All that exist here, among those asked for."""
        asked, cpu = self._plan, self._device.type == "cpu"
        variants = []
        for engine, precisions in PRECISIONS.items():
            if engine not in asked.engines or (engine == "openvino" and not cpu):
                continue
            for precision in precisions if cpu else GPU_PRECISIONS:
                way = EngineVariant(engine, precision)  # type: ignore[arg-type]
                missing = engine == "openvino" and not has_openvino(precision)
                slow = precision == "bf16" and not has_bf16(self._device)
                if precision not in asked.precisions:
                    continue
                if missing or slow:
                    self.notes.append(
                        f"{way} left out: " + ("not installed" if missing else "no such hardware")
                    )
                    continue
                variants.append(way)
        return variants


def _bundled_clip() -> Path:
    from streamer.demo.assets import clip_path

    return clip_path()
