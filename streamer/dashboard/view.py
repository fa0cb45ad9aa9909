"""The whole screen as text: a pure function of what is looked at and the size of the terminal.

From top to bottom: who and how long, the cameras, recent events (beside them where there is room), then
speed, losses, model, bus and keys. No borders: white space and alignment do it; numbers keep their places.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from streamer.dashboard.camera_view import HEAD, PAST, PICTURE, STARTING, STATES, camera_lines, picture_lines
from streamer.dashboard.events_view import entries_of, event_lines, events_page
from streamer.dashboard.footer import footer
from streamer.dashboard.help_page import help_lines
from streamer.dashboard.screen_content import ScreenContent
from streamer.dashboard.text_layout import GUTTER, Part, beside, line, spread
from streamer.dashboard.view_state import Place
from streamer.types import CameraState, CameraStats

NARROWEST_CAMERA = 37
GOOD_CAMERA = 60
SIDE_BY_SIDE = 110  # from this width on, the events stand beside the cameras
BESIDE_PICTURE = 74  # from this width on, one camera's picture stands beside it
MOST_LABELS = 8
MOST_PICTURE = 24  # lines
_ASCII = str.maketrans("●◌▲↻■✕▶━╸…·×╱▁▂▃▄▅▆▇█↵–─", "*o^~#x>=-~-x/_.,-=+*#>--")


@dataclass(frozen=True)
class Page:
    """Lines of one exact width. Rich renders it; a test reads `plain`.

    `pictures`: camera -> the rows of its picture, which go where lines have kept their place.
    """

    lines: tuple[Text, ...]
    pictures: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        return "\n".join(text.plain for text in self.lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for index, text in enumerate(self.lines):
            if index:
                yield Segment.line()
            yield from self.segments(text, console, ascii_only=options.ascii_only)

    def segments(self, text: Text, console: Console, *, ascii_only: bool) -> Iterator[Segment]:
        """One of its lines, as it is written."""
        for segment in text.render(console):
            yield self._written(segment, ascii_only)

    def _written(self, segment: Segment, ascii_only: bool) -> Segment:
        style = segment.style
        if self.pictures and style is not None and (place := style.meta.get(PICTURE)):
            camera, row = place
            return Segment(self.pictures[camera][row])
        return Segment(in_ascii(segment.text), style) if ascii_only else segment


def in_ascii(text: str) -> str:
    """`text` for a terminal that knows ASCII only, in the same number of cells."""
    if text.isascii():
        return text
    plain = text.translate(_ASCII)
    return "".join(char if char.isascii() else "?" * cell_len(char) for char in plain)


def render(content: ScreenContent, width: int, height: int) -> Page:
    """The screen for a terminal of `width` x `height` cells: exactly that many lines, all of that width."""
    margin = 1 if width >= 40 else 0
    inner = max(1, width - 2 * margin)
    pictures: dict[str, Sequence[str]] = {}
    content = _remembering(content, pictures)
    head = [_header(content, inner)]
    foot = footer(content, inner, height)
    if height >= 16:
        head.append(line([], inner))
        foot.insert(0, line([], inner))
    room = max(0, height - len(head) - len(foot))
    lines = (head + _fill(_body(content, inner, room), inner, room) + foot)[: max(0, height)]
    edge = " " * margin
    placed = tuple(line([(edge, "")], margin).append_text(text).append(edge) for text in lines)
    return Page(placed, pictures)


def most_scroll(content: ScreenContent, width: int, height: int) -> int:
    """How far the page can be scrolled, lines."""
    inner = max(1, width - 2 * (1 if width >= 40 else 0))
    room = max(0, height - 1 - len(footer(content, inner, height)) - 2 * (height >= 16))
    if content.state.place is Place.HELP:
        lines = len(help_lines(inner))
        return lines - room + 1 if lines > room else 0
    if content.state.place is Place.EVENTS:
        return max(0, len(entries_of(content, None)) - max(1, room - 2))
    return 0


def _remembering(content: ScreenContent, pictures: dict[str, Sequence[str]]) -> ScreenContent:
    """What is drawn, with pictures that are kept as they are asked for."""
    ask = content.picture
    if ask is None:
        return content

    def picture(camera: str, width: int, height: int) -> tuple[int, list[str]] | None:
        found = ask(camera, width, height)
        if found is not None:
            pictures[camera] = found[1]
        return found

    return replace(content, picture=picture)


def _header(content: ScreenContent, width: int) -> Text:
    stats = content.stats
    states = Counter(camera.status.state for camera in stats.cameras)
    total = len(stats.cameras)
    name: list[Part] = [("streamer", "bold"), ("   ", "")]
    number: list[Part] = [(f"{total} camera{'s' * (total != 1)}  ", "dim")] if total else []
    clock = time.strftime("%H:%M:%S", time.localtime(stats.wall))
    held: list[Part] = [(" held at ", "bold reverse"), (" ", "")] if content.state.held else []
    up: list[Part] = [(f" up {_uptime(stats.uptime)}   ", "dim")]
    words: list[Part] = [(f" {STATES[s][0]} {states[s]} {s} ", STATES[s][1]) for s in STATES if states[s]]
    if stats.model is None and not states.keys() - {CameraState.CONNECTING}:
        words = [(f" {STATES[CameraState.CONNECTING][0]} {STARTING} ", "cyan")]
    signs: list[Part] = [(f" {STATES[s][0]} {states[s]} ", STATES[s][1]) for s in STATES if states[s]]
    now: list[Part] = [*held, (clock, "")]
    # what fits, from all of it to the states alone
    for first, last in (
        ([*name, *number, *words], [*up, *now]),
        ([*name, *number, *signs], [*up, *now]),
        ([*name, *signs], [*up, *now]),
        ([*name, *signs], now),
    ):
        if sum(len(text) for text, _ in (*first, *last)) <= width:
            return spread(first, last, width)
    return spread(signs, now, width)


def _uptime(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    days, whole = divmod(whole, 86400)
    text = f"{whole // 3600:02}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{days} d {text}" if days else text


# --- what is between head and foot ---


def _body(content: ScreenContent, width: int, height: int) -> list[Text]:
    if height < 1:
        return []
    if content.state.place is Place.HELP:
        return _scrolled(help_lines(width), content, width, height)
    if content.state.place is Place.EVENTS:
        return events_page(content, width, height)
    if content.state.place is Place.CAMERA:
        for camera in content.stats.cameras:
            if camera.status.camera == content.state.camera:
                return _one_camera(camera, content, width, height)
    return _overview(content, width, height)


def _scrolled(lines: list[Text], content: ScreenContent, width: int, height: int) -> list[Text]:
    """As much of a long page as fits, and how much there is below."""
    if len(lines) <= height:
        return lines
    first = min(content.state.scroll, len(lines) - height + 1)
    shown = lines[first : first + height - 1]
    below = len(lines) - first - len(shown)
    return [*shown, line([(f"{below} more lines, j or ↓" if below else "the end, k or ↑", "dim")], width)]


def _one_camera(camera: CameraStats, content: ScreenContent, width: int, height: int) -> list[Text]:
    """One camera with all its labels, its events, and its picture where there is one."""
    if content.picture is not None and width >= BESIDE_PICTURE:
        side = (width - 2 * GUTTER) // 2
        main = width - 2 * GUTTER - side
        pictures = _fill(picture_lines(camera, content, side, height), side, height)
        left_part = _camera_and_events(camera, replace(content, picture=None), main, height)
        return beside([_fill(left_part, main, height), pictures], [main, side], 2 * GUTTER)
    return _camera_and_events(camera, content, width, height)


def _camera_and_events(camera: CameraStats, content: ScreenContent, width: int, height: int) -> list[Text]:
    wanted = HEAD + len(camera.main.top) + len(camera.models[1:]) + len(camera.people) + PAST + 1
    if content.picture is not None:
        wanted += min(MOST_PICTURE, width * 9 // 32)
    feed = 0 if height < 8 else max(3, height // 4)
    block = camera_lines(camera, content, width, max(1, min(wanted, height - feed - (feed > 0))))
    if not feed:
        return block
    return [
        *block,
        line([], width),
        *event_lines(content, width, height - len(block) - 1, camera.status.camera),
    ]


def _overview(content: ScreenContent, width: int, height: int) -> list[Text]:
    """Cameras and events in exactly `height` lines: side by side where cameras lose nothing by it."""
    if content.picture is not None and len(content.stats.cameras) == 1 and width >= BESIDE_PICTURE:
        return _one_camera(content.stats.cameras[0], content, width, height)
    feed = 0 if height < 8 else max(4, height // 4)
    above = height - feed - (feed > 0)  # lines for the cameras if the events stand below them
    if width >= SIDE_BY_SIDE and height >= 8:
        side = max(52, min(64, width * 36 // 100))
        main = width - side - 2 * GUTTER
        each = _grid(content, main, height)[1]
        if each > HEAD or each >= _grid(content, width, above)[1]:
            cameras = _fill(_cameras(content, main, height), main, height)
            return beside([cameras, event_lines(content, side, height)], [main, side], 2 * GUTTER)
    cameras = _cameras(content, width, above)
    left_over = height - len(cameras) - 1
    if left_over < 2 or not feed:
        return cameras
    return [*cameras, line([], width), *event_lines(content, width, left_over)]


def _fill(lines: list[Text], width: int, height: int) -> list[Text]:
    return lines[:height] + [line([], width)] * (height - len(lines))


def _cameras(content: ScreenContent, width: int, height: int) -> list[Text]:
    """All cameras in at most `height` lines."""
    cameras = content.stats.cameras
    if not cameras or height < 1:
        return [line([("waiting for cameras", "dim")], width)][:height]
    columns, each = _grid(content, width, height)
    if each >= 2:
        return _lay(cameras, content, width, columns, each, gap=True)
    columns = max(1, min(len(cameras), (width + GUTTER) // (NARROWEST_CAMERA + GUTTER)))
    shown = cameras
    if len(shown) > columns * height:
        shown = shown[: columns * (height - 1)]
    lines = _lay(shown, content, width, columns, 1, gap=False) if shown else []
    hidden = cameras[len(shown) :]
    if hidden:
        states = Counter(camera.status.state for camera in hidden)
        words = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
        lines.append(line([(f"+{len(hidden)} more: {words}", "dim")], width))
    return lines


def _wanted(content: ScreenContent, width: int) -> int:
    """Lines that the largest camera would fill."""
    stats = content.stats
    labels = max((len(camera.main.top) for camera in stats.cameras), default=0)
    if not labels:  # before the first prediction: keep the room, so that nothing moves when it comes
        labels = min(5, len(stats.model.labels)) if stats.model else 5
    more = max((len(camera.models[1:]) + len(camera.people) for camera in stats.cameras), default=0)
    picture = min(MOST_PICTURE, width * 9 // 32) if content.picture is not None else 0
    return HEAD + min(MOST_LABELS, labels) + more + PAST + (content.state.camera is not None) + picture


def _grid(content: ScreenContent, width: int, height: int) -> tuple[int, int]:
    """(columns, lines per camera): as much of every camera as fits, then cells of a good width."""
    cameras = len(content.stats.cameras)
    best = (1, 0)
    best_key = (-1, 0)
    for columns in range(1, cameras + 1):
        camera_width = (width - GUTTER * (columns - 1)) // columns
        if columns > 1 and camera_width < NARROWEST_CAMERA:
            break
        each = min(_wanted(content, camera_width), (height + 1) // -(-cameras // columns) - 1)
        key = (each, -abs(min(camera_width, 2 * GOOD_CAMERA) - GOOD_CAMERA))
        if key > best_key:
            best, best_key = (columns, each), key
    return best


def _lay(
    cameras: tuple[CameraStats, ...],
    content: ScreenContent,
    width: int,
    columns: int,
    each: int,
    *,
    gap: bool,
) -> list[Text]:
    """The cameras row by row, `columns` in a row, each in `each` lines."""
    widths = [(width - GUTTER * (columns - 1)) // columns] * columns
    lines: list[Text] = []
    for first in range(0, len(cameras), columns):
        if gap and lines:
            lines.append(line([], width))
        row = cameras[first : first + columns]
        blocks = [camera_lines(camera, content, widths[0], each) for camera in row]
        blocks[0] = _fill(blocks[0], widths[0], each)
        for text in beside(blocks, widths[: len(row)], GUTTER):
            text.truncate(width, overflow="crop", pad=True)
            lines.append(text)
    return lines
