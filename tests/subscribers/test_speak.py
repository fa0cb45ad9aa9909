"""`streamer speak`: real voices into real files, the thread that speaks, and a program that can be killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamer.bus.position import Position
from streamer.cli.command_line import main
from streamer.errors import BusError, SpeechError
from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.narration.settings import Priority, Settings
from streamer.subscribers.speech import voices
from streamer.subscribers.speech.speaker import Sound, Speaker, WavFiles
from streamer.subscribers.speech.utterance_log import Progress, UtteranceLog
from streamer.subscribers.state_file import StateFile
from streamer.testing import FakeClock
from streamer.types import Event, Moment, Phase
from tests.helpers import warm_processes
from tests.helpers.bus_parts import event, number_in, publisher, until
from tests.helpers.extras_parts import without
from tests.helpers.speech_parts import ESPEAK, espeak, is_speech, sound_of

NEVER = threading.Event()


def voice(**settings: Any) -> voices.Voice:
    return voices.choose(Settings.model_validate({"engine": "espeak-ng", **settings}))


def utterance(text: str, priority: Priority = Priority.NORMAL, seq: int | None = None) -> Utterance:
    return Utterance(text, "start", priority, time.time(), time.monotonic(), seq=seq, event=text)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


# --- voices ---


@espeak
@pytest.mark.parametrize("engine", ["espeak-ng", "pyttsx3"])
def test_files_are_speech_and_longer_text_is_longer(engine: str, tmp_path: Path) -> None:
    speaking = voice(engine=engine)
    seconds = []
    for text in (
        "Someone is waving",
        "Someone is waving at the front door, and has been for quite a while now",
    ):
        file = tmp_path / f"{len(text)}.wav"
        told = voices.write(speaking, text, file, NEVER)
        assert is_speech(file)
        assert told == pytest.approx(sound_of(file)[0])
        seconds.append(told)
    assert 0.8 < seconds[0] < 3
    assert 2.2 < seconds[1] / seconds[0] < 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["17.wav", "71.wav"], "nothing half is left"


@espeak
def test_rate_and_language_are_heard(tmp_path: Path) -> None:
    slow = voices.write(voice(rate=100), "Someone is waving", tmp_path / "slow.wav", NEVER)
    fast = voices.write(voice(rate=300), "Someone is waving", tmp_path / "fast.wav", NEVER)
    assert slow > 1.8 * fast
    for language, text in (("tr", "Biri el sallıyor"), ("ar", "شخص يلوّح بيده")):
        assert voices.write(voice(language=language), text, tmp_path / f"{language}.wav", NEVER) > 0.8
        assert is_speech(tmp_path / f"{language}.wav")
    english = voices.write(voice(), "Biri el sallıyor", tmp_path / "en.wav", NEVER)
    assert (tmp_path / "en.wav").read_bytes() != (tmp_path / "tr.wav").read_bytes()
    assert english > 0.8


@espeak
@pytest.mark.parametrize(
    "text", ["--version is waving", "-w /tmp/no.wav", "[[h@l'oU]] is a camera", "$(id); `id`"]
)
def test_words_are_only_words(text: str, tmp_path: Path) -> None:
    assert voices.write(voice(), text, tmp_path / "a.wav", NEVER) > 0.7
    assert is_speech(tmp_path / "a.wav")


@espeak
@pytest.mark.parametrize("engine", ["espeak-ng", "pyttsx3"])
def test_an_unknown_voice_is_one_line(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["speak", "--engine", engine, "--voice", "nobody", "--to-file", str(tmp_path)]) == 5
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "voice" in told


def test_missing_programs_and_libraries_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for engine, remedy in (
        ("espeak-ng", "apt install espeak-ng"),
        ("spd-say", "apt install speech-dispatcher"),
    ):
        assert main(["speak", "--engine", engine]) == 5
        assert remedy in capsys.readouterr().err
    without(monkeypatch, "pyttsx3")
    assert main(["speak", "--engine", "pyttsx3"]) == 5
    assert capsys.readouterr().err.endswith(" -m pip install pyttsx3==2.99\n")


@espeak
def test_a_missing_sound_device_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What espeak-ng 1.51 prints without a sound card, with exit code 0; writing files works there."""
    program(tmp_path, "espeak-ng", f'case "$*" in *-w*) exec {ESPEAK} "$@";; esac\n'
            'echo "ALSA lib pcm.c:2666:(snd_pcm_open_noupdate) Unknown PCM default" >&2\n'
            'echo "error: No such file or directory" >&2')  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert main(["speak", "--engine", "espeak-ng", "--say", "hello"]) == 5
    assert capsys.readouterr().err == (
        "streamer: espeak-ng cannot speak: no sound device can be opened (No such file or directory)\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_a_voice_is_ended_at_once_with_its_player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "espeak-ng", f"sleep 60 & echo $! > {tmp_path}/player; wait")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    speaking, cancel = voice(), threading.Event()
    threading.Thread(target=lambda: (number_in(tmp_path / "player"), cancel.set())).start()
    began = time.monotonic()
    assert voices.speak(speaking, "hello", cancel) is False
    assert time.monotonic() - began < 10
    player = number_in(tmp_path / "player")
    until(lambda: not psutil.pid_exists(player) or psutil.Process(player).status() == "zombie")


def test_a_voice_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "spd-say", "exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SpeechError, match=r"did not finish .* sound device"):
        voices.speak(voice(engine="spd-say"), "hello", NEVER, 0.2)


def test_spd_say_gets_text_rate_and_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "spd-say", f'for word; do echo "$word"; done > {tmp_path}/said')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert voices.speak(voice(engine="spd-say", rate=450, language="tr", voice="x"), "-merhaba", NEVER)
    words = (tmp_path / "said").read_text().split("\n")[:-1]
    assert words[:6] == ["-w", "-l", "tr", "-r", "100", "-N"]
    assert words[-4:] == ["-y", "x", "--", "-merhaba"]
    with pytest.raises(SpeechError, match="cannot write files"):
        voices.write(voice(engine="spd-say"), "x", tmp_path / "x.wav", NEVER)


# --- the thread ---


class Scripted:
    """An output that says what was said, as long as `lasts` is not set."""

    interrupts = True
    most_waiting = 20

    def __init__(self) -> None:
        self.began: list[str] = []
        self.done = threading.Event()
        self.fails = False

    def say(self, utterance: Utterance, cancel: threading.Event) -> Sound | None:
        self.began.append(utterance.text)
        if self.fails:
            raise SpeechError("no sound today")
        while not self.done.wait(0.005):
            if cancel.is_set():
                return None
        return Sound()


class Room:
    """A speaker, and what came of all."""

    def __init__(self, output: Any, **settings: Any) -> None:
        self.settled: list[tuple[str, str | None]] = []
        self.problems: list[str] = []
        self.output = output
        self.speaker = Speaker(output, Settings.model_validate({"pause": 0, **settings}),
                               lambda said, _: self.settled.append((said.text, said.left_out)),
                               self.problems.append)  # fmt: skip
        self.speaker.start()


@pytest.fixture
def room(no_thread_left: None) -> Iterator[Room]:
    made = Room(Scripted())
    yield made
    made.speaker.close(0, 5)


def test_speech_never_holds_up_who_offers(room: Room) -> None:
    room.speaker.offer(utterance("first"))
    until(lambda: room.output.began == ["first"])
    began = time.monotonic()
    for number in range(500):
        room.speaker.offer(utterance(f"u{number}"))
    assert time.monotonic() - began < 5
    assert len(room.settled) == 500 - 20, "bounded; the rest is accounted for"
    assert {reason for _, reason in room.settled} == {"too much to say"}


def test_what_is_urgent_breaks_in_and_the_other_is_said_again(room: Room) -> None:
    room.speaker.offer(utterance("long story"))
    room.speaker.offer(utterance("later"))
    until(lambda: room.output.began == ["long story"])
    room.speaker.offer(utterance("important", Priority.HIGH))
    assert room.output.began == ["long story"], "high waits for its turn"
    room.speaker.offer(utterance("fire", Priority.URGENT))
    until(lambda: len(room.output.began) == 2)
    room.output.done.set()
    until(lambda: len(room.settled) == 4)
    assert room.output.began[:3] == ["long story", "fire", "important"]
    assert sorted(room.output.began[3:]) == ["later", "long story"]
    assert all(reason is None for _, reason in room.settled)


def test_a_pause_is_kept_but_not_before_what_is_urgent() -> None:
    room = Room(Scripted(), pause=30)
    room.output.done.set()
    try:
        room.speaker.offer(utterance("a"))
        until(lambda: len(room.settled) == 1)
        room.speaker.offer(utterance("b"))
        assert not threading.Event().wait(0.2)
        assert room.output.began == ["a"]
        room.speaker.offer(utterance("c", Priority.URGENT))
        until(lambda: room.output.began == ["a", "c"])
    finally:
        left = room.speaker.close(0, 5)
    assert [(one.text, one.left_out) for one in left] == [("b", "the program ended")]


def test_a_voice_that_fails_is_told_once_and_tried_again(room: Room) -> None:
    room.output.fails = True
    room.speaker.offer(utterance("a"))
    until(lambda: len(room.settled) == 1)
    room.speaker.offer(utterance("b"))
    until(lambda: len(room.settled) == 2)
    assert room.problems == ["no sound today"]
    assert room.settled[0] == ("a", "the voice failed: no sound today")
    room.output.fails = False
    room.output.done.set()
    room.speaker.offer(utterance("c"))
    until(lambda: ("c", None) in room.settled)


def test_what_came_too_late_is_dropped() -> None:
    room = Room(Scripted(), fresh=0.05)
    try:
        room.speaker.offer(utterance("a"))
        until(lambda: room.output.began == ["a"])
        room.speaker.offer(utterance("b"))
        assert not threading.Event().wait(0.2)
        room.output.done.set()
        until(lambda: len(room.settled) == 2)
        assert sorted(room.settled, key=str) == [("a", None), ("b", "too late")]
    finally:
        room.speaker.close(0, 5)


# --- the books ---


def test_the_position_moves_only_behind_what_is_settled(tmp_path: Path) -> None:
    file, clock = tmp_path / "state.json", FakeClock()

    def kept() -> Position:
        return Position.of(json.loads(file.read_text())["since"])

    state = StateFile(file, Position.at(5.0), clock=clock)
    progress = Progress(state, clock)
    for seq, waits in ((1, True), (2, False), (3, True)):
        progress.received(Position("seq", seq), seq if waits else None)
    progress.settled(utterance("c", seq=3))
    assert kept() == Position.at(5.0), "the first is not said yet"
    progress.settled(utterance("a", seq=1))
    assert kept() == Position("seq", 3), "what was said is written at once"
    state.close()
    again = StateFile(file, Position.at(9.0), clock=clock)
    progress = Progress(again, clock)
    assert again.position == Position("seq", 3)
    assert set(progress.known) == {"a", "c"}
    assert progress.said == {"a": clock.wall(), "c": clock.wall()}
    progress.settled(replace(utterance("a", seq=4), kind="end"))
    assert set(progress.known) == {"c"}
    again.close()


def test_a_state_file_of_an_earlier_version_is_gone_on_from(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    position = ["seq", 7, "s1", "j1", [["j0", 3, "s0"]], 5.0]
    old = {"kind": "streamer speak", "position": position, "said": {"Somebody waves": 4.5}, "known": ["e1"]}
    file.write_text(json.dumps(old))
    state = StateFile(file, Position.at(9.0))
    progress = Progress(state, FakeClock())
    assert state.position == Position("seq", 7, "s1", "j1", (("j0", 3, "s0"),), 5.0)
    assert (progress.said, list(progress.known)) == ({"Somebody waves": 4.5}, ["e1"])
    progress.received(state.position._replace(seq=8), None)
    state.close()
    state = StateFile(file, Position.at(9.0))
    assert (state.position.seq, state.extra) == (8, {"said": {"Somebody waves": 4.5}, "known": ["e1"]})
    state.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"kind": "streamer speak", "position": ["x"]}',
        "\x00",
        '{"since": 1, "extra": {"said": 3}}',
    ],
)
def test_a_file_that_is_no_state_is_not_written_over(text: str, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(BusError, match="is damaged"):
        Progress(StateFile(file, Position.at(1.0)), FakeClock())
    assert file.read_text() == text


def test_an_index_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "index.jsonl"
    index = UtteranceLog(file, FakeClock())
    index.write(utterance("a", seq=1), "1.wav", 1.23456)
    index.close()
    with file.open("a") as out:
        out.write('{"event": "b", "ki')
    index = UtteranceLog(file, FakeClock())
    assert index.done == {("a", "start")}
    index.write(replace(utterance("c"), left_out="quiet hours"))
    index.close()
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0])["seconds"] == 1.235
    assert json.loads(lines[2])["reason"] == "quiet hours"


# --- the program ---


def start(endpoint: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamer", "speak", endpoint, "--to-file", str(folder), *more]
    return warm_processes.start(command, stderr=subprocess.PIPE, text=True)


def index_of(folder: Path) -> list[dict[str, Any]]:
    file = folder / "index.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


@pytest.mark.realtime
@espeak
def test_killed_and_restarted_it_accounts_for_every_event(tmp_path: Path) -> None:
    folder, state = tmp_path / "out", tmp_path / "state.json"
    labels = ("waving", "jogging", "laughing", "hugging", "yawning")
    sent = 0

    def act(pub: Any, count: int) -> None:
        nonlocal sent
        for _ in range(count):
            for phase in (Phase.START, Phase.UPDATE, Phase.END):
                pub.event(event(f"e{sent}", phase, label=labels[sent % 5]))
            sent += 1

    with publisher(tmp_path / "events.db") as pub:
        where = pub.endpoint
        options = ("--state", str(state), "--since", "1h", "--repeat-after", "0", "--fresh", "0")
        process = start(where, folder, *options)
        act(pub, 8)
        until(lambda: len(index_of(folder)) >= 5, "first sentences")
        process.kill()
        process.communicate()
        act(pub, 8)  # while nobody listens
        process = start(where, folder, *options)
        try:
            until(lambda: len(index_of(folder)) >= 26, "what was missed")
            act(pub, 4)
            until(lambda: len(index_of(folder)) >= 2 * sent, "the rest")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=15)
            assert time.monotonic() - began < 15
        finally:
            process.kill()
    assert process.returncode == 0, told
    lines = index_of(folder)
    counts = Counter((line["event"], line["kind"]) for line in lines)
    assert counts == {(f"e{number}", kind): 1 for number in range(sent) for kind in ("start", "end")}
    for line in lines:
        assert (line["outcome"] == "spoken") == (line["reason"] is None)
        if line["outcome"] == "spoken":
            assert line["seconds"] > 0.5
            assert is_speech(folder / line["file"])
    assert sum(line["outcome"] == "spoken" for line in lines if line["kind"] == "start") >= 8
    assert not list(folder.glob(".*")), "nothing half is left"
    assert len({line["file"] for line in lines if line["file"]}) == len(list(folder.glob("*.wav")))


@pytest.mark.realtime
@espeak
def test_into_files_the_past_that_is_asked_for_is_written_whole(tmp_path: Path) -> None:
    """Nothing is too old or too often said there: docs/accessibility.md, "a WAV for each sentence"."""
    with publisher(tmp_path / "events.db") as pub:
        long_ago = time.time() - 1000
        for number in range(3):
            at = Moment(time.monotonic() - 1000, long_ago + number)
            for phase in (Phase.START, Phase.END):
                end = at if phase is Phase.END else None
                pub.event(Event(f"e{number}", "cam0", "demo", "waving", phase, 0.8, 0.9, at, at, end))
        process = start(pub.endpoint, tmp_path / "out", "--since", "1h")
        try:
            until(lambda: len(index_of(tmp_path / "out")) >= 6, "every start and end")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=15)
    lines = index_of(tmp_path / "out")
    assert [line["outcome"] for line in lines if line["kind"] == "start"] == ["spoken"] * 3
    assert len(list((tmp_path / "out").glob("*-start.wav"))) == 3


@espeak
def test_it_speaks_what_a_publisher_says_and_leaves_on_ctrl_c(tmp_path: Path) -> None:
    with publisher() as pub:
        process = start(pub.endpoint, tmp_path, "--language", "tr", "--quiet-hours", "00:00-12:00",
                        "--quiet-hours", "12:00-24:00", "--config", str(config(tmp_path)))  # fmt: skip
        try:
            number = 0
            while not any(line["outcome"] == "spoken" for line in index_of(tmp_path)):
                number += 1
                pub.event(event(f"a{number}", label="jogging"))
                pub.event(event(f"b{number}", label="waving"))
                assert number < 300
                assert not threading.Event().wait(0.1)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "speaking into" in told
    lines = index_of(tmp_path)
    assert {line["reason"] for line in lines if line["label"] == "jogging"} == {"quiet hours"}
    spoken = next(line for line in lines if line["outcome"] == "spoken")
    assert spoken["label"] == "waving"
    assert spoken["text"] == "Ön kapıda biri el sallıyor"
    assert is_speech(tmp_path / spoken["file"])


def config(folder: Path) -> Path:
    file = folder / "speak.yaml"
    file.write_text(
        "labels: {waving: {priority: urgent, start: '{camera} biri el sallıyor'}}\n"
        "cameras: {cam0: {name: Ön kapıda}}\n", "utf-8")  # fmt: skip
    return file


@pytest.mark.realtime
@espeak
def test_without_a_publisher_it_waits_says_so_and_ends_in_time(tmp_path: Path) -> None:
    process = start("tcp://127.0.0.1:9", tmp_path)
    try:
        until(lambda: len(index_of(tmp_path)) == 1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
    (line,) = index_of(tmp_path)
    assert (line["kind"], line["outcome"], process.returncode) == ("silent", "spoken", 0)
    assert is_speech(tmp_path / line["file"])


@espeak
def test_say_tries_the_voice(tmp_path: Path) -> None:
    assert main(["speak", "--say", "good morning", "--to-file", str(tmp_path / "new")]) == 0
    assert is_speech(tmp_path / "new" / "say.wav")


def test_wrong_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--rate", "2"], "expected a whole number from 80 to 450"),
        (["--quiet-hours", "late"], "'late' is no span of the day"),
        (["--language", "xx"], "language 'xx'"),
        (["--since", "noon"], "no point in time"),
        (["--duration", "0"], "--duration 0"),
        (["--log", "x"], "leave --log out"),
    ):
        assert main(["speak", "--to-file", str(tmp_path), *words]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1


@espeak
def test_files_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["speak", "--to-file", str(blocked / "sub")]) == 5
    with pytest.raises(SpeechError, match="wrote no sound"):
        WavFiles(voice(), tmp_path / "gone").say(utterance("x", seq=1), NEVER)
