"""Makes the bundled clip and its ground truth:

    python -m streamer.training.synthetic.draw_demo_clip [FOLDER]

Two scenes of a minute in all, cut from photographs with free licences (see LICENCES.md) of which the bundled
checkpoint has seen none: an object stands, waves, comes near, goes away, leaves, and others pass through.
Needs scikit-image (photographs) and av (H.264). The same versions give the same file.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.demo import assets
from streamer.training.synthetic import motions
from streamer.training.synthetic.textures import SEEDS, Image, load_photo

WIDTH, HEIGHT, FPS = 640, 480, 25
REST, FAR, NEAR = 0.45, 0.13, 0.75  # an object's height, in frame heights
EDGE = 0.72  # where an object is just outside the square that a model sees, in frame heights
Point = tuple[float, float]
CENTRE: Point = (0.0, 0.0)


@dataclass(frozen=True)
class ClipAction:
    """One action of one object: label, seconds, which of the scene's objects, whence, whereto, and its height
    at the end (None: as before)."""

    label: str
    seconds: float
    who: int = 0
    start: Point = CENTRE
    end: Point = CENTRE
    height: float | None = None


SCENES: tuple[tuple[ClipAction, ...], ...] = (
    (
        ClipAction("still", 4.0),
        ClipAction("waving", 4.0),
        ClipAction("still", 3.0),
        ClipAction("receding", 3.2, height=FAR),
        ClipAction("approaching", 4.0, height=NEAR),
        ClipAction("receding", 4.0, height=FAR),
        ClipAction("approaching", 3.4, height=REST),
        ClipAction("moving left", 3.0, end=(-EDGE, 0.0)),
    ),
    (
        ClipAction("moving right", 4.0, 0, (-EDGE, 0.05), (EDGE, 0.05)),
        ClipAction("moving left", 4.0, 1, (EDGE, -0.1), (-EDGE, -0.1)),
        ClipAction("moving up", 4.0, 0, (0.1, EDGE), (0.1, -EDGE)),
        ClipAction("moving down", 3.2, 1, (0.0, -EDGE), CENTRE),
        ClipAction("waving", 4.0, 1),
        ClipAction("still", 3.2, 1),
        ClipAction("moving right", 3.0, 1, CENTRE, (EDGE, 0.0)),
        ClipAction("moving left", 3.0, 0, (EDGE, 0.0), CENTRE),
        ClipAction("waving", 3.2, 0),
    ),
)


def timeline() -> list[tuple[float, float, str]]:
    """The ground truth: (start, end, label) in seconds, without gaps."""
    out: list[tuple[float, float, str]] = []
    for act in (act for scene in SCENES for act in scene):
        start = out[-1][1] if out else 0.0
        out.append((start, round(start + act.seconds, 3), act.label))
    return out


def cut_out(photo: Image, centre: tuple[int, int], radii: tuple[int, int], angle: float = 0.0) -> Image:
    """An oval piece of ``photo``: a square (s, s, 4) uint8 picture whose fourth channel has soft edges."""
    mask = np.zeros(photo.shape[:2], np.uint8)
    cv2.ellipse(mask, centre, radii, angle, 0, 360, 255, -1, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.0)
    left, top, width, height = cv2.boundingRect(mask)
    cut = np.dstack([photo, mask])[top : top + height, left : left + width]
    side = max(width, height) + 4
    out = np.zeros((side, side, 4), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    out[y : y + height, x : x + width] = cut
    return out


def backdrop(photo: Image, tint: tuple[float, float, float], blur: float) -> Image:
    """``photo`` filling the frame with room to shake: (HEIGHT + 32, WIDTH + 32, 3), slightly out of focus."""
    height, width = HEIGHT + 32, WIDTH + 32
    scale = max(height / photo.shape[0], width / photo.shape[1])
    size = (int(np.ceil(photo.shape[1] * scale)), int(np.ceil(photo.shape[0] * scale)))
    large = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    crop = cv2.GaussianBlur(large[top : top + height, left : left + width], (0, 0), blur)
    filled: Image = np.clip(crop * np.array(tint), 0, 255).astype(np.uint8)
    return filled


def place(act: ClipAction, height: float, share: float) -> tuple[float, float, float]:
    """Where the object is at ``share`` (0 to 1) of ``act``, which began at ``height``: x, y, log height."""
    x = act.start[0] + share * (act.end[0] - act.start[0])
    y = act.start[1] + share * (act.end[1] - act.start[1])
    if act.label == "waving":
        x += 0.16 * float(np.sin(2 * np.pi * round(act.seconds / 0.8) * share))
    return x, y, float(np.log(height) + share * np.log((act.height or height) / height))


def _scenes() -> list[tuple[Image, list[Image]]]:
    astronaut = cut_out(load_photo("astronaut.png"), (222, 172), (130, 166))
    cup = cut_out(load_photo("coffee.png"), (281, 203), (212, 178), 25.0)
    pad = backdrop(load_photo("rocket.jpg"), (1.5, 1.4, 1.3), 1.5)
    lawn = backdrop(load_photo("grass.png"), (0.55, 0.85, 0.4), 1.2)
    return [(pad, [astronaut, cup]), (lawn, [cup, astronaut])]


def frames() -> Iterator[Image]:
    """All frames in order, (480, 640, 3) uint8 RGB."""
    rng = np.random.default_rng(SEEDS["clip"])
    clock = 0.0
    for (background, objects), acts in zip(_scenes(), SCENES, strict=True):
        height = REST
        for act in acts:
            count = round(act.seconds * FPS)
            for index in range(count):
                where = place(act, height, index / count)
                lean = -110 * where[0] if act.label == "waving" else 0.0
                yield _frame(background, objects[act.who], (*where, lean), clock, rng)
                clock += 1 / FPS
            height = act.height or height


def _frame(
    background: Image, picture: Image, pose: tuple[float, ...], clock: float, rng: np.random.Generator
) -> Image:
    """One frame with a hand-held camera's tremble, slowly changing light and a little sensor noise."""
    slow, quick = np.sin(np.array([2.1, 1.7]) * clock), np.sin(np.array([5.3, 4.1]) * clock)
    shake = 0.8 * (slow + quick)
    matrix = np.array([[1, 0, 16 + shake[0]], [0, 1, 16 + shake[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    still = cv2.warpAffine(background, matrix, (WIDTH, HEIGHT), flags=flags)
    frame: NDArray[np.float32] = still.astype(np.float32)
    motions.paste(frame, picture, np.array(pose[:3], np.float32), shake.astype(np.float32), pose[3])
    frame *= np.float32(1 + 0.04 * np.sin(0.9 * clock))
    frame += np.float32(2) * rng.standard_normal(frame.shape, dtype=np.float32)
    return np.clip(frame, 0, 255).astype(np.uint8)


def write(folder: Path) -> None:
    """Writes ``clip.mp4`` and ``clip.csv`` into ``folder``. Raises ModuleNotFoundError without av."""
    import av

    with av.open(str(folder / "clip.mp4"), "w", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = 2 * FPS
        stream.thread_count = 1
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with (folder / "clip.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start", "end", "label"])
        writer.writerows(timeline())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else assets.FOLDER)
