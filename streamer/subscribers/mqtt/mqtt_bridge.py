"""Events, states and availability to an MQTT broker, described for Home Assistant."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.bus import wire
from streamer.bus.messages import EventMessage, Gap, HeartbeatMessage, StatusMessage
from streamer.bus.position import Position
from streamer.errors import BusError, ConfigError
from streamer.subscribers import bridge
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.mqtt.broker import Address, BrokerError, Connection
from streamer.subscribers.mqtt.camera_pictures import CameraPictures
from streamer.subscribers.mqtt.camera_topics import ALL, Cameras
from streamer.subscribers.mqtt.home_assistant import OFFLINE, ONLINE, Layout
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.stderr_lines import print_line
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

HEALTHY = 10.0  # seconds a connection must have lived for the next wait to be short again
SNAPSHOT_EVERY = 10.0  # seconds between two attempts to learn what is open now
GRACE = 2.0  # seconds, beyond those after which the subscriber doubts, until a publisher counts as silent
PICTURES_ON_THEIR_WAY = 20  # messages, above which no picture is sent
GOODBYE = 1.0  # seconds for the last messages


@dataclass(frozen=True)
class Settings:
    """What one run does."""

    publisher: PublisherAddress
    address: Address
    layout: Layout
    state: Path
    since: Position
    events: EventFilter = ALL
    pictures: float | None = None  # seconds between two live pictures of a camera; None: no picture is sent


def event_payload(message: EventMessage) -> bytes:
    """One phase of an event, flat; the same bytes in every delivery, with a key to know doubles by."""
    raw = message.raw
    head = {"event_type": message.phase, "key": bridge.idempotency_key(message), "camera": message.camera}
    head |= {key: raw[key] for key in ("model", "session", "seq", "track") if key in raw}
    return wire.encode({**head, **raw["event"], **head})


class MqttBridge:
    """Follows a publisher, one broker connection after the other."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        tell: Callable[[str], None] = lambda line: print_line(f"mqtt: {line}"),
    ) -> None:
        self._settings, self._clock, self._tell = settings, clock, tell
        self._stop = threading.Event()
        self._backoff = Backoff(1.0, 30.0)
        self._broker = bridge.ProblemReporter(tell, f"broker {settings.address} is there again")
        self._source = bridge.ProblemReporter(tell, f"{settings.publisher.endpoint} is there again")
        self._pictures: CameraPictures | None = None
        if settings.pictures is not None:
            self._pictures = CameraPictures(
                settings.publisher, settings.layout, settings.events, settings.pictures, clock
            )
        self._asked = "", 0.0  # the session whose snapshot was asked for, and when

    def stop(self) -> None:
        """Say goodbye to the broker and end."""
        self._stop.set()

    def run(self) -> int:
        """Bridge until `stop`. Raises BusError; ConfigError where the broker refuses our very first words."""
        ours = self._settings
        state = StateFile(ours.state, ours.since, clock=self._clock, on_problem=self._tell)
        try:
            if not isinstance(state.extra.get("client"), str):
                # always the same: a broker that has not noticed our end yet lets go of the old connection
                state.extra["client"] = f"streamer-{uuid.uuid4().hex[:12]}"
                state.touch()
            known = [name for name in state.extra.get("cameras", []) if isinstance(name, str)]
            cameras = Cameras(ours.layout, known, self._clock, ours.events)
            self._tell(f"from {ours.publisher.endpoint} to broker {ours.address}, state in {ours.state}")
            welcome = False
            while not self._stop.is_set():
                welcome = self._connect(state, cameras, welcome)
        finally:
            if self._pictures is not None:
                self._pictures.close()
            state.close()
        return 0

    def _connect(self, state: StateFile, cameras: Cameras, welcome: bool) -> bool:
        """One connection, or one attempt; whether any connection was ever accepted."""
        connection = Connection(
            self._settings.address, self._settings.layout, str(state.extra["client"]), self._clock
        )
        began = self._clock.monotonic()
        try:
            connection.open()
            welcome = True
            self._serve(connection, state, cameras)
            reason = f"connection lost ({connection.why})"
        except BrokerError as error:
            reason = str(error)
            if error.refused and not welcome:
                raise ConfigError(f"broker {self._settings.address} {reason}") from error
        finally:
            connection.close()
        if not self._stop.is_set():
            self._broker.fails(f"broker {self._settings.address}: {reason}; trying again, events wait")
            if welcome and self._clock.monotonic() - began > HEALTHY:
                self._backoff.reset()
            self._clock.wait(self._stop, self._backoff.next())
        return welcome

    def _serve(self, connection: Connection, state: StateFile, cameras: Cameras) -> None:
        """Until the connection ends. The subscriber begins behind what was acknowledged, each time."""
        ours = self._settings
        held: dict[str, bytes] = {}  # what this connection has published of the retained messages
        self._asked = "", 0.0
        cameras.await_snapshot()
        connection.publish(ours.layout.availability, ONLINE, retain=True)
        with ours.publisher.subscriber(["event/", "status/", "heartbeat/"], state.position) as subscriber:
            silent_since = self._clock.monotonic()
            while not self._stop.is_set() and not connection.lost.is_set():
                self._settle(connection, state)
                silent_since = self._check_publisher(subscriber, cameras, silent_since)
                self._publish_retained(connection, cameras, held)
                if connection.full:
                    connection.progress.wait(bridge.POLL)
                    connection.progress.clear()
                    silent_since = self._clock.monotonic()  # nobody listened to the publisher meanwhile
                    continue
                message = subscriber.receive(bridge.POLL)
                self._handle(message, subscriber, connection, (state, cameras))
                self._send_pictures(connection)
        if connection.lost.is_set():
            self._settle(connection, state)  # what was acknowledged before, and why it ended if it says
        else:
            self._goodbye(connection, state)

    def _settle(self, connection: Connection, state: StateFile) -> None:
        reached = connection.settle()
        if reached is not None:
            state.move(reached)
            self._broker.works()
        state.tick()

    def _check_publisher(self, subscriber: Any, cameras: Cameras, silent_since: float) -> float:
        """Whether the publisher lives; returns since when it does not."""
        now = self._clock.monotonic()
        if subscriber.connected:
            cameras.heard(True)
            self._source.works()
            return now
        if now - silent_since > GRACE:
            cameras.heard(False)
            self._source.fails(f"{self._settings.publisher.endpoint} is silent; waiting for it")
        return silent_since

    def _publish_retained(self, connection: Connection, cameras: Cameras, held: dict[str, bytes]) -> None:
        if connection.born.is_set():  # Home Assistant begins with nothing
            connection.born.clear()
            held.clear()
        if connection.disowned.is_set():  # an earlier connection's last will came late
            connection.disowned.clear()
            connection.publish(self._settings.layout.availability, ONLINE, retain=True)
        if not cameras.dirty and held:
            return
        cameras.dirty = False
        for topic, payload in list(cameras.retained.items()):
            if held.get(topic) != payload:
                connection.publish(topic, payload, retain=True)
                held[topic] = payload

    def _handle(
        self, message: Any, subscriber: Any, connection: Connection, mine: tuple[StateFile, Cameras]
    ) -> None:
        state, cameras = mine
        if isinstance(message, EventMessage):
            topic = self._settings.layout.of(message.camera, "event")
            cameras.event(message)
            if self._pictures is not None:
                self._pictures.event(message)
            if self._settings.events.wants(message):
                position = subscriber.position
                connection.publish(topic, event_payload(message), retain=False, position=position)
            else:
                connection.pass_by(subscriber.position)
        elif isinstance(message, Gap):
            if message.kind == "event":
                self._tell(bridge.gap_line(message))
                connection.pass_by(subscriber.position)
        elif isinstance(message, StatusMessage):
            cameras.status(message)
        elif isinstance(message, HeartbeatMessage):
            self._heartbeat(message, subscriber, cameras)
            if cameras.names != state.extra.get("cameras"):
                state.extra["cameras"] = cameras.names
                state.touch()
            if subscriber.position is not None and subscriber.position != state.position and connection.idle:
                connection.pass_by(subscriber.position)

    def _heartbeat(self, message: HeartbeatMessage, subscriber: Any, cameras: Cameras) -> None:
        now = self._clock.monotonic()
        tried, at = self._asked
        unknown = message.session != cameras.session and now - at >= SNAPSHOT_EVERY
        if message.session != tried or unknown:
            self._asked = message.session, now
            if self._pictures is not None:
                self._pictures.learn(subscriber)
                kept = self._pictures.folder is not None
                cameras.pictures(live=self._pictures.live, kept=kept)
            try:
                cameras.snapshot(subscriber.snapshot())
            except BusError:  # it answers no requests, or not now: what comes is all there is
                cameras.forget_snapshot()
        for name in cameras.heartbeat(message):
            self._tell(f"camera {name} is gone: removed from the broker")

    def _send_pictures(self, connection: Connection) -> None:
        """While few messages are on their way: events go first."""
        if self._pictures is not None and connection.waiting < PICTURES_ON_THEIR_WAY:
            self._pictures.poll(lambda topic, data, keep: connection.publish(topic, data, retain=keep))

    def _goodbye(self, connection: Connection, state: StateFile) -> None:
        """Offline by our own word, once everything before it was acknowledged; bounded."""
        connection.publish(self._settings.layout.availability, OFFLINE, retain=True)
        end = self._clock.monotonic() + GOODBYE
        try:
            while not connection.idle and not connection.lost.is_set() and self._clock.monotonic() < end:
                connection.progress.wait(0.05)
                connection.progress.clear()
                self._settle(connection, state)
        except BrokerError:
            return
