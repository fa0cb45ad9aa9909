"""Untrimmed videos with ground truth, drawn frame by frame: objects that act, with rests between, and idle
footage in which nothing does.

Pictures come from the split that the bundled clip is cut from: training and the choice of weights have seen
none of them. The picture is square, as what the model sees is: nothing happens where it cannot look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.training.synthetic import motions
from streamer.training.synthetic.action_plans import STEPS, Act
from streamer.training.synthetic.motions import Clip, Rng, Track

HEIGHT, WIDTH, FPS = 128, 128, 15
SPLIT, PICTURES = "clip", 120
MARGIN = 12  # pixels of background around the frame, so that the camera may shake
CONTRAST = 45.0  # grey levels at least between an object and what is behind it
IDLE_KINDS = ("noise", "light", "compression", "shake", "dark", "clutter")


@dataclass(frozen=True, slots=True)
class Scene:
    """What stays the same through a video."""

    background: NDArray[Any]  # (HEIGHT + 2 MARGIN, WIDTH + 2 MARGIN, 3) uint8
    cast: tuple[Clip, ...]  # pictures (s, s, 4) of the objects, one after the other
    bystanders: tuple[tuple[Clip, tuple[float, float, float]], ...]  # what never moves
    noise: float  # grey levels
    shake: float  # pixels
    light: float  # part by which the light goes up and down
    gain: float = 1.0


def make_scene(rng: Rng, pool: dict[str, Any], members: int, bystanders: int) -> Scene:
    """A background with a cast of `members` objects that can be told from it."""
    picture = pool["backgrounds"][int(rng.integers(len(pool["backgrounds"])))]
    side = max(WIDTH, HEIGHT) + 2 * MARGIN
    large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)[: HEIGHT + 2 * MARGIN]
    mean = large.reshape(-1, 3).mean(0)
    background = np.clip(mean + rng.uniform(0.3, 1.0) * (large - mean), 0, 255).astype(np.uint8)

    def thing() -> Clip:
        sprite = pool["sprites"][int(rng.integers(len(pool["sprites"])))].copy()
        return _told_apart(sprite, mean)

    standing = tuple(
        (thing(), (float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.5)), float(rng.uniform(-0.3, 0.4)),
                   float(np.log(rng.uniform(0.12, 0.25)))))
        for _ in range(bystanders)
    )  # fmt: skip
    cast = tuple(thing() for _ in range(members))
    return Scene(
        background, cast, standing, float(rng.uniform(0, 6)), float(rng.uniform(0, 0.8)),
        float(rng.uniform(0, 0.06)),
    )  # fmt: skip


def _told_apart(sprite: Clip, mean: NDArray[Any]) -> Clip:
    opaque = sprite[sprite[:, :, 3] > 128][:, :3]
    if len(opaque) and np.abs(opaque.mean(0) - mean).max() < CONTRAST:
        push = CONTRAST * (1 if mean.mean() < 128 else -1)
        sprite[:, :, :3] = np.clip(sprite[:, :, :3] + push, 0, 255).astype(np.uint8)
    return sprite


def _places(act: Act, time: float) -> list[tuple[float, float, float]]:
    """(x, y, log height) of each member `time` seconds into an act, the one that leads first."""
    share = min(1.0, time / act.seconds)
    height = float(np.log(act.size) + share * np.log(act.end_size / act.size))
    x, y = act.place
    if act.label in STEPS:
        dx, dy = STEPS[act.label]
        along = [act.speed * share * act.seconds - act.spacing * member for member in range(act.members)]
        return [(x + dx * a, y + dy * a, height) for a in along]
    swing = act.reach * float(np.sin(2 * np.pi * act.waves * share))
    return [(x + swing, y, height)] * min(1, act.members)


def acted(
    rng: Rng,
    scene: Scene,
    acts: Sequence[Act],
    seconds: float,
    light: Callable[[float], float] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Frames (HEIGHT, WIDTH, 3) uint8 RGB of a plan, FPS a second, `seconds` long; `light` is the brightness
    at each time, 1.0 the usual one."""
    camera = _Camera(rng, scene)
    for time, act, places in _played(acts, seconds):
        objects = [(scene.cast[(act.lead + n) % len(scene.cast)], place) for n, place in enumerate(places)]
        lean = -110 * (places[0][0] - act.place[0]) if act.label == "waving" else 0.0
        yield camera.frame(time, objects, lean, light(time) if light else 1.0)


def tracks(acts: Sequence[Act], seconds: float) -> Track:
    """(members of the cast, frames, 3) float32: where each is in each frame of `acted`, as in `motions`.

    Who has not come yet, or has gone, stands where it comes in or went out: out of sight.
    """
    cast = 1 + max(act.lead + act.members for act in acts)
    out = np.full((cast, round(seconds * FPS), 3), np.nan, np.float32)
    for number, (_, act, places) in enumerate(_played(acts, seconds)):
        for member, place in enumerate(places):
            out[act.lead + member, number] = place
    for track in out:
        known = np.flatnonzero(~np.isnan(track[:, 0]))
        if len(known):
            nearest = known[np.searchsorted(known, np.arange(len(track)), side="right").clip(1) - 1]
            track[:] = track[nearest]
        else:
            track[:] = -9.0
    return out


def _played(
    acts: Sequence[Act], seconds: float
) -> Iterator[tuple[float, Act, list[tuple[float, float, float]]]]:
    """For each frame its time, the act, and the places of its members."""
    starts = np.cumsum([0.0, *(act.seconds for act in acts)]).tolist()
    now = 0
    for number in range(round(seconds * FPS)):
        time = number / FPS
        while now + 1 < len(acts) and time >= starts[now + 1]:
            now += 1
        yield time, acts[now], _places(acts[now], time - starts[now])


def idle(rng: Rng, scene: Scene, kind: str, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """Frames of a scene in which nothing acts; `kind` (IDLE_KINDS) says what troubles the camera."""
    camera = _Camera(rng, scene)
    stands = [] if kind == "noise" else [(scene.cast[0], (0.05, 0.02, float(np.log(0.4))))]
    lamp, switch = 1.0, 0.0
    for number in range(round(seconds * FPS)):
        time = number / FPS
        gain = 1.0
        if kind == "light":
            if time >= switch:  # somebody switches a lamp, a cloud goes by
                lamp, switch = float(rng.uniform(0.55, 1.15)), time + float(rng.uniform(4, 20))
            gain = lamp * (1 + 0.1 * np.sin(0.2 * time)) * (1 + 0.03 * float(rng.standard_normal()))
        elif kind == "clutter":
            gain = 1 + 0.12 * float(np.sin(2 * np.pi * 0.3 * time))  # an exposure that hunts
        yield camera.frame(time, stands, 0.0, gain)


def trouble(scene: Scene, kind: str) -> Scene:
    """The scene with the camera's noise, shake and light of an idle `kind`."""
    noise = {"noise": 12.0, "light": 3.0, "compression": 5.0, "shake": 3.0, "dark": 9.0, "clutter": 5.0}[kind]
    return Scene(
        scene.background, scene.cast, scene.bystanders, noise,
        shake=1.5 if kind == "shake" else 0.2, light=0.02, gain=0.2 if kind == "dark" else 1.0,
    )  # fmt: skip


class _Camera:
    """Draws a scene as a cheap camera sees it: it trembles, the light wavers, the sensor is noisy."""

    def __init__(self, rng: Rng, scene: Scene) -> None:
        self._rng = rng
        self._scene = scene
        self._phase = rng.uniform(0, 6, 4)

    def frame(
        self,
        time: float,
        objects: Sequence[tuple[Clip, tuple[float, float, float]]],
        lean: float,
        gain: float = 1.0,
    ) -> NDArray[np.uint8]:
        scene = self._scene
        slow = np.sin(np.array([2.1, 1.7]) * time + self._phase[:2])
        quick = np.sin(np.array([5.3, 4.1]) * time + self._phase[2:])
        shake = (scene.shake * (slow + quick) / 2).astype(np.float32)
        matrix = np.array([[1, 0, MARGIN + shake[0]], [0, 1, MARGIN + shake[1]]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame: NDArray[np.float32] = cv2.warpAffine(
            scene.background, matrix, (WIDTH, HEIGHT), flags=flags
        ).astype(np.float32)
        for picture, place in scene.bystanders:
            motions.paste(frame, picture, np.array(place, np.float32), shake, 0.0)
        for picture, place in objects:
            motions.paste(frame, picture, np.array(place, np.float32), shake, lean)
        frame *= np.float32(scene.gain * gain * (1 + scene.light * np.sin(0.9 * time + self._phase[0])))
        frame += np.float32(scene.noise) * self._rng.standard_normal(frame.shape, dtype=np.float32)
        return np.clip(frame, 0, 255).astype(np.uint8)
