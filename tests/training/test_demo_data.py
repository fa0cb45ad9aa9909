"""The demo's motions and clip: what is drawn is what the label says, and the same seed draws it again."""

from __future__ import annotations

import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from streamer.demo import assets
from streamer.training.synthetic import draw_demo_clip, motions, samples, textures
from streamer.training.synthetic.motions import LABELS, Appearance, Sample

EASY, HARD = 0.0, 1.0


@pytest.fixture(scope="module")
def sampler() -> samples.Sampler:
    return samples.Sampler(textures.make_pool("validation", 12))


def plain_clip(label: str, seed: int) -> Sample:
    """A white disc of the label's motion on plain black: easy to measure from pixels alone."""
    rng = np.random.default_rng(seed)
    track = motions.make_track(rng, LABELS.index(label), EASY)
    disc = np.zeros((64, 64, 4), np.uint8)
    cv2.circle(disc, (32, 32), 26, (255, 255, 255, 255), -1)
    frames = len(track)
    still = np.zeros((frames, 2), np.float32)
    light = np.ones((frames, 3), np.float32)
    ground = np.zeros((112, 112, 3), np.uint8)
    look = Appearance(ground, ((disc, track),), still, light, 0.0, np.zeros(frames, np.float32))
    return Sample(motions.draw(look, 64, rng), LABELS.index(label), track)


def measured(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centroid x, centroid y and area of the bright pixels in each frame."""
    weight = clip[..., 0].astype(float)
    area = weight.sum((1, 2))
    yy, xx = np.mgrid[0 : clip.shape[1], 0 : clip.shape[2]]
    return (weight * xx).sum((1, 2)) / area, (weight * yy).sum((1, 2)) / area, area / 255


def seen(clip: np.ndarray) -> str:
    """The label by a ruler: an independent reading of the pixels."""
    x, y, area = measured(clip)
    growth = area[-1] / area[0]
    if growth > 1.8 or growth < 1 / 1.8:
        return "approaching" if growth > 1 else "receding"
    if np.ptp(x) < 2 and np.ptp(y) < 2:
        return "still"
    steps = np.diff(x)
    if (steps > 1).any() and (steps < -1).any():
        return "waving"
    dx, dy = x[-1] - x[0], y[-1] - y[0]
    if abs(dx) > abs(dy):
        return "moving right" if dx > 0 else "moving left"
    return "moving down" if dy > 0 else "moving up"


@pytest.mark.parametrize("label", LABELS)
def test_the_picture_moves_as_its_label_says(label: str) -> None:
    for seed in range(12):
        assert seen(plain_clip(label, seed).clip) == label, f"seed {seed}"


@pytest.mark.parametrize("label", LABELS)
def test_time_backwards_and_mirrors_change_the_label_as_they_change_the_picture(label: str) -> None:
    sample = plain_clip(label, 5)
    for change in (motions.reverse, motions.mirror, motions.upend):
        changed = change(sample)
        assert seen(changed.clip) == LABELS[changed.label], change.__name__
        again = change(changed)
        assert again.label == sample.label
        np.testing.assert_array_equal(again.clip, sample.clip)
        np.testing.assert_array_equal(again.track, sample.track)


def test_the_track_says_where_the_object_is() -> None:
    sample = plain_clip("moving right", 3)
    x, y, _ = measured(sample.clip)
    np.testing.assert_allclose(x, 31.5 + 64 * sample.track[:, 0], atol=1.0)
    np.testing.assert_allclose(y, 31.5 + 64 * sample.track[:, 1], atol=1.0)


@pytest.mark.parametrize("difficulty", [EASY, HARD])
def test_moves_are_large_enough_to_be_seen(difficulty: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        left = motions.make_track(rng, motions.LEFT, difficulty)
        assert 0.2 < left[0, 0] - left[-1, 0] < 1.1
        near = motions.make_track(rng, motions.APPROACHING, difficulty)
        assert np.exp(near[-1, 2] - near[0, 2]) > 1.4
        still = motions.make_track(rng, motions.STILL, difficulty)
        assert np.ptp(still[:, :2]) < 1.0
        assert np.abs(still[:, :2] - still[:, :2].mean(0)).max() < 0.05


def test_the_same_seed_draws_the_same_clips_and_another_seed_others(sampler: samples.Sampler) -> None:
    first = sampler.batch(np.random.default_rng(7), 16, (EASY, HARD))
    second = sampler.batch(np.random.default_rng(7), 16, (EASY, HARD))
    other = sampler.batch(np.random.default_rng(8), 16, (EASY, HARD))
    for one, two in zip(first, second, strict=True):
        assert one.label == two.label
        np.testing.assert_array_equal(one.clip, two.clip)
    assert any((one.clip != two.clip).any() for one, two in zip(first, other, strict=True))


def test_every_label_comes_up_and_every_clip_has_the_promised_form(sampler: samples.Sampler) -> None:
    batch = sampler.batch(np.random.default_rng(3), 64, (EASY, HARD))
    assert {sample.label for sample in batch} == set(range(8))
    for sample in batch:
        assert sample.clip.shape == (8, 64, 64, 3)
        assert sample.clip.dtype == np.uint8
        assert sample.track.shape == (8, 3)
        assert np.isfinite(sample.track).all()
        assert sample.visible or LABELS[sample.label] == "still"


def test_larger_pictures_show_the_same_clip() -> None:
    pool = textures.make_pool("validation", 12)
    small = samples.Sampler(pool).sample(np.random.default_rng(2), motions.APPROACHING, EASY)
    large = samples.Sampler(pool, size=192).sample(np.random.default_rng(2), motions.APPROACHING, EASY)
    assert large.clip.shape == (8, 192, 192, 3)
    np.testing.assert_array_equal(small.track, large.track)
    reduced = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in large.clip])
    assert np.abs(reduced.astype(float) - small.clip).mean() < 6


def test_training_validation_and_the_clip_share_no_photograph() -> None:
    groups = [set(names) for names in textures.PHOTOS.values()]
    assert len(groups) == 3
    assert sum(len(group) for group in groups) == len(set.union(*groups))
    licences = (assets.clip_path().parent / "LICENCES.md").read_text()
    for name in set.union(*groups):
        assert f"`{name.split('.')[0]}`" in licences, f"{name} has no licence line"


def test_the_ground_truth_covers_the_clip_and_shows_every_action() -> None:
    truth = assets.truth()
    assert truth == draw_demo_clip.timeline(), "clip.csv is not what draw_demo_clip would write"
    assert truth[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(truth))
    assert {label for _, _, label in truth} == set(LABELS)
    assert all(end - start >= 3 for start, end, _ in truth)


def test_the_clip_is_a_minute_of_h264_under_4_mb() -> None:
    import av

    assert assets.clip_path().stat().st_size < 4e6
    with av.open(str(assets.clip_path())) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate or 0) == draw_demo_clip.FPS
        assert (stream.width, stream.height) == (draw_demo_clip.WIDTH, draw_demo_clip.HEIGHT)
        packets = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        last = max(packets) * stream.time_base
    end = assets.truth()[-1][1]
    assert 50 <= end <= 70
    assert abs(float(last) + 1 / draw_demo_clip.FPS - end) < 0.05


def test_opencv_reads_the_clip_and_finds_pictures_not_noise() -> None:
    capture = cv2.VideoCapture(str(assets.clip_path()))
    ok, frame = capture.read()
    capture.release()
    assert ok
    assert frame.std() > 20
    assert np.abs(np.diff(frame.astype(float), axis=1)).mean() < 0.25 * frame.std()


def test_a_truth_file_without_its_columns_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    wrong = tmp_path / "clip.csv"
    wrong.write_text("from,to,what\n0,1,still\n")
    with pytest.raises(ValueError, match="lacks the columns end, label, start"):
        assets.truth(wrong)


def test_asking_for_the_paths_imports_nothing_heavy() -> None:
    code = (
        "import sys; from streamer.demo import assets\n"
        "assets.clip_path(); assets.checkpoint_path(); assets.truth()\n"
        "heavy = {'torch', 'cv2', 'transformers', 'numpy', 'av', 'skimage'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
