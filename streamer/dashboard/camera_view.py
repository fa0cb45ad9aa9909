"""How one camera looks: as a block of several lines where there is room, as one line where there is not."""

from __future__ import annotations

from rich.text import Text

from streamer.dashboard.text_layout import Part, bar, count, duration, left, line, right, score
from streamer.types import CameraState, CameraStats, Stats

# Never colour alone: each state has its own sign and its word.
STATES: dict[CameraState, tuple[str, str]] = {
    CameraState.CONNECTING: ("◌", "cyan"),
    CameraState.RUNNING: ("●", "green"),
    CameraState.STALLED: ("▲", "yellow"),
    CameraState.RECONNECTING: ("↻", "yellow"),
    CameraState.ENDED: ("■", "dim"),
    CameraState.FAILED: ("✕", "bold red"),
}
ACTION = "bold cyan"  # an event that goes on
SCORES = "cyan"
WARNING = "yellow"
OLD_S = 2.0  # a newest frame older than this is worth a warning
WIDEST = 96  # a block does not grow beyond this: eyes must find the numbers
NUMBERS = 14  # cells of the raw and the stable score
ROOMY = 52  # from this width on, a camera's second line has room for its size and its windows
BEHIND = 0.8  # part of the asked windows, below which a camera is behind
HEAD = 3  # lines of a block above its labels


def camera_lines(camera: CameraStats, stats: Stats, width: int, height: int) -> list[Text]:
    """A camera in `height` lines (1 gives a single line), each exactly `width` cells."""
    if height < 2:
        return [single(camera, stats, width)]
    inner = min(width, WIDEST)
    lines = [_name(camera, inner)]
    if height >= HEAD:
        lines.append(_facts(camera, stats, inner))
    lines.append(_belief(camera, stats, inner, heading=height > HEAD))
    others = _others(camera, inner)[: max(0, height - HEAD)]
    lines += _labels(camera, inner, height - HEAD - len(others)) + others
    for text in lines:
        text.pad_right(width - inner)
    return lines


def single(camera: CameraStats, stats: Stats, width: int) -> Text:
    """A camera in one line."""
    status = camera.status
    sign, style = STATES[status.state]
    if status.picture != "ok":
        style = WARNING
    name = max(8, min(24, width // 3))
    rest = max(0, width - name - 3)
    parts: list[Part] = [(f"{sign} ", style), (left(status.camera, name), "bold"), (" ", "")]
    if status.state is not CameraState.RUNNING or status.picture != "ok":
        words = _state(camera) + (f": {status.detail}" if status.detail else "")
        return line([*parts, (left(words, rest), style)], width)
    what, style, since = _what(camera, stats)
    if camera.main.lacking and not camera.open_events:
        what = f"ready in {duration(camera.main.lacking)}"  # short enough for the narrowest line
    numbers: list[Part] = [(right(since, 9), style)]
    known = camera.main.stable and camera.main.stable.score
    if rest >= 30:
        numbers.insert(0, (f" {score(known or None)}", "dim"))
    elif not since:
        numbers = [(f" {score(known)}", "dim")] if known else []
    taken = sum(len(text) for text, _ in numbers)
    return line([*parts, (left(what, rest - taken), style), *numbers], width)


def _name(camera: CameraStats, width: int) -> Text:
    sign, style = STATES[camera.status.state]
    words = _state(camera)
    if camera.status.picture != "ok":
        style = WARNING
    room = min(len(words), width // 2)
    return line(
        [
            (f"{sign} ", style),
            (left(camera.status.camera, max(1, width - room - 3)), "bold"),
            (" ", ""),
            (right(words, room), style),
        ],
        width,
    )


def _state(camera: CameraStats) -> str:
    if camera.status.picture == "ok":
        return str(camera.status.state)
    return f"{camera.status.picture} picture"


def _facts(camera: CameraStats, stats: Stats, width: int) -> Text:
    """Frames per second, size, age of the newest frame, windows per second given and asked, losses: always at
    the same place. Where there is no room for both, the windows stand in the place of the size.
    """
    status = camera.status
    fps = "– fps" if status.fps is None else f"{min(status.fps, 999):.0f} fps"
    size = f"{status.width}×{status.height}" if status.width and status.height else ""
    parts: list[Part] = [("  ", ""), (left(fps, 7 if width < ROOMY else 9), "dim")]
    if width >= ROOMY:
        parts.append((left(size, 9), "dim"))
    else:
        parts += _windows(camera, 13) if camera.main.asked_per_s else [(left(size, 13), "dim")]
    if status.newest is not None and status.state is not CameraState.ENDED:
        age = max(0.0, stats.time - status.newest)
        # tenths: a number that flickers with every frame says nothing more
        words = "<0.1 s old" if age < 0.1 else f"{duration(age)} old"
        parts.append((right(words, 13), WARNING if age > OLD_S else "dim"))
    else:
        parts.append((" " * 13, ""))
    # frames above the rate that windows need are no loss
    lost = sum(number for cause, number in status.dropped.items() if cause != "rate")
    whole = width >= (74 if lost else 56)
    if width >= ROOMY:
        parts += [("  ", ""), *_windows(camera, 22 if whole else 14, whole=whole)]
    if lost and width >= 58:
        parts.append((f"  {count(lost)} lost", WARNING))
    if status.reconnects and width >= 88:
        parts.append((f"  {count(status.reconnects)} reconnects", "dim"))
    return line(parts, width)


def _windows(camera: CameraStats, width: int, *, whole: bool = False) -> list[Part]:
    """Windows per second given and asked; a hop that stretches because the machine is behind shows here."""
    main = camera.main
    if not main.asked_per_s:
        return [(" " * width, "")]
    behind = main.windows > 0 and main.windows_per_s < BEHIND * main.asked_per_s
    given = f"{min(main.windows_per_s, 999):.1f}"
    asked = f" of {main.asked_per_s:.1f} windows/s" if whole else f"/{main.asked_per_s:.1f} win/s"
    return [(given, WARNING if behind else "dim"), (left(asked, width - len(given)), "dim")]


def _belief(camera: CameraStats, stats: Stats, width: int, *, heading: bool) -> Text:
    """What the camera shows now: the open event with its duration, or what is believed, or why nothing is."""
    what, style, since = _what(camera, stats)
    head = heading and bool(camera.main.top)
    bars = _columns(width)[1]
    if not since and camera.status.state is not CameraState.RUNNING:  # why it does not: all the room
        return line([("  ", ""), (left(what, width - 2), style)], width)
    if not head:
        known = score(camera.main.stable.score) if camera.main.stable and camera.main.top else ""
        return line(
            [
                ("  ", ""),
                (left(what, width - 17), style),
                (right(known, 5), "dim"),
                (right(since, 10), style),
            ],
            width,
        )
    room = 9 if bars < 9 else bars  # the duration stands over the bars, or takes from the name
    names = width - 2 - 1 - NUMBERS - room
    since = left(since, room) if bars >= 9 else right(since, room)
    return line(
        [
            ("  ", ""),
            (left(what, names), style),
            (" ", ""),
            (since, style),
            (f"{'raw':>6}{'stable':>8}", "dim"),
        ],
        width,
    )


def _what(camera: CameraStats, stats: Stats) -> tuple[str, str, str]:
    """(words, style, how long) of a camera now."""
    status, main = camera.status, camera.main
    if camera.open_events:
        newest = camera.open_events[-1]
        more = f" +{len(camera.open_events) - 1}" if len(camera.open_events) > 1 else ""
        return f"▶ {newest.label}{more}", ACTION, duration(stats.time - newest.started.time)
    if status.state is not CameraState.RUNNING:
        calm = status.state in (CameraState.CONNECTING, CameraState.ENDED)
        return status.detail, "dim" if calm else WARNING, ""
    if main.lacking:
        which = "next" if main.windows else "first"
        return f"{which} prediction in {duration(main.lacking)}", "dim", ""
    if not main.windows:
        return "first prediction soon", "dim", ""
    return (main.stable.label, "", "") if main.stable else ("unknown", "dim", "")


def _others(camera: CameraStats, width: int) -> list[Text]:
    """A line for each further model: its name, and what it believes, or sees best."""
    names, _ = _columns(width)
    lines = []
    for other in camera.models[1:]:
        best = other.top[0] if other.top else None
        believed = other.stable or best
        what = believed.label if believed else "no prediction yet"
        parts: list[Part] = [
            ("  ", ""),
            (left(other.model.rsplit("/", 1)[-1], names), "dim"),
            (" ", ""),
            (left(what, width - names - 9), ACTION if other.stable else "dim"),
            (f"  {score(believed.score if believed else None)}", "dim"),
        ]
        lines.append(line(parts, width))
    return lines


def _columns(width: int) -> tuple[int, int]:
    """Cells for the label and for the bar; the numbers, two of indent and one between take the rest."""
    names = max(10, min(30, int(width * 0.38)))
    return names, max(0, width - 2 - names - 1 - NUMBERS)


def _labels(camera: CameraStats, width: int, rows: int) -> list[Text]:
    names, bars = _columns(width)
    live = camera.status.state is CameraState.RUNNING
    lines = []
    for entry in camera.main.top[: max(0, rows)]:
        smoothed = camera.main.smoothed.get(entry.label)
        believed = camera.main.stable is not None and camera.main.stable.label == entry.label
        style = "dim" if not live else ACTION if believed else SCORES
        lines.append(
            line(
                [
                    ("  ", ""),
                    (left(entry.label, names), "" if live else "dim"),
                    (" ", ""),
                    *bar(smoothed, entry.score, bars, style),
                    (f"  {score(entry.score)}", "dim"),
                    (f"    {score(smoothed)}", "" if live else "dim"),
                ],
                width,
            )
        )
    return lines
