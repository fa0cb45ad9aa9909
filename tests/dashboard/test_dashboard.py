"""The live screen: what it shows at every size, hostile names, and the terminal given back."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import streamer
from streamer.dashboard.camera_view import STATES
from streamer.dashboard.live_screen import Screen
from streamer.dashboard.safe_text import isolated, steady
from streamer.dashboard.screen_content import screen_content
from streamer.dashboard.text_layout import duration, left, right
from streamer.dashboard.view import Page, in_ascii
from streamer.dashboard.view import render as render_content
from streamer.types import (
    CameraState,
    LabelScore,
    ModelSpec,
    PublisherState,
    Stats,
)
from tests.helpers.bus_parts import number_in
from tests.helpers.dashboard_parts import NOW, WALL, camera, event, stats
from tests.helpers.tmux import Tmux, needs_tmux


def render(shown: Stats, width: int, height: int) -> Page:
    return render_content(screen_content(shown), width, height)


SIZES = [(80, 24), (120, 40), (200, 60), (60, 16), (40, 12), (20, 6), (5, 3), (1, 1)]


def check(page: Page, width: int, height: int) -> str:
    assert len(page.lines) == height
    assert [cell_len(text.plain) for text in page.lines] == [width] * height
    return page.plain


# --- what it says ---


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_one_camera_with_everything_there_is_to_know(width: int, height: int) -> None:
    running = event("a", "front-door", 4.2)
    shown = camera(open_events=(running,), skipped={"busy": 12})
    shown = replace(shown, status=replace(shown.status, dropped={"rate": 1500, "late": 3}))
    recent = (event("b", "front-door", 60, 12.5, "moving left"), running)
    text = check(render(stats(shown, recent=recent, notes=("mind the gap",)), width, height), width, height)
    for fact in (
        "● front-door",
        "running",
        "25 fps",
        "640×480",
        "<0.1 s old",
        "▶ waving",
        "4.2 s",
        "0.82",  # raw
        "0.74",  # stable
        "14:02:22",
        "12.5 s",
        "0.93",
        "1.0 of 1.0 windows/s",
        "43 ms",
        "61 ms",
        "late 3",
        "not needed 1 500",
        "busy 12",
        "demo-motions",
        "Apache-2.0",
        "8 × 0.25 s",
        "cpu fp32 torch",
        "tcp://127.0.0.1:5555",
        "2 subscribers",
        "up 01:22:05",
        "14:03:22",
        "mind the gap",
    ):
        assert fact in text, fact


@pytest.mark.parametrize(
    ("width", "shown"),
    [(80, "4.2/5.0 win/s"), (120, "4.2 of 5.0 windows/s"), (200, "4.2 of 5.0 windows/s")],
)
def test_each_camera_shows_the_windows_it_gets_and_asks_for(width: int, shown: str) -> None:
    first = camera(windows_per_s=4.2, asked_per_s=5.0)
    late = camera("yard", windows_per_s=1.1, asked_per_s=5.0)
    away = camera("shed", CameraState.RECONNECTING, windows_per_s=0.0, asked_per_s=0.0)
    page = render(stats(first, late, away), width, 40)
    text = check(page, width, 40)
    assert text.count(shown) == 1
    assert text.count(shown.replace("4.2", "1.1")) == 1
    assert "0.0/0.0" not in text
    assert "0.0 of 0.0" not in text
    styles = {
        line.plain[span.start : span.end]: str(span.style) for line in page.lines for span in line.spans
    }
    assert (styles["1.1"], styles["4.2"]) == ("yellow", "dim"), "a camera that is behind stands out"


def test_the_screen_of_80_by_24() -> None:
    recent = (event("b", "yard", 60, 12.5, "moving left"), event("a", "front-door", 4.2))
    cameras = (camera(open_events=(recent[1],)), camera("yard", CameraState.RECONNECTING))
    expected = """
 streamer   2 cameras   ● 1 running  ↻ 1 reconnecting    up 01:22:05   14:03:22

 ● front-door                  running   ↻ yard                   reconnecting
   25 fps 1.0/1.0 win/s   <0.1 s old       – fps  1.0/1.0 win/s   12.3 s old
   ▶ waving        4.2 s   raw  stable     the camera stopped answering
   waving         ━━━━╸   0.82    0.74     waving         ━━━━╸   0.82    0.74
   still          ╸       0.05    0.10     still          ╸       0.05    0.10
   moving left            0.02             moving left            0.02
   moving up              0.02             moving up              0.02
   moving right           0.01             moving right           0.01
   ·················waving   ·········     ·················waving   ·········
                    ▆▆▆▆▆▆▆▆▆                               ▆▆▆▆▆▆▆▆▆

 Events                                                            lasted  peak
 14:03:17  front-door  waving                                     ▶ 4.2 s  0.93
 14:02:22  yard        moving left                                 12.5 s  0.93



 speed   2.0 of 2.0 windows/s            latency   43 ms  p95   61 ms
 drops   none
 model   demo-motions  Apache-2.0  8 × 0.25 s  cpu fp32 torch
 bus     tcp://127.0.0.1:5555   2 subscribers
 Ctrl+C ends it"""
    text = check(render(stats(*cameras, recent=recent), 80, 24), 80, 24)
    assert "\n".join(line.rstrip() for line in text.splitlines()) == expected.lstrip("\n")


@pytest.mark.parametrize("state", list(CameraState))
@pytest.mark.parametrize("size", [(80, 24), (80, 9)])
def test_every_state_has_its_own_sign_and_its_word(state: CameraState, size: tuple[int, int]) -> None:
    assert len({sign for sign, _ in STATES.values()}) == len(CameraState)
    lines = render(stats(camera(state=state), camera("other")), *size).plain.splitlines()
    named = next(line for line in lines if "front-door" in line)
    assert STATES[state][0] in named
    if state is not CameraState.RUNNING or size[1] == 24:
        assert str(state) in named


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lacking": 3.2, "windows": 0, "top": ()}, "first prediction in 3.2 s"),
        ({"lacking": 3.2, "windows": 7}, "next prediction in 3.2 s"),
        ({"windows": 0, "top": ()}, "first prediction soon"),
        ({"stable": None}, "unknown"),
        ({"stable": LabelScore("still", 0.6)}, "still"),
    ],
)
def test_what_a_camera_shows_while_no_event_is_open(changes: dict[str, object], words: str) -> None:
    belief = render(stats(camera(**changes)), 80, 24).plain.splitlines()[4]
    assert belief.strip().startswith(words)


def test_the_wait_for_the_first_prediction_fits_into_single_lines() -> None:
    assert "ready in 3.2 s" in render(stats(*[camera(lacking=3.2)] * 16), 80, 24).plain


def test_a_black_picture_is_said_in_cells_and_in_single_lines() -> None:
    dark = camera()
    dark = replace(dark, status=replace(dark.status, picture="black"))
    assert "black picture" in render(stats(dark), 80, 24).plain
    assert "black picture" in render(stats(*[dark] * 16), 80, 24).plain


def test_a_model_that_cannot_keep_up_is_said() -> None:
    text = render(stats(camera(asked_per_s=4.0)), 80, 24).plain
    assert "1.0 of 4.0 windows/s (behind)" in text


def test_before_anything_is_there() -> None:
    text = check(render(Stats(NOW, WALL, 0.0), 80, 24), 80, 24)
    for words in ("waiting for cameras", "none yet", "loading", "off"):
        assert words in text


def test_an_unknown_licence_is_said() -> None:
    model = stats().model
    assert model is not None
    unknown = replace(model, licence=None)
    assert "licence unknown" in render(stats(camera(), model=unknown), 80, 24).plain


# --- sizes ---


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 9, 16, 40])
def test_every_size_is_filled_exactly(width: int, height: int, count: int) -> None:
    states = list(CameraState)
    cameras = [camera(f"cam{i}", states[i % 6]) for i in range(count)]
    recent = tuple(event(f"e{i}", f"cam{i}", 100 - i, 1.0) for i in range(30))
    check(render(stats(*cameras, recent=recent, notes=("a", "b")), width, height), width, height)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_sixteen_cameras_are_all_there(size: tuple[int, int]) -> None:
    text = render(stats(*[camera(f"cam-{i:02}") for i in range(16)]), *size).plain
    assert all(f"cam-{i:02}" in text for i in range(16))
    assert "more:" not in text


def test_cameras_that_do_not_fit_are_counted() -> None:
    states = [CameraState.RUNNING] * 50 + [CameraState.FAILED]
    text = render(stats(*[camera(f"cam-{i:02}", s) for i, s in enumerate(states)]), 80, 24).plain
    shown = sum(f"cam-{i:02}" in text for i in range(51))
    assert shown < 51
    assert f"+{51 - shown} more: {50 - shown} running, 1 failed" in text


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_nothing_moves_when_numbers_change(size: tuple[int, int]) -> None:
    def places(ago: float, given: float, fps: float, latency: float) -> list[tuple[int, int]]:
        shown = camera(open_events=(event("a", "front-door", ago),))
        shown = replace(shown, status=replace(shown.status, fps=fps, newest=NOW - latency))
        made = stats(shown, windows_per_s=given, latency={"capture_to_publish": (latency, 2 * latency)})
        words = ("640×480", "0.82", "0.74", "latency", "p95", "demo-motions", "running", "raw")
        lines = render(made, *size).plain.splitlines()
        return [next((y, line.index(w)) for y, line in enumerate(lines) if w in line) for w in words]

    assert places(4.2, 1.0, 9.0, 0.004) == places(3725.0, 123.4, 120.0, 1.234)


# --- hostile names ---

nasty = st.one_of(
    st.text(max_size=70),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(
        [
            "前庭カメラ" * 12,
            "كاميرا المدخل",
            "👨‍👩‍👧‍👦 family",
            "🇩🇪 flag",
            "👍🏽❤️1️⃣",
            "[red]yard[/red]",
            "[/]",
            "[link=http://x]y",
            "a\nb\tc\x1b[31m\x07\x9b1m",
            "e" + "\u0301" * 500,
            "\u202egnihtyna",
            "\u2066\u2066\u2066",
            "\ud800",
            ":smile:",
        ]
    ),
)


@settings(max_examples=60, deadline=None)
@given(nasty, nasty, st.sampled_from([(80, 24), (37, 10), (130, 30)]), st.integers(1, 9))
def test_no_name_or_label_breaks_the_page(name: str, label: str, size: tuple[int, int], count: int) -> None:
    opened = event("a", name, 3.0, None, label)
    bus = PublisherState(endpoint=name)
    shown = camera(name, open_events=(opened,), top=(LabelScore(label, 0.5),), stable=LabelScore(label, 0.4))
    shown = replace(shown, status=replace(shown.status, dropped={label: 5}, detail=label))
    spec = ModelSpec(name, "f", (label,), 8, 0.25, (64, 64), label, name, label)
    text = check(
        render(
            stats(
                *[shown] * count,
                recent=(opened,),
                model=spec,
                notes=(label,),
                publisher=bus,
            ),
            *size,
        ),
        *size,
    )
    assert not [char for char in text if char != "\n" and (ord(char) < 32 or 0x7F <= ord(char) < 0xA0)]
    text.encode()  # no half surrogates
    out = io.StringIO()
    console = Console(file=out, width=size[0], height=size[1], force_terminal=False)
    console.print(Page(tuple(render(stats(shown), *size).lines)))
    assert len(out.getvalue().splitlines()) == size[1]


def test_markup_is_shown_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, record=True)
    console.print(render(stats(camera("[bold red]:smile:[/]")), 80, 24))
    assert "[bold red]:smile:[/]" in console.export_text()


def test_a_long_name_is_cut_with_an_ellipsis() -> None:
    text = render(stats(camera("x" * 60)), 60, 24).plain
    assert "x…" in text
    assert "running" in text.splitlines()[2]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("👨‍👩‍👧", "👨👩👧"),
        ("🇩🇪", "DE"),
        ("👍🏽", "👍"),
        ("❤️", "❤"),
        ("a\u202eb", "ab"),
        ("plain", "plain"),
    ],
)
def test_only_characters_whose_width_is_sure(name: str, shown: str) -> None:
    assert steady(name) == shown


def test_right_to_left_names_turn_only_themselves() -> None:
    assert isolated("كاميرا") == "\u2068كاميرا\u2069"
    assert isolated("front-door") == "front-door"
    assert "\u2068كاميرا" in render(stats(camera("كاميرا")), 80, 24).plain


@pytest.mark.parametrize("text", ["abc", "前庭", "e\u0301", "", "كا", "a" * 30])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 10])
def test_fields_have_exactly_their_width(text: str, width: int) -> None:
    assert cell_len(left(text, width)) == width
    assert cell_len(right(text, width)) == width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (4.21, "4.2 s"),
        (59.96, "1:00"),
        (3599, "59:59"),
        (3725, "1:02:05"),
        (604800, "168:00:00"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal_without_unicode_gets_ascii_of_the_same_width() -> None:
    page = render(stats(camera("前庭 ☕"), camera("b", CameraState.FAILED)), 80, 24)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Console(file=stream, width=80, height=24).print(page)
    assert {len(line) for line in raw.getvalue().decode("ascii").splitlines()} == {80}
    assert in_ascii("● a ━╸") == "* a =-"


# --- the thread ---


class Recorder(io.StringIO):
    """A terminal's output; `wait_for` blocks until a text was written."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def write(self, text: str) -> int:
        with self.changed:
            count = super().write(text)
            self.changed.notify_all()
            return count

    def wait_for(self, text: str, timeout: float = 10) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: text in self.getvalue(), timeout)


def console(out: io.StringIO, **options: object) -> Console:
    return Console(file=out, width=80, height=24, force_terminal=True, **options)  # type: ignore[arg-type]


def test_the_screen_draws_and_gives_the_terminal_back() -> None:
    out = Recorder()
    with Screen(lambda: stats(camera()), console=console(out)):
        assert out.wait_for("front-door")
        assert any(thread.name == "screen" for thread in threading.enumerate())
    assert out.getvalue().startswith("\x1b[?1049h")
    assert out.getvalue().endswith("\x1b[?25h\x1b[?1049l")
    assert not any(thread.name == "screen" for thread in threading.enumerate())


def test_the_terminal_is_given_back_when_the_program_fails() -> None:
    out = Recorder()
    with pytest.raises(RuntimeError, match="boom"), Screen(lambda: stats(camera()), console=console(out)):
        raise RuntimeError("boom")
    assert out.getvalue().endswith("\x1b[?1049l")


def test_only_what_changes_is_written_again() -> None:
    out = Recorder()
    uptime = iter(range(1_000_000))
    with Screen(lambda: stats(camera(), uptime=float(next(uptime))), console=console(out), refresh=500):
        assert out.wait_for("00:00:20")
    assert out.getvalue().count("front-door") == 1


def test_statistics_that_fail_are_shown_and_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = Recorder()
    calls = 0

    def flaky() -> Stats:
        nonlocal calls
        calls += 1
        if 3 <= calls <= 6:
            raise KeyError("gone")
        return stats(camera(), uptime=float(calls))

    with Screen(flaky, console=console(out), refresh=500):
        assert out.wait_for("KeyError: 'gone'")
        assert out.wait_for("00:00:09")  # and it went on
    assert sum("cannot be drawn" in record.getMessage() for record in caplog.records) == 1


def test_no_color_means_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Recorder()
    monkeypatch.setenv("NO_COLOR", "1")
    with Screen(lambda: stats(camera()), console=console(out, color_system="256")):
        assert out.wait_for("front-door")
    assert "\x1b[32m" not in out.getvalue()
    assert ";32m" not in out.getvalue()


def test_log_lines_wait_until_the_screen_is_gone() -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    talk = Tty()
    handler = logging.StreamHandler(talk)
    logging.getLogger().addHandler(handler)
    try:
        with Screen(lambda: stats(camera()), console=console(Recorder())):
            logging.getLogger("streamer.test").warning("the door is open")
            assert talk.getvalue() == ""
        assert talk.getvalue() == "the door is open\n"
        assert handler in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.realtime
@pytest.mark.skipif(os.name == "nt", reason="needs pseudo-terminals")
def test_a_terminal_that_takes_no_output_does_not_keep_the_program() -> None:
    import pty

    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):  # nobody reads `ours`: fill it
        while True:
            os.write(theirs, b"x" * 1000)
    os.set_blocking(theirs, True)
    looked = threading.Event()

    def look() -> Stats:
        looked.set()
        return stats(camera())

    started = time.monotonic()
    try:
        with Screen(look, console=Console(file=stream, width=80, height=24, force_terminal=True)):
            assert looked.wait(10)
        assert time.monotonic() - started < 10
        assert os.get_blocking(theirs)
    finally:
        os.close(ours)  # frees the thread
        for thread in threading.enumerate():
            if thread.name == "screen":
                thread.join(10)
                assert not thread.is_alive()
        stream.close()


# --- a real terminal ---

PROGRAM = """
import signal, sys, threading
sys.path[:0] = {folders!r}
from tests.helpers.dashboard_parts import camera, stats, event
from streamer.dashboard.live_screen import Screen
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("before the screen")
opened = event("a", "front-door", 4.2)
with Screen(lambda: stats(camera(open_events=(opened,)), camera("كاميرا 前庭 👨‍👩‍👧"), recent=(opened,))):
    open({ready!r}, "w").write(str(__import__("os").getpid()))
    stop.wait(60)
    if {fail!r}:
        raise RuntimeError("on purpose")
print("after the screen")
"""


def start(tmux: Tmux, folder: Path, *, fail: bool = False) -> int:
    script, ready = folder / "show.py", folder / "ready"
    folders = [str(Path(__file__).parents[2]), str(Path(streamer.__file__).parents[1])]
    script.write_text(textwrap.dedent(PROGRAM).format(folders=folders, ready=str(ready), fail=fail), "utf-8")
    tmux.wait_for("ready>")
    tmux.run("send-keys", f"{sys.executable} {script}", "Enter")
    tmux.wait_for("● front-door")
    return number_in(ready)


@needs_tmux
def test_in_a_real_terminal_resized_and_told_to_end(tmux: Tmux, tmp_path: Path) -> None:
    pid = start(tmux, tmp_path)
    small = tmux.wait_for("▶ waving", "2 subscribers")
    assert "before the screen" not in small
    assert len(small.rstrip("\n").splitlines()) == 24
    tmux.run("resize-window", "-x", "150", "-y", "40")
    wide = tmux.wait_for("2 subscribers", "inference")
    assert len(wide.rstrip("\n").splitlines()) == 40
    assert wide.count("streamer ") == 1  # nothing of the smaller screen is left
    tmux.run("send-keys", "typed")  # keys do not show on the screen, nor in the shell afterwards
    tmux.run("resize-window", "-x", "50", "-y", "14")
    tmux.wait_for("speed", "front-door")
    assert "typed" not in tmux.screen()
    os.kill(pid, signal.SIGTERM)
    back = tmux.wait_for("before the screen", "after the screen\nready>")
    assert "front-door" not in back
    tmux.run("send-keys", "echo visible", "Enter")
    assert "typed" not in tmux.wait_for("ready> echo visible", "\nvisible\n")
    assert tmux.run("display", "-p", "#{cursor_flag} #{alternate_on} #{wrap_flag}").split() == ["1", "0", "1"]


@needs_tmux
def test_in_a_real_terminal_a_failure_gives_it_back(tmux: Tmux, tmp_path: Path) -> None:
    os.kill(start(tmux, tmp_path, fail=True), signal.SIGTERM)
    back = tmux.wait_for("RuntimeError: on purpose", "before the screen")
    assert "front-door" not in back
    assert tmux.run("display", "-p", "#{cursor_flag} #{alternate_on} #{wrap_flag}").split() == ["1", "0", "1"]
