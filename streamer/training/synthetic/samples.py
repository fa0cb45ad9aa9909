"""Random labelled clips: what to draw, with which light, noise and shaking. Same seed, same clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from streamer.training.synthetic import motions
from streamer.training.synthetic.motions import Appearance, Clip, Rng, Sample, Track

POOL = 600  # backgrounds and sprites a split


class Sampler:
    """Draws clips from one split's pictures.

    Args:
        pool: ``textures.make_pool(split, count)``.
        size: frame height and width in pixels.
    """

    def __init__(self, pool: dict[str, Any], size: int = motions.SIZE) -> None:
        self.pool = pool
        self.size = size

    def sample(self, rng: Rng, label: int, difficulty: float) -> Sample:
        """One clip of ``label``; ``difficulty`` from 0 (plain, clear) to 1 (textured, dim, shaking)."""
        track = motions.make_track(rng, label, difficulty)
        background, picture = self._background(rng, difficulty), self._sprite(rng, difficulty)
        contrast = 70 - 45 * difficulty  # an object nobody could see teaches nothing
        centre = background[24:-24, 24:-24].reshape(-1, 3).mean(0)
        opaque = picture[picture[:, :, 3] > 128][:, :3]
        if len(opaque) and np.abs(opaque.mean(0) - centre).max() < contrast:
            picture = picture.copy()
            push = contrast * (1 if opaque.mean() > centre.mean() and centre.mean() < 150 else -1)
            picture[:, :, :3] = np.clip(picture[:, :, :3] + push, 0, 255).astype(np.uint8)
        visible = label != motions.STILL or rng.random() > 0.2
        sprites, followers = self._company(rng, picture, track, label, difficulty) if visible else ([], ())
        zoom = self.size / motions.SIZE
        if zoom != 1:
            background = cv2.resize(background, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        look = Appearance(
            background=background,
            sprites=tuple(sprites),
            shake=self._shake(rng, difficulty) * np.float32(zoom),
            gain=self._light(rng, difficulty),
            noise=float(rng.uniform(0, 14) * difficulty) if rng.random() < 0.7 else 0.0,
            angles=self._angles(rng, label, track, difficulty),
        )
        clip = motions.draw(look, self.size, rng)
        if rng.random() < 0.25 * difficulty:  # out of focus
            blur = float(rng.uniform(0.4, 1.2))
            clip = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in clip])
        if rng.random() < 0.35 * difficulty:
            clip = compress(clip, int(rng.integers(30, 90)))
        return Sample(clip, label, track, visible, followers)

    def batch(self, rng: Rng, count: int, difficulty: tuple[float, float]) -> list[Sample]:
        """``count`` clips, labels in turn, each with a twin that is an exact symmetry of it."""
        out: list[Sample] = []
        label = int(rng.integers(len(motions.LABELS)))
        while len(out) < count:
            sample = self.sample(rng, label % len(motions.LABELS), float(rng.uniform(*difficulty)))
            label += 1
            out.append(sample)
            twin = motions.reverse(sample) if rng.random() < 0.7 else sample
            if rng.random() < 0.5 or twin is sample:
                twin = motions.mirror(twin)
            if rng.random() < 0.3:
                twin = motions.upend(twin)
            out.append(twin)
        return out[:count]

    def _background(self, rng: Rng, difficulty: float) -> Clip:
        picture = self.pool["backgrounds"][int(rng.integers(len(self.pool["backgrounds"])))]
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        contrast = rng.uniform(0, 1) if rng.random() < difficulty else 0.35 * difficulty * rng.random()
        if rng.random() < 0.6 * difficulty:
            contrast = 1.0
        mean = picture.reshape(-1, 3).mean(0)
        mixed = mean + contrast * (picture - mean) + rng.uniform(-40, 40, 3)
        shown: Clip = np.clip(mixed, 0, 255).astype(np.uint8)
        return shown

    def _sprite(self, rng: Rng, difficulty: float) -> Clip:
        picture: Clip = self.pool["sprites"][int(rng.integers(len(self.pool["sprites"])))].copy()
        colours = picture[:, :, :3]
        if rng.random() < 0.5:
            colours = colours[:, :, rng.permutation(3)]
        if rng.random() < 0.15:
            colours = 255 - colours
        if rng.random() < 0.4 * (1 - difficulty):
            colours = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), colours.shape)
        picture[:, :, :3] = colours
        if rng.random() < 0.3:
            picture = cv2.resize(picture, (picture.shape[1], int(picture.shape[0] * rng.uniform(0.6, 1))))
            missing = picture.shape[1] - picture.shape[0]
            picture = np.pad(picture, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)))
            picture = picture if rng.random() < 0.5 else np.ascontiguousarray(picture.transpose(1, 0, 2))
        return picture

    def _company(
        self, rng: Rng, picture: Clip, track: Track, label: int, difficulty: float
    ) -> tuple[list[tuple[Clip, Track]], tuple[Track, ...]]:
        """The object, perhaps a still bystander behind it, perhaps followers (whose tracks come second)."""
        out = [(picture, track)]
        followers: list[Track] = []
        if rng.random() < 0.25 * difficulty:
            place = np.array([*rng.uniform(-0.5, 0.5, 2), np.log(rng.uniform(0.12, 0.35))], np.float32)
            out.insert(0, (self._sprite(rng, difficulty), np.repeat(place[None], len(track), 0)))
        sideways = label in motions.MIRRORED or label in motions.UPSIDE_DOWN
        if sideways and rng.random() < 0.15 + 0.35 * difficulty:
            axis = 0 if label in motions.MIRRORED else 1
            spacing = rng.uniform(0.65, 1.1)
            if rng.random() < 0.7:  # any phase: one may be leaving while the next comes in
                track[:, axis] += rng.uniform(-0.5, 0.5) * spacing - track[:, axis].mean()
            for side in (-1, 1) if rng.random() < 0.7 else (int(rng.choice([-1, 1])),):
                follower = track.copy()
                follower[:, axis] += side * spacing * rng.uniform(0.95, 1.05)
                other = picture if rng.random() < 0.3 else self._sprite(rng, difficulty)
                out.append((other, follower))
                followers.append(follower)
        elif sideways and rng.random() < 0.1 + 0.3 * difficulty:  # it comes in or leaves, alone
            axis = 0 if label in motions.MIRRORED else 1
            track[:, axis] += rng.choice([-1, 1]) * rng.uniform(0.2, 0.5) - track[:, axis].mean()
        return out, tuple(followers)

    @staticmethod
    def _shake(rng: Rng, difficulty: float) -> Track:
        """Pixels of a 64 pixel frame: a hand-held camera drifts and trembles, far less than any object."""
        frames = motions.FRAMES
        if rng.random() > 0.6 * difficulty:
            return np.zeros((frames, 2), np.float32)
        drift = np.outer(np.linspace(-0.5, 0.5, frames), rng.uniform(-3, 3, 2) * difficulty)
        tremble = rng.normal(0, rng.uniform(0, 0.8) * difficulty, (frames, 2))
        return (drift + tremble).astype(np.float32)

    @staticmethod
    def _light(rng: Rng, difficulty: float) -> Track:
        frames = motions.FRAMES
        gain = np.full((frames, 3), rng.uniform(1 - 0.5 * difficulty, 1 + 0.25 * difficulty))
        gain *= rng.uniform(1 - 0.15 * difficulty, 1 + 0.15 * difficulty, 3)
        if rng.random() < 0.3:
            gain *= 1 + rng.normal(0, 0.04 * difficulty, (frames, 1))
        if rng.random() < 0.25:
            gain *= 1 + np.linspace(-1, 1, frames)[:, None] * rng.uniform(-0.25, 0.25) * difficulty
        return gain.astype(np.float32)

    @staticmethod
    def _angles(rng: Rng, label: int, track: Track, difficulty: float) -> Track:
        frames = motions.FRAMES
        angles = np.full(frames, rng.uniform(-180, 180) if rng.random() < 0.5 else rng.normal(0, 10))
        if label == motions.WAVING and rng.random() < 0.6:  # a waving hand leans to where it goes
            lean = track[:, 0] - track[:, 0].mean()
            angles = angles - rng.uniform(0, 160) * lean
        elif label != motions.STILL and rng.random() < 0.4 * difficulty:
            angles = angles + np.linspace(-0.5, 0.5, frames) * rng.uniform(-25, 25)
        return angles.astype(np.float32)


def compress(clip: Clip, quality: int) -> Clip:
    """Each frame through JPEG of ``quality`` (0 to 100), as cheap cameras do."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    out: list[Any] = [cv2.imdecode(cv2.imencode(".jpg", frame, flags)[1], 1) for frame in clip]
    return np.stack(out).astype(np.uint8)


def validation_set(count: int, seed: int = 0, size: int = motions.SIZE) -> list[Sample]:
    """``count`` clips of the validation split, labels in turn, difficulty evenly spread over [0, 1]."""
    from streamer.training.synthetic import textures

    sampler = Sampler(textures.make_pool("validation", 240), size)
    rng = np.random.default_rng([textures.SEEDS["validation"], seed])
    kinds = len(motions.LABELS)
    return [sampler.sample(rng, i % kinds, float(rng.uniform(0, 1))) for i in range(count)]


def batches(seed: int, first: int, count: int, mix: Any) -> Iterator[list[Sample]]:
    """Training batches without end from batch number ``first``: batch n depends on ``seed`` and n alone.

    ``mix(n)`` gives the range of difficulty of batch n.
    """
    from streamer.training.synthetic import textures

    sampler = Sampler(textures.make_pool("train", POOL))
    number = first
    while True:
        rng = np.random.default_rng([textures.SEEDS["train"], seed, number])
        yield sampler.batch(rng, count, mix(number))
        number += 1
