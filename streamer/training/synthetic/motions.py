"""Eight motions, drawn: the labels, how each moves, and a fast renderer of labelled clips.

Positions are in frame heights from the picture's centre, x to the right as the viewer sees it and y down;
times in seconds. Every clip comes with its track (where the object was), which tests and training use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
Track = NDArray[np.float32]
Rng = np.random.Generator

LABELS = (
    "still", "moving left", "moving right", "moving up", "moving down", "approaching", "receding", "waving",
)  # fmt: skip
STILL, LEFT, RIGHT, UP, DOWN, APPROACHING, RECEDING, WAVING = range(8)
FRAMES = 8
INTERVAL = 0.2
SIZE = 64
MIRRORED = {LEFT: RIGHT, RIGHT: LEFT}
UPSIDE_DOWN = {UP: DOWN, DOWN: UP}
REVERSED = {LEFT: RIGHT, RIGHT: LEFT, UP: DOWN, DOWN: UP, APPROACHING: RECEDING, RECEDING: APPROACHING}


@dataclass(frozen=True)
class Sample:
    """A clip (T, H, W, 3) uint8 RGB, its label's index and its track (T, 3) float32: x, y, log(height).

    ``visible`` is False for a clip without any object (only ever "still"); ``followers`` are the tracks of
    others that move alike, before and behind it.
    """

    clip: Clip
    label: int
    track: Track
    visible: bool = True
    followers: tuple[Track, ...] = ()

    def changed(self, clip: Clip, labels: dict[int, int], change: Callable[[Track], Track]) -> Sample:
        """This sample with another clip, its label exchanged by ``labels``, each track by ``change``."""
        followers = tuple(change(track) for track in self.followers)
        label = labels.get(self.label, self.label)
        return replace(self, clip=clip, label=label, track=change(self.track), followers=followers)


def mirror(sample: Sample) -> Sample:
    """Left and right exchanged, an exact symmetry of the task."""
    sides = np.array([-1, 1, 1], np.float32)
    return sample.changed(sample.clip[:, :, ::-1], MIRRORED, lambda track: track * sides)


def upend(sample: Sample) -> Sample:
    """Up and down exchanged."""
    sides = np.array([1, -1, 1], np.float32)
    return sample.changed(sample.clip[:, ::-1], UPSIDE_DOWN, lambda track: track * sides)


def reverse(sample: Sample) -> Sample:
    """Time backwards: what went left goes right, what came nearer goes away."""
    return sample.changed(sample.clip[::-1], REVERSED, lambda track: track[::-1])


def _progress(rng: Rng, frames: int, difficulty: float) -> NDArray[np.float64]:
    """0 to 1 over the span: steady, speeding up, slowing down, or beginning late or ending early."""
    t = np.linspace(0, 1, frames) + rng.normal(0, 0.012 * difficulty, frames)  # cameras are not punctual
    if rng.random() < 0.2 * difficulty:
        start = rng.uniform(0, 0.35)
        t = (t - start) / rng.uniform(0.65, 1 - start)
    t = np.clip(t, 0, 1)
    return np.asarray(t ** np.exp(rng.normal(0, 0.2 * difficulty)))


def make_track(
    rng: Rng, label: int, difficulty: float, frames: int = FRAMES, interval: float = INTERVAL
) -> Track:
    """The object's x, y and log height at each of ``frames`` times, (T, 3) float32.

    ``difficulty`` in [0, 1] widens everything: smaller and slower objects, sideways drift, uneven speed.
    """
    span = (frames - 1) * interval
    track = np.zeros((frames, 3))
    size = rng.uniform(0.42 - 0.2 * difficulty, 0.5 + 0.15 * difficulty)
    reach = 0.12 + 0.16 * difficulty
    track[:, :2] = rng.uniform(-reach, reach, 2)
    track[:, 2] = np.log(size)
    p = _progress(rng, frames, difficulty) - 0.5
    if label in (LEFT, RIGHT, UP, DOWN):
        distance = rng.uniform(0.5 - 0.22 * difficulty, 0.7 + 0.25 * difficulty)
        axis, sign = (0 if label in (LEFT, RIGHT) else 1), (1 if label in (RIGHT, DOWN) else -1)
        track[:, axis] += sign * distance * p
        track[:, 1 - axis] += distance * rng.uniform(-0.3, 0.3) * difficulty * p
        track[:, 2] += rng.uniform(-0.12, 0.12) * difficulty * p
    elif label in (APPROACHING, RECEDING):
        low = 1.9 - 0.4 * difficulty
        factor = np.log(rng.uniform(low, low + 1.2)) * (1 if label == APPROACHING else -1)
        track[:, 2] = np.log(size * rng.uniform(0.85 - 0.2 * difficulty, 1.25)) + factor * p
        track[:, :2] += rng.uniform(-0.12, 0.12, 2) * difficulty * p[:, None]
    elif label == WAVING:
        track += _wave(rng, difficulty, np.arange(frames) * interval)
    else:
        track[:, :2] += rng.uniform(-0.02, 0.02, 2) * difficulty * p[:, None]
        track += rng.normal(0, rng.uniform(0, 0.008) * difficulty, (frames, 3))
    if label != STILL and span > 0:
        track[:, :2] += rng.normal(0, 0.004 * difficulty, (frames, 2))
    return track.astype(np.float32)


def _wave(rng: Rng, difficulty: float, times: NDArray[Any]) -> NDArray[np.float64]:
    period = rng.uniform(0.55, 1.1) if rng.random() > difficulty else rng.uniform(0.5, 1.2)
    amplitude = rng.uniform(0.13 - 0.05 * difficulty, 0.2 + 0.03 * difficulty)
    phase = 2 * np.pi * (times / period + rng.random())
    wave = np.zeros((len(times), 3))
    wave[:, 0] = amplitude * np.sin(phase)
    wave[:, 1] = amplitude * rng.uniform(-0.3, 0.3) * np.cos(phase * rng.choice([1, 2]))
    wave[:, :2] += np.outer(np.linspace(-0.5, 0.5, len(times)), rng.uniform(-0.08, 0.08, 2) * difficulty)
    return wave


@dataclass(frozen=True)
class Appearance:
    """How a clip is drawn; every random choice of a picture lives here."""

    background: Clip  # (S, S, 3), larger than the frame so that it may shake
    sprites: tuple[tuple[Clip, Track], ...]  # (s, s, 4) pictures with their tracks, drawn in this order
    shake: Track  # (T, 2) pixels
    gain: Track  # (T, 3) factor for each frame and channel
    noise: float  # grey levels
    angles: Track  # (T,) degrees, for the object


def draw(look: Appearance, size: int, rng: Rng) -> Clip:
    """Draws the clip, (T, size, size, 3) uint8 RGB. Cost: about 0.1 ms a frame at 64 pixels."""
    frames = len(look.shake)
    out = np.empty((frames, size, size, 3), np.float32)
    margin = (look.background.shape[0] - size) / 2
    for i in range(frames):
        shift = np.array([[1, 0, margin + look.shake[i, 0]], [0, 1, margin + look.shake[i, 1]]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = cv2.warpAffine(look.background, shift, (size, size), flags=flags).astype(np.float32)
        for picture, track in look.sprites:
            paste(frame, picture, track[i], look.shake[i], float(look.angles[i]))
        out[i] = frame
    out *= look.gain[:, None, None, :]
    if look.noise > 0:
        out += look.noise * rng.standard_normal(out.shape, dtype=np.float32)
    np.clip(out, 0, 255, out=out)
    return out.astype(np.uint8)


def paste(frame: NDArray[np.float32], picture: Clip, place: Track, shake: Track, angle: float) -> None:
    """Blends ``picture`` (s, s, 4) into ``frame`` at ``place`` (x, y, log height)."""
    height, width = frame.shape[:2]
    scale = float(np.exp(place[2])) * height / picture.shape[0]
    if scale < 0.5:  # area first: a plain warp of a large picture to a small one aliases
        small = max(int(picture.shape[0] * scale * 1.3), 4)
        scale *= picture.shape[0] / small
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    side = picture.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, scale)
    matrix[0, 2] += width / 2 + place[0] * height - shake[0] - side / 2
    matrix[1, 2] += height / 2 + place[1] * height - shake[1] - side / 2
    warped = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)
    opacity = warped[:, :, 3:].astype(np.float32) * np.float32(1 / 255)
    frame += opacity * (warped[:, :, :3] - frame)
