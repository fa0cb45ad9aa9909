"""The publisher: what the rest of the program sees of the bus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from streamer.bus import wire
from streamer.bus.forwarded_events import End, Origin
from streamer.bus.outbox import Outbox
from streamer.bus.sinks import Sink, SinkThread
from streamer.config import BusConfig, JournalConfig
from streamer.errors import BusError
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import CameraStatus, Event, LabelScore, LaneResult, Prediction, PublisherState, Track

if TYPE_CHECKING:
    from streamer.bus.bus_loop import BusThread
    from streamer.bus.requests import Handler

CLOSE_TIMEOUT = 2.5  # seconds after which a stuck bus thread is left behind


class Publisher:
    """Publishes predictions, events and statuses; a context manager.

    Entering binds the sockets and opens the history; BusError says what is wrong with an endpoint or a key.
    The public methods are thread-safe and never block (with `complete`, for files that are to be read
    whole, `prediction` waits for room instead of dropping). With `bind=""` there are no sockets, but
    messages are made, kept in the history and given to the sinks all the same.

    `on_problem` gets one line, from any thread, whenever people should know something; it must not block.
    `handlers` adds operations to the requests endpoint: name -> function(request, peer) -> reply's keys.
    `display`: label -> display name, which messages carry beside the label. `admit`: asked for each phase of
    an event on the thread that publishes it, for what its message carries besides; None: it is not published.
    `keeps_open`: events that an earlier run left open are not ended but go on. `beat`: what heartbeats carry
    besides; on the bus thread, and quick.
    """

    def __init__(
        self,
        config: BusConfig,
        journal: JournalConfig,
        *,
        sinks: Sequence[Sink] = (),
        clock: Clock = SYSTEM_CLOCK,
        on_problem: Callable[[str], None] = lambda line: None,
        handlers: Mapping[str, Handler] | None = None,
        complete: bool = False,
        display: Callable[[str], str] | None = None,
        admit: Callable[[Event], Mapping[str, Any] | None] | None = None,
        keeps_open: bool = False,
        beat: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._config, self._journal, self._clock = config, journal, clock
        self._sinks, self._handlers, self._complete = sinks, handlers or {}, complete
        self._on_problem = on_problem
        self._display, self._admit = display, admit
        self._keeps_open, self._beat = keeps_open, beat
        self._thread: BusThread | None = None
        self._outbox: Outbox | None = None
        self._unsendable: set[str] = set()
        self._refused = 0  # messages that could not be made

    def __enter__(self) -> Self:
        from streamer.bus.bus_loop import BusThread, Setup

        if self._thread is not None:
            raise BusError("a Publisher is used once; make a new one")
        self._outbox = Outbox(complete=self._complete)
        threads = [SinkThread(sink, self._on_problem, complete=self._complete) for sink in self._sinks]
        setup = Setup(self._config, self._journal, self._clock, self._outbox, threads, self._handlers,
                      self._on_problem, self._keeps_open, self._beat)  # fmt: skip
        self._thread = BusThread(setup)
        try:
            self._thread.start()
        except BaseException:
            self._outbox.release()
            for thread in threads:
                thread.close(0.5)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop_waiting(self) -> None:
        """The end is near: `prediction` does not wait for room from now on, with `complete` neither."""
        self._need().stop_waiting()

    def close(self, stop: threading.Event | None = None) -> None:
        """Send what waits, end the bus thread and close all sockets: within a second, or 2.5 s if it is
        stuck. May be called again.

        With `complete`, `stop` lets it wait for sinks that are slow readers until it is set; None: it is.
        """
        patient = stop if self._complete else None
        if self._thread is not None and not self._thread.close(CLOSE_TIMEOUT, patient):
            self._on_problem(f"the bus did not end within {CLOSE_TIMEOUT:g} s and was left behind")

    # ---- what is published

    def result(self, result: LaneResult) -> None:
        """Publish a window's scores and what became of events."""
        if result.prediction is not None:
            self.prediction(result.prediction, result.stable, result.top)
        for event in result.changes:
            self.event(event)

    def prediction(self, prediction: Prediction, stable: LabelScore | None, top: int) -> None:
        """Publish the `top` best labels of a window, with what is believed after smoothing (None =
        unknown).
        """
        outbox = self._need()
        try:
            body = wire.prediction_body(prediction, stable, top, self._display)
        except ValueError as error:
            self._refuse("prediction", prediction.camera, error)
            return
        outbox.put_prediction(body, prediction.window.frames[-1].captured)

    def event(self, event: Event) -> None:
        """Write one phase of an event into the history, then publish it."""
        outbox = self._need()
        added = {} if self._admit is None else self._admit(event)
        if added is None:
            return
        try:
            body = {**wire.event_body(event, self._display), **added}
        except ValueError as error:
            self._refuse("event", event.camera, error)
            return
        outbox.put_event(body)

    def preview(
        self, camera: str, jpeg: bytes, width: int, height: int, tracks: Iterable[Track] | None = None
    ) -> None:
        """Publish a small picture; one that could not be sent yet gives way to it. Not for the history, nor
        for the sinks. `tracks`: who is followed in it; None: nobody is to be.
        """
        self._need().put_preview(wire.preview_body(camera, jpeg, width, height, tracks))

    def status(self, status: CameraStatus) -> None:
        """Publish a camera's state: at once where it changed, else with the next repetition (every 5 s)."""
        self._need().put_status(status)

    # ---- what others have made

    def forward(self, body: wire.Body, *, may_start: bool = True) -> None:
        """Publish a ready-made message, with a head of our own. An event with `origin` enters the history
        where it begins here (`may_start`) or is open here, once only; its origin is kept either way.
        """
        outbox, kind = self._need(), body["type"]
        if kind == "prediction":
            outbox.put_prediction(body, None)
        elif kind == "preview":
            outbox.put_preview(body)
        else:
            outbox.put_event(body, may_start=may_start)

    def end_left_open(self, worker: str, reason: str, cameras: Iterable[str] | None = None) -> None:
        """End the events that somebody who is gone has left open here, after what was forwarded before."""
        self._need().put_end(End(worker, None if cameras is None else frozenset(cameras), reason))

    def begin_at(self, origin: Origin, followed: Iterable[str] = ()) -> None:
        """Remember from where on another history is followed; `origin` tells when that is written. Of very
        many histories the places are forgotten of which nothing came for longest, never of those `followed`.
        """
        self._need().put_origin(origin, frozenset(followed))

    @property
    def left_by(self) -> frozenset[str]:
        """Those whose events an earlier run left open, and which go on here (`keeps_open`)."""
        return frozenset() if self._thread is None else self._thread.left_by

    def origin(self, journal: str) -> Origin | None:
        """The last place in another history that is in this one's; None: nothing of it."""
        return None if self._thread is None else self._thread.origin(journal)

    @property
    def waiting(self) -> int:
        """How many messages wait to be sent; who forwards others' had better pause where these are many."""
        return 0 if self._outbox is None else len(self._outbox)

    def wanted(self, topic: str) -> bool:
        """Whether somebody subscribes to a topic, or to a part of it."""
        return self._thread is not None and self._thread.wanted(topic)

    def forget(self, camera: str) -> None:
        """A camera was removed: after what was published of it before, heartbeats and snapshots know it no
        more.
        """
        self._need().forget(camera)

    def _need(self) -> Outbox:
        if self._outbox is None:
            raise BusError("the Publisher is not open: use it in a 'with' statement")
        return self._outbox

    def _refuse(self, kind: str, camera: str, error: ValueError) -> None:
        self._refused += 1
        if kind not in self._unsendable:
            self._unsendable.add(kind)
            self._on_problem(f"a {kind} of camera {camera!r} cannot be published: {error}")

    # ---- what can be known of it

    def state(self) -> PublisherState:
        """How it is at this moment; any thread."""
        if self._thread is None:
            return PublisherState()
        state = self._thread.state()
        return replace(state, lost=state.lost + self._refused)

    @property
    def endpoint(self) -> str:
        """Where messages are published, with the real port; "" without a bus."""
        return self.state().endpoint

    @property
    def requests_endpoint(self) -> str | None:
        """Where requests are answered; None where they are not."""
        return self.state().requests_endpoint
