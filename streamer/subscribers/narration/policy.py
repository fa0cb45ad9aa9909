"""What is said when: messages of the bus in, utterances out. No threads, no waiting, no clock.

Left out is, in this order: what is not asked for (cameras, labels, verbosity), what is old news, what was
said a short while ago, what would disturb in quiet hours. It is given out all the same, with the reason, so
that every event's start and end is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from streamer.bus.messages import EventMessage, Gap, HeartbeatMessage, Message, StatusMessage
from streamer.labels.label_set import LabelSet
from streamer.labels.phrases import ENGLISH, fill, name_of, plain
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.narration.settings import (
    CameraSettings,
    LabelSettings,
    Priority,
    Settings,
    parse_hours,
)
from streamer.system.clock import SYSTEM_CLOCK, Clock

SILENCE = 5.0  # seconds without a word from the publisher after which that is said
MOST_REMEMBERED = 2000  # sentences, open events
MOST_CAMERAS = 500  # whose states are told
SIDE = 0.4  # of the picture's width: whoever is wholly in it is at that side
_LOST = frozenset({"stalled", "reconnecting", "failed"})


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sentence. `left_out` says why it is not to be said."""

    text: str
    kind: str  # start, end, goes_on, lost, back, ended, silent, heard or missed
    priority: Priority
    at: float  # Unix seconds, by this machine's clock: when it happened
    made: float  # monotonic seconds
    left_out: str | None = None
    camera: str | None = None
    label: str | None = None
    seq: int | None = None  # number of the event's message in the history
    event: str | None = None  # the event's id


@dataclass(slots=True)
class _Camera:
    state: str = "there"  # what it is: there, lost or ended
    since: float = 0.0  # monotonic seconds
    said: str = "there"  # what people were told it is
    following: int = 0  # people there now


class Policy:
    """Makes utterances of messages, for one listener.

        policy.message(message) -> utterances, some left out
        policy.tick(connected)  -> what time alone brings: lost cameras, a lost publisher

    Call `tick` about twice a second. `quiet`: whether quiet hours are kept.
    """

    def __init__(
        self, settings: Settings, names: LabelSet, clock: Clock = SYSTEM_CLOCK, *, quiet: bool = True
    ) -> None:
        self._settings, self._names, self._clock = settings, names, clock
        self._events = EventFilter(labels=settings.label)
        self._quiet = [parse_hours(text) for text in settings.quiet_hours] if quiet else []
        self._said: dict[str, float] = {}  # text -> monotonic seconds
        self._open: dict[str, float] = {}  # event that people know of -> when they were last told
        self._cameras: dict[str, _Camera] = {}
        self._alone = False  # the publisher said that it has one camera only
        self._ahead = 0.0  # seconds that our clock is ahead of the publisher's
        self._heard_at = clock.monotonic()
        self._told_silent = False

    def restore(self, said: Mapping[str, float], known: Iterable[str]) -> None:
        """Go on after a restart: `said`, text -> Unix seconds when it was said last; `known`: open events
        whose start was said.
        """
        ahead = self._clock.monotonic() - self._clock.wall()
        self._said.update({text: at + ahead for text, at in said.items()})
        for event in known:
            self._remember(event)

    # ---- in

    def message(self, message: Message) -> list[Utterance]:
        """What one message of the bus makes us say."""
        if isinstance(message, EventMessage):
            return self._event(message)
        if isinstance(message, StatusMessage):
            return self._status(message)
        if isinstance(message, HeartbeatMessage):
            self._ahead = self._clock.wall() - message.sent_at
            self._alone = len(message.cameras) == 1
        elif isinstance(message, Gap) and message.kind == "event":
            return [self._decide(self._make("missed", self._phrase("missed")))]
        return []

    def tick(self, connected: bool) -> list[Utterance]:
        """What time alone brings. `connected`: the publisher was heard lately."""
        now = self._clock.monotonic()
        if connected:
            self._heard_at = now
        silent = now - self._heard_at >= SILENCE
        said = []
        if silent != self._told_silent and (silent or connected):
            said += self._now_or_later(self._make("silent" if silent else "heard",
                                                  self._phrase("silent" if silent else "heard"),
                                                  self._settings.camera_lost))  # fmt: skip
            if said:
                self._told_silent = silent
        if not silent:
            for name, camera in self._cameras.items():
                said += self._camera(name, camera, now)
        return said

    # ---- events

    def _event(self, event: EventMessage) -> list[Utterance]:
        if event.phase == "update":
            return self._update(event)
        own = self._label(event.label)
        started = event.phase == "start"
        utterance = self._of(event, "start" if started else "end", self._sentence(event, own, started))
        reason = None
        chosen = bool(self._settings.label)
        wanted = self._events.wants_subject(event) or (own != LabelSettings() and not chosen)
        if not started and self._open.pop(event.id, None) is None:
            reason = "its start was not said"
        elif not started and event.reason:
            reason = f"it was cut short: {plain(event.reason)}"
        elif not started and self._settings.verbosity == "brief":
            reason = "verbosity"
        elif started and not wanted:
            reason = "label not wanted" if chosen else "nothing happens"
        decided = self._decide(utterance, reason)
        ends_alone = own.start == "" and wanted  # nothing is said of its start
        if started and (decided.left_out is None or ends_alone):
            self._remember(event.id)
        return [decided]

    def _update(self, event: EventMessage) -> list[Utterance]:
        told, now = self._open.get(event.id), self._clock.monotonic()
        if told is None or self._settings.verbosity != "full" or now - told < self._settings.goes_on_every:
            return []
        sentence = self._sentence(event, self._label(event.label), True)
        text = fill(self._phrase("goes_on"), {"sentence": sentence}) if sentence else ""
        decided = self._decide(self._of(event, "goes_on", text))
        if decided.left_out is not None:
            return []
        self._open[event.id] = now
        return [decided]

    def _remember(self, event: str) -> None:
        self._open[event] = self._clock.monotonic()
        if len(self._open) > MOST_REMEMBERED:
            del self._open[next(iter(self._open))]

    def _of(self, event: EventMessage, kind: str, text: str) -> Utterance:
        own, camera = self._label(event.label), self._its(event.camera)
        priority = own.priority if own.priority is not None else self._settings.priority
        if camera.priority is not None:
            priority = max(priority, camera.priority)
        if kind != "start":  # nothing that ends, or goes on, is worth breaking in for
            priority = min(priority, Priority.NORMAL)
        made = self._make(kind, text, priority, event.sent_at + self._ahead)
        return replace(made, camera=event.camera, label=event.label, seq=event.seq, event=event.id)

    def _sentence(self, event: EventMessage, own: LabelSettings, start: bool) -> str:
        """With the camera's name where it is wanted; "" where the label is not to be spoken of."""
        camera, users = self._name(event.camera), own.start if start else own.end
        if users is not None and "{camera}" in users:
            return plain(fill(users, {"camera": camera}))
        sentence = plain(self._placed(event, self._theirs(event, start)) if users is None else users)
        named = self._settings.camera_names
        if not sentence or named == "never" or (named == "auto" and self._alone):
            return sentence
        return plain(fill(self._phrase("joined"), {"camera": _capital(camera), "sentence": sentence}))

    def _theirs(self, event: EventMessage, start: bool) -> str:
        """The label set's sentence; of a label it does not know, with the name that the publisher shows."""
        told = event.raw.get("event", {}).get("display")
        known = self._names.display(event.label) != event.label or event.label in self._names.texts
        if known or not isinstance(told, str) or not told.strip():
            return self._names.sentence(event.label, start=start)
        return (self._names.start if start else self._names.end).replace("{}", told)

    def _placed(self, event: EventMessage, sentence: str) -> str:
        """Where somebody is, who is followed: of several always, of one who is alone if clearly at a side.

        Never who: a number that a program gave means nothing to people.
        """
        if event.track is None or not sentence:
            return sentence
        left, _, width, _ = event.track.box
        following = self._cameras[event.camera].following if event.camera in self._cameras else 0
        if following >= 2:
            middle = left + width / 2
            side = "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"
        else:
            side = "left" if left + width < SIDE else "right" if left > 1 - SIDE else ""
        return fill(self._phrase(side), {"sentence": sentence}) if side else sentence

    def _label(self, label: str) -> LabelSettings:
        """The user's word on a label, under any of its names."""
        labels = self._settings.labels
        return labels.get(self._names.known_as(label, labels)) or LabelSettings()

    # ---- cameras

    def _status(self, status: StatusMessage) -> list[Utterance]:
        state = "lost" if status.state in _LOST else status.state if status.state == "ended" else "there"
        if status.camera not in self._cameras and len(self._cameras) >= MOST_CAMERAS:
            return []
        camera = self._cameras.setdefault(status.camera, _Camera())
        camera.following = status.following or 0
        if status.state == "connecting":
            return []  # neither there nor lost yet
        if state != camera.state:
            camera.state, camera.since = state, self._clock.monotonic()
        return self._camera(status.camera, camera, self._clock.monotonic())

    def _camera(self, name: str, camera: _Camera, now: float) -> list[Utterance]:
        if camera.state == camera.said or now - camera.since < self._settings.settle:
            return []
        kind = {"there": "back"}.get(camera.state, camera.state)
        text = plain(fill(self._phrase(kind), {"camera": _capital(self._name(name))}))
        own = self._its(name)
        priority = max(self._settings.camera_lost, own.priority or Priority.LOW)
        said = self._now_or_later(replace(self._make(kind, text, priority), camera=name))
        if said:
            camera.said = camera.state
        return said

    def _now_or_later(self, utterance: Utterance) -> list[Utterance]:
        """A state waits where it was told lately, and in quiet hours; it is told later, if it still holds."""
        waits = self._repeats(utterance) or self._hushed(utterance)
        return [] if waits else [self._decide(utterance)]

    # ---- whether

    def _decide(self, utterance: Utterance, reason: str | None = None) -> Utterance:
        reason = reason or self._against(utterance)
        if reason is None:
            self._said[utterance.text] = utterance.made
            for text in list(self._said)[: len(self._said) - MOST_REMEMBERED]:
                del self._said[text]
        return replace(utterance, left_out=reason)

    def _against(self, utterance: Utterance) -> str | None:
        if utterance.camera is not None and not self._wanted(utterance.camera):
            return "camera not wanted"
        if not utterance.text:
            return "label not wanted"
        if 0 < self._settings.fresh < self._clock.wall() - utterance.at:
            return "old news"
        if self._repeats(utterance):
            return "said a short while ago"
        return "quiet hours" if self._hushed(utterance) else None

    def _repeats(self, utterance: Utterance) -> bool:
        own = self._label(utterance.label).repeat_after if utterance.label is not None else None
        window = self._settings.repeat_after if own is None else own
        before = self._said.get(utterance.text)
        return before is not None and utterance.made - before < window

    def _hushed(self, utterance: Utterance) -> bool:
        if utterance.priority >= self._settings.quiet_priority:
            return False
        now = datetime.fromtimestamp(self._clock.wall())
        minute = now.hour * 60 + now.minute
        return any(within(minute, first, last) for first, last in self._quiet)

    # ---- words

    def _make(
        self, kind: str, text: str, priority: Priority | None = None, at: float | None = None
    ) -> Utterance:
        level = self._settings.priority if priority is None else priority
        wall = self._clock.wall()
        return Utterance(text, kind, level, wall if at is None else at, self._clock.monotonic())

    def _phrase(self, name: str) -> str:
        return self._names.phrases.get(name) or ENGLISH[name]

    def _its(self, camera: str) -> CameraSettings:
        return self._settings.cameras.get(camera) or CameraSettings.model_validate({})

    def _wanted(self, camera: str) -> bool:
        return self._its(camera).say and (not self._settings.camera or camera in self._settings.camera)

    def _name(self, camera: str) -> str:
        return plain(self._its(camera).name or "") or name_of(camera)


def within(minute: int, first: int, last: int) -> bool:
    """Whether a minute of the day lies in a span, which may go across midnight."""
    return first <= minute < last if first < last else minute >= first or minute < last


def _capital(name: str) -> str:
    """A name at the beginning of a sentence. Turkish i is left alone: its capital is another letter."""
    return name if name[:1] == "i" else name[:1].upper() + name[1:]
