"""Smoothing, thresholds and merging: what makes events of the scores of one camera's windows.

Smoothing. Each label's score is averaged exponentially on the camera's time line: after `half_life` seconds
an old score counts half. A window dt seconds after the one before weighs 1 - 0.5 ** (dt / half_life), so
irregular hops are exact and the result does not depend on the hop. The average begins with the first score
(not with 0, which would report a certain action late), and begins anew where video was missed.

Events. A label whose smoothed score stays at `enter` or above for `min_on` seconds opens an event; one below
`exit` for `min_off` seconds closes it. `started` is the end of the first window over `enter`, `decided` the
window at which `min_on` was reached, `ended` the end of the last window not below `exit`. A window's end and
not its middle: that is when it was seen, whatever the model's span. Only where the model was taught what
happens `lag` seconds before its windows' ends, `started` and `ended` lie so much earlier; `decided` does not.

Merging. What has been published cannot be taken back, so an end is held until `min_off` has passed and no
neighbour can join any more: a label that rises over `enter` within `merge_gap` seconds after `ended`, and
then stays for `min_on`, goes on with the same event.

Together: a Schmitt trigger (two thresholds) with a least time on both sides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamer.config import EventsConfig
from streamer.events.rules import EventLabels, Rule
from streamer.types import Event, LabelScore, Moment, Phase, Prediction, Track

UPDATE_EVERY = 1.0  # seconds between two updates of one event
SILENCE = 5.0  # seconds without a prediction that break the average and end events ...
SILENCE_HOPS = 3.0  # ... or this many times the usual hop, for slow models ...
LONGEST_SILENCE = 60.0  # ... but never more than this
HAIR = 1e-6  # seconds; what floating point times may cost

# Reasons of ends that the scores did not cause
INTERRUPTED = "video interrupted"
RESTARTED = "restarted"  # a file that begins again
SILENT = "no predictions"
TRACK_LOST = "track lost"  # of somebody who is followed no more


def new_event_id() -> str:
    """12 hexadecimal digits, random: unique over restarts and machines."""
    return uuid.uuid4().hex[:12]


@dataclass(slots=True)
class _Candidate:
    """A label that is over `enter` but not yet for `min_on`."""

    since: Moment
    peak: float


@dataclass(slots=True)
class _Open:
    """An event whose end has not been published."""

    event: Event
    seen: Moment  # the last window not below `exit`
    published: float  # time of its last phase
    below: float | None = None  # time of the first window below `exit`, None while above
    closed: bool = False  # below for `min_off`: only `merge_gap` holds the end


class EventTracker:
    """Events of one camera, or of one who is followed there, and one model. Several labels may be open at
    once, each at most once.

    For one thread at a time.
    """

    def __init__(
        self,
        camera: str,
        model: str,
        labels: Sequence[str],
        config: EventsConfig,
        *,
        new_id: Callable[[], str] = new_event_id,
        independent: bool = False,
        lag: float = 0.0,
        follows: bool = False,
    ) -> None:
        """`independent`: scores do not sum to one (sigmoid), so a group takes its greatest, not the sum.
        `lag`: seconds before a window's end of which its scores speak. `follows`: the camera follows people.

        Raises ConfigError if the config names a label that the model does not have.
        """
        self._camera = camera
        self._model = model
        self._half_life = config.half_life
        self._merge_gap = config.merge_gap
        self._new_id = new_id
        self._independent = independent
        self._lag = lag
        self._follows = follows
        self._track: Track | None = None  # of the newest prediction
        self._labels = EventLabels(model, labels, config)
        self._average: NDArray[np.float64] | None = None
        self._now: Moment | None = None  # the newest prediction
        self._epoch = 0
        self._usual = 0.0  # seconds between the last two predictions
        self._candidates: dict[int, _Candidate] = {}
        self._open: dict[int, _Open] = {}

    def update(self, prediction: Prediction) -> list[Event]:
        """Take one prediction; returns the phases to publish, ends first.

        A prediction that is not newer than the last one, or holds a score that is no number, changes nothing.
        Raises ValueError if it has other labels than the tracker.
        """
        raw = np.asarray(prediction.scores, dtype=np.float64)
        scores = self._labels.scores(raw, self._independent)
        frame = prediction.window.frames[-1]
        now = Moment(frame.time, frame.wall, frame.media_time)
        if not np.isfinite(raw).all() or self._is_old(now, frame.epoch):
            return []
        changes = self._break_off(now, frame.epoch)
        self._track = prediction.track
        average = self._smooth(scores, now)
        self._now, self._epoch = now, frame.epoch
        over = np.flatnonzero(average >= self._labels.enter).tolist()
        for i in sorted({*over, *self._candidates, *self._open}):
            changes += self._step(i, float(average[i]), now)
        return sorted(changes, key=lambda event: event.phase is not Phase.END)

    def end_all(self, at: Moment, reason: str, track: Track | None = None) -> list[Event]:
        """End every open event (camera lost, stop, labels changed) and forget the average.

        An event still going on ends at `at`, the newest moment known of the camera, unless that is before
        its last window or too long after it to be believed; a fading one where it was last seen. `track`:
        where they were at `at`, if more is known than the newest prediction had.
        """
        self._track = track or self._track
        changes = [self._break(i, at, reason) for i in sorted(self._open)]
        self._candidates.clear()
        self._average = None
        self._now = None
        self._usual = 0.0
        return changes

    def end_silent(self, seconds: float) -> list[Event]:
        """End every open event if `seconds` without a prediction are too long; may be called again."""
        if self._now is None or seconds <= self._longest_silence:
            return []
        changes = [self._break(i, self._now, SILENT) for i in sorted(self._open)]
        self._candidates.clear()
        self._average = (
            None  # but it is remembered when the last prediction was: of a slow model for the next
        )
        return changes

    def change_labels(
        self, labels: Sequence[str], config: EventsConfig, at: Moment | None, reason: str
    ) -> list[Event]:
        """Go on with other labels: events of those that are gone end at `at`, the others go on.

        The average begins anew, because scores of one set of labels say little about those of another.
        Raises ConfigError, and changes nothing, if the config names a label that is not among them.
        """
        before, after = self._labels, EventLabels(self._model, labels, config)
        index = {name: i for i, name in enumerate(after.names) if i in after.rules}
        place = {i: index[name] for i, name in enumerate(before.names) if name in index}
        changes = []
        for i in sorted(self._open):
            if i not in place:
                changes.append(self._break(i, at or self._open[i].seen, reason))
        self._open = {place[i]: opened for i, opened in self._open.items()}
        self._candidates = {place[i]: one for i, one in self._candidates.items() if i in place}
        self._labels, self._average = after, None
        return changes

    @property
    def stable(self) -> LabelScore | None:
        """The best label that is believed now, with its smoothed score; None = unknown.

        Believed: its event is open and has not been below `exit` for `min_off`.
        """
        believed = [opened.event for opened in self._open.values() if not opened.closed]
        if not believed:
            return None
        best = max(believed, key=lambda event: event.score)
        return LabelScore(best.label, best.score)

    @property
    def smoothed(self) -> Mapping[str, float]:
        """Smoothed score of every label and group; empty before the first prediction."""
        if self._average is None:
            return {}
        return dict(zip(self._labels.names, self._average.tolist(), strict=True))

    @property
    def open(self) -> tuple[Event, ...]:
        """The events whose end has not been published, oldest first."""
        return tuple(sorted((o.event for o in self._open.values()), key=lambda event: event.started.time))

    def _is_old(self, now: Moment, epoch: int) -> bool:
        return self._now is not None and (
            epoch < self._epoch or (epoch == self._epoch and not now.time > self._now.time)
        )

    @property
    def _longest_silence(self) -> float:
        return min(LONGEST_SILENCE, max(SILENCE, SILENCE_HOPS * self._usual))

    def _break_off(self, now: Moment, epoch: int) -> list[Event]:
        """End everything if video was missed between the last prediction and this one."""
        last = self._now
        if last is None:
            return []
        since = now.time - last.time
        if epoch != self._epoch:
            again = now.media is not None and last.media is not None and now.media < last.media
            reason = RESTARTED if again else INTERRUPTED
        elif since > self._longest_silence:
            reason = SILENT
        else:
            self._usual = since
            return []
        changes = self.end_all(last, reason)
        self._usual = 0.0 if epoch != self._epoch else since  # a slow model's first hop is its usual one
        return changes

    def _smooth(self, scores: NDArray[np.float64], now: Moment) -> NDArray[np.float64]:
        if self._average is None or self._now is None or self._half_life == 0.0:
            self._average = scores
        else:
            weight = 1.0 - 0.5 ** ((now.time - self._now.time) / self._half_life)
            self._average = self._average + weight * (scores - self._average)
        return self._average

    def _step(self, i: int, score: float, now: Moment) -> list[Event]:
        """One label's state machine: one prediction further."""
        rule = self._labels.rules[i]
        opened = self._open.get(i)
        if opened is not None:
            self._follow(opened, rule, score, now)
            if not opened.closed:
                return self._maybe_update(opened, now)
        candidate = self._candidate(i, rule, score, now)
        changes: list[Event] = []
        if opened is not None and not self._may_join(opened, candidate, now):
            changes.append(self._end(i, None))
            opened = None
        if candidate is not None and now.time - candidate.since.time >= rule.min_on - HAIR:
            del self._candidates[i]
            if opened is None:
                return [*changes, self._start(i, candidate, score, now)]
            opened.seen, opened.below, opened.closed = _not_before(now, opened.seen), None, False
            peak = max(opened.event.peak, candidate.peak)
            opened.event = replace(opened.event, score=score, peak=peak)
        if opened is not None:
            changes += self._maybe_update(opened, now)
        return changes

    def _candidate(self, i: int, rule: Rule, score: float, now: Moment) -> _Candidate | None:
        """The label's current rise over `enter`."""
        if score < rule.enter:
            self._candidates.pop(i, None)
            return None
        candidate = self._candidates.setdefault(i, _Candidate(now, score))
        candidate.peak = max(candidate.peak, score)
        return candidate

    def _may_join(self, closed: _Open, candidate: _Candidate | None, now: Moment) -> bool:
        """Whether a neighbour has come, or can still come, within `merge_gap` of an event that is over."""
        if candidate is None:
            return now.time - closed.seen.time < self._merge_gap - HAIR
        return candidate.since.time - closed.seen.time <= self._merge_gap + HAIR

    def _follow(self, opened: _Open, rule: Rule, score: float, now: Moment) -> None:
        """Whether an open event continues, fades, or is closed."""
        if opened.closed:
            return  # the scores are those of a neighbour now, if of anything
        opened.event = replace(opened.event, score=score, peak=max(opened.event.peak, score))
        if score >= rule.exit:
            opened.seen, opened.below = _not_before(now, opened.seen), None
            return
        if opened.below is None:
            opened.below = now.time
        opened.closed = now.time - opened.below >= rule.min_off - HAIR

    def _start(self, i: int, candidate: _Candidate, score: float, now: Moment) -> Event:
        decided = _not_before(now, candidate.since)
        event = Event(
            id=self._new_id(),
            camera=self._camera,
            model=self._model,
            label=self._labels.names[i],
            phase=Phase.START,
            score=score,
            peak=candidate.peak,
            started=self._spoken_of(candidate.since),
            decided=decided,
            track=self._track,
            background=self._labels.names[i] in self._labels.background,
            follows=self._follows,
        )
        self._open[i] = _Open(event, decided, now.time)
        return event

    def _maybe_update(self, opened: _Open, now: Moment) -> list[Event]:
        if now.time - opened.published < UPDATE_EVERY - HAIR:
            return []
        opened.published = now.time
        opened.event = replace(opened.event, phase=Phase.UPDATE, track=self._track)
        return [opened.event]

    def _break(self, i: int, at: Moment, reason: str) -> Event:
        """End an event that the scores have not ended."""
        opened = self._open[i]
        if opened.below is None and 0.0 <= at.time - opened.seen.time <= self._longest_silence:
            opened = self._open.pop(i)
            ended = _not_before(at, opened.seen)
            return replace(opened.event, phase=Phase.END, ended=ended, reason=reason, track=self._track)
        return self._end(i, reason)

    def _end(self, i: int, reason: str | None) -> Event:
        opened = self._open.pop(i)
        ended = _not_before(self._spoken_of(opened.seen), opened.event.started)
        return replace(opened.event, phase=Phase.END, ended=ended, reason=reason, track=self._track)

    def _spoken_of(self, seen: Moment) -> Moment:
        """What a window that ends at `seen` speaks of."""
        if self._lag == 0.0:
            return seen
        media = None if seen.media is None else max(0.0, seen.media - self._lag)
        return Moment(seen.time - self._lag, seen.wall - self._lag, media)


def _not_before(moment: Moment, floor: Moment) -> Moment:
    """The machine's wall clock may be set back: an event does not end before it starts, there either."""
    return moment if moment.wall >= floor.wall else replace(moment, wall=floor.wall)
