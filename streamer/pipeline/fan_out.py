"""From one camera to its models: each frame is reduced once for all models that want it the same way.

The camera's thread brings frames; each model's windows get them at the rate that model needs, so that a
picture is not prepared for a model that would only drop it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from streamer.capture.frame_rate import RateChoice
from streamer.people.person_follower import Follower, Seen
from streamer.pipeline.lane import Lane
from streamer.types import Frame

Deliver = Callable[[Frame], bool]
DeliverPeople = Callable[[Frame, Seen], None]
Reduce = Callable[[NDArray[Any]], NDArray[Any]]
LEAST_FOLLOWED = 10.0  # frames a second that a camera that follows people keeps at least


@dataclass
class _Branch:
    """Models whose pictures are alike."""

    reduce: Reduce
    rate: float
    deliver: list[Deliver] = field(default_factory=list)
    choice: RateChoice | None = None

    def hand_on(self, frame: Frame) -> bool:
        stored = [deliver(frame) for deliver in self.deliver]
        return any(stored)  # each model got it


class FanOut:
    """One camera's models. `deliver` is called by the camera's thread alone.

    `reduce` and `rate` are what the camera needs: with one kind of picture the camera reduces it (and keeps
    nothing larger), with several it hands on the whole picture, and this reduces it. So it is where people
    are followed: `follower` says who is in a whole picture, `people` of each lane take it from there; `lanes`
    are none then where nobody asks for the whole picture.
    """

    def __init__(
        self,
        lanes: Sequence[tuple[Lane, Deliver]],
        follower: Follower | None = None,
        people: Sequence[DeliverPeople] = (),
    ) -> None:
        self._follower = follower
        self._people = people
        branches: dict[Hashable, _Branch] = {}
        for lane, deliver in lanes:
            branch = branches.setdefault(
                lane.recognizer.picture_key, _Branch(lane.recognizer.reduce, lane.rate)
            )
            branch.rate = max(branch.rate, lane.rate)
            branch.deliver.append(deliver)
        self._branches = list(branches.values())
        rates = [branch.rate for branch in self._branches]
        self.rate = max([*rates, LEAST_FOLLOWED] if follower is not None else rates)
        self._epoch: int | None = None
        for branch in self._branches:
            branch.choice = RateChoice(branch.rate if branch.rate < self.rate else None)

    @property
    def reduce(self) -> Reduce:
        """For the camera: uint8 BGR (H, W, 3) -> what `deliver` wants in its frames."""
        return self._branches[0].reduce if self._alone else _whole

    @property
    def _alone(self) -> bool:
        """All need the same of a picture."""
        return len(self._branches) == 1 and self._follower is None

    def deliver(self, frame: Frame) -> bool:
        """Hand a frame on; False if no model stored it."""
        if self._alone:
            return self._branches[0].hand_on(frame)
        stored = self._follow(frame)
        again = frame.epoch != self._epoch
        self._epoch = frame.epoch
        for branch in self._branches:
            assert branch.choice is not None
            if again:
                branch.choice.reset()
            if not branch.choice.keeps(frame.time):
                stored = True  # not needed there, which is no loss
                continue
            image = branch.reduce(frame.image)
            image.setflags(write=False)
            reduced = replace(frame, image=image)
            stored |= branch.hand_on(reduced)
        return stored

    def _follow(self, frame: Frame) -> bool:
        """Have people looked for in a whole picture; False if nobody does that."""
        if self._follower is None:
            return False
        seen = self._follower.see(frame)
        for deliver in self._people:
            deliver(frame, seen)
        return True


def _whole(image: NDArray[Any]) -> NDArray[Any]:
    return image.view()  # the camera makes its frames read-only: this one alone
