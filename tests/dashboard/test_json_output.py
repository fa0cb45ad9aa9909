"""`--ui json`: the bus's own objects on stdout, one a line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.dashboard.json_lines import JsonSink


def test_each_line_is_exactly_the_object() -> None:
    messages: list[dict[str, Any]] = [
        {
            "v": 1,
            "type": "prediction",
            "seq": 1,
            "camera": "a",
            "stable": None,
            "top": [{"label": "x", "score": 0.5}],
        },
        {"v": 1, "type": "event", "seq": 2, "camera": "前庭 ☕\n", "event": {"ended_at": None}},
    ]
    stream = io.StringIO()
    with JsonSink(stream) as sink:
        for message in messages:
            sink.send(f"{message['type']}/a/", message)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == messages


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None)))
def test_any_name_stays_on_its_line_and_comes_back(name: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="latin-1") as stream, JsonSink(stream) as sink:
        sink.send("status/", {"camera": name})
    with os.fdopen(reading, "rb") as reader:
        data = reader.read()
    assert data.count(b"\n") == 1
    assert json.loads(data.decode("utf-8")) == {"camera": name}


@pytest.mark.parametrize("code", [0x7F, 0x85, 0x9B, 0x9D, 0x2028, 0x202E, 0xD800])
def test_no_character_of_a_name_steers_a_terminal(code: int) -> None:
    stream = io.StringIO()
    with JsonSink(stream) as sink:
        sink.send("status/", {"camera": f"a{chr(code)}31m", "detail": "前庭 ☕"})
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line.isprintable()
    assert "前庭 ☕" in line, "what is harmless stays readable"
    assert json.loads(line)["camera"] == f"a{chr(code)}31m"


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with JsonSink(io.StringIO()) as sink, pytest.raises(ValueError, match="JSON"):
        sink.send("prediction/a/", {"score": float("nan")})


SCRIPT = """
import sys, threading
from streamer.dashboard.json_lines import JsonSink
stop = threading.Event()
with JsonSink(stop=stop) as sink:
    number = 0
    while not stop.is_set():
        sink.send("prediction/a/", {"n": number})
        number += 1
        stop.wait(0.001)
print("ended", file=sys.stderr)
"""


def test_piped_into_head_the_program_ends_quietly() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        assert json.loads(program.stdout.readline()) == {"n": 0}
        program.stdout.close()
        assert program.wait(20) == 0
        assert program.stderr.read() == "ended\n"
    finally:
        program.kill()
        program.wait(10)
        program.stderr.close()


@pytest.mark.realtime
def test_a_stuck_reader_does_not_keep_the_program() -> None:
    script = SCRIPT.replace("while not stop.is_set()", "while number < 30000").replace(
        "stop.wait(0.001)", "pass"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.wait(30) == 0  # nobody has read a line
        assert program.stderr is not None
        said = program.stderr.read()
        assert "lines lost, the reader is too slow" in said
        assert "Fatal" not in said
    finally:
        program.kill()
        program.wait(10)
        for stream in (program.stdout, program.stderr):
            assert stream is not None
            stream.close()


def test_sending_never_waits_for_the_reader() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    sink = JsonSink(stream)
    sent = threading.Event()

    def send() -> None:
        for number in range(5000):
            sink.send("prediction/a/", {"n": number, "fill": "x" * 100})
        sent.set()

    threading.Thread(target=send, daemon=True).start()
    try:
        assert sent.wait(20)
        sink.close(timeout=0.1)
    finally:
        os.close(reading)
        stream.close()
