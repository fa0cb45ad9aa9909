"""What following people keeps in memory is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.people.kept_frames import KeptFrames
from streamer.types import Frame, ModelSpec
from streamer.windows.sliding_windows import Windows

DEMO = ModelSpec("demo", "timesformer", ("a",), 8, 0.2, (64, 64))
BASE = ModelSpec("base", "timesformer", ("a",), 8, 32 / 30, (224, 224))


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("spec", [DEMO, BASE], ids=lambda spec: spec.name)
@pytest.mark.parametrize("size", [(120, 160), (540, 960), (1080, 1920)])
@pytest.mark.parametrize("memory", [2.0, 16.0, 64.0])
def test_no_more_is_kept_than_was_said(
    spec: ModelSpec, size: tuple[int, int], memory: float, complete: bool
) -> None:
    kept, windows = (
        KeptFrames(spec, memory, complete),
        Windows("cam", spec.frames, spec.interval, 0.5, complete),
    )
    image = np.zeros((*size, 3), np.uint8)  # a broadcast zero would be copied at every resize
    stored = []
    for number in range(round(25 * (spec.span + 3.0))):
        time = number / 25
        one = kept.keep(Frame("cam", number, 0, time, time, time, None, image))
        if one is not None:
            windows.add(one)
            stored.append(one.image.nbytes)
            while windows.take():
                pass
    ring = windows._ring.frames()
    assert sum(frame.image.nbytes for frame in ring) <= memory * 1e6
    assert len(ring) >= 2 * (spec.frames - 1)


def test_pictures_of_their_own_size_are_kept_where_there_is_room() -> None:
    kept = KeptFrames(DEMO, 256.0, complete=False)
    picture = np.zeros((480, 640, 3), np.uint8)
    frame = Frame("cam", 0, 0, 0.0, 0.0, 0.0, None, picture)
    assert kept.keep(frame) is frame
    assert kept.halvings == 0
