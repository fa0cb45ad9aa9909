"""`--ui plain`: one line of words per change, for screen readers and log files."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streamer.config import Ui
from streamer.dashboard.background_writer import BackgroundWriter
from streamer.dashboard.output_choice import choose
from streamer.dashboard.plain_text import PlainSink, spoken

AT = time.mktime((2026, 3, 4, 14, 3, 22, 0, 0, -1))


def event(phase: str, *, camera: str = "front-door", label: str = "waving", **more: Any) -> dict[str, Any]:
    told = {
        "id": "x",
        "phase": phase,
        "label": label,
        "score": 0.82,
        "peak": 0.93,
        "started_at": AT - 4.6,
        "decided_at": AT - 4.0,
        "ended_at": AT if phase == "end" else None,
        **more,
    }
    return {"v": 1, "type": "event", "sent_at": AT, "camera": camera, "event": told}


def status(state: str, *, at: float = AT, camera: str = "front-door", **more: Any) -> dict[str, Any]:
    return {"v": 1, "type": "status", "sent_at": at, "camera": camera, "state": state, "detail": "", **more}


def lines(*messages: dict[str, Any]) -> list[str]:
    stream = io.StringIO()
    with PlainSink(stream) as sink:
        for message in messages:
            sink.send(f"{message['type']}/x/", message)
    return stream.getvalue().splitlines()


def test_an_event_is_said_when_it_starts_and_when_it_ends() -> None:
    assert lines(event("start"), event("update"), event("update"), event("end")) == [
        "14:03:22 front-door: waving started (score 0.82)",
        "14:03:22 front-door: waving ended after 4.6 s (peak score 0.93)",
    ]


def test_an_event_of_a_file_says_where_in_the_file_and_lasts_in_the_files_time() -> None:
    media = {"media_started_at": 12.4, "media_ended_at": 85.4}
    assert lines(event("start", **media), event("end", **media)) == [
        "14:03:22 front-door: waving started (score 0.82, 12.4 s into the file)",
        "14:03:22 front-door: waving ended after 1 min 13 s (peak score 0.93, 1 min 25 s into the file)",
    ]


def test_an_event_that_was_cut_short_says_why() -> None:
    assert lines(event("end", reason="camera lost"))[0].endswith("(peak score 0.93), camera lost")


def test_a_state_is_said_when_it_changes_and_not_every_five_seconds() -> None:
    running = {"fps": 24.97, "width": 640, "height": 480}
    assert lines(
        status("connecting"),
        status("running", **running),
        status("running", at=AT + 5, **(running | {"fps": 22.0})),
        status("running", at=AT + 10, picture="black", **running),
        status("reconnecting", at=AT + 11, detail="the camera stopped answering"),
        status("reconnecting", at=AT + 12, detail="the camera stopped answering; next try in 4 s"),
    ) == [
        "14:03:22 front-door: connecting",
        "14:03:22 front-door: running, 640x480, 25 frames/s",
        "14:03:32 front-door: running, 640x480, 25 frames/s, the picture is black",
        "14:03:33 front-door: reconnecting, the camera stopped answering",
    ]


def test_cameras_have_their_own_states() -> None:
    said = lines(status("running", camera="a"), status("running", camera="b"), status("running", camera="a"))
    assert said == ["14:03:22 a: running", "14:03:22 b: running"]


def test_predictions_and_heartbeats_are_no_changes() -> None:
    assert (
        lines({"type": "prediction", "sent_at": AT, "camera": "a"}, {"type": "heartbeat", "sent_at": AT})
        == []
    )


def test_names_cannot_forge_lines_or_escape_sequences() -> None:
    said = lines(event("start", camera="a\n14:00:00 b: fire\x1b[31m", label="x\u202ey\r\x07"))
    assert said == ["14:03:22 a 14:00:00 b: fire\ufffd[31m: x\ufffdy \ufffd started (score 0.82)"]


@pytest.mark.parametrize("where", ["camera", "label", "display", "detail", "picture", "labels", "reason"])
def test_nothing_from_outside_steers_the_terminal(where: str) -> None:
    evil = "\x1b]0;x\x07\x9b31m\n14:00:00 b: fire\u2028\u202e"
    if where in ("camera", "label"):
        said = lines(event("start", **{where: evil}))
    elif where in ("display", "reason"):
        said = lines(event("end", **{where: evil}))
    elif where == "labels":
        change = {"labels_changed": {"change": 1, "labels": [evil]}}
        said = lines(status("running"), status("running", **change))[1:]
    else:
        said = lines(status("running", **{where: evil}))
    assert len(said) == 1
    assert said[0].isprintable()
    assert "]0;x" in said[0], "it is said nevertheless"


def test_words_of_every_script_stay_whole() -> None:
    said = lines(event("start", camera="می\u200cخواهم", label="👩\u200d🍳"))
    assert said == ["14:03:22 می\u200cخواهم: 👩\u200d🍳 started (score 0.82)"]


def test_a_new_day_is_said_once() -> None:
    day = 24 * 3600
    said = lines(status("running"), status("stalled", at=AT + day), status("running", at=AT + day + 1))
    assert [line.split(" ", 1)[1] for line in said] == [
        "front-door: running",
        "the date is 2026-03-05",
        "front-door: stalled",
        "front-door: running",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (125, "2 min 5 s"), (3600, "1 h 0 min")],
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_terminal_that_knows_only_ascii_gets_escapes_and_no_error() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    with PlainSink(stream) as sink:
        sink.send("", event("start", camera="前庭"))
    assert raw.getvalue() == rb"14:03:22 \u524d\u5ead: waving started (score 0.82)" + b"\n"


# --- which output is chosen ---


@pytest.mark.parametrize(
    ("ui", "terminal", "environment", "chosen"),
    [
        (Ui.AUTO, True, {"TERM": "xterm-256color"}, Ui.RICH),
        (Ui.AUTO, True, {"TERM": "xterm", "NO_COLOR": "1"}, Ui.RICH),
        (Ui.AUTO, True, {}, Ui.RICH),
        (Ui.AUTO, True, {"TERM": "dumb"}, Ui.PLAIN),
        (Ui.AUTO, True, {"TERM": "xterm", "CI": "true"}, Ui.PLAIN),
        (Ui.AUTO, True, {"TERM": "xterm", "CI": "false"}, Ui.RICH),
        (Ui.AUTO, False, {"TERM": "xterm"}, Ui.PLAIN),
        (Ui.RICH, False, {"TERM": "dumb"}, Ui.RICH),
        (Ui.JSON, True, {}, Ui.JSON),
        (Ui.NONE, True, {}, Ui.NONE),
    ],
)
def test_auto_means_a_screen_only_where_there_is_one(
    ui: Ui, terminal: bool, environment: dict[str, str], chosen: Ui
) -> None:
    assert choose(ui, terminal, environment) is chosen


# --- readers that are slow or gone; real pipes ---


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    """(reading end, writing end) of a real pipe."""
    reading, writing = os.pipe()
    reader, stream = os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "w", encoding="utf-8")
    yield reader, stream
    reader.close()  # first: it frees a writer that is still stuck
    stream.close()


def test_each_line_is_there_at_once(pipe: tuple[Any, Any]) -> None:
    reader, stream = pipe
    with PlainSink(stream) as sink:
        sink.send("", status("running"))
        assert reader.read(100) == b"14:03:22 front-door: running\n"  # blocks until it is


def test_a_reader_that_leaves_ends_the_program_quietly(
    pipe: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    reader, stream = pipe
    reader.close()
    stop = threading.Event()
    with PlainSink(stream, stop=stop) as sink:
        sink.send("", status("running"))
        assert stop.wait(10)
        sink.send("", status("ended"))  # no error
    assert caplog.records == []


def fill(writer: BackgroundWriter, count: int, width: int = 1000, **options: Any) -> None:
    for number in range(count):
        writer.write(f"{number:04} ".ljust(width, "x"), **options)


def test_a_reader_that_never_reads_holds_up_nobody(
    pipe: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    _, stream = pipe
    writer = BackgroundWriter(stream, lines=50)
    fill(writer, 400, width=5000)
    caplog.set_level(logging.WARNING)
    writer.close(timeout=0.2)  # returns, although the pipe is full
    assert 300 < writer.dropped < 400  # some dozen lines fit into a pipe
    assert f"({writer.dropped} in all)" in caplog.text


def test_important_lines_are_the_last_to_go(pipe: tuple[Any, Any]) -> None:
    end, stream = pipe
    writer = BackgroundWriter(stream, lines=50)
    fill(writer, 200)
    fill(writer, 30, width=20, important=True)
    fill(writer, 200)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(end.readall().decode().splitlines()))
    reader.start()
    writer.close(timeout=20)
    stream.close()
    reader.join(20)
    assert len([line for line in got if len(line) == 20]) == 30
    assert len(got) + writer.dropped == 430
    assert got[-1].startswith("0199 ")  # the newest is there: the oldest gave way


def test_complete_waits_for_a_slow_reader_and_loses_nothing(pipe: tuple[Any, Any]) -> None:
    end, stream = pipe
    writer = BackgroundWriter(stream, lines=10, complete=True)
    filler = threading.Thread(target=fill, args=(writer, 500))
    filler.start()
    filler.join(0.05)
    assert filler.is_alive()  # held up: nobody reads yet
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(end.readall().decode().splitlines()))
    reader.start()
    filler.join(20)
    writer.close()
    stream.close()
    reader.join(20)
    assert [int(line.split()[0]) for line in got] == list(range(500))
    assert writer.dropped == 0


def test_complete_lets_go_when_the_program_is_told_to_stop(pipe: tuple[Any, Any]) -> None:
    _, stream = pipe
    stop = threading.Event()
    writer = BackgroundWriter(stream, lines=10, complete=True, stop=stop)
    filler = threading.Thread(target=fill, args=(writer, 500))
    filler.start()
    stop.set()
    filler.join(10)
    assert not filler.is_alive()
    writer.close(timeout=0.2)
    assert writer.dropped > 0


def test_a_full_disk_is_said_once_and_writing_goes_on() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    stop = threading.Event()
    seen = threading.Event()
    said: list[str] = []
    writer = BackgroundWriter(stream, stop=stop)
    logger = logging.getLogger("streamer.dashboard.background_writer")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage()) or seen.set()  # type: ignore[method-assign,func-returns-value]
    logger.addHandler(handler)
    try:
        writer.write("lost")
        assert seen.wait(10)
        stream.full = False
        writer.write("kept")
        writer.close()
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == "kept\n"
    assert not stop.is_set()
    assert len([line for line in said if "No space left" in line]) == 1
