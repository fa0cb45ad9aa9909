"""Windows of somebody who is followed: the same frames as of the whole picture, cut to the square they are
in.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from streamer.people.person_square import SquareChoice
from streamer.types import Box, Frame, Square, Step, Track, Window
from streamer.windows.window_source import WindowSource

BOXES_KEPT = 4096  # of a track; more than any span has frames


class PersonWindows:
    """One person's windows for one model; a `WindowSource` that is given its frames with boxes.

    Frames come whole, in the camera's own resolution, and are shared by all people in them.

    Args:
        source: chooses the frames; nobody else uses it.
        reduce: makes the model's picture of a part of a frame; see `Recognizer.reduce`.
        margin: of squares, times where they were.
        number: the track's id.
        place: a box of a frame -> the box in the camera's picture.
    """

    def __init__(
        self,
        source: WindowSource,
        reduce: Callable[[NDArray[Any]], NDArray[Any]],
        margin: float,
        number: int,
        place: Callable[[Box], Box] = lambda box: box,
        *,
        streaming: bool = False,
    ) -> None:
        self._source = source
        self._reduce = reduce
        self._number = number
        self._place = place
        self._squares = SquareChoice(margin, lasting=streaming)
        self._lock = threading.Lock()
        # index of a frame, where they were, and where all others were
        self._boxes: deque[tuple[int, Box, Sequence[Box]]] = deque(maxlen=BOXES_KEPT)
        self._cut: OrderedDict[tuple[int, Square], Frame] = OrderedDict()  # what windows share
        self._last: Square | None = None
        self._begun: set[int] = set()  # streams of a streaming model that have seen this square

    @property
    def on_ready(self) -> Callable[[], None] | None:
        """See `WindowSource`."""
        return self._source.on_ready

    @on_ready.setter
    def on_ready(self, call: Callable[[], None] | None) -> None:
        self._source.on_ready = call

    def see(self, frame: Frame, box: Box, others: Sequence[Box] = ()) -> bool:
        """The newest frame, uint8 BGR (H, W, 3), where they are in it, and where all others are; False if it
        was not stored.
        """
        with self._lock:
            self._boxes.append((frame.index, box, others))
        return self._source.add(frame)

    def add(self, frame: Frame) -> bool:
        """See `WindowSource`; a frame in which nobody knows where they are is not stored."""
        return False

    def ready_since(self) -> float | None:
        """See `WindowSource`."""
        return self._source.ready_since()

    def take(self) -> Window | None:
        """The next window, cut to one square; None if there is none."""
        window = self._source.take()
        if window is None:
            return None
        first = min(frame.index for frame in (*window.frames, *(step.frame for step in window.steps)))
        last = window.frames[-1].index
        with self._lock:
            while self._boxes[0][0] < first:
                self._boxes.popleft()
            seen = [(box, others) for index, box, others in self._boxes if index <= last]
        boxes = [box for box, _ in seen]
        height, width = window.frames[-1].image.shape[:2]
        square = self._squares.choose(boxes, width, height, [box for _, others in seen for box in others])
        if square != self._last:
            self._begun.clear()
            self._last = square
        track = Track(self._number, self._place(boxes[-1]))
        frames = tuple(self._frame(frame, square) for frame in window.frames)
        steps = self._steps(window, frames, square) if window.steps else ()
        while len(self._cut) > 2 * len(window.frames):
            self._cut.popitem(last=False)
        return replace(window, frames=frames, steps=steps, track=track, follows=True)

    def _steps(self, window: Window, frames: Sequence[Frame], square: Square) -> tuple[Step, ...]:
        """What a streaming model has not seen of this square: of a new one all frames that are known."""
        last = window.steps[-1].stream
        anew = last not in self._begun and not window.steps[-1].begins
        steps = []
        for step in window.steps:
            if anew and step.stream == last:
                continue  # among `frames`
            begins = step.begins or step.stream not in self._begun
            self._begun.add(step.stream)
            steps.append(replace(step, frame=self._frame(step.frame, square), begins=begins))
        if anew:
            self._begun.add(last)
            steps += [Step(last, frame, begins=number == 0) for number, frame in enumerate(frames)]
        return tuple(steps)

    def _frame(self, frame: Frame, square: Square) -> Frame:
        key = frame.index, square
        if key not in self._cut:
            left, top, width, height = square
            image = self._reduce(frame.image[top : top + height, left : left + width])
            image.setflags(write=False)
            self._cut[key] = replace(frame, image=image, part=square)
        return self._cut[key]

    @property
    def parts(self) -> Sequence[WindowSource]:
        """See `WindowSource`."""
        return (self,)

    def close(self) -> None:
        """See `WindowSource`."""
        self._source.close()

    @property
    def finished(self) -> bool:
        """See `WindowSource`."""
        return self._source.finished

    @property
    def waiting(self) -> float | None:
        """See `WindowSource`."""
        return self._source.waiting

    @property
    def due(self) -> int:
        """See `WindowSource`."""
        return self._source.due

    @property
    def skipped(self) -> Mapping[str, int]:
        """See `WindowSource`."""
        return self._source.skipped

    @property
    def squares(self) -> int:
        """How many different squares there were so far."""
        return self._squares.changes
