"""Where the model looked in a recorded clip: a picture of the window in which it was surest of a label.

    python -m streamer.recognition.explain_clip CLIP MODEL LABEL [FROM TO] > picture.jpg

A process of its own that the page starts on demand: it computes for some BUDGET seconds on one thread, and
the run does not notice. Frames are grey, and orange where the model looked.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError, ModelError, StreamerError

if TYPE_CHECKING:
    from torch import Tensor

    from streamer.recognition.families.recognizers import LoadedModel

MOST_WINDOWS = 240  # that are scored, evenly over the clip ...
BUDGET = 20.0  # ... as far as so many seconds allow: first far apart, then in between
MOST_FRAMES = 900  # of a clip that are looked at
COLUMNS = 4
WIDTH = 240  # pixels of one frame in the picture
GAP = 4  # pixels between two frames
ORANGE = (255, 150, 0)  # seen on grey, by day and by night, and by those who see fewer colours
STRONGEST = 0.8  # of the orange, where it looked most
GREY_FROM, GREY_PART = 30, 0.6  # what was not looked at: dark pictures stay visible
WHOLE = (0.0, float("inf"))  # of a clip
SLACK = 0.5  # seconds: frames are not where a window wants them
REFUSED, FAILED = 2, 1


def explain(clip: Path, model_id: str, label: str, span: tuple[float, float] = WHOLE) -> bytes:
    """A JPEG of the frames of the clip's best window for `label`, in order, four in a row.

    `span`: where the event is, seconds in the clip; other events' frames are left alone, as far as a window
    fits in between.

    Raises:
        ConfigError: the clip cannot be read, or is shorter than a window.
        ModelError: the model cannot be loaded, has no such label, or attends in another way.
    """
    length = _length(clip)  # before torch is loaded, which takes seconds
    import torch

    from streamer.recognition.attention_rollout import rollout, stream_rollout
    from streamer.recognition.loading import load_timesformer

    torch.set_num_threads(1)
    loaded = load_timesformer(model_id)
    spec = loaded.spec
    if label not in spec.labels:
        raise ModelError(f"{spec.name} has no label {label!r}")
    bounds = _around(span, (spec.frames - 1) * spec.interval + SLACK, length)
    place = spec.labels.index(label)
    if spec.streaming:
        before = bounds[0] - spec.reach * spec.interval
        times, frames = _frames(clip, loaded.preprocessor.reduce, (before, bounds[1]))
        stretch = _best_stretch(loaded, times, frames, bounds[0], place)
        looked = stream_rollout(loaded.model, _values(loaded, [frames[i] for i in stretch]))
        return _drawn([frames[i] for i in stretch[-spec.frames :]], looked[-spec.frames :].numpy())
    times, frames = _frames(clip, loaded.preprocessor.reduce, bounds)
    window = _best_window(loaded, times, frames, place)
    looked = rollout(loaded.model, _values(loaded, [frames[i] for i in window]))
    return _drawn([frames[i] for i in window], looked.numpy())


def _values(loaded: LoadedModel, frames: Sequence[NDArray[Any]]) -> Tensor:
    """What the model gets of so many frames: (1, S, C, H, W)."""
    import torch

    return loaded.preprocessor.normalise(torch.from_numpy(np.stack(frames)))[None]


def _best_window(
    loaded: LoadedModel, times: Sequence[float], frames: Sequence[NDArray[Any]], place: int
) -> Sequence[int]:
    """The frames of the window in which the model is surest of the label at `place`. Raises ConfigError."""
    import torch

    best: tuple[float, Sequence[int]] | None = None
    until = time.monotonic() + BUDGET
    for indices in _windows(times, loaded.spec.frames, loaded.spec.interval):
        if best is not None and time.monotonic() >= until:
            break
        with torch.no_grad():
            scores = loaded.forward(_values(loaded, [frames[i] for i in indices]))
        score = float(scores.softmax(-1)[0, place])
        if best is None or score > best[0]:
            best = score, indices
    assert best is not None
    return best[1]


def _best_stretch(
    loaded: LoadedModel, times: Sequence[float], frames: Sequence[NDArray[Any]], since: float, place: int
) -> Sequence[int]:
    """The frames that a stream's answer depends on where it is surest of the label, a window after `since`
    or later; as many as there are. Raises ConfigError.
    """
    import torch

    spec, model = loaded.spec, loaded.model
    _windows(times, spec.frames, spec.interval)  # refuses what is too short
    known = np.array(times)
    ticks = [int(np.abs(known - at).argmin()) for at in np.arange(times[0], times[-1], spec.interval)]
    first = max(spec.frames - 1, sum(times[i] < since for i in ticks) + spec.frames - 1)
    state, best = model.new_state(1), (-1.0, 0)
    until = time.monotonic() + BUDGET
    for number, index in enumerate(ticks):
        with torch.no_grad():
            scores = model.step(_values(loaded, [frames[index]])[0], state, [0])
        if number >= min(first, len(ticks) - 1):
            best = max(best, (float(scores.softmax(-1)[0, place]), number))
            if time.monotonic() >= until:
                break
    end = best[1] + 1
    return ticks[max(0, end - spec.reach - 1) : end]


def _length(clip: Path) -> float:
    """Seconds. Raises ConfigError."""
    import av

    try:
        with av.open(str(clip)) as container:
            return float((container.duration or 0) / av.time_base)
    except (av.error.FFmpegError, OSError) as error:
        raise ConfigError(f"the clip cannot be read: {type(error).__name__}") from error


def _frames(clip: Path, reduce: Any, bounds: tuple[float, float]) -> tuple[list[float], list[NDArray[Any]]]:
    """The clip's times in seconds within `bounds`, and its frames as the model gets them, uint8 RGB."""
    import av

    times: list[float] = []
    frames: list[NDArray[Any]] = []
    try:
        with av.open(str(clip)) as container:
            for frame in container.decode(container.streams.video[0]):
                at = float(frame.time or 0.0)
                if at > bounds[1] or len(frames) >= MOST_FRAMES:
                    break
                if at >= bounds[0]:
                    times.append(at)
                    frames.append(reduce(frame.to_ndarray(format="bgr24")))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ConfigError(f"the clip cannot be read: {type(error).__name__}") from error
    return times, frames


def _around(span: tuple[float, float], least: float, length: float) -> tuple[float, float]:
    """A span of at least `least` seconds around another, in a clip of `length` seconds."""
    begin, end = span[0], min(span[1], length)
    more = max(0.0, least - (end - begin)) / 2
    begin, end = begin - more, end + more
    if end > length:
        begin, end = begin - (end - length), length
    return max(0.0, begin), max(end, min(least, length))


def _windows(times: Sequence[float], count: int, interval: float) -> list[tuple[int, ...]]:
    """The frames of some windows, evenly over the clip; nearest in time, each once. Raises ConfigError."""
    span = (count - 1) * interval
    if not times or times[-1] - times[0] < span - interval / 2:
        raise ConfigError(f"the clip is shorter than the model's window of {span:.1f} s")
    known = np.array(times)
    first, last = min(times[0] + span, times[-1]), times[-1]
    ends = [first + part * (last - first) for part in _spread(MOST_WINDOWS)]
    found = (
        tuple(int(np.abs(known - (end - k * interval)).argmin()) for k in reversed(range(count)))
        for end in ends
    )
    return list(dict.fromkeys(found))  # a short clip has fewer than there are places for them


def _spread(count: int) -> list[float]:
    """Parts of one, each as far from those before as can be: 0, 1/2, 1/4, 3/4, 1/8, ... (van der Corput)."""
    return [int(f"{n:010b}"[::-1], 2) / 1024 for n in range(count)]


def _drawn(frames: Sequence[NDArray[Any]], looked: NDArray[Any]) -> bytes:
    """`looked` (T, N) over a square grid of places."""
    from PIL import Image

    height, width = frames[0].shape[:2]
    across = round((looked.shape[1] * width / height) ** 0.5)
    grid = looked.reshape(len(frames), -1, across)
    grid = (grid - grid.min()) / max(1e-12, float(np.quantile(grid, 0.995) - grid.min()))
    tall = round(WIDTH * height / width)
    rows = -(-len(frames) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * (WIDTH + GAP) - GAP, rows * (tall + GAP) - GAP))
    for number, frame in enumerate(frames):
        heat = Image.fromarray((np.clip(grid[number], 0, 1) * 255).astype(np.uint8))
        light = np.asarray(heat.resize((WIDTH, tall), Image.Resampling.BILINEAR), np.float32)[..., None] / 255
        grey = np.asarray(Image.fromarray(frame).resize((WIDTH, tall)).convert("L"), np.float32)[..., None]
        part = STRONGEST * light
        lit = (GREY_FROM + GREY_PART * grey) * (1 - part) + np.array(ORANGE, np.float32) * part
        place = number % COLUMNS * (WIDTH + GAP), number // COLUMNS * (tall + GAP)
        whole.paste(Image.fromarray(lit.astype(np.uint8)), place)
    data = io.BytesIO()
    whole.save(data, "JPEG", quality=85)
    return data.getvalue()


def main(words: Sequence[str]) -> int:
    """The picture on standard output; a mistake is one line on standard error."""
    if hasattr(os, "nice"):
        os.nice(10)
    clip, model_id, label, *span = words
    begin, end = map(float, span) if span else WHOLE
    try:
        data = explain(Path(clip), model_id, label, (begin, end))
    except StreamerError as error:
        print(error, file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
