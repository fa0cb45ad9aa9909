"""Where the model looked: the rollout against whole matrices, and a picture from a recorded clip."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from streamer.demo.assets import clip_path
from streamer.errors import ConfigError, ModelError
from streamer.recognition import attention_rollout, explain_clip
from streamer.recognition.loading import load_timesformer
from tests.helpers.media import write_beginning


@pytest.fixture(scope="module")
def demo() -> Any:
    return load_timesformer("demo")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 12 seconds of the demo's clip: from 4.0 to 8.0 there is waving."""
    return write_beginning(tmp_path_factory.mktemp("clip") / "clip.mp4", clip_path(), 12.0)


def whole_matrices(model: Any, values: torch.Tensor) -> torch.Tensor:
    """The same by multiplying matrices of all tokens, class token first, then frame by frame."""
    seen: list[torch.Tensor] = []
    plain = attention_rollout._weights

    def note(attention: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append(plain(attention, x))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_rollout, "_weights", note)
        attention_rollout.rollout(model, values)
    frames, places = values.shape[1], seen[1].shape[-1] - 1
    size = 1 + frames * places
    product = torch.eye(size)
    for time, space in zip(seen[::2], seen[1::2], strict=True):
        over_time = torch.eye(size)
        for n in range(places):
            at = 1 + n + torch.arange(frames) * places
            over_time[at[:, None], at[None, :]] = 0.5 * torch.eye(frames) + 0.5 * time[n]
        over_space = torch.zeros(size, size)
        for t in range(frames):
            at = torch.cat([torch.zeros(1, dtype=torch.long), 1 + t * places + torch.arange(places)])
            over_space[0, at] += space[t, 0] / frames
            over_space[at[1:, None], at[None, :]] = space[t, 1:]
        product = (0.5 * torch.eye(size) + 0.5 * over_space) @ over_time @ product
    return product[0]


def test_the_row_is_that_of_the_whole_matrices(demo: Any) -> None:
    torch.manual_seed(1)
    values = torch.randn(1, demo.spec.frames, 3, *demo.spec.size)
    looked = attention_rollout.rollout(demo.model, values)
    row = whole_matrices(demo.model, values)
    assert row.sum() == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(looked.flatten(), row[1:], atol=1e-6)
    assert float(looked.min()) >= 0.0


def whole_matrices_of_stream(model: Any, values: torch.Tensor) -> torch.Tensor:
    """A stretch's rollout by matrices of all tokens, each frame's class token before its places."""
    seen: list[torch.Tensor] = []  # from the last layer to the first: over space, over time
    plain = attention_rollout._attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_rollout, "_attention", lambda *of: seen.append(plain(*of)) or seen[-1])
        attention_rollout.stream_rollout(model, values)
    frames, tokens = len(seen[0]), seen[0].shape[-1]
    ages, may = model.ages_in(frames)
    row = torch.zeros(frames * tokens)
    row[(frames - 1) * tokens] = 1.0
    half = 0.5 * torch.eye(frames * tokens)
    for block, space, time in zip(reversed(model.layers), seen[::2], seen[1::2], strict=True):
        shares = block.tables.answers.detach()[ages].masked_fill(~may, float("-inf")).softmax(-1)
        over_space, over_time = torch.zeros(2, frames, tokens, frames, tokens)
        for t in range(frames):
            over_space[t, 1:, t] = space[t, 1:]
            over_space[t, 0] = shares[t][:, None] * space[:, 0]
            over_time[t, 0, t, 0] = 1.0
            for n in range(1, tokens):
                over_time[t, n, :, n] = time[n - 1, t]
        row = row @ (half + 0.5 * over_space.view_as(half))
        row = row @ (half + 0.5 * over_time.view_as(half))
    return row.view(frames, tokens)


def test_a_streams_row_is_that_of_the_whole_matrices() -> None:
    loaded = load_timesformer("demo-streaming")
    torch.manual_seed(1)
    values = torch.randn(1, loaded.spec.reach + 3, 3, *loaded.spec.size)
    looked = attention_rollout.stream_rollout(loaded.model, values)
    row = whole_matrices_of_stream(loaded.model, values)
    assert row.sum() == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(looked, row[:, 1:], atol=1e-6)
    assert (looked[:2] == 0).all(), "what is older than its reach takes no part"
    assert (looked[-1] > 0).all()


@pytest.mark.realtime
def test_a_clip_gives_a_picture_of_what_a_stream_saw(clip: Path) -> None:
    pytest.importorskip("av")
    span = (4.0, 8.0)
    picture = Image.open(io.BytesIO(explain_clip.explain(clip, "demo-streaming", "waving", span)))
    rows = 8 // explain_clip.COLUMNS
    assert picture.size[1] > (rows - 1) * explain_clip.WIDTH // 2, "the frames of a window"
    red, _, blue = np.moveaxis(np.asarray(picture, int), -1, 0)
    assert 0.01 < (red - blue > 60).mean() < 0.5


def test_each_window_of_a_short_clip_is_scored_once() -> None:
    times = [n / 10 for n in range(25)]
    found = explain_clip._windows(times, 8, 0.2)
    assert len(found) == len(set(found)) < 20
    assert set(found) >= {tuple(range(first, first + 15, 2)) for first in range(11)}


def test_other_attention_is_refused(demo: Any) -> None:
    class Other:
        class config:  # noqa: N801
            attention_type = "space_only"

    with pytest.raises(ModelError, match="divided attention"):
        attention_rollout.rollout(Other(), torch.zeros(1, 8, 3, 64, 64))


@pytest.mark.realtime
def test_a_clip_gives_a_picture_of_its_frames(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    picture = Image.open(io.BytesIO(explain_clip.explain(clip, "demo", "waving")))
    assert (
        picture.size[0] == explain_clip.COLUMNS * (explain_clip.WIDTH + explain_clip.GAP) - explain_clip.GAP
    )
    red, _, blue = np.moveaxis(np.asarray(picture, int), -1, 0)
    assert 0.01 < (red - blue > 60).mean() < 0.5, "orange where it looked, and not all over"
    with pytest.raises(ModelError, match="no label 'dancing'"):
        explain_clip.explain(clip, "demo", "dancing")
    broken = tmp_path / "x.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        explain_clip.explain(broken, "demo", "waving")


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        ((0.0, float("inf")), (0.0, 20.0)),
        ((4.0, 9.0), (4.0, 9.0)),
        ((4.0, 5.0), (3.5, 5.5)),  # room for a window
        ((0.0, 0.5), (0.0, 2.0)),
        ((19.8, 20.0), (18.0, 20.0)),
        ((25.0, 30.0), (18.0, 20.0)),
    ],
)
def test_a_window_is_looked_for_where_the_event_is(
    span: tuple[float, float], wanted: tuple[float, float]
) -> None:
    assert explain_clip._around(span, 2.0, 20.0) == pytest.approx(wanted)
    assert explain_clip._around(span, 2.0, 1.0) == (0.0, 1.0), "a clip that is too short stays so"


@pytest.mark.realtime
def test_other_events_of_the_clip_are_not_shown(clip: Path) -> None:
    pytest.importorskip("av")
    taken: list[float] = []

    def reduce(image: Any) -> Any:
        taken.append(float(image.mean()))
        return image

    times, frames = explain_clip._frames(clip, reduce, (4.0, 6.0))
    assert (min(times), max(times)) == (pytest.approx(4.0, abs=0.1), pytest.approx(6.0, abs=0.1))
    assert len(times) == len(frames) == len(taken)
    assert explain_clip.explain(clip, "demo", "waving", (4.0, 6.0))[:3] == b"\xff\xd8\xff"


@pytest.mark.realtime
def test_as_a_process_a_mistake_is_one_line(tmp_path: Path) -> None:
    words = ["-m", "streamer.recognition.explain_clip", str(tmp_path / "no.mp4"), "demo", "waving"]
    done = subprocess.run([sys.executable, *words], capture_output=True, timeout=100)
    assert done.returncode == explain_clip.REFUSED
    assert done.stdout == b""
    assert done.stderr.decode().strip() == "the clip cannot be read: FileNotFoundError"
