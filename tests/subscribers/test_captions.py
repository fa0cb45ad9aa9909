"""`streamer captions`: lines for screen readers and braille displays, and the calm screen."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from rich.console import Console

from streamer.cli.command_line import main
from streamer.labels.label_files import load_labels
from streamer.subscribers.captions import block_letters
from streamer.subscribers.captions.caption_board import CaptionBoard, View
from streamer.subscribers.captions.captions_screen import CaptionScreen, page
from streamer.subscribers.captions.lines import LineWriter, wrapped
from streamer.subscribers.narration.policy import Utterance
from streamer.subscribers.narration.settings import Priority
from streamer.testing import FakeClock
from streamer.types import Phase
from tests.helpers import warm_processes
from tests.helpers.bus_parts import DEADLINE, event, publisher, status, until
from tests.helpers.speech_parts import espeak, is_speech, sound_of

DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
dejavu = pytest.mark.skipif(not DEJAVU.exists(), reason="needs the font DejaVu Sans")


def utterance(text: str, priority: Priority = Priority.NORMAL, kind: str = "start", at: float = 0.0,
              camera: str | None = None) -> Utterance:  # fmt: skip
    return Utterance(text, kind, priority, at, 1000.0, event=text, camera=camera)


# --- lines ---


def written(texts: list[str], width: int | None) -> str:
    out = io.StringIO()
    writer = LineWriter(out, width)
    for text in texts:
        writer.write(utterance(text))
    return out.getvalue()


@given(st.lists(st.text(max_size=80), max_size=5), st.one_of(st.none(), st.integers(10, 60)))
@how(max_examples=200, deadline=None)
def test_lines_hold_no_control_codes_and_no_more_than_fits(texts: list[str], width: int | None) -> None:
    found = written(texts, width)
    assert all(byte >= 0x20 or byte == 0x0A for byte in found.encode())
    assert "\x7f" not in found
    assert not re.search("[\x80-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]", found)
    assert width is None or all(len(line) <= width for line in found.split("\n"))


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=12), min_size=1, max_size=20))
@how(deadline=None)
def test_nothing_is_cut_or_repeated_by_wrapping(words: list[str]) -> None:
    lines = wrapped(" ".join(words), 20)
    assert " ".join(lines).split() == words


def test_a_braille_display_gets_whole_words() -> None:
    text = "Front door: Someone is approaching, carrying something-long-with-hyphens"
    assert written([text], 40) == (
        "Front door: Someone is approaching,\ncarrying something-long-with-hyphens\n"
    )
    assert written(["x" * 45], 40) == "x" * 40 + "\n" + "x" * 5 + "\n", "only what cannot fit is cut"


def follow(endpoint: str, *more: str, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streamer", "captions", endpoint, *more]
    return warm_processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def publish(pub: Any, labels: list[str], first: int = 0) -> None:
    for number, label in enumerate(labels, first):
        for phase in (Phase.START, Phase.UPDATE, Phase.END):
            pub.event(event(f"e{number}", phase, label=label))


@espeak
def test_as_a_blind_user_would_hear_it(tmp_path: Path) -> None:
    """Every line is read aloud by espeak-ng as it comes: each sentence once, whole, nothing else."""
    labels = ["waving", "jogging", "waving", "laughing", "hugging", "jogging"]
    with publisher(tmp_path / "events.db") as pub:
        publish(pub, labels)
        process = follow(pub.endpoint, "--since", "1h", "--width", "40", "--camera-names", "never")
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")))  # type: ignore[union-attr]
        reader.start()
        until(lambda: len(lines) >= 8, "lines come as they happen, not at the end")
        publish(pub, ["yawning"], 100)
        until(lambda: len(lines) >= 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        reader.join(5)
    names = load_labels("en")
    said = ("waving", "jogging", "laughing", "hugging", "yawning")
    wanted = [names.sentence(label, start=start) for label in said for start in (True, False)]
    assert [line.decode() for line in lines] == [f"{sentence}\n" for sentence in wanted], (
        "once each, in order"
    )
    spoken = 0.0
    for number, line in enumerate(lines):
        file = tmp_path / f"{number}.wav"
        subprocess.run(["espeak-ng", "-w", str(file), "--stdin"], input=line, check=True, timeout=20)
        assert is_speech(file)
        spoken += sound_of(file)[0]
    subprocess.run(
        ["espeak-ng", "-w", str(tmp_path / "all.wav"), "--stdin"], input=b"".join(lines), check=True
    )
    assert sound_of(tmp_path / "all.wav")[0] == pytest.approx(spoken, rel=0.35), "no line runs into the next"


def test_lines_are_the_default_where_stdout_is_no_terminal_and_end_with_the_reader() -> None:
    with publisher() as pub:
        process = follow(pub.endpoint, "--time", "--language", "tr", "--repeat-after", "0")
        pub.status(status("cam1"))
        pub.status(status())
        assert process.stdout is not None
        said = threading.Event()
        feeder = threading.Thread(target=lambda: feed(pub, said), daemon=True)
        feeder.start()
        line = process.stdout.readline().decode()
        process.stdout.close()  # the reader leaves
        try:
            assert process.wait(15) == 0
        finally:
            process.kill()
            said.set()
            feeder.join(5)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        process.stderr.close()
    assert re.fullmatch(r"\d\d:\d\d Cam0: (Biri el sallıyor|El sallama bitti)\n", line)


def test_one_camera_alone_is_not_named_again_and_again() -> None:
    with publisher() as pub:
        pub.status(status())
        process, said = follow(pub.endpoint, "--repeat-after", "0"), threading.Event()
        assert process.stdout is not None
        feeder = threading.Thread(target=lambda: feed(pub, said), daemon=True)
        feeder.start()
        try:  # named only until the publisher's heartbeat has told that it is alone
            assert any(process.stdout.readline() == b"Someone is waving\n" for _ in range(60))
        finally:
            said.set()
            process.kill()
            process.communicate()
            feeder.join(5)


def feed(pub: Any, enough: threading.Event) -> None:
    number = 0
    while not enough.wait(0.1):
        number += 1
        publish(pub, ["waving"], number)


# --- large letters ---


def test_letters_are_as_large_as_fits() -> None:
    for columns, rows in ((80, 16), (60, 14), (200, 50)):
        found = block_letters.render("Someone is waving", columns, rows)
        assert found is not None
        assert len(found) <= rows
        assert max(map(len, found)) <= columns
        assert set("".join(found)) <= set(" ▀▄█")
    large, small = (block_letters.render("Hi", columns, 30) for columns in (120, 40))
    assert large is not None
    assert small is not None
    assert sum(map(len, large)) > 2 * sum(map(len, small))
    assert block_letters.render("Someone is waving at the front door", 30, 4) is None, "too small to be read"
    assert block_letters.render("", 80, 16) is None


@dejavu
def test_letters_of_other_languages() -> None:
    seen = {
        text: block_letters.render(text, 100, 20)
        for text in ("Biri el sallıyor", "شخص يلوّح بيده", "Biri el salliyor")
    }
    assert all(seen.values())
    assert seen["Biri el sallıyor"] != seen["Biri el salliyor"]
    assert block_letters.render("日本", 100, 20) is None, "no font here has them: the terminal's own letters"
    assert block_letters.render("ı", 100, 20, "no-such-font.ttf") is None


# --- the board ---


def test_a_caption_stands_long_enough_to_be_read() -> None:
    clock = FakeClock()
    board = CaptionBoard(3.0, clock)
    assert board.view() == View()
    board.offer(utterance("a", at=1))
    assert board.view().current == utterance("a", at=1)
    board.offer(utterance("b", at=3))
    board.offer(utterance("c", Priority.HIGH, at=2))
    clock.advance(2.9)
    assert board.view().current == utterance("a", at=1)
    clock.advance(0.2)
    view = board.view()
    assert view.current == utterance("c", Priority.HIGH, at=2), "the most important"
    assert [one.text for one in view.earlier] == ["b", "a"], "newest first; nothing is lost"
    clock.advance(1)
    board.offer(utterance("fire", Priority.URGENT, at=4))
    assert board.view().current == utterance("fire", Priority.URGENT, at=4), "at once"
    board.offer(utterance("d", at=5))
    board.offer(utterance("e", at=6))
    clock.advance(3.1)
    assert board.view().current == utterance("e", at=6), "the newest: the screen is never behind"
    clock.advance(1000)
    assert board.view() == board.view(), "nothing changes by itself"
    for number in range(100):
        board.offer(utterance(f"n{number}", at=10 + number))
    clock.advance(5)
    assert len(board.view().earlier) == 8


def test_what_is_wrong_stands_until_it_is_right() -> None:
    board = CaptionBoard(0.0, FakeClock())
    board.offer(utterance("door: lost", kind="lost", camera="door"))
    board.offer(utterance("silent", kind="silent"))
    assert board.view().notices == ("door: lost", "silent")
    board.offer(utterance("door: back", kind="back", camera="door"))
    board.offer(utterance("heard", kind="heard"))
    assert board.view().notices == ()


# --- the screen ---


def shown(view: View, width: int, height: int, **how: Any) -> list[str]:
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    with console.capture() as capture:
        console.print(page(view, width, height, **how), end="")
    text = re.sub(r"\x1b\[[\d;]*m", "", capture.get())
    return text.rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (10, 2), (1, 1), (200, 60)])
@pytest.mark.parametrize("big", [True, False])
def test_the_page_fills_the_screen_exactly(width: int, height: int, big: bool) -> None:
    view = View(
        utterance("Someone is waving"), (utterance("Something ended", at=1e9),), ("Front door: lost",)
    )
    lines = shown(view, width, height, big=big)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)
    assert len(shown(View(), width, height, big=big)) == height


def test_small_letters_and_what_was_before() -> None:
    view = View(
        utterance("Someone is waving"), (utterance("Someone is jogging", at=1e9),), ("Front door: lost",)
    )
    text = "\n".join(shown(view, 60, 12, big=False))
    for words in ("Someone is waving", "Front door: lost", "Someone is jogging"):
        assert text.count(words) == 1
    (line,) = (line for line in text.split("\n") if "Someone is waving" in line)
    assert line.index("Someone") == (60 - len("Someone is waving")) // 2, "in the middle"


def test_large_letters_come_before_a_long_list() -> None:
    earlier = tuple(utterance(f"before {number}", at=1e9) for number in range(8))
    lines = shown(View(utterance("Kitchen: The movement down has stopped"), earlier), 100, 30)
    assert sum("█" in line or "▀" in line for line in lines) > 10
    assert sum("before" in line for line in lines) >= 3


def test_the_screen_is_drawn_only_when_it_looks_different() -> None:
    out = io.StringIO()
    console = Console(width=60, height=10, file=out, force_terminal=True)
    with CaptionScreen(console) as screen:
        view = View(utterance("Someone is waving"))
        assert screen.show(view)
        size = len(out.getvalue())
        assert not any(screen.show(view) for _ in range(50))
        assert len(out.getvalue()) == size, "not one byte"
        console.size = (50, 12)
        assert screen.show(view), "the terminal has another size"
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?1049l" in out.getvalue()


class Terminal:
    """A real pseudo-terminal with captions in it."""

    def __init__(self, *words: str, **variables: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        variables = {"TERM": "xterm-256color", **variables}
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        environment = {
            key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")
        }
        self.process = warm_processes.start(
            [sys.executable, "-m", "streamer", "captions", *words], stdin=slave, stdout=slave,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**environment, **variables},
        )  # fmt: skip
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, enough: Callable[[str], bool]) -> str:
        end = time.monotonic() + DEADLINE
        while not enough(self.seen):
            assert time.monotonic() < end, repr(self.seen[-2000:])
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.seen

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.read(lambda _: self.process.poll() is not None)
        while select.select([self.master], [], [], 0.1)[0]:
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_real_terminal_is_taken_resized_and_given_back(number: int, code: int) -> None:
    with publisher() as pub:
        done, terminal = threading.Event(), Terminal(pub.endpoint, "--plain-letters", "--repeat-after", "0")
        feeder = threading.Thread(target=lambda: feed(pub, done), daemon=True)
        feeder.start()
        try:
            terminal.read(lambda seen: "Someone is waving" in seen)
            assert "\x1b[?1049h" in terminal.seen
            length = len(terminal.seen)
            terminal.resize(30, 50)
            terminal.read(lambda seen: " " * 20 in seen[length:])
            assert terminal.end(number) == code
            assert terminal.seen.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in terminal.seen[length:]
            assert "\x1b[?25h" in terminal.seen[length:], "the cursor is there again"
            assert termios.tcgetattr(terminal.slave) == terminal.before
        finally:
            done.set()
            feeder.join(5)
            terminal.close()


def test_no_color_means_none() -> None:
    with publisher() as pub:
        done, terminal = threading.Event(), Terminal(pub.endpoint, NO_COLOR="1")
        feeder = threading.Thread(target=lambda: feed(pub, done), daemon=True)
        feeder.start()
        try:
            terminal.read(lambda seen: "█" in seen)
        finally:
            done.set()
            feeder.join(5)
            terminal.close()
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", terminal.seen) for code in found.split(";")}
    assert codes <= {"", "0", "1", "7"}, "bold and reverse only"


def test_wrong_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--width", "3"], "--width 3: must be at least 10"),
        (["--hold", "-1"], "--hold -1"),
        (["--font", "/no/font.ttf"], "no such file"),
        (["--screen"], "stdout is no terminal"),
        (["--lines", "--screen"], "not allowed with"),
        (["--config", "/no/file"], "no such file"),
    ):
        assert main(["captions", *words]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1


def test_help_needs_no_screen_library() -> None:
    code = "import sys; sys.argv[1:] = ['captions', '--help']\nfrom streamer.cli import main; main()\n"
    code += "print([name for name in ('torch', 'cv2', 'PIL', 'rich', 'transformers') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout.splitlines()[-1] == "[]"
