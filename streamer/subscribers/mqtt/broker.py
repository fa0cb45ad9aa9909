"""One connection to an MQTT broker, from CONNECT to its end; nothing of it is used again.

paho-mqtt's own reconnecting and its queue are not used: what was not acknowledged is taken from the
publisher's history again, so memory stays bounded however long a broker is away. paho's thread calls back;
everything else is used on the bridge's thread.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamer.bus.position import Position
from streamer.errors import ConfigError
from streamer.subscribers.mqtt.home_assistant import OFFLINE, Layout
from streamer.system.clock import Clock

if TYPE_CHECKING:
    from streamer.subscribers.mqtt.paho_client import PahoClient

CONNECT = 5.0  # seconds to reach the broker, and again until it has accepted us
KEEPALIVE = 20  # seconds; after one and a half of it without a word the broker publishes our last will
WINDOW = 100  # messages on their way; more are read only when these are acknowledged
SILENCE = 30.0  # seconds without an acknowledgement after which a connection is given up
_REFUSALS = {128, 132, 134, 135}  # unspecified, protocol version, user or password, not authorised


class BrokerError(Exception):
    """No connection, or not any more; `refused`: the broker answered, and does not want us as we are."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class Address:
    """Where the broker is and how to be let in. The password never appears anywhere."""

    host: str
    port: int
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: str = "5"

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def make_context(address: Address) -> ssl.SSLContext:
    """TLS with the broker's name verified. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.certificate_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--ca, --cert, --cert-key: no usable certificate or key there ({error})"
        ) from error
    return context


class Connection:
    """Publishes with QoS 1 and says what was acknowledged, in order."""

    def __init__(self, address: Address, layout: Layout, client_id: str, clock: Clock) -> None:
        self._address, self._layout, self._clock = address, layout, clock
        self.lost = threading.Event()
        self.born = threading.Event()  # Home Assistant has started
        self.disowned = threading.Event()  # we are said to be offline: the will of an earlier connection
        self.progress = threading.Event()
        self._answered = threading.Event()
        self._refusal: tuple[int, str] | None = None
        self.why = ""
        self._failed = ""
        self._acked: set[int] = set()
        self._window: deque[tuple[int, Position | None]] = deque()
        self._acked_at = clock.monotonic()
        self._client = self._make(client_id)

    def _make(self, client_id: str) -> PahoClient:
        from streamer.subscribers.mqtt.paho_client import PahoClient

        made = PahoClient(client_id, five=self._address.protocol == "5", on_fault=self._end)
        made.connect_timeout = CONNECT
        made.will_set(self._layout.availability, OFFLINE, qos=1, retain=True)
        if self._address.user is not None:
            made.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            made.tls_set_context(make_context(self._address))
        made.on_connect, made.on_disconnect = self._on_connect, self._on_disconnect
        made.on_publish, made.on_message = self._on_publish, self._on_message
        return made

    # ---- paho's thread

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = reason.value, str(reason)
        self._answered.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._end(str(reason))

    def _end(self, why: str) -> None:
        self.why = why
        self.lost.set()
        self._answered.set()
        self.progress.set()

    def _on_publish(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._failed = str(reason)
        else:
            self._acked.add(mid)
        self.progress.set()

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        if message.topic == self._layout.birth and message.payload == b"online":
            self.born.set()
        elif message.topic == self._layout.availability and message.payload == OFFLINE:
            self.disowned.set()
        else:
            return
        self.progress.set()

    # ---- the bridge's thread

    def open(self) -> None:
        """Connect and subscribe. Raises BrokerError."""
        try:
            self._client.connect_anew(self._address.host, self._address.port, KEEPALIVE)
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(f"its certificate is not trusted: {error.verify_message} (--ca)") from error
        except (OSError, ValueError) as error:
            raise BrokerError(_why(error)) from error
        self._client.loop_start()
        self._answered.wait(CONNECT)
        if self._refusal is not None:
            number, text = self._refusal
            raise BrokerError(f"refuses us: {text}{self._advice(number)}", refused=number in _REFUSALS)
        if self.lost.is_set() or not self._client.is_connected():
            hint = "; an old one may need --protocol 3.1.1" if self._address.protocol == "5" else ""
            raise BrokerError(f"it does not answer as an MQTT broker ({self.why or 'silence'}{hint})")
        topics = [topic for topic in (self._layout.birth, self._layout.availability) if topic is not None]
        self._client.subscribe([(topic, 1) for topic in topics])
        self._acked_at = self._clock.monotonic()

    def _advice(self, number: int) -> str:
        if number == 132 or (number == 128 and self._address.protocol == "5"):
            return " (a broker of MQTT 3.1.1 only: --protocol 3.1.1)"
        return " (--user, and --password-file or MQTT_PASSWORD)" if number in _REFUSALS else ""

    def publish(self, topic: str, payload: bytes, *, retain: bool, position: Position | None = None) -> None:
        """Send with QoS 1; `position` is passed on by `settle` once this and all before are acknowledged."""
        if not self._window:
            self._acked_at = self._clock.monotonic()
        told = self._client.publish(topic, payload, qos=1, retain=retain)
        self._window.append((told.mid, position))

    def pass_by(self, position: Position | None) -> None:
        """Nothing to send for this position; it counts once all before is acknowledged."""
        self._window.append((0, position))

    @property
    def full(self) -> bool:
        return len(self._window) >= WINDOW

    @property
    def waiting(self) -> int:
        """Messages that were not acknowledged yet."""
        return len(self._window)

    @property
    def idle(self) -> bool:
        return not self._window

    def settle(self) -> Position | None:
        """The newest position of which everything was acknowledged; None: no news.

        Raises BrokerError where the broker refuses a message or acknowledges nothing.
        """
        if self._failed:
            raise BrokerError(f"does not take our messages: {self._failed} (does its access list allow us?)")
        reached: Position | None = None
        while self._window and (self._window[0][0] == 0 or self._window[0][0] in self._acked):
            mid, position = self._window.popleft()
            self._acked.discard(mid)
            self._acked_at = self._clock.monotonic()
            reached = position if position is not None else reached
        if self._window and self._clock.monotonic() - self._acked_at > SILENCE:
            raise BrokerError(f"acknowledged nothing for {SILENCE:g} s")
        return reached

    def close(self) -> None:
        """End the connection; what was not acknowledged is forgotten here."""
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()
        self._client.loop_stop()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it cannot be reached in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
