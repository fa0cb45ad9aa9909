"""Where the demo's pictures come from: photographs with free licences and procedural textures.

Photographs are read from scikit-image's wheel (never downloaded) and only while data is generated, so the
package itself does not need scikit-image. Training, validation and the bundled clip share no photograph:
see ``PHOTOS`` and ``LICENCES.md`` beside this file.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]
Rng = np.random.Generator

# Split by photograph: what one split shows, no other split has ever shown.
PHOTOS: dict[str, tuple[str, ...]] = {
    "train": ("hubble_deep_field.jpg", "retina.jpg", "ihc.png", "camera.png", "coins.png", "gravel.png",
              "clock_motion.png", "microaneurysms.png"),
    "validation": ("chelsea.png", "brick.png", "text.png", "cell.png"),
    "clip": ("astronaut.png", "coffee.png", "rocket.jpg", "grass.png"),
}  # fmt: skip
SEEDS = {"train": 1_000_003, "validation": 2_000_003, "clip": 3_000_017}
BACKGROUND_SIDE = 112
SPRITE_SIDE = 64


def photo_folder() -> Path:
    """scikit-image's folder of photographs. Raises ModuleNotFoundError when it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("scikit-image is needed to make demo data: pip install scikit-image")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def load_photo(name: str) -> Image:
    """One photograph of scikit-image's wheel as (H, W, 3) uint8 RGB. Raises FileNotFoundError."""
    path = photo_folder() / name
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"photograph {path} is missing: install scikit-image 0.22 or newer")
    return np.ascontiguousarray(image[:, :, ::-1])


def noise_field(rng: Rng, side: int, cells: int) -> Mask:
    """Smooth noise (side, side) in [0, 1] with about ``cells`` bumps a side."""
    coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
    smooth: Mask = np.clip(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
    return smooth


def _fractal(rng: Rng, side: int) -> Mask:
    slope = rng.uniform(0.35, 0.8)
    total = np.zeros((side, side), np.float32)
    weight, cells = 1.0, int(rng.integers(1, 4))
    while cells < side // 2 and weight > 0.03:
        total += np.float32(weight) * noise_field(rng, side, cells)
        weight, cells = weight * slope, cells * 2
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _stripes(rng: Rng, side: int) -> Mask:
    yy, xx = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle, count = rng.uniform(0, np.pi), rng.uniform(2, 12)
    wave = np.sin(2 * np.pi * count * (xx * np.cos(angle) + yy * np.sin(angle)) + rng.uniform(0, 6))
    if rng.random() < 0.5:
        wave *= np.sin(2 * np.pi * rng.uniform(2, 12) * (yy * np.cos(angle) - xx * np.sin(angle)))
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return np.asarray(wave * 0.5 + 0.5, np.float32)


def procedural(rng: Rng, side: int) -> Image:
    """A made texture (side, side, 3) uint8: fractal noise, stripes, or both, between random colours."""
    mask = _stripes(rng, side) if rng.random() < 0.25 else _fractal(rng, side)
    first, second, third = rng.uniform(0, 255, (3, 3)).astype(np.float32)
    image = first * (1 - mask[..., None]) + second * mask[..., None]
    if rng.random() < 0.6:
        other = _fractal(rng, side)[..., None] * rng.uniform(0.3, 1.0)
        image = image * (1 - other) + third * other
    return _to_bytes(image)


def _to_bytes(image: NDArray[Any]) -> Image:
    clipped: Image = np.clip(image, 0, 255).astype(np.uint8)
    return clipped


def _photo_crop(rng: Rng, photo: Image, side: int, smallest: float) -> Image:
    height, width = photo.shape[:2]
    size = int(min(height, width) * rng.uniform(smallest, 1.0))
    top, left = int(rng.integers(0, height - size + 1)), int(rng.integers(0, width - size + 1))
    crop = cv2.resize(photo[top : top + size, left : left + size], (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.5:
        crop = crop.transpose(1, 0, 2)
    image = crop.astype(np.float32)
    if rng.random() < 0.6:  # another light, another lens: colours are never what tells a motion
        image = image[..., rng.permutation(3)] * rng.uniform(0.5, 1.3, 3).astype(np.float32)
        image += rng.uniform(-30, 60)
    if rng.random() < 0.1:
        image = 255 - image
    return _to_bytes(image)


def _share(mask: Image) -> Mask:
    return mask.astype(np.float32) * np.float32(1 / 255)


def _polygon(rng: Rng, side: int) -> Mask:
    count = int(rng.integers(3, 9))
    angles = np.arange(count) * 2 * np.pi / count
    if rng.random() < 0.5:
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = rng.uniform(0.6, 1.0, count) * (side / 2 - 2)
    points = np.stack([side / 2 + radii * np.cos(angles), side / 2 + radii * np.sin(angles)], 1)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255, cv2.LINE_AA)
    return _share(mask)


def _blob(rng: Rng, side: int) -> Mask:
    yy, xx = (np.mgrid[0:side, 0:side].astype(np.float32) + 0.5) / side * 2 - 1
    angle = np.arctan2(yy, xx)
    edge = np.full_like(xx, 0.72)
    for order in range(1, 6):
        phase = np.float32(rng.uniform(0, 2 * np.pi))
        edge += np.float32(rng.normal(0, 0.12 / order)) * np.cos(order * angle + phase)
    blob: Mask = np.clip((edge - np.hypot(xx, yy)) * side / 3, 0, 1).astype(np.float32)
    return blob


def _plain_shape(rng: Rng, side: int) -> Mask:
    mask = np.zeros((side, side), np.uint8)
    half_w, half_h = (rng.uniform(0.45, 0.95, 2) * (side / 2 - 2)).astype(int)
    centre = (side // 2, side // 2)
    if rng.random() < 0.5:
        cv2.ellipse(mask, centre, (int(half_w), int(half_h)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corner = (centre[0] - int(half_w), centre[1] - int(half_h))
        cv2.rectangle(mask, corner, (centre[0] + int(half_w), centre[1] + int(half_h)), 255, -1)
    return _share(mask)


def _hand(rng: Rng, side: int) -> Mask:
    """A crude open hand: a palm, some fingers, sometimes a forearm."""
    mask = np.zeros((side, side), np.uint8)
    palm = (side // 2, int(side * 0.6))
    cv2.circle(mask, palm, int(side * rng.uniform(0.16, 0.24)), 255, -1, cv2.LINE_AA)
    for angle in np.linspace(-1.1, 0.9, int(rng.integers(2, 6))) - np.pi / 2:
        length = side * rng.uniform(0.33, 0.5)
        tip = (int(palm[0] + length * np.cos(angle)), int(palm[1] + length * np.sin(angle)))
        cv2.line(mask, palm, tip, 255, int(side * rng.uniform(0.07, 0.13)), cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.line(mask, palm, (side // 2, side), 255, int(side * 0.2), cv2.LINE_AA)
    return _share(mask)


_MASKS: tuple[Callable[[Rng, int], Mask], ...] = (_polygon, _blob, _blob, _plain_shape, _hand)


def sprite(rng: Rng, texture: Image) -> Image:
    """``texture`` (S, S, 3) cut to a random shape: (S, S, 4) uint8, the fourth channel is opacity."""
    side = texture.shape[0]
    mask = _MASKS[int(rng.integers(len(_MASKS)))](rng, side)
    return np.dstack([texture, (mask * 255).astype(np.uint8)])


@functools.lru_cache(maxsize=4)
def make_pool(split: str, count: int) -> dict[str, Any]:
    """Backgrounds and sprites of one split, the same for the same ``split`` and ``count``.

    Returns ``{"backgrounds": (count, 112, 112, 3), "sprites": (count, 64, 64, 4)}``, uint8; about half from
    photographs, half procedural. Raises KeyError for an unknown split.
    """
    rng = np.random.default_rng(SEEDS[split])
    photos = [load_photo(name) for name in PHOTOS[split]]

    def texture(side: int, smallest: float) -> Image:
        if rng.random() < 0.5:
            return _photo_crop(rng, photos[int(rng.integers(len(photos)))], side, smallest)
        return procedural(rng, side)

    backgrounds = np.stack([texture(BACKGROUND_SIDE, 0.3) for _ in range(count)])
    sprites = np.stack([sprite(rng, texture(SPRITE_SIDE, 0.15)) for _ in range(count)])
    for pictures in (backgrounds, sprites):
        pictures.flags.writeable = False  # shared between callers
    return {"backgrounds": backgrounds, "sprites": sprites}
