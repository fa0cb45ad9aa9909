"""Keys: what they are called, what they do, on real terminals of three sizes, and the terminal given back."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import streamer
from streamer.dashboard import keys
from streamer.dashboard.keys import keys_in
from streamer.dashboard.view_state import Place, ViewState, press
from tests.helpers import warm_processes
from tests.helpers.bus_parts import DEADLINE, number_in
from tests.helpers.tmux import Tmux, needs_tmux

SIZES = [(120, 40), (80, 24), (40, 12)]
CAMERAS = ("front-door", "yard", "shed")


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q?", ["q", "?"]),
        ("Q", ["q"]),
        ("\x1b[A\x1b[B\x1bOC\x1b[1;5D", ["up", "down", "right", "left"]),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["pageup", "pagedown", "home", "end"]),
        ("\r\n\x7f\x1b", ["enter", "enter", "backspace", "escape"]),
        ("\x1b[200~x\x1b[15~\x00\x01", ["x"]),
        ("ş", ["ş"]),
    ],
)
def test_what_terminals_send_for_keys(sent: str, keys: list[str]) -> None:
    assert keys_in(sent) == keys


def after(*keys: str, cameras: tuple[str, ...] = CAMERAS) -> ViewState:
    state = ViewState()
    for key in keys:
        state = press(state, key, cameras)
    return state


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ((), ViewState()),
        (("?",), ViewState(Place.HELP)),
        (("?", "?"), ViewState()),
        (("e", "e"), ViewState()),
        (("?", "e"), ViewState(Place.EVENTS)),
        (("enter",), ViewState(Place.CAMERA, "front-door")),
        (("j", "down", "enter"), ViewState(Place.CAMERA, "yard")),
        (("k",), ViewState(Place.ALL, "shed")),
        (("j", "j", "j", "right"), ViewState(Place.ALL, "front-door")),
        (("j", "enter", "j"), ViewState(Place.CAMERA, "yard")),
        (("j", "enter", "enter"), ViewState(Place.ALL, "front-door")),
        (("j", "enter", "escape", "escape"), ViewState()),
        (("e", "j", "j", "up", "pagedown"), ViewState(Place.EVENTS, scroll=11)),
        (("e", "j", "home"), ViewState(Place.EVENTS)),
        (("e", "j", "?"), ViewState(Place.HELP)),
        (("p",), ViewState(held=True)),
        (("p", "p"), ViewState()),
        (("x", "left"), ViewState(Place.ALL, "shed")),
    ],
)
def test_where_keys_lead(keys: tuple[str, ...], state: ViewState) -> None:
    assert after(*keys) == state


def test_keys_without_cameras_do_no_harm() -> None:
    assert after("j", "enter", "k", "e", "e", cameras=()) == ViewState()


# --- real terminals ---

PROGRAM = """
import sys, threading
sys.path[:0] = {folders!r}
from dataclasses import replace
from tests.helpers.dashboard_parts import camera, stats, event
from streamer.dashboard.label_language import LabelLanguage
from streamer.dashboard.live_screen import Actions, Screen
from streamer.system.signals import Stopper
ticks = iter(range(10**9))
recent = tuple(event(f"e{{i}}", "front-door", 900.0 - i, 2.0, f"action {{i}}") for i in range(60))
recent += (event("now", "front-door", 4.2),)
cameras = camera(open_events=recent[-1:]), camera("yard")
with Stopper() as stopper:
    actions = Actions(stopper.ask, lambda name: f"kept of {{name or 'each'}}", None, LabelLanguage(None))
    screen = Screen(lambda: stats(*cameras, recent=recent, uptime=float(next(ticks))), actions=actions)
    stopper.on_pause(screen.pause, screen.go_on)
    with screen:
        open({ready!r}, "w").write(str(__import__("os").getpid()))
        stopper.stop.wait(60)
        if {fail!r}:
            raise RuntimeError("on purpose")
print("after the screen", stopper.exit_code)
"""


def start(
    tmux: Tmux, folder: Path, *, fail: bool = False, before: str = "", more: str = "", shown: str = "? help"
) -> int:
    script, ready = folder / "keys.py", folder / "ready"
    folders = [str(Path(__file__).parents[2]), str(Path(streamer.__file__).parents[1])]
    script.write_text(textwrap.dedent(PROGRAM).format(folders=folders, ready=str(ready), fail=fail), "utf-8")
    tmux.wait_for("ready>")
    tmux.press(f"{before}{sys.executable} {shlex.quote(str(script))}{more}", "Enter")
    tmux.wait_for("front-door", "Ctrl+C ends it", shown)
    return number_in(ready)


def assert_as_before(tmux: Tmux) -> None:
    """Screen, cursor and echo: what is typed is seen and read a line at a time."""
    assert tmux.modes() == ["1", "0", "1"]
    tmux.press("stty -a | grep -oE -e '-?(icanon|echo) ' | tr -d '\\n' | tr ' ' ,", "Enter")
    tmux.wait_for("icanon,echo,")


@pytest.mark.realtime
@needs_tmux
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_key_on_a_real_terminal(tmux: Tmux, tmp_path: Path, size: tuple[int, int]) -> None:
    tmux.resize(*size)
    start(tmux, tmp_path)
    tmux.press("?")
    tmux.wait_for("this help, and back", gone="Events")
    if size[1] < 40:
        tmux.wait_for("more lines, j or ↓")
        tmux.press("Down", "j", "j")
        tmux.wait_for("the chosen camera alone", gone="this help")
        tmux.press("End")
        tmux.wait_for("the end, k or ↑", "running,")
        tmux.press("k")
        tmux.wait_for("1 more lines")
    tmux.press("?")
    tmux.wait_for("front-door", "yard", "Events")
    tmux.press("e")
    tmux.wait_for("Events, 61 kept", "action 59", "more below")
    tmux.press("NPage")
    tmux.wait_for("Events, 61 kept", gone="action 59")
    tmux.press("End")
    tmux.wait_for("action 0 ", "streamer events has all")
    tmux.press("Escape")
    tmux.wait_for("yard")
    tmux.press("Down", "j", "Enter")
    tmux.wait_for("yard", "Events", gone="front-door")
    tmux.press("s")
    tmux.wait_for("kept of yard")
    tmux.press("Enter", "Escape", "l")
    tmux.wait_for("labels: ar", "front-door")
    tmux.press("p")
    held = tmux.wait_for("held at").splitlines()[1:-1]
    assert tmux.screen().splitlines()[1:-1] == held
    tmux.press("p")
    tmux.wait_for("front-door", gone="held at")
    tmux.press("q")
    tmux.wait_for("after the screen 0\nready>")
    assert_as_before(tmux)


@needs_tmux
def test_the_picture_that_is_held_does_not_move(tmux: Tmux, tmp_path: Path) -> None:
    start(tmux, tmp_path)
    tmux.press("p")
    shown = tmux.wait_for("held at").splitlines()[0]
    assert "up 00:0" in shown
    tmux.press("e")
    assert tmux.wait_for("kept").splitlines()[0] == shown
    tmux.press("e", "p")
    assert tmux.wait_for("yard", gone="held at").splitlines()[0] != shown


@needs_tmux
@pytest.mark.parametrize("how", ["C-c", "TERM", "QUIT", "HUP", "failure"])
def test_the_keyboard_is_given_back(tmux: Tmux, tmp_path: Path, how: str) -> None:
    pid = start(tmux, tmp_path, fail=how == "failure")
    if how == "C-c":
        tmux.press("C-c")
    else:
        os.kill(pid, getattr(signal, f"SIG{how}", signal.SIGTERM))
    tmux.wait_for("RuntimeError: on purpose" if how == "failure" else "after the screen", "ready>")
    assert_as_before(tmux)


@pytest.mark.realtime
@needs_tmux
def test_paused_and_on_again(tmux: Tmux, tmp_path: Path) -> None:
    start(tmux, tmp_path)
    tmux.press("C-z")
    tmux.wait_for("ready>", gone="front-door")
    assert_as_before(tmux)
    tmux.press("fg", "Enter")
    tmux.wait_for("front-door", "? help")
    tmux.press("e")
    tmux.wait_for("61 kept")
    tmux.press("C-z")
    tmux.wait_for("ready>", gone="front-door")
    tmux.press("bg", "Enter")
    tmux.press("echo visi''ble", "Enter")
    tmux.wait_for("visible", gone="front-door")  # in the background it draws nothing and reads nothing
    tmux.press("fg", "Enter")
    tmux.wait_for("61 kept", "? help")
    tmux.press("q")
    tmux.wait_for("after the screen 0")
    assert_as_before(tmux)


@needs_tmux
def test_without_a_keyboard_only_ctrl_c_is_named(tmux: Tmux, tmp_path: Path) -> None:
    start(tmux, tmp_path, more=" < /dev/null", shown="")
    assert "? help" not in tmux.screen()
    tmux.press("q", "C-c")
    tmux.wait_for("after the screen 130")
    assert_as_before(tmux)


@needs_tmux
@pytest.mark.skipif(shutil.which("timeout") is None, reason="needs coreutils")
def test_in_the_background_of_its_own_terminal_it_is_drawn(tmux: Tmux, tmp_path: Path) -> None:
    pid = start(tmux, tmp_path, before="timeout 60 ", shown="")
    os.kill(pid, signal.SIGTERM)
    tmux.wait_for("after the screen", "ready>")


@pytest.mark.realtime
@pytest.mark.parametrize("ui", ["plain", "json", "none"])
def test_other_outputs_leave_the_keyboard_alone(ui: str, tmp_path: Path) -> None:
    """Standard input is a terminal, which nobody changes or reads."""
    termios = pytest.importorskip("termios")
    import pty

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "streamer", "run", "demo", "--ui", ui, "--duration", "0.5"]
    command += ["--bind", "", "--set", "journal.path="]
    child = warm_processes.start(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.write(ours, b"qqq\n")
        child.wait(60)
        assert termios.tcgetattr(theirs) == before
        assert os.read(theirs, 10) == b"qqq\n", "what was typed is still there for who comes next"
    finally:
        child.kill()
        os.close(ours)
        os.close(theirs)


def test_a_key_that_fails_is_said_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pressed, done = [], threading.Event()

    class Typed:
        def read(self, timeout: float) -> list[str]:
            return ["s", "q"]

        def restore(self) -> None:
            pass

    def press_one(key: str) -> None:
        pressed.append(key)
        if key == "s":
            raise KeyError("no such camera")
        done.set()

    monkeypatch.setattr(keys, "_is_terminal", lambda: True)
    monkeypatch.setattr(keys, "take_keyboard", Typed)
    reader = keys.KeyReader(press_one)
    reader.open()
    assert done.wait(10)
    reader.close()
    assert pressed[:2] == ["s", "q"]
    assert "the key s failed" in caplog.text


def test_a_keyboard_that_was_given_back_is_not_taken_before_the_program_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between Ctrl+Z and the stop it still is in the foreground, and the shell would get raw keys."""
    monkeypatch.setattr(keys, "_is_terminal", lambda: True)
    monkeypatch.setattr(keys, "take_keyboard", lambda: SimpleNamespace(restore=lambda: None))
    reader = keys.KeyReader(lambda key: None)
    assert reader._take() is not None
    reader.give_back()
    assert reader._take() is None
    assert not reader.reading
    reader.take_again()
    assert reader._take() is not None


def test_keys_that_the_shell_took_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("termios")
    import pty

    ours, theirs = pty.openpty()
    monkeypatch.setattr(keys._UnixKeyboard, "_ours", lambda self: True)
    try:
        keyboard = keys._UnixKeyboard(theirs)
        monkeypatch.setattr(keys.select, "select", lambda *_: ([theirs], [], []))  # as it was a moment ago
        os.set_blocking(theirs, True)
        assert keyboard.read(0.1) == []
        os.write(ours, b"q")
        typed: list[str] | None = []
        while typed == []:  # the system hands it over in its own time
            typed = keyboard.read(0.1)
        assert typed == ["q"]
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_is_typed_when_the_terminal_has_been_given_back_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl+Z and a quick `bg`: the thread that saw something typed would wait for a line, for ever."""
    pytest.importorskip("termios")
    import pty

    ours, theirs = pty.openpty()
    monkeypatch.setattr(keys._UnixKeyboard, "_ours", lambda self: True)
    keyboard = keys._UnixKeyboard(theirs)
    look, read = keys.select.select, []

    def given_back_after(*args: object) -> object:
        found = look(*args)  # type: ignore[call-overload]
        keyboard.restore()
        return found

    monkeypatch.setattr(keys.select, "select", given_back_after)
    reading = threading.Thread(target=lambda: read.append(keyboard.read(10.0)), daemon=True)
    try:
        reading.start()
        os.write(ours, b"x")
        reading.join(DEADLINE)
        assert read == [None]
    finally:
        os.write(ours, b"\n")  # else a read that waits keeps the terminal open
        reading.join(DEADLINE)
        os.close(ours)
        os.close(theirs)


def test_a_windows_console_gives_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["\xe0", "P", "q", "\r", "\x00", "I", "\xe0", "Z"])
    left = [5]

    def kbhit() -> bool:
        left[0] -= 1
        return left[0] >= 0

    console = SimpleNamespace(kbhit=kbhit, getwch=lambda: next(typed))
    monkeypatch.setitem(sys.modules, "msvcrt", console)
    assert keys._WindowsKeyboard().read(0.1) == ["down", "q", "enter", "pageup"]
