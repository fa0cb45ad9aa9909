"""Distilling a window checkpoint into a streaming one, from videos to a measured checkpoint.

OUT/                 the streaming checkpoint with its processor, a model card, metrics.json
OUT/run/             what a run needs to go on after a kill: recipe, stretches with the teacher's scores, and
                     its state; all but the recipe goes when it is finished
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamer.config import ModelConfig
from streamer.errors import ConfigError, ModelLoadError
from streamer.recognition.checkpoints.metadata import background_in
from streamer.recognition.device import choose_device
from streamer.recognition.families.timesformer import FusedTimesformer
from streamer.recognition.model_config import model_config
from streamer.recognition.recognizer import load_recognizer
from streamer.system.atomic_files import write_atomically
from streamer.system.terminal_text import printable
from streamer.training.agreement import agreement_line, agreement_lines, measure_agreement
from streamer.training.clips import names_a_side
from streamer.training.distillation import Distiller, Settings, Stretch, save_checkpoint, start_tables
from streamer.training.ground_truth import background_of
from streamer.training.output import say
from streamer.training.recipe import StreamingRecipe, check_same, save_recipe
from streamer.training.starting_checkpoint import (
    StartingCheckpoint,
    copy_processor,
    load_model,
    open_starting_checkpoint,
)
from streamer.training.streaming_card import card
from streamer.training.streaming_data import Part, StreamingData, Teaching, prepare
from streamer.training.teacher_answers import KeptStretches, Pixels, pixels_of, teach, write_stretches

CHECKS = 10  # times in a run that it is measured and saved, where nobody said otherwise
CHECKED = 32  # held-out files in each of these measurements; the last one takes all
EVERY = 10.0  # seconds between two lines of progress
FIRST_WINDOWS = 32  # of the teacher, that the tables begin with
DIVIDED = "divided_space_time"


@dataclass(frozen=True, slots=True)
class Teacher:
    """The window model that is distilled."""

    base: StartingCheckpoint
    model: Any  # TimesformerForVideoClassification, fp32, on its device
    teaching: Teaching
    background: tuple[str, ...]
    device: torch.device
    pixels: Pixels


def distil(recipe: StreamingRecipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """The whole of `streamer train --streaming` as a function; returns what metrics.json holds.

    Raises:
        ConfigError, DatasetError, ModelLoadError, OSError (disk full, for one).
    """
    teacher = open_teacher(recipe)
    paths = [Path(path) for path in recipe.dataset]
    data = prepare(
        paths, teacher.teaching, group=recipe.group, allow_leak=recipe.allow_leak, seed=recipe.seed,
        cache=out / "run" / "videos.json", say=say,
    )  # fmt: skip
    for note in (*teacher.base.notes, *data.notes):
        say(note)
    if resume:
        check_same(recipe, data.split, out / "run" / "recipe.json")
    else:
        save_recipe(recipe, data.split, out / "run" / "recipe.json")
    train, held_out = _taught(recipe, teacher, data, out / "run" / "stretches")
    settings = Settings(
        steps=recipe.steps, batch=recipe.batch, rate=recipe.lr, bf16=recipe.bf16, seed=recipe.seed,
        warmup=min(100, max(1, recipe.steps // 10)),
    )  # fmt: skip
    distiller = Distiller(teacher.model, train, teacher.pixels, settings, out / "run")
    began = begin(distiller, teacher.model, teacher.teaching.frames, resume=resume)
    learn(
        distiller,
        lambda: held_out.some(CHECKED),
        recipe.save_steps or max(1, recipe.steps // CHECKS),
        say,
        began,
    )
    return _finish(recipe, teacher, data, distiller, held_out, out)


def open_teacher(recipe: StreamingRecipe) -> Teacher:
    """Load the window model.

    Raises:
        ConfigError, ModelLoadError: it cannot be streamed.
    """
    base = open_starting_checkpoint(recipe.model, recipe.interval)
    name, config = base.checkpoint.name, base.checkpoint.config
    if base.checkpoint.family != "timesformer":
        raise ModelLoadError(f"{name} is a {base.checkpoint.family}: only TimeSformers can be streamed")
    attention = config.get("attention_type", DIVIDED)
    if attention != DIVIDED:
        raise ModelLoadError(f"{name} has {attention} attention: only divided attention can be streamed")
    if base.checkpoint.own.get("streaming"):
        raise ModelLoadError(f"{name} is a streaming model already: name the window model it was made from")
    device = choose_device(recipe.device)
    recognizer = load_recognizer(
        ModelConfig(
            id=recipe.model, interval=recipe.interval, device=recipe.device, precision="fp32", engine="torch"
        )
    )  # refuses what lacks its head or is damaged, as `run` does
    spec = recognizer.spec
    recognizer.close()
    table = model_config(base.checkpoint).id2label
    names = [table[index] for index in range(len(table))]
    model = load_model(base, names, dict(base.checkpoint.own)).to(device).eval().requires_grad_(False)
    if spec.independent:
        raise ModelLoadError(
            f"{name} scores each label by itself (multi-label): that cannot be distilled yet"
        )
    places = model.timesformer.embeddings.position_embeddings.shape[1] - 1
    own = (spec.size[0] // model.config.patch_size) * (spec.size[1] // model.config.patch_size)
    if places != own:
        raise ModelLoadError(
            f"{name} was made for {places} patches, its processor makes {own}: a stream needs them equal"
        )
    _check_ahead(recipe.ahead, spec.frames, spec.interval, spec.lag)
    background = background_of(spec.labels, recipe.background, background_in(base.checkpoint.own))
    teaching = Teaching(
        spec.labels, spec.frames, spec.interval, spec.lag, background[0] if len(background) == 1 else None
    )
    return Teacher(base, model, teaching, background, device, pixels_of(base.preprocessor, device))


def _check_ahead(ahead: int, frames: int, interval: float, lag: float) -> None:
    if lag and ahead * interval > lag + 1e-9:
        raise ConfigError(
            f"--ahead {ahead}: the teacher's labels speak of {lag:g} s before its windows' ends: a student "
            f"can be {int(lag / interval + 1e-9)} ticks of {interval:g} s sooner at most"
        )
    if ahead >= frames:
        raise ConfigError(f"--ahead {ahead}: at most {frames - 1}, the ticks of a window before its last")


def _taught(
    recipe: StreamingRecipe, teacher: Teacher, data: StreamingData, folder: Path
) -> tuple[KeptStretches, KeptStretches]:
    """Stretches to learn from, and held-out ones, with the teacher's scores."""
    forward, ages = FusedTimesformer(teacher.model), teacher.teaching.frames
    total, told = len(data.parts), time.monotonic()

    def progress(number: int, part: Part) -> None:
        nonlocal told
        if time.monotonic() - told > EVERY or number == total:
            told = time.monotonic()
            say(f"teacher's scores: {number} of {total} stretches ({part.footage.timed.clip.path.name})")

    paths = write_stretches(
        data.parts, folder, teacher.base.preprocessor,
        lambda frames: teach(forward, frames, ages, teacher.pixels, bf16=recipe.bf16), progress,
    )  # fmt: skip

    def kept(held_out: bool, mirror: bool) -> KeptStretches:
        chosen = [
            (p, part.ticks) for p, part in zip(paths, data.parts, strict=True) if part.held_out == held_out
        ]
        files, weights = [p for p, _ in chosen], [float(ticks) for _, ticks in chosen]
        return KeptStretches(files, weights, data.stretch, recipe.ahead, mirror)

    mirror = recipe.flip == "on" or (recipe.flip == "auto" and not names_a_side(teacher.teaching.labels))
    return kept(False, mirror), kept(True, False)


def begin(distiller: Distiller, model: Any, ages: int, *, resume: bool) -> bool:
    """Go on from the state that was kept, or set the student's tables; True: it goes on."""
    if resume and (distiller.folder / "state.pt").exists():
        distiller.load()
        return True
    rng = np.random.default_rng([distiller.settings.seed, 9000])
    windows: list[Any] = []
    while len(windows) < FIRST_WINDOWS:
        frames = distiller.source.draw(rng).frames
        windows.append(frames[max(0, (len(frames) - ages) // 2) :][:ages])
    pixels = [
        distiller.pixels(torch.from_numpy(np.stack(windows[n : n + 4]))) for n in range(0, FIRST_WINDOWS, 4)
    ]
    start_tables(distiller.student, model, pixels)
    distiller.adopt()
    return False


def learn(
    distiller: Distiller,
    held_out: Callable[[], Iterable[Stretch]],
    save_steps: int,
    tell: Callable[[str], None],
    resumed: bool,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """All steps that are left; measures the averaged weights and keeps the state every `save_steps`."""
    steps, told, mean = distiller.settings.steps, time.monotonic(), 0.0

    def check() -> str:
        found = measure_agreement(distiller.average, held_out(), distiller.pixels, by_frames=False)
        return agreement_line(found)

    tell(f"continuing from step {distiller.step}" if resumed else f"before the first step: {check()}")
    for loss in distiller.run(until):
        mean = 0.95 * mean + 0.05 * loss if mean else loss
        left = (steps - distiller.step) * distiller.seconds / distiller.step / 60
        line = f"step {distiller.step} of {steps}, {distiller.seconds / 60:.1f} min, loss {mean:.3f}"
        if distiller.step % save_steps == 0 or distiller.step == steps:
            distiller.save()
            tell(f"{line}: {check()}; kept")
        elif time.monotonic() - told > EVERY:
            tell(f"{line}; about {left:.0f} min to go")
        else:
            continue
        told = time.monotonic()


def _finish(
    recipe: StreamingRecipe,
    teacher: Teacher,
    data: StreamingData,
    distiller: Distiller,
    held_out: KeptStretches,
    out: Path,
) -> dict[str, Any]:
    """Write the averaged weights, see that they load as `run` loads them, and what they are worth."""
    base, teaching = teacher.base, teacher.teaching
    lag = round(max(0.0, teaching.lag - recipe.ahead * teaching.interval), 6)
    own = {
        **base.checkpoint.own, "interval": teaching.interval, "frames": teaching.frames,
        "base": base.checkpoint.name, "licence": base.licence, "background": list(teacher.background),
        "lag": lag, "split": data.split,
    }  # fmt: skip
    own = {key: value for key, value in own.items() if value not in (None, [], 0.0)}
    save_checkpoint(distiller.average_model.cpu(), distiller.average.cpu(), out, own)
    copy_processor(base, out)
    _check_it_runs(out)
    distiller.average.to(teacher.device)
    found = measure_agreement(distiller.average, held_out.all(), teacher.pixels)
    ticks = {
        name: sum(part.ticks for part in data.parts if part.held_out == held)
        for name, held in (("learnt_from", False), ("held_out", True))
    }
    videos = {part.footage.timed.clip.path.name for part in data.parts if part.held_out}
    metrics: dict[str, Any] = {
        "v": 1, "labels": list(teaching.labels), "split": data.split, "steps": distiller.step,
        "seconds": round(distiller.seconds, 1), "device": str(teacher.device), "ahead": recipe.ahead,
        "ticks": ticks, "held_out_videos": sorted(videos), "held_out": found,
    }  # fmt: skip
    text = card(recipe, base, teaching, metrics, out.resolve().name, layers=len(distiller.student.blocks))
    write_atomically(out / "README.md", text)
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(out / "run" / "stretches", ignore_errors=True)
    (out / "run" / "state.pt").unlink(missing_ok=True)
    print("\n".join(map(printable, agreement_lines(found))))
    return metrics


def _check_it_runs(out: Path) -> None:
    recognizer = load_recognizer(ModelConfig(id=str(out), device="cpu", precision="fp32", engine="torch"))
    try:
        recognizer.warm_up()
    finally:
        recognizer.close()
