"""Makes the pictures in docs anew, from real runs of the demo.

    python docs/make_pictures.py                  all but bench.svg, which takes an hour
    python docs/make_pictures.py terminal page    some: terminal, captions, page, cluster, people, bench

Needs tmux for the terminal's; chromium, and what the tests need (`python3 run.py test` installs it), for the
page's. The recording is what a terminal of that size showed, a frame every `PACE` seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from html import escape
from itertools import count, groupby
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME as THEME
from rich.text import Text

DOCS = Path(__file__).parent
ROOT = DOCS.parent
WIDTH, HEIGHT = 100, 30  # cells of the terminal
CELL, LINE, EDGE = 8.4, 18.0, 12.0  # pixels
BACKGROUND = "#16181d"
FONT = "'DejaVu Sans Mono',Menlo,Consolas,monospace"
PACE = 0.7  # seconds between two frames
# seconds after the first event -> the key that is pressed
KEYS = {6: "?", 10: "?", 12: "Enter", 17: "Enter", 18: "e", 21: "e", 22: "l"}
LENGTH = 28.0  # seconds

_BLOCKS = {" ": (0.0, 0.0), "▀": (0.0, 0.5), "▄": (0.5, 0.5), "█": (0.0, 1.0)}  # top and height in a line
QUIET = ("--bind", "tcp://127.0.0.1:0", "--set", "journal.path=")
CAMERAS = """
cameras:
  - {name: front-door, source: demo}
  - {name: yard, source: demo, region: [[0.0, 0.0], [0.9, 0.9]]}
  - {name: garage, source: "rtsp://127.0.0.1:9/stream1"}
loop: true
journal: {path: events.db}
recording: {folder: recordings}
"""

WORKERS = ("w1", "w2", "w3")
CLUSTER = """
cameras:
  - {name: front-door, source: demo}
  - {name: yard, source: demo}
  - {name: garage, source: demo}
  - {name: hall, source: demo}
  - {name: gate, source: demo}
model: {hop: 2.0}
loop: true
pictures: show
journal: {path: events.db}
"""


_NUMBERS = count()


# --- a terminal ---


class Terminal:
    """A real terminal, with a command in it."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        # each has a server of its own: one that ends could take the next one with it
        self._server = f"streamer-pictures-{os.getpid()}-{next(_NUMBERS)}"
        words = " ".join(["env", "-u", "CI", "COLORTERM=truecolor", "TERM=xterm-256color", *command])
        self.tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(folder), words)

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._server, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)

    def lines(self) -> list[str]:
        """What it shows, with colours."""
        return self.tmux("capture-pane", "-e", "-p").split("\n")[:HEIGHT]

    def wait_for(self, text: str, seconds: float = 120.0) -> None:
        until = time.monotonic() + seconds
        while text not in self.tmux("capture-pane", "-p"):
            if time.monotonic() > until:
                raise SystemExit(f"{text!r} did not come:\n" + self.tmux("capture-pane", "-p"))
            time.sleep(0.2)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.tmux("kill-server")


def streamer(*words: str) -> list[str]:
    return [sys.executable, "-m", "streamer", *words]


# --- pictures of it ---


def svg(frames: Sequence[Sequence[str]], seconds: float) -> str:
    """Frames as an SVG: one stands still, several follow each other, `seconds` in all."""
    wide, high = WIDTH * CELL + 2 * EDGE, HEIGHT * LINE + 2 * EDGE
    known: dict[str, int] = {}
    shown = []
    for number, frame in enumerate(frames):
        for row, line in enumerate(frame):
            if line.strip():
                place = known.setdefault(line, len(known))
                shown.append(f'<use href="#l{place}" y="{number * high + row * LINE:g}"/>')
    drawn = [f'<g id="l{place}">{_line(line)}</g>' for line, place in known.items()]
    play = ""
    if len(frames) > 1:
        play = (
            f"@keyframes play{{to{{transform:translateY(-{len(frames) * high:g}px)}}}}"
            f".play{{animation:play {seconds:g}s steps({len(frames)}) infinite}}"
            "@media (prefers-reduced-motion:reduce){.play{animation:none}}"
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}">',
            f"<style>text{{font:14px {FONT};white-space:pre}}{play}</style>",
            f"<defs>{''.join(drawn)}</defs>",
            f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
            f'<svg x="{EDGE:g}" y="{EDGE:g}" width="{wide - EDGE:g}" height="{high - EDGE:g}">',
            f'<g class="play">{"".join(shown)}</g></svg></svg>\n',
        ]
    )


def _line(line: str) -> str:
    """One line of a terminal; backgrounds first, then text."""
    boxes, words, at = [], [], 0.0
    for text, style in _runs(line):
        cells = cell_len(text)
        front, back = _colours(style)
        wide = cells * CELL
        if back is not None:
            boxes.append(f'<rect x="{at:g}" width="{wide:g}" height="{LINE:g}" fill="{back}"/>')
        if not set(text) - _BLOCKS.keys():  # drawn: fonts leave gaps between them
            boxes += _blocks(text, at, f'fill="{front}"' + ' opacity=".6"' * bool(style.dim))
        elif text.strip():
            start = at + CELL * (len(text) - len(text.lstrip(" ")))
            kept = text.strip(" ")
            more = ' font-weight="bold"' if style.bold else ""
            more += ' opacity=".6"' if style.dim else ""
            words.append(
                f'<text x="{start:.1f}" y="13.5" fill="{front}" textLength="{cell_len(kept) * CELL:.1f}"'
                f' lengthAdjust="spacingAndGlyphs"{more}>{escape(kept)}</text>'
            )
        at += wide
    return "".join(boxes + words)


def _blocks(text: str, at: float, fill: str) -> Iterator[str]:
    for block, run in groupby(text):
        wide = CELL * sum(1 for _ in run)
        top, high = _BLOCKS[block]
        if high:
            size = f'width="{wide + 0.3:g}" height="{high * LINE:g}"'
            yield f'<rect x="{at:g}" y="{top * LINE:g}" {size} {fill}/>'
        at += wide


def _runs(line: str) -> Iterator[tuple[str, Style]]:
    from rich.console import Console

    console = Console(color_system="truecolor", width=10_000, legacy_windows=False)
    segments = Text.from_ansi(line, end="").render(console)
    for segment in Segment.simplify(segments):
        yield segment.text, segment.style or Style()


def _colours(style: Style) -> tuple[str, str | None]:
    front = _hex(style.color, "#d7dae0")
    back = None if style.bgcolor is None or style.bgcolor.is_default else _hex(style.bgcolor, BACKGROUND)
    return (back or BACKGROUND, front) if style.reverse else (front, back)


def _hex(color: Color | None, default: str) -> str:
    return default if color is None or color.is_default else color.get_truecolor(THEME).hex


# --- what is shown ---


def terminal() -> None:
    """dashboard.svg: with the picture; terminal.svg: a recording with keys."""
    with _folder() as folder:
        run = streamer(
            "run", "demo", "--loop", "--picture", "--bind", "tcp://127.0.0.1:0", "--set", "journal.path="
        )
        with Terminal(run, folder) as shown:
            shown.wait_for("▶")
            time.sleep(40.0)
            _write("dashboard.svg", svg([shown.lines()], 0.0))
        (folder / "cameras.yaml").write_text(CAMERAS, "utf-8")
        run = streamer("run", "--config", "cameras.yaml", "--bind", "tcp://127.0.0.1:0")
        with Terminal(run, folder) as shown:
            shown.wait_for("▶")
            time.sleep(15.0)
            _write("terminal.svg", svg(list(_recorded(shown)), LENGTH))


def _recorded(shown: Terminal) -> Iterator[list[str]]:
    begun, keys = time.monotonic(), dict(KEYS)
    for number in range(int(LENGTH / PACE)):
        while (left := begun + number * PACE - time.monotonic()) > 0:
            time.sleep(left)
        for at in [at for at in keys if at <= number * PACE]:
            shown.press(keys.pop(at))
        yield shown.lines()


def captions() -> None:
    """captions.svg: the second screen, beside a run."""
    with ExitStack() as stack:
        folder, endpoint, _ = stack.enter_context(_running("demo", "--loop"))
        shown = stack.enter_context(Terminal(streamer("captions", endpoint), folder))
        shown.wait_for("██")
        time.sleep(12.0)
        _write("captions.svg", svg([shown.lines()], 0.0))


def page() -> None:
    """The page on a desktop, on a phone, and in the dark."""
    with (
        _running("--config", "cameras.yaml", "--web", "127.0.0.1:0", "--pictures", "keep") as (_, _, talk),
        _browser() as browser,
    ):
        address = _told(talk, "the page is at ")
        time.sleep(60.0)
        for name, width, height, colours in (
            ("desktop", 1280, 900, "light"),
            ("phone", 360, 740, "light"),
            ("dark", 1280, 900, "dark"),
        ):
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            tab.goto(address)
            tab.wait_for_timeout(4000)
            tab.screenshot(path=DOCS / f"web-{name}.png")
            print(f"docs/web-{name}.png")
            if name == "desktop":
                tab.wait_for_timeout(45_000)  # a clip of the demo, in which something always happens
                tab.select_option("#only-action", "waving")
                tab.wait_for_timeout(2000)
                tab.locator("#recent-rows tr", has_text="waving").last.get_by_text("Details").click()
                tab.locator("#look").click()
                tab.locator("#look-text", has_text="hint").wait_for(timeout=330_000)
                tab.set_viewport_size({"width": width, "height": 1600})  # all of it is seen at once
                tab.locator("#why").screenshot(path=DOCS / "web-why.png")
                print("docs/web-why.png")


def cluster() -> None:
    """cluster.svg and cluster-page.png: three workers, one of which is killed."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        (folder / "cluster.yaml").write_text(CLUSTER, "utf-8")
        port = _free_pair()
        front = streamer("cluster", "cluster.yaml", "--bind", f"tcp://127.0.0.1:{port}")
        shown = stack.enter_context(Terminal(front, folder))
        shown.wait_for("unplaced")
        workers = {}
        for name in WORKERS:
            join = ("--join", f"tcp://127.0.0.1:{port + 1}", "--name", name, "--capacity", "2")
            command = streamer("worker", *join, "--state", str(folder / name))
            workers[name] = stack.enter_context(_child(command, folder / f"{name}.log"))
        page = stack.enter_context(_page(folder, port))
        shown.wait_for("▶", 300.0)
        time.sleep(60.0)
        workers["w2"].kill()  # it has two cameras; the others have room for one of them
        shown.wait_for("w2 lost")
        time.sleep(45.0)
        _write("cluster.svg", svg([shown.lines()], 0.0))
        page.screenshot(path=DOCS / "cluster-page.png")
        print("docs/cluster-page.png")


@contextmanager
def _child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        child = subprocess.Popen(command, cwd=log.parent, stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


@contextmanager
def _page(folder: Path, port: int) -> Iterator[Any]:
    """The page of whatever publishes on a port, in a browser."""
    command = streamer("web", f"tcp://127.0.0.1:{port}", "--bind", "127.0.0.1:0")
    with _child(command, folder / "web.log"), _browser() as browser:
        address = _told(folder / "web.log", "the page is at ")
        tab = browser.new_page(viewport={"width": 1280, "height": 1480})
        tab.goto(address)
        yield tab


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    names = "chromium-headless-shell", "chromium", "google-chrome"
    chromium = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def _free_pair() -> int:
    """A port that is free, with the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            with suppress(OSError):
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
                return int(first.getsockname()[1])


def people() -> None:
    """people-page.jpg: drawn people followed on the page; people.jpg: a snapshot, with them and hidden."""
    import cv2
    import numpy as np

    with _folder() as folder:
        street = str(folder / "street.mp4")
        video = cv2.VideoWriter(street, cv2.VideoWriter_fourcc(*"mp4v"), 10, (560, 420))
        for number in range(300):
            video.write(_street(number / 10))
        video.release()
        one = [
            _snapshot(street, folder / "shown"),
            _snapshot(street, folder / "hidden", "privacy.blur=[people]"),
        ]
        cv2.imwrite(str(DOCS / "people.jpg"), np.hstack(one))
        print("docs/people.jpg")
        with (
            _running(street, "--follow", "--loop", "--web", "127.0.0.1:0", "--pictures", "show") as (
                _,
                _,
                talk,
            ),
            _browser() as browser,
        ):
            address = _told(talk, "the page is at ")
            tab = browser.new_page(viewport={"width": 390, "height": 1000})
            tab.goto(address)
            tab.locator(".box").nth(1).wait_for(timeout=120_000)
            tab.wait_for_timeout(6000)
            tab.locator(".camera").first.screenshot(path=DOCS / "people-page.jpg", type="jpeg", quality=90)
            print("docs/people-page.jpg")


def _street(time: float) -> Any:
    """A picture of a street with three people who walk; BGR, uint8 (420, 560, 3)."""
    import cv2
    import numpy as np

    image = np.full((420, 560, 3), (96, 100, 104), np.uint8)
    image[:180] = (140, 125, 112)
    for left in range(30, 560, 125):
        cv2.rectangle(image, (left, 35), (left + 65, 115), (170, 165, 160), -1)
        cv2.rectangle(image, (left, 35), (left + 65, 115), (90, 84, 78), 3)
    for row in range(200, 420, 28):
        cv2.line(image, (0, row), (560, row), (84, 88, 90), 1)
    for begin, speed, feet, clothes in (
        (2, 55, 320, (50, 60, 190)),
        (5, -60, 365, (170, 110, 40)),
        (9, 48, 400, (60, 150, 50)),
    ):
        gone = (time - begin) % 14
        centre = int(gone * speed - 40) if speed > 0 else int(600 + gone * speed)
        if time < begin or not -40 < centre < 600:
            continue
        step = int(12 * np.sin(6 * time))
        for foot in (step, -step):
            cv2.line(image, (centre, feet - 62), (centre + foot, feet), (70, 52, 46), 13, cv2.LINE_AA)
        cv2.ellipse(image, (centre, feet - 92), (20, 40), 0, 0, 360, clothes, -1, cv2.LINE_AA)
        cv2.circle(image, (centre, feet - 142), 13, (140, 170, 215), -1, cv2.LINE_AA)
    noise = np.random.default_rng(int(time * 10)).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _snapshot(video: str, folder: Path, *settings: str) -> Any:
    """The snapshot of the fourth event of somebody, in a run that is the same each time."""
    import cv2

    from streamer.recording.files import find

    given = ("recording.snapshots=true", f"recording.folder={folder}", *settings)
    words = [
        "run",
        video,
        "--follow",
        "--pace",
        "fast",
        "--ui",
        "json",
        *(w for one in given for w in ("--set", one)),
    ]
    told = subprocess.run(
        streamer(*words, "--bind", "tcp://127.0.0.1:0"), check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    messages = [json.loads(line) for line in told.splitlines()]
    events = [
        one for one in messages if one["type"] == "event" and one["event"]["phase"] == "end" and one["track"]
    ]
    chosen = events[min(3, len(events) - 1)]
    found = find(folder, chosen["camera"], chosen["event"]["id"]).snapshot
    return cv2.imread(str(found))


def bench() -> None:
    """bench.svg: the plot of performance.md's run."""
    words = ("bench", "--rounds", "9", "--cameras", "1,2,4,8", "--json", "--plot", str(DOCS / "bench.svg"))
    subprocess.run(streamer(*words), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="streamer-pictures-") as folder:
        yield Path(folder)


@contextmanager
def _running(*words: str) -> Iterator[tuple[Path, str, Path]]:
    """A run without a screen: its folder, where it publishes, and the file with what it says."""
    with _folder() as folder:
        (folder / "cameras.yaml").write_text(CAMERAS, "utf-8")
        talk = folder / "talk"
        command = streamer("run", *words, "--bind", "tcp://127.0.0.1:0", "--ui", "plain")
        with talk.open("wb") as file:
            child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=file)
        try:
            yield folder, _told(talk, "publishing on "), talk
        finally:
            child.terminate()
            child.wait(20)


def _told(talk: Path, before: str) -> str:
    """The word that follows `before` in what a run says."""
    until = time.monotonic() + 60.0
    while before not in talk.read_text("utf-8"):
        if time.monotonic() > until:
            raise SystemExit(f"{before!r} was not said:\n" + talk.read_text("utf-8"))
        time.sleep(0.2)
    return talk.read_text("utf-8").partition(before)[2].split()[0]


def _write(name: str, text: str) -> None:
    (DOCS / name).write_text(text, "utf-8")
    print(f"docs/{name}: {len(text) // 1000} kB")


PICTURES = {
    "terminal": terminal,
    "captions": captions,
    "page": page,
    "cluster": cluster,
    "people": people,
    "bench": bench,
}


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        print(f"there is no {unknown[0]!r}; there are {', '.join(PICTURES)}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for name in names or [name for name in PICTURES if name != "bench"]:
        PICTURES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
