"""How a subscriber follows a publisher, without sockets: bytes in, messages out, and what to ask next.

The rule that makes "nothing missed, nothing twice" true: events are given out in the order of their numbers
only. `_position` is the last number given out (or accounted for). A live event with the next number is
given out; with a smaller one it is a double; with a greater one it waits, and what lies between is asked
for. A heartbeat names the newest number, so that even the loss of the last event shows. After every restart
of the publisher the history is asked first, with the session of our last event, so that the publisher can
tell where its numbers were given anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from streamer.bus import wire
from streamer.bus.messages import (
    EventMessage,
    EventsPage,
    Gap,
    HeartbeatMessage,
    Message,
    parse,
    parse_events,
)
from streamer.bus.position import Position
from streamer.system.clock import Clock

SILENCE = 3.0  # seconds without any message after which a publisher counts as gone
PATIENCE = 2.0  # seconds to wait for an answer
ATTEMPTS = (
    3  # requests that went unanswered, or could not be sent, after which live events are given out with a gap
)
MAX_HELD = 1000  # live events kept while the history is asked; more come with the history anyway
MAX_HISTORIES = 16
MAX_KINDS = 32  # of messages, whose numbers are watched; a publisher makes five
_FLEETING = ("heartbeat", "preview")  # kinds of which nobody misses one


class SubscriberProtocol:
    """The protocol of one subscriber. `received` and `replied` take what arrived, `request` says what to
    send.
    """

    def __init__(self, topics: Sequence[str], since: Position | None, clock: Clock) -> None:
        self._topics = tuple(topics) or ("",)
        self._clock = clock
        self._start = None if since is None else since.start
        self._follows_events = any(_overlap("event/", topic) for topic in self._topics)
        self._replays = since is not None and self._follows_events
        self.subscriptions = _subscriptions(self._topics)
        self.requests_endpoint: str | None = None  # as announced; may name a wildcard host
        self.announced = False  # a heartbeat came: before it nobody knows where requests are answered
        self.invalid = 0
        self._heard_at: float | None = None
        self._session = ""  # of the newest message
        self._seqs: dict[str, int] = {}
        self._journal: str | None = None
        self._position: int | None = None
        self._position_session = ""  # the session that gave out that number
        self._histories: dict[str, tuple[int, str]] = {}
        if since is not None and since.by == "seq":
            self._position = since.seq
            self._position_session, self._journal = since.session, since.journal or None
            self._histories = {journal: (seq, session) for journal, seq, session in since.elsewhere}
        self._synced = not self._replays
        self._held: dict[int, EventMessage] = {}
        self._last_contact: float | None = None
        self._asked: tuple[str, float, str | None] | None = None  # id, deadline, history it was meant for
        self._counter = self._attempts = 0
        self._asking_since: float | None = None  # monotonic seconds; of this attempt
        self._began_at: float | None = None  # Unix seconds of the publisher's start

    def want(self, topic: str, wanted: bool) -> None:
        """Give out one more topic, or no longer."""
        others = tuple(one for one in self._topics if one != topic)
        self._topics = (*others, topic) if wanted else others

    # ---- what a user may know

    @property
    def connected(self) -> bool:
        """Whether anything was heard within the last 3 s."""
        return self._heard_at is not None and self._clock.monotonic() - self._heard_at < SILENCE

    @property
    def caught_up(self) -> bool:
        """Whether nothing of the history is waited for."""
        return self._synced

    @property
    def position(self) -> Position | None:
        """Where a later subscriber has to go on: give it as `since`. None: no number known yet."""
        others = {**self._histories}
        if self._position is not None:
            others.pop(self._journal or "", None)
            others[self._journal or ""] = (self._position, self._position_session)
        if not others:
            return None
        journal, (seq, session) = others.popitem()
        older = tuple((name, *where) for name, where in others.items())
        return Position("seq", seq, session, journal, older, self._start)

    # ---- input

    def received(self, parts: Sequence[bytes]) -> list[Message]:
        """One message of the PUB socket; what is to be given out because of it."""
        try:
            if len(parts) != 2:
                raise ValueError(f"a message has two parts, not {len(parts)}")
            topic, message = parts[0].decode("utf-8", "replace"), parse(wire.decode(parts[1]))
        except ValueError:
            self.invalid += 1
            return []
        assert not isinstance(message, Gap)
        self._heard_at = self._clock.monotonic()
        if message.session != self._session:
            self._session = message.session
            self._seqs.clear()
        if isinstance(message, EventMessage):
            return list(self._event(message))
        given = list(self._missing(message.type, message.seq))
        if isinstance(message, HeartbeatMessage):
            given += self._heartbeat(message)
        if self._wants(topic):
            given.append(message)
        self._last_contact = message.sent_at
        return given

    def replied(self, data: bytes) -> list[Message]:
        """One answer of the requests endpoint."""
        try:
            reply = wire.decode(data)
            if self._asked is None or reply.get("id") != self._asked[0]:
                return []
            if reply.get("type") != "events":
                raise ValueError(str(reply.get("message")))
            page = parse_events(reply)
        except ValueError:
            self.invalid += 1  # the request's deadline passes, and it is sent again
            return []
        self.invalid += page.invalid
        meant_for, self._asked, self._asking_since = self._asked[2], None, None
        if meant_for is not None and meant_for != page.journal:
            self._turn(page.session, page.journal)  # another history answers: ask again, with what is known
            return []
        self._journal = page.journal
        return list(self._page(page))

    # ---- output

    def request(self) -> bytes | None:
        """The request to be sent now; None: nothing to ask, or still waiting for an answer."""
        if self._synced:
            return None
        if self._position is None and self._start is None and self._began_at is None:
            return None  # a history unknown to us: its heartbeat says from when on it concerns us
        now = self._clock.monotonic()
        if self._asked is not None and now < self._asked[1]:
            return None
        if not self.connected or self._asking_since is None:
            self._asking_since, self._attempts = now, 0
        elif now >= self._asking_since + PATIENCE:
            self._asking_since, self._attempts = now, self._attempts + 1
        self._counter += 1
        marker = f"follow-{self._counter}"
        self._asked = (marker, now + PATIENCE, self._journal)
        asked: dict[str, Any] = {"op": "events", "id": marker, "limit": 500}
        if self._position is not None:
            asked["after"] = self._position
            if self._position_session:
                asked["session"] = self._position_session
        else:
            asked["since"] = self._asked_since()
        return wire.encode(asked)

    def unsent(self) -> None:
        """The request could not be sent: it is not waited for."""
        self._asked = None

    def given_up(self) -> list[Message]:
        """What is given out because the history does not answer while the publisher lives; often nothing."""
        if self._synced or self._attempts < ATTEMPTS or not self.connected:
            return []
        return list(self._go_on_without())

    # ---- events

    def _event(self, event: EventMessage) -> Iterator[Message]:
        if not self._replays:
            yield from self._live_event(event)
        elif event.session != self._position_session and self._synced:
            self._synced = False  # the publisher was restarted: the history first
            self._hold(event)
        else:
            self._hold(event)
            if self._synced:
                yield from self._release()
        self._last_contact = event.sent_at

    def _live_event(self, event: EventMessage) -> Iterator[Message]:
        if self._position is not None and event.session == self._position_session:
            if event.seq <= self._position:
                return
            yield from self._lost(event.seq - 1, "lost")
        self._position, self._position_session = event.seq, event.session
        if self._wants(wire.topic_of(event.raw)):
            yield event

    def _heartbeat(self, beat: HeartbeatMessage) -> Iterator[Message]:
        raw = beat.raw
        announced, journal = raw.get("requests"), str(raw.get("journal", ""))
        self.announced = True
        self.requests_endpoint = announced if isinstance(announced, str) else None
        began = raw.get("started_at")
        self._began_at = beat.sent_at if began is None else float(began)
        if not self._replays:
            yield from self._live_heartbeat(beat, journal)
            return
        if self._journal is not None and journal != self._journal:
            self._turn(beat.session, journal)
        elif beat.session != self._position_session or beat.last_event_seq > (self._position or 0):
            self._synced = False
        if not self._synced and "requests" in raw and announced is None:
            self._journal = journal
            yield from self._go_on_without(beat.last_event_seq)

    def _live_heartbeat(self, beat: HeartbeatMessage, journal: str) -> Iterator[Message]:
        same = self._journal == journal
        if self._position is not None and (same or self._position_session == beat.session):
            yield from self._lost(beat.last_event_seq, "lost")
        self._journal = journal
        self._position, self._position_session = beat.last_event_seq, beat.session

    def _page(self, page: EventsPage) -> Iterator[Message]:
        """One page of the history."""
        self._position = page.after
        for event in page.events:
            if event.seq > self._position:
                yield from self._lost(event.seq - 1, "expired")
                yield from self._give(event)
        if page.more and self._position > page.after:
            return  # `request` asks on from here
        yield from self._lost(page.last_event_seq, "expired")
        self._position_session = page.session  # that number holds in this session
        self._synced = True
        self._held = {seq: event for seq, event in self._held.items() if event.session == page.session}
        yield from self._release()

    def _release(self) -> Iterator[Message]:
        """Give out held live events as far as they follow the position without a gap."""
        assert self._position is not None
        for seq in sorted(self._held):
            if seq <= self._position:
                del self._held[seq]
            elif seq == self._position + 1:
                yield from self._give(self._held.pop(seq))
        if self._held:
            self._synced = False

    def _go_on_without(self, last: int | None = None) -> Iterator[Message]:
        """The history cannot be had: say what is missing, and follow what is live."""
        self._asking_since, self._attempts, self._asked, self._synced = None, 0, None, True
        held = sorted(self._held.values(), key=lambda event: event.seq)
        first = held[0].seq - 1 if held else last
        if self._position is None:
            self._position = first or 0
        for event in held:
            if event.seq > self._position:
                yield from self._lost(event.seq - 1, "no replay")
                yield from self._give(event)
        self._held.clear()
        if last is not None:
            yield from self._lost(last, "no replay")
        self._position_session = self._session

    def _give(self, event: EventMessage) -> Iterator[Message]:
        self._position, self._position_session = event.seq, event.session
        if self._wants(wire.topic_of(event.raw)):
            yield event

    def _lost(self, until: int, reason: str) -> Iterator[Message]:
        """Account for the numbers up to `until` that never came."""
        if self._position is not None and until > self._position:
            if self._follows_events:
                yield Gap("event", self._position + 1, until, reason)
            self._position = until

    def _hold(self, event: EventMessage) -> None:
        if len(self._held) >= MAX_HELD:
            del self._held[min(self._held)]
        self._held[event.seq] = event

    def _turn(self, session: str, journal: str) -> None:
        """Another history than before: go on where we left it, or where we lost contact if it is new to
        us.
        """
        if self._journal is not None and self._position is not None:
            self._histories.pop(self._journal, None)
            self._histories[self._journal] = (self._position, self._position_session)
            if len(self._histories) > MAX_HISTORIES:
                del self._histories[next(iter(self._histories))]
        if session != self._position_session:  # within a session numbers go on, whatever file they are in
            self._position, self._position_session = self._histories.get(journal, (None, ""))
        self._journal, self._asked, self._synced = journal, None, False

    def _asked_since(self) -> float:
        """From which time, in a history of which we have no number yet."""
        if self._start is not None:
            return self._start
        return max(0.0, min(at for at in (self._last_contact, self._began_at) if at is not None))

    # ---- the other kinds

    def _missing(self, kind: str, seq: int) -> Iterator[Message]:
        """A gap in a kind of which all messages are subscribed to."""
        if kind not in self._seqs and len(self._seqs) >= MAX_KINDS:
            return
        before = self._seqs.get(kind)
        self._seqs[kind] = seq
        whole = any(f"{kind}/".startswith(topic) for topic in self._topics)
        if before is not None and seq > before + 1 and whole and kind not in _FLEETING:
            yield Gap(kind, before + 1, seq - 1, "lost")

    def _wants(self, topic: str) -> bool:
        return topic.startswith(self._topics)


def _subscriptions(topics: Sequence[str]) -> list[bytes]:
    """What to subscribe to: heartbeats always, and all events where some are wanted (their gaps must
    show).
    """
    wanted = {"heartbeat/"}
    for topic in topics:
        wanted.add("event/" if topic.startswith("event/") else topic)
    if "" in wanted:
        wanted = {""}
    return [topic.encode("utf-8", "replace") for topic in sorted(wanted)]


def _overlap(kind: str, topic: str) -> bool:
    return kind.startswith(topic) or topic.startswith(kind)
