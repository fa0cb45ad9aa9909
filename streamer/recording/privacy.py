"""What no picture may show that leaves memory: the one place that decides it and hides it.

Previews, snapshots, clips and uncertain windows get their pictures from here. Who is in a picture is asked
for its own time; where that is not known (yet), all of the picture is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.capture.region_of_interest import Region
from streamer.config import Config
from streamer.recording.followed_people import Followed
from streamer.recording.pixelate import WHOLE, Corners, in_blocks, marked, pixelated
from streamer.recording.pixels import Image
from streamer.types import Box, Frame, Window

Areas: TypeAlias = tuple[Corners, ...]
Reduce: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

_RIM = 0.25  # of a box's sides, on each side: hands, and where a box lags behind
_BLEED = 5  # pixels, odd: how far a hidden one may reach when a picture is resized for a model


@dataclass(frozen=True, slots=True)
class _CameraRules:
    regions: Areas
    people: bool
    seen: tuple[tuple[float, float], ...] | None  # the part of the picture that the model sees


class Privacy:
    """Which areas of which camera are hidden at which time, and pictures without them. Any thread.

    Args:
        config: which cameras there are, and their rules.

    `followed` is told who is where, before that is asked.
    """

    def __init__(self, config: Config) -> None:
        self.followed = Followed()
        self._rules: dict[str, _CameraRules] = {}
        self.learn(config)

    def learn(self, config: Config) -> None:
        """Hide what a changed configuration says, of new cameras too; of those that are gone, what it was."""
        rules = dict(self._rules)
        for camera in config.cameras:
            rules.pop(camera.name, None)
            wanted = config.privacy_of(camera)
            regions = wanted.regions if "regions" in wanted.blur else ()
            if regions or "people" in wanted.blur:
                rules[camera.name] = _CameraRules(regions, "people" in wanted.blur, camera.region)
        self._rules = rules  # replaced at once: other threads look

    def areas(self, camera: str, time: float) -> Areas:
        """What is hidden of a camera's picture taken at `time` of its time line, in parts of it."""
        rules = self._rules.get(camera)
        if rules is None:
            return ()
        if not rules.people:
            return rules.regions
        there = self.followed.everybody(camera, time)
        if there is None:
            return (WHOLE,)
        unseen = () if rules.seen is None else (_outside(rules.seen),)  # there nobody was looked for
        return (*rules.regions, *unseen, *map(_around, there))

    def picture(self, camera: str, image: Image, time: float) -> Image:
        """A camera's picture, uint8 BGR (H, W, 3), as it may be shown: itself where nothing is hidden."""
        return pixelated(image, self.areas(camera, time))

    def areas_of(self, window: Window) -> tuple[Areas, ...]:
        """What is hidden of each of a window's frames; to be asked while their time is not long ago."""
        return tuple(self.areas(window.camera, frame.time) for frame in window.frames)

    def window(self, window: Window, areas: Sequence[Areas], reduce: Reduce | None) -> Window:
        """A window as it may be shown. `areas` are what `areas_of` told of it; `reduce` is what made its
        frames of the camera's pictures (None: not known).
        """
        if not any(areas):
            return window
        frames = tuple(
            self._frame(frame, hidden, reduce) for frame, hidden in zip(window.frames, areas, strict=True)
        )
        return replace(window, frames=frames)

    def _frame(self, frame: Frame, areas: Areas, reduce: Reduce | None) -> Frame:
        """What is hidden of the camera's picture is found in the model's by reducing a picture of it."""
        import cv2

        if not areas:
            return frame
        blocks, rules = in_blocks(frame.image), self._rules.get(frame.camera)
        if reduce is not None and rules is not None and frame.size is not None and WHOLE not in areas:
            mark = marked(areas, frame.size)
            mark = mark if rules.seen is None else Region(rules.seen).cut(mark)
            if frame.part is not None:
                left, top, width, height = frame.part
                mark = mark[top : top + height, left : left + width]
            reduced = reduce(mark)
            if reduced.shape == frame.image.shape:
                near = cv2.dilate(reduced.max(axis=2), np.ones((_BLEED, _BLEED), np.uint8))
                blocks = np.where(near[:, :, None] > 0, blocks, frame.image)
        blocks.setflags(write=False)
        return replace(frame, image=blocks)


def _outside(seen: Corners) -> Corners:
    """All but a box or a polygon, as one line around the picture that goes in and around that."""
    (left, top), (right, bottom) = seen[0], seen[-1]
    inner = [(left, top), (right, top), (right, bottom), (left, bottom)] if len(seen) == 2 else list(seen)
    return ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0), *inner, inner[0])


def _around(box: Box) -> Corners:
    left, top, width, height = box
    rim_x, rim_y = _RIM * width, _RIM * height
    return ((left - rim_x, top - rim_y), (left + width + rim_x, top + height + rim_y))
