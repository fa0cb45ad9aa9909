"""The whole screen as text: a pure function of the statistics and the size of the terminal.

From top to bottom: who and how long, the cameras, recent events (beside them where there is room), then
speed, losses, model and bus. No borders: white space and alignment do it, and numbers keep their places.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from streamer.dashboard.camera_view import ACTION, HEAD, STATES, camera_lines
from streamer.dashboard.footer import footer
from streamer.dashboard.text_layout import GUTTER, Part, beside, duration, left, line, right, score, spread
from streamer.types import CameraStats, Event, LabelScore, ModelStats, Phase, Stats

NARROWEST_CAMERA = 37
GOOD_CAMERA = 60
SIDE_BY_SIDE = 110  # from this width on, the events stand beside the cameras
MOST_LABELS = 8
_ASCII = str.maketrans("●◌▲↻■✕▶━╸…·×", "*o^~#x>=-~-x")


@dataclass(frozen=True)
class Page:
    """Lines of one exact width. Rich renders it; a test reads `plain`."""

    lines: tuple[Text, ...]

    @property
    def plain(self) -> str:
        return "\n".join(text.plain for text in self.lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for index, text in enumerate(self.lines):
            if index:
                yield Segment.line()
            for segment in text.render(console):
                yield Segment(in_ascii(segment.text), segment.style) if options.ascii_only else segment


def in_ascii(text: str) -> str:
    """`text` for a terminal that knows ASCII only, in the same number of cells."""
    if text.isascii():
        return text
    plain = text.translate(_ASCII)
    return "".join(char if char.isascii() else "?" * cell_len(char) for char in plain)


def render(stats: Stats, width: int, height: int) -> Page:
    """The screen for a terminal of `width` x `height` cells: exactly that many lines, all of that width."""
    stats = in_their_language(stats)
    margin = 1 if width >= 40 else 0
    inner = max(1, width - 2 * margin)
    head = [_header(stats, inner)]
    foot = footer(stats, inner, height)
    airy = height >= 16
    if airy:
        head.append(line([], inner))
        foot.insert(0, line([], inner))
    room = max(0, height - len(head) - len(foot))
    lines = (head + _body(stats, inner, room) + foot)[: max(0, height)]
    edge = " " * margin
    return Page(tuple(line([(edge, "")], margin).append_text(text).append(edge) for text in lines))


def in_their_language(stats: Stats) -> Stats:
    """The statistics with display names in the place of labels, where there are any."""
    names = stats.names
    if not names:
        return stats

    def score_of(entry: LabelScore | None) -> LabelScore | None:
        return None if entry is None else replace(entry, label=names.get(entry.label, entry.label))

    def top_of(top: tuple[LabelScore, ...]) -> tuple[LabelScore, ...]:
        return tuple(replace(entry, label=names.get(entry.label, entry.label)) for entry in top)

    def event_of(event: Event) -> Event:
        return replace(event, label=names.get(event.label, event.label))

    def model_of(model: ModelStats) -> ModelStats:
        smoothed = {names.get(label, label): score for label, score in model.smoothed.items()}
        return replace(model, top=top_of(model.top), stable=score_of(model.stable), smoothed=smoothed)

    def camera_of(camera: CameraStats) -> CameraStats:
        opened = tuple(map(event_of, camera.open_events))
        return replace(camera, models=tuple(map(model_of, camera.models)), open_events=opened)

    return replace(
        stats, cameras=tuple(map(camera_of, stats.cameras)), recent=tuple(map(event_of, stats.recent))
    )


def _header(stats: Stats, width: int) -> Text:
    states = Counter(camera.status.state for camera in stats.cameras)
    total = len(stats.cameras)
    first: list[Part] = [("streamer", "bold"), ("   ", "")]
    if total:
        first.append((f"{total} camera{'s' * (total != 1)}  ", "dim"))
    clock = time.strftime("%H:%M:%S", time.localtime(stats.wall))
    last: list[Part] = [(f" up {_uptime(stats.uptime)}   ", "dim"), (clock, "")]
    words = [(f" {STATES[s][0]} {states[s]} {s} ", STATES[s][1]) for s in STATES if states[s]]
    if sum(len(text) for text, _ in first + words + last) > width:  # the signs and numbers alone
        words = [(f" {STATES[s][0]} {states[s]} ", STATES[s][1]) for s in STATES if states[s]]
    return spread(first + words, last, width)


def _uptime(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    days, whole = divmod(whole, 86400)
    text = f"{whole // 3600:02}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{days} d {text}" if days else text


# --- cameras and events ---


def _body(stats: Stats, width: int, height: int) -> list[Text]:
    """Cameras and events in exactly `height` lines: side by side where cameras lose nothing by it."""
    feed = 0 if height < 8 else max(4, height // 4)
    above = height - feed - (feed > 0)  # lines for the cameras if the events stand below them
    if width >= SIDE_BY_SIDE and height >= 8:
        side = max(52, min(64, width * 36 // 100))
        main = width - side - 2 * GUTTER
        each = _grid(stats, main, height)[1]
        if each > HEAD or each >= _grid(stats, width, above)[1]:
            cameras = _fill(_cameras(stats, main, height), main, height)
            return beside([cameras, _events(stats, side, height)], [main, side], 2 * GUTTER)
    cameras = _cameras(stats, width, above)
    left_over = height - len(cameras) - 1
    if left_over < 2 or not feed:
        return _fill(cameras, width, height)
    return [*cameras, line([], width), *_events(stats, width, left_over)]


def _fill(lines: list[Text], width: int, height: int) -> list[Text]:
    return lines[:height] + [line([], width)] * (height - len(lines))


def _cameras(stats: Stats, width: int, height: int) -> list[Text]:
    """All cameras in at most `height` lines."""
    if not stats.cameras or height < 1:
        return [line([("waiting for cameras", "dim")], width)][:height]
    columns, each = _grid(stats, width, height)
    if each >= 2:
        return _lay(stats.cameras, stats, width, columns, each, gap=True)
    columns = max(1, min(len(stats.cameras), (width + GUTTER) // (NARROWEST_CAMERA + GUTTER)))
    shown = stats.cameras
    if len(shown) > columns * height:
        shown = shown[: columns * (height - 1)]
    lines = _lay(shown, stats, width, columns, 1, gap=False) if shown else []
    hidden = stats.cameras[len(shown) :]
    if hidden:
        states = Counter(camera.status.state for camera in hidden)
        words = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
        lines.append(line([(f"+{len(hidden)} more: {words}", "dim")], width))
    return lines


def _label_rows(stats: Stats) -> int:
    rows = (len(camera.main.top) + len(camera.models[1:]) for camera in stats.cameras)
    most = max(rows, default=0)
    if not most:  # before the first prediction: keep the room, so that nothing moves when it comes
        most = min(5, len(stats.model.labels)) if stats.model else 5
    return min(MOST_LABELS, most)


def _grid(stats: Stats, width: int, height: int) -> tuple[int, int]:
    """(columns, lines per camera): as much of every camera as fits, then cells of a good width."""
    cameras, wanted = len(stats.cameras), HEAD + _label_rows(stats)
    best = (1, 0)
    best_key = (-1, 0)
    for columns in range(1, cameras + 1):
        camera_width = (width - GUTTER * (columns - 1)) // columns
        if columns > 1 and camera_width < NARROWEST_CAMERA:
            break
        each = min(wanted, (height + 1) // -(-cameras // columns) - 1)
        key = (each, -abs(min(camera_width, 2 * GOOD_CAMERA) - GOOD_CAMERA))
        if key > best_key:
            best, best_key = (columns, each), key
    return best


def _lay(
    cameras: tuple[CameraStats, ...], stats: Stats, width: int, columns: int, each: int, *, gap: bool
) -> list[Text]:
    """The cameras row by row, `columns` in a row, each in `each` lines."""
    widths = [(width - GUTTER * (columns - 1)) // columns] * columns
    lines: list[Text] = []
    for first in range(0, len(cameras), columns):
        if gap and lines:
            lines.append(line([], width))
        row = cameras[first : first + columns]
        blocks = [camera_lines(camera, stats, widths[0], each) for camera in row]
        blocks[0] = _fill(blocks[0], widths[0], each)
        for text in beside(blocks, widths[: len(row)], GUTTER):
            text.truncate(width, overflow="crop", pad=True)
            lines.append(text)
    return lines


def _events(stats: Stats, width: int, height: int) -> list[Text]:
    """Recent events, newest first, under a heading; exactly `height` lines."""
    newest: dict[str, Event] = {}
    for event in stats.recent:
        newest[event.id] = event
    flexible = max(0, width - 8 - 2 - 10 - 6)
    several = len(stats.cameras) > 1
    names = min(24, flexible * 45 // 100) if several else 0
    labels = max(0, flexible - names - (2 if names else 0))
    heading = left("Events", 10) + left("", names + 2 if names else 0) + left("", labels)
    lines = [line([(heading, "dim"), (right("lasted", 10), "dim"), (right("peak", 6), "dim")], width)]
    for event in list(reversed(newest.values()))[: height - 1]:
        lines.append(_event(event, stats, names, labels, width))
    if len(lines) == 1:
        lines.append(line([("none yet", "dim")], width))
    return _fill(lines, width, height)


def _event(event: Event, stats: Stats, names: int, labels: int, width: int) -> Text:
    going = event.phase is not Phase.END
    until = stats.time if event.ended is None else event.ended.time
    lasted = duration(until - event.started.time)
    parts: list[Part] = [(time.strftime("%H:%M:%S  ", time.localtime(event.started.wall)), "dim")]
    if names:
        parts += [(left(event.camera, names), "dim" if not going else ""), ("  ", "")]
    style = ACTION if going else ""
    parts.append((left(event.label, labels), style))
    parts.append((right(f"▶ {lasted}" if going else lasted, 10), style))
    parts.append((f"  {score(event.peak)}", "dim"))
    return line(parts, width)
