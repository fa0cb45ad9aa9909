"""How long somebody was there: an event `present` for each who is followed. Pure: no threads, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamer.config import EventsConfig, LabelRule
from streamer.events.tracker import HAIR, TRACK_LOST, new_event_id
from streamer.types import Event, Moment, Phase, Track

PRESENT = "present"  # the label of these events; settings may name it like any other


class Presence:
    """One person's event. It begins when they were first seen, and is said once they stayed for the rule's
    `min_on` seconds. For one thread at a time.
    """

    def __init__(
        self,
        camera: str,
        model: str,
        config: EventsConfig,
        came: Moment,
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        wanted = config.include is None or PRESENT in config.include
        self._wanted = wanted and PRESENT not in config.ignore
        own = config.thresholds.get(PRESENT, LabelRule())
        self._min_on = config.min_on if own.min_on is None else own.min_on
        self._camera, self._model, self._came = camera, model, came
        self._new_id = new_id
        self._event: Event | None = None

    @property
    def open(self) -> tuple[Event, ...]:
        """The event, once it has begun and until it ends."""
        return () if self._event is None else (self._event,)

    def stays(self, now: Moment, track: Track) -> list[Event]:
        """They are seen at `now`; the phases to publish."""
        if not self._wanted or self._event is not None or now.time - self._came.time < self._min_on - HAIR:
            return []
        self._event = Event(
            id=self._new_id(),
            camera=self._camera,
            model=self._model,
            label=PRESENT,
            phase=Phase.START,
            score=1.0,
            peak=1.0,
            started=self._came,
            decided=_later(self._came, self._min_on, now),
            track=track,
            follows=True,
        )
        return [self._event]

    def ends(self, seen: Moment, track: Track, reason: str = TRACK_LOST) -> list[Event]:
        """They were seen at `seen` for the last time."""
        changes = self.stays(seen, track)
        if self._event is not None:
            ended = seen if seen.wall >= self._event.decided.wall else self._event.decided
            changes.append(replace(self._event, phase=Phase.END, ended=ended, reason=reason, track=track))
        self._event, self._wanted = None, False
        return changes


def _later(moment: Moment, seconds: float, now: Moment) -> Moment:
    """So many seconds later; `now` is not before that. The wall clock knows nothing of files played fast."""
    media = None if moment.media is None else moment.media + seconds
    return Moment(moment.time + seconds, min(moment.wall + seconds, now.wall), media)
