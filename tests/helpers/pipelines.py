"""Parts that tests of the whole program share: a sink that keeps what comes, a scripted model, a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from streamer.config import BusConfig, CameraConfig, CaptureConfig, Config, JournalConfig, Pace
from streamer.pipeline.pipeline import Pipeline
from streamer.pipeline.results import RunResult

QUIET: dict[str, Any] = {
    "bus": BusConfig(bind=""),
    "journal": JournalConfig(path=""),
    "pace": Pace.FAST,
    "capture": CaptureConfig(give_up=True),
}
DEMO = CameraConfig(name="demo", source="demo")
LONGEST = 20.0  # seconds that anything here may take on a busy machine


class Collect:
    """A sink that keeps every message."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.messages.append(dict(message))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


def watch(
    config: Config, recognizer: Any = None, stop: threading.Event | None = None
) -> tuple[RunResult, Collect]:
    sink = Collect()
    with Pipeline(config, recognizer=recognizer, sinks=[sink]) as pipeline:
        result = pipeline.run(stop or threading.Event())
    return result, sink


class Waiting(Collect):
    """A sink whose messages can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Condition()
        self.changes: list[int] = []  # numbers of the label changes that statuses told of

    def send(self, topic: str, message: Any) -> None:
        with self._came:
            super().send(topic, message)
            number = message.get("labels_changed", {}).get("change")
            if number is not None and number not in self.changes[-1:]:
                self.changes.append(number)
            self._came.notify_all()

    def wait_for_change(self, number: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: self.changes[-1:] == [number], LONGEST), number

    def wait(self, wanted: Callable[[dict[str, Any]], bool], after: int = 0) -> dict[str, Any]:
        """The first message of those after number `after` that is wanted."""

        def found() -> dict[str, Any] | None:
            return next((message for message in self.messages[after:] if wanted(message)), None)

        with self._came:
            assert self._came.wait_for(found, LONGEST), f"did not come; {self.messages[-3:]}"
            message = found()
        assert message is not None
        return message


@contextmanager
def running(config: Config, **more: Any) -> Iterator[tuple[Pipeline, Waiting]]:
    """A pipeline on its thread; what it raises is raised here."""
    sink, stop = Waiting(), threading.Event()
    failed: list[BaseException] = []
    with Pipeline(config, sinks=[sink], **more) as pipeline:

        def run() -> None:
            try:
                error = pipeline.run(stop).error
                if error is not None:
                    failed.append(error)
            except BaseException as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=run, name="pipeline")
        thread.start()
        try:
            yield pipeline, sink
        finally:
            stop.set()
            thread.join(LONGEST)
    if failed:
        raise failed[0]
