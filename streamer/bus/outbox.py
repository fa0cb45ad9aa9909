"""What waits for the bus thread: of predictions only the newest, of events and states all."""

from __future__ import annotations

import socket
import threading
from collections import deque
from dataclasses import dataclass, replace

from streamer.bus.forwarded_events import End, Origin
from streamer.bus.wire import Body
from streamer.types import CameraStatus

MAX_PREDICTIONS = 256  # of all cameras together: seconds of them


@dataclass(frozen=True, slots=True)
class Item:
    """One message to be: a body, or a status of which the body is made when it is sent."""

    number: int
    body: Body | None = None
    captured: float | None = 0.0  # predictions: monotonic seconds of the newest frame; None: ready-made
    status: CameraStatus | None = None
    forget: str = ""  # nothing to be sent: this camera has gone
    end: End | None = None  # events to be ended that somebody left open
    origin: Origin | None = None  # a place in another history, of which nothing is told
    followed: frozenset[str] = frozenset()  # histories whose places are kept in any case
    may_start: bool = True  # events: forwarded ones that begin here


class Outbox:
    """Thread-safe. `put_*` may be called by any thread, `take` and `statuses` by the bus thread.

    Predictions: the newest win, the oldest waiting one is dropped and counted; with `complete` the caller
    waits for room instead. Events and changes of a camera's state are never dropped. `wake` becomes
    readable when something waits.
    """

    def __init__(self, *, complete: bool = False) -> None:
        self._complete = complete
        self._patient = complete
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._numbers = 0
        self._predictions: deque[Item] = deque()
        self._others: deque[Item] = deque()
        self._statuses: dict[str, CameraStatus] = {}
        self._previews: dict[str, Item] = {}  # camera -> its newest picture
        self._closed = False
        self._woken = False
        self.dropped = 0
        self.late = 0  # predictions and events that came after the end
        self.wake, self._wake_writer = socket.socketpair()
        self.wake.setblocking(False)
        self._wake_writer.setblocking(False)

    def put_prediction(self, body: Body, captured: float | None) -> None:
        with self._lock:
            while self._patient and len(self._predictions) >= MAX_PREDICTIONS and not self._closed:
                self._room.wait(0.5)
            if self._closed:
                self.late += 1
                return
            if not self._complete and len(self._predictions) >= MAX_PREDICTIONS:
                self._predictions.popleft()
                self.dropped += 1
            self._predictions.append(Item(self._next(), body, captured))
            self._ring()

    def put_event(self, body: Body, *, may_start: bool = True) -> None:
        """An event; or a ready-made message that is not dropped either."""
        self._put(Item(0, body, may_start=may_start))

    def put_end(self, end: End) -> None:
        self._put(Item(0, end=end))

    def put_origin(self, origin: Origin, followed: frozenset[str]) -> None:
        self._put(Item(0, origin=origin, followed=followed))

    def _put(self, item: Item) -> None:
        with self._lock:
            if self._closed:
                self.late += 1
                return
            self._others.append(replace(item, number=self._next()))
            self._ring()

    def ring(self) -> None:
        """Have the bus thread look at its work; any thread."""
        with self._lock:
            if not self._closed:
                self._ring()

    def put_preview(self, body: Body) -> None:
        """One picture of each camera waits: a newer one takes its place."""
        with self._lock:
            if not self._closed:
                self._previews[body["camera"]] = Item(self._next(), body)
                self._ring()

    def put_status(self, status: CameraStatus) -> None:
        """A new state goes out at once; new counters of the same state wait for the next repetition."""
        with self._lock:
            if self._closed:
                return
            before = self._statuses.get(status.camera)
            self._statuses[status.camera] = status
            if before is None or _told(before) != _told(status):
                self._others.append(Item(self._next(), status=status))
                self._ring()

    def forget(self, camera: str) -> None:
        """A camera has gone: after what waits of it, nothing more is told of it."""
        with self._lock:
            self._statuses.pop(camera, None)
            if not self._closed:
                self._others.append(Item(self._next(), forget=camera))
                self._ring()

    def take(self, limit: int) -> list[Item]:
        """Up to `limit` items in the order in which they were put; pictures last."""
        taken: list[Item] = []
        with self._lock:
            while len(taken) < limit:
                if self._others and not (
                    self._predictions and self._predictions[0].number < self._others[0].number
                ):
                    taken.append(self._others.popleft())
                elif self._predictions:
                    taken.append(self._predictions.popleft())
                elif self._previews:
                    taken.append(self._previews.pop(next(iter(self._previews))))
                else:
                    break
            if self._complete:
                self._room.notify_all()
        return taken

    def statuses(self) -> dict[str, CameraStatus]:
        """The newest status of each camera."""
        with self._lock:
            return dict(self._statuses)

    def told_statuses(self) -> list[CameraStatus]:
        """The newest statuses of cameras of which no change waits: a repetition would overtake it, and the
        events before it.
        """
        with self._lock:
            changing = {item.status.camera for item in self._others if item.status is not None}
            return [status for camera, status in self._statuses.items() if camera not in changing]

    def __len__(self) -> int:
        with self._lock:
            return len(self._predictions) + len(self._others) + len(self._previews)

    def answer(self) -> None:
        """Clear the wake-up signal, before taking."""
        with self._lock:
            if self._woken:
                self._woken = False
                self.wake.recv(1)

    def stop_waiting(self) -> None:
        """The end is near: nobody waits for room from now on; the little that still comes is taken."""
        with self._lock:
            self._patient = False
            self._room.notify_all()

    def close(self) -> None:
        """Nothing more is accepted; whoever waits for room continues; the bus thread wakes."""
        with self._lock:
            self._closed = True
            self._previews.clear()
            self._ring()
            self._room.notify_all()

    def release(self) -> None:
        """Give the sockets back, once nobody polls `wake` any more."""
        with self._lock:
            self._woken = True
            self.wake.close()
            self._wake_writer.close()

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _ring(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake_writer.send(b"!")


def _told(status: CameraStatus) -> tuple[object, ...]:
    return (
        status.state,
        status.since,
        status.detail,
        status.code,
        status.width,
        status.height,
        status.picture,
        status.labels_changed,
    )
