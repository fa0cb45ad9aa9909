"""Posts each event to a URL, signed, in order, until the receiver has accepted it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from streamer import __version__
from streamer.bus import wire
from streamer.bus.messages import EventMessage, Gap
from streamer.subscribers import bridge
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.state_file import StateFile
from streamer.subscribers.stderr_lines import print_line
from streamer.subscribers.webhook import dead_letters, signing
from streamer.subscribers.webhook.http_client import Answer, HttpClient, PostError, Target
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

START_AND_END = EventFilter(phases=("start", "end"))
GONE = 5  # exit code: the receiver answered 410
LONGEST_RETRY_AFTER = 600.0  # seconds; a receiver may ask for more, and is asked again after so many
_TRY_AGAIN = (408, 425, 429)  # of the 4xx: not the request's fault


@dataclass(frozen=True)
class Settings:
    """What one run does. `secrets` never appear anywhere."""

    publisher: PublisherAddress
    target: Target
    state: Path
    dead_letters: Path
    since: Any
    secrets: tuple[bytes, ...] = field(repr=False)
    events: EventFilter = START_AND_END
    timeout: float = 15.0
    max_wait: float = 60.0
    give_up: int = 5
    context: ssl.SSLContext | None = field(default=None, repr=False)


class _GoneError(Exception):
    """The receiver wants no more."""


class WebhookBridge:
    """Follows a publisher and delivers one event after the other."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        tell: Callable[[str], None] = lambda line: print_line(f"webhook: {line}"),
    ) -> None:
        self._settings, self._clock, self._tell = settings, clock, tell
        self._stop = threading.Event()
        self._http = HttpClient(settings.target, settings.timeout, settings.context)
        self._backoff = Backoff(min(1.0, settings.max_wait), settings.max_wait)
        self._delivery = bridge.ProblemReporter(tell, "deliveries work again")
        self._source = bridge.ProblemReporter(tell, f"{settings.publisher.endpoint} is there again")

    def stop(self) -> None:
        """End the wait or the request in progress; the event is delivered by the next run."""
        self._stop.set()
        self._http.abort()

    def run(self) -> int:
        """Deliver until `stop` (0) or until the receiver is gone for good (GONE). Raises BusError."""
        ours = self._settings
        state = StateFile(ours.state, ours.since, clock=self._clock, on_problem=self._tell)
        try:
            with ours.publisher.subscriber(["event/"], state.position) as subscriber:
                self._tell(f"from {ours.publisher.endpoint} to {ours.target.shown}, state in {ours.state}")
                self._follow(subscriber, state)
        except _GoneError as gone:
            self._tell(str(gone))
            return GONE
        finally:
            self._http.close()
            state.close()
        return 0

    def _follow(self, subscriber: Any, state: StateFile) -> None:
        silent_since = self._clock.monotonic()
        while not self._stop.is_set():
            message = subscriber.receive(bridge.POLL)
            if subscriber.connected:
                silent_since = self._clock.monotonic()
                self._source.works()
            elif self._clock.monotonic() - silent_since > 3:
                self._source.fails(f"{self._settings.publisher.endpoint} is silent; waiting for it")
            if isinstance(message, Gap):
                self._tell(bridge.gap_line(message))
            elif isinstance(message, EventMessage) and self._settings.events.wants(message):
                if not self._deliver(message):
                    return
                silent_since = self._clock.monotonic()  # the receiver's time was not the publisher's silence
            state.move(subscriber.position)
            state.tick()

    # ---- one event

    def _deliver(self, message: EventMessage) -> bool:
        """Try until it is accepted or put aside; False when told to stop. Raises _GoneError."""
        key = bridge.idempotency_key(message)
        body = wire.encode({**message.raw, "idempotency_key": key})
        refusals = 0
        self._backoff.reset()
        while not self._stop.is_set():
            wait = self._backoff.next()
            try:
                answer = self._http.post(body, self._headers(key, body))
            except PostError as error:
                if self._stop.is_set():
                    return False
                self._delivery.fails(f"{self._settings.target.shown}: {error}; trying again")
            else:
                verdict = judge(answer.status)
                if verdict == "accepted":
                    self._delivery.works()
                    return True
                what = f"answered {answer.status} {answer.reason}".rstrip()
                if verdict == "gone":
                    raise _GoneError(f"{self._settings.target.shown} {what}: it wants no more events; ended")
                if verdict == "refused":
                    refusals += 1
                    if 0 < self._settings.give_up <= refusals and self._park(message, answer, refusals):
                        return True
                self._delivery.fails(f"{self._settings.target.shown} {what}{_hint(answer)}; trying again")
                wait = max(wait, retry_after(answer.retry_after, self._clock.wall()))
            self._clock.wait(self._stop, wait)
        return False

    def _headers(self, key: str, body: bytes) -> dict[str, str]:
        now = int(self._clock.wall())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"streamer/{__version__}",
            "webhook-id": key,
            "webhook-timestamp": str(now),
        }
        if self._settings.secrets:
            headers["webhook-signature"] = signing.signature(self._settings.secrets, key, now, body)
        return headers

    def _park(self, message: EventMessage, answer: Answer, attempts: int) -> bool:
        """Put an event aside for people to look at; False where that cannot be written."""
        line = {
            "parked_at": round(self._clock.wall(), 3), "status": answer.status, "attempts": attempts,
            "key": bridge.idempotency_key(message), "message": dict(message.raw),
        }  # fmt: skip
        path = self._settings.dead_letters
        try:
            dropped = dead_letters.append(path, line)
        except OSError as error:
            self._tell(f"cannot write {path}: {error}; event {message.seq} is tried on")
            return False
        self._tell(
            f"event {message.seq} ({message.label} {message.phase}) was refused {attempts} times, the last"
            f" with {answer.status} {answer.reason}{_hint(answer)}: put into {path}; continuing"
        )
        if dropped:
            self._tell(f"{path} was full: it is {dropped.name} now, and what had that name is gone")
        return True


def judge(status: int) -> str:
    """What an answer means: accepted; gone, for good; refused: bounded, then parked; later: retried."""
    if 200 <= status < 300:
        return "accepted"
    if status == 410:
        return "gone"
    return "later" if status >= 500 or status in _TRY_AGAIN else "refused"


def retry_after(text: str | None, now: float) -> float:
    """Seconds that `Retry-After` asks for, a number or a date; bounded; 0 for nonsense."""
    if text is None:
        return 0.0
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _hint(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return " (redirects are not followed: give the new address)"
    return " (is the address right, and the secret?)" if answer.status in (401, 403, 404) else ""
