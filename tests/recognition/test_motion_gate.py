"""The motion gate: quiet cameras cost nothing, and nothing that moves is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.recognition.motion_gate import GRID, MotionGate, block_means
from streamer.types import Frame, Window

FRAMES, SIZE, INTERVAL = 8, 64, 0.2


class Camera:
    """Makes overlapping windows of pictures, one new frame each, as a ring does."""

    def __init__(self, noise: float, size: int = SIZE, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise = noise
        self.scene = self._rng.uniform(40, 200, (size, size, 3))
        self._frames: list[Frame] = []
        self._count = 0

    def window(self, scene: Any = None, epoch: int = 0) -> Window:
        """The next full window after one more frame of `scene` (default: the still one)."""
        while True:
            picture = (self.scene if scene is None else scene) + self._rng.normal(
                0, self._noise, self.scene.shape
            )
            image = np.clip(picture, 0, 255).astype(np.uint8)
            at = self._count * INTERVAL
            self._frames.append(Frame("cam", self._count, epoch, at, at, at, None, image))
            self._count += 1
            newest = [frame for frame in self._frames[-FRAMES:] if frame.epoch == epoch]
            if len(newest) == FRAMES:
                return Window("cam", self._count, tuple(newest), INTERVAL)


def moved(scene: Any, step: int, side: int) -> Any:
    """The scene with a grey square of `side` pixels that moves with `step`."""
    out = scene.copy()
    left = step % (scene.shape[1] - side)
    out[20 : 20 + side, left : left + side] = 128
    return out


def test_block_means_are_means_of_brightness() -> None:
    image = np.zeros((65, 70, 3), np.uint8)
    image[:8, :8, 1] = 80
    means = block_means(image)
    assert means.shape == (GRID, GRID)
    assert means[0, 0] == 80
    assert means[1:].max() == 0


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0, 12.0])
@pytest.mark.parametrize("size", [64, 224])
def test_a_still_scene_is_quiet_whatever_its_noise(noise: float, size: int) -> None:
    camera, gate = Camera(noise, size), MotionGate()
    answers = [gate.quiet(camera.window()) for _ in range(60)]
    assert not answers[0], "the first window is always computed"
    assert np.mean(answers[5:]) >= 0.95


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("side", [8, 16, 40])
def test_a_moving_object_is_never_held(noise: float, side: int) -> None:
    camera, gate = Camera(noise), MotionGate()
    for _ in range(20):
        gate.quiet(camera.window())
    answers = [gate.quiet(camera.window(moved(camera.scene, 3 * step, side))) for step in range(20)]
    assert not any(answers[1:])


def test_motion_all_the_time_does_not_become_the_noise() -> None:
    camera, gate = Camera(2.0), MotionGate()
    answers = [gate.quiet(camera.window(np.roll(camera.scene, 2 * step, axis=1))) for step in range(200)]
    assert not any(answers)


def test_a_slow_change_is_seen_once_it_adds_up() -> None:
    camera, gate = Camera(1.0), MotionGate()
    for _ in range(20):
        gate.quiet(camera.window())
    answers = [gate.quiet(camera.window(camera.scene + 0.1 * step)) for step in range(100)]
    assert not all(answers)
    assert np.mean(answers) > 0.5


def test_the_first_window_without_the_movement_is_computed() -> None:
    """The one before it, which still held the movement's end, has other scores."""
    camera, gate = Camera(1.0), MotionGate()
    for _ in range(20):
        gate.quiet(camera.window())
    for step in range(10):
        gate.quiet(camera.window(moved(camera.scene, 3 * step, 16)))
    answers = [gate.quiet(camera.window()) for _ in range(FRAMES + 10)]
    assert not any(answers[:FRAMES])  # T - 1 hold the movement's end, and one is the first without
    assert np.mean(answers[FRAMES:]) >= 0.9


def test_edges_that_tremble_are_noise_where_they_are() -> None:
    """A camera in a light wind: the picture shifts by half a pixel to and fro."""
    camera, gate = Camera(1.0, size=224), MotionGate()
    camera.scene[:, 112:] = 20.0  # one long edge
    rng = np.random.default_rng(5)

    def trembling() -> Any:
        part = rng.uniform(0, 0.5)
        return (1 - part) * camera.scene + part * np.roll(camera.scene, 1, axis=1)

    answers = [gate.quiet(camera.window(trembling())) for _ in range(80)]
    assert np.mean(answers[20:]) >= 0.9
    for _ in range(5):
        assert gate.quiet(camera.window(moved(trembling(), 3, 40))) is False


def test_a_model_that_looks_further_back_computes_so_many_still_windows_more() -> None:
    camera, gate = Camera(0.0), MotionGate(5)
    assert [gate.quiet(camera.window()) for _ in range(10)] == [False] * 6 + [True] * 4
    gate.quiet(camera.window(moved(camera.scene, 3, 16)))
    answers = [gate.quiet(camera.window()) for _ in range(FRAMES + 8)]
    assert answers == [False] * (FRAMES + 5) + [True] * 3
    gate.forget_computed()
    assert not any(gate.quiet(camera.window()) for _ in range(6))


def test_a_new_epoch_is_always_computed() -> None:
    camera, gate = Camera(1.0), MotionGate()
    for _ in range(20):
        gate.quiet(camera.window())
    assert gate.quiet(camera.window())
    assert not gate.quiet(camera.window(epoch=1))


def test_what_it_keeps_is_bounded() -> None:
    camera, gate = Camera(1.0), MotionGate()
    for _ in range(300):
        gate.quiet(camera.window())
    assert len(gate._means) == FRAMES
