"""Tells people of events by notification services; what was not accepted is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from streamer.bus.messages import EventMessage, Gap
from streamer.errors import BusError
from streamer.recording.files import find, told_folder
from streamer.subscribers import bridge
from streamer.subscribers.alerts.alert_policy import AlertPolicy, AlertRules, Happening, Notice
from streamer.subscribers.event_filter import EventFilter, display_of
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.stderr_lines import print_line
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

PICTURE = 4.0  # seconds that an event's snapshot is waited for
GIVE_UP = 5  # attempts after which a service misses a notification
AGAIN = 1.0, 60.0  # seconds between attempts


class Sender(Protocol):
    """A service."""

    @property
    def shown(self) -> str:
        """Its name without secrets."""
        ...

    def send(self, title: str, text: str, picture: Path | None, *, urgent: bool) -> str | None:
        """Why it failed; None where it was sent."""
        ...


@dataclass(frozen=True)
class Settings:
    """What one run does. `pictures`: attach snapshots; `recordings`: where they are; None: the run says."""

    publisher: PublisherAddress
    state: Path
    since: Any
    events: EventFilter
    rules: AlertRules
    pictures: bool = False
    recordings: Path | None = None


class AlertBridge:
    """Follows a publisher; one notification after the other."""

    def __init__(
        self,
        settings: Settings,
        targets: Sequence[Sender],
        *,
        clock: Clock = SYSTEM_CLOCK,
        tell: Callable[[str], None] = lambda line: print_line(f"alert: {line}"),
    ) -> None:
        self._settings, self._targets, self._clock, self._tell = settings, targets, clock, tell
        self._stop = threading.Event()
        self._policy = AlertPolicy(settings.rules)
        self._folder = settings.recordings
        self._source = bridge.ProblemReporter(tell, f"{settings.publisher.endpoint} is there again")
        self._services = {
            target.shown: bridge.ProblemReporter(tell, f"{target.shown}: works again") for target in targets
        }

    def stop(self) -> None:
        """End soon; what was not sent yet is sent by the next run."""
        self._stop.set()

    def run(self) -> int:
        """Tell until `stop`. Raises BusError."""
        ours = self._settings
        state = StateFile(ours.state, ours.since, clock=self._clock, on_problem=self._tell)
        try:
            self._restore(state)
            with ours.publisher.subscriber(["event/", "heartbeat/"], state.position) as subscriber:
                names = ", ".join(target.shown for target in self._targets)
                self._tell(f"from {ours.publisher.endpoint} to {names}, state in {ours.state}")
                self._follow(subscriber, state)
        finally:
            state.close()
        return 0

    def _restore(self, state: StateFile) -> None:
        kept = state.extra.get("policy")
        try:
            if kept is not None:
                self._policy.restore(kept)
        except (KeyError, TypeError, ValueError, OverflowError):
            self._tell(f"what {state.path} says of earlier notifications cannot be read; begun anew")

    def _follow(self, subscriber: Any, state: StateFile) -> None:
        silent_since = self._clock.monotonic()
        while not self._stop.is_set():
            message = subscriber.receive(bridge.POLL)
            now = self._clock.monotonic()
            if subscriber.connected:
                silent_since = now
                self._source.works()
            elif now - silent_since > 3:
                self._source.fails(f"{self._settings.publisher.endpoint} is silent; waiting for it")
            if isinstance(message, Gap) and message.kind == "event":
                self._tell(bridge.gap_line(message))
            notices = []
            if isinstance(message, EventMessage) and self._settings.events.wants(message):
                notices = self._policy.take(happening_of(message), self._clock.wall())
            notices += self._policy.due(self._clock.wall())
            for notice in notices:
                if not self._send(notice, subscriber):
                    return  # neither the position nor the sums are written: it is told again
                silent_since = self._clock.monotonic()
            if notices or isinstance(message, EventMessage):
                state.extra["policy"] = self._policy.kept
                state.touch()
            state.move(subscriber.position)
            state.tick()

    # ---- one notification

    def _send(self, notice: Notice, subscriber: Any) -> bool:
        """To every service; False when told to stop before."""
        picture = self._picture(notice.happening, subscriber)
        waiting, backoff = list(self._targets), Backoff(*AGAIN)
        for attempt in range(1, GIVE_UP + 1):
            failed = []
            for target in waiting:
                why = target.send(notice.title, notice.text, picture, urgent=notice.urgent)
                if why is None:
                    self._services[target.shown].works()
                    continue
                failed.append(target)
                last = attempt == GIVE_UP
                self._services[target.shown].fails(
                    f"{target.shown}: {why}; {'given up for this one' if last else 'trying again'}"
                )
            if not failed or attempt == GIVE_UP:
                return True
            waiting = failed
            if self._clock.wait(self._stop, backoff.next()):
                return False
        return True

    def _picture(self, happening: Happening | None, subscriber: Any) -> Path | None:
        """The event's snapshot, which is written a moment after its start."""
        if not self._settings.pictures or happening is None:
            return None
        if self._folder is None:
            self._folder = self._folder_of_the_run(subscriber)
        if self._folder is None:
            return None
        until = self._clock.monotonic() + PICTURE
        while True:
            found = find(self._folder, happening.camera, happening.event_id).snapshot
            if found is not None or self._clock.monotonic() >= until:
                return found
            if self._clock.wait(self._stop, bridge.POLL):
                return None

    def _folder_of_the_run(self, subscriber: Any) -> Path | None:
        try:
            pictures = subscriber.request("features").get("pictures", {})
        except BusError:
            return None
        return told_folder(pictures.get("folder")) if isinstance(pictures, dict) else None


def happening_of(message: EventMessage) -> Happening:
    lasted = None if message.ended_at is None else message.ended_at - message.started_at
    return Happening(
        message.camera, message.label, display_of(message), message.started_at, message.id, message.peak,
        message.phase, lasted,
    )  # fmt: skip
