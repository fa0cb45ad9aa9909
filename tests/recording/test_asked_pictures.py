"""A picture that somebody asks for while it runs: kept where events' pictures are, as it may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamer.config import CameraConfig, Config, PrivacyConfig, RecordingConfig
from streamer.recording.files import recorded
from streamer.testing import FakeCamera, FakeRecognizer
from tests.helpers.bus_parts import until
from tests.helpers.pipelines import QUIET, running


def scene(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (96, 128, 3), np.uint8)


def asked(tmp_path: Path, **more: Any) -> tuple[Path | None, np.ndarray]:
    """The file, and the picture that the screen would show."""
    with FakeCamera(scene) as server:
        camera = CameraConfig(name="Front Door", source=server.url)
        settings = {**QUIET, "pace": "realtime", **more}
        with running(
            Config(cameras=(camera,), **settings), recognizer=FakeRecognizer(lambda _: (0.9, 0.1))
        ) as (
            pipeline,
            sink,
        ):
            sink.wait(lambda m: m["type"] == "prediction")
            kept, shown = pipeline.snapshot("Front Door"), pipeline.picture("Front Door")
            if kept is not None:
                until(kept.exists, "the file")
    return kept, shown


def recording(tmp_path: Path, **more: Any) -> RecordingConfig:
    return RecordingConfig(folder=str(tmp_path / "kept"), snapshots=True, **more)


def spread(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(int), axis=1)).mean())


def test_it_is_kept_among_the_pictures_of_events(tmp_path: Path) -> None:
    kept, shown = asked(tmp_path, recording=recording(tmp_path))
    assert kept is not None
    assert kept in set(recorded(tmp_path / "kept")), "it goes when its days are over"
    image = cv2.imread(str(kept))
    assert image.shape == (96, 128, 3)
    assert min(spread(image), spread(shown)) > 40


def test_what_no_picture_may_show_is_not_in_it_and_not_on_the_screen(tmp_path: Path) -> None:
    hidden = PrivacyConfig(blur=("regions",), regions=(((0.0, 0.0), (1.0, 1.0)),))
    kept, shown = asked(tmp_path, recording=recording(tmp_path), privacy=hidden)
    assert kept is not None
    assert max(spread(cv2.imread(str(kept))), spread(shown)) < 20


@pytest.mark.parametrize("where", ["nowhere", "elsewhere"])
def test_where_a_camera_is_not_recorded_nothing_is_kept(tmp_path: Path, where: str) -> None:
    more = {} if where == "nowhere" else {"recording": recording(tmp_path, cameras=())}
    kept, _ = asked(tmp_path, **more)
    assert kept is None
    assert not list(tmp_path.rglob("*.jpg"))
