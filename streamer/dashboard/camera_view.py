"""How one camera looks: as a block of several lines where there is room, as one line where there is not."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from streamer.dashboard.screen_content import ScreenContent
from streamer.dashboard.text_layout import (
    Part,
    bar,
    cell_width,
    count,
    duration,
    left,
    line,
    right,
    score,
    wrapped,
)
from streamer.dashboard.timeline import strip_lines
from streamer.types import CameraState, CameraStats, PersonStats

# Never colour alone: each state has its own sign and its word.
STATES: dict[CameraState, tuple[str, str]] = {
    CameraState.CONNECTING: ("◌", "cyan"),
    CameraState.RUNNING: ("●", "green"),
    CameraState.STALLED: ("▲", "yellow"),
    CameraState.RECONNECTING: ("↻", "yellow"),
    CameraState.ENDED: ("■", "dim"),
    CameraState.FAILED: ("✕", "bold red"),
}
WARNING = "yellow"
OLD_S = 2.0  # a newest frame older than this is worth a warning
WIDEST = 96  # a block does not grow beyond this: eyes must find the numbers
NUMBERS = 14  # cells of the raw and the stable score
ROOMY = 52  # from this width on, a camera's second line has room for its size and its windows
BEHIND = 0.8  # part of the asked windows, below which a camera is behind
HEAD = 3  # lines of a block above its labels
PAST = 2  # lines of the last minute below them
LEAST_PICTURE = 6  # lines; a smaller one shows nothing
STARTING = "starting"
PICTURE = "picture"  # in a style's meta: (camera, row of its picture)


def camera_lines(camera: CameraStats, content: ScreenContent, width: int, height: int) -> list[Text]:
    """A camera in `height` lines (1 gives a single line), each exactly `width` cells."""
    if height < 2:
        return [single(camera, content, width)]
    inner = min(width, WIDEST)
    lines = [_name(camera, content, inner)]
    if height >= HEAD:
        lines.append(_facts(camera, content, inner))
    lines += _belief(camera, content, inner, height - len(lines), heading=height > HEAD)
    lines += _below(camera, content, inner, height - len(lines))
    for text in lines:
        text.pad_right(width - inner)
    return lines[:height]


def _below(camera: CameraStats, content: ScreenContent, width: int, rows: int) -> list[Text]:
    """What stands below a camera's belief: other models, people, labels, the last minute, its picture."""
    if rows < 1:
        return []
    more = [*_others(camera, width), *_people(camera, content, width)][:rows]
    rows -= len(more)
    if not camera.main.past and not camera.main.top:
        past = 0
    elif content.state.camera == camera.status.camera and rows >= 7:
        past = PAST + 1  # with the time below it
    else:
        past = PAST if rows >= PAST + 2 else 1 if rows >= 2 else 0
    labels = _labels(camera, content, width, rows - past)
    lines = [*labels, *more, *strip_lines(camera, content, width, past)]
    return [*lines, *picture_lines(camera, content, width, rows + len(more) - len(lines))]


def picture_lines(camera: CameraStats, content: ScreenContent, width: int, rows: int) -> list[Text]:
    """Blanks where the camera's picture is put when the page is written."""
    if content.picture is None or rows < LEAST_PICTURE:
        return []
    found = content.picture(camera.status.camera, width - 2, rows)
    if found is None:
        return [line([("  no picture yet", "dim")], width)]
    cells, made = found
    name = camera.status.camera
    return [
        line([("  ", ""), (" " * cells, Style(meta={PICTURE: (name, row)}))], width)
        for row in range(len(made))
    ]


def single(camera: CameraStats, content: ScreenContent, width: int) -> Text:
    """A camera in one line."""
    status = camera.status
    sign, style = STATES[status.state]
    if status.picture != "ok":
        style = WARNING
    name = max(8, min(24, width // 3))
    longest = max((cell_width(one.status.camera) for one in content.stats.cameras), default=name)
    name = min(name, max(4, longest))  # what names do not need, the rest may have
    rest = max(0, width - name - 3)
    parts: list[Part] = [
        (f"{sign} ", style),
        (left(status.camera, name), _chosen(camera, content)),
        (" ", ""),
    ]
    if status.state is not CameraState.RUNNING or status.picture != "ok":
        words = _state(camera, content) + (f": {status.detail}" if status.detail else "")
        return line([*parts, (left(words, rest), style)], width)
    what, style, since = _what(camera, content)
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


def _chosen(camera: CameraStats, content: ScreenContent) -> str:
    return "bold reverse" if content.state.camera == camera.status.camera else "bold"


def _name(camera: CameraStats, content: ScreenContent, width: int) -> Text:
    sign, style = STATES[camera.status.state]
    words = _state(camera, content)
    if camera.status.picture != "ok":
        style = WARNING
    room = min(len(words), width // 2)
    names = max(1, width - room - 3)
    own = min(names, cell_width(camera.status.camera))
    return line(
        [
            (f"{sign} ", style),
            (left(camera.status.camera, own), _chosen(camera, content)),
            (" " * (names - own + 1), ""),
            (right(words, room), style),
        ],
        width,
    )


def _state(camera: CameraStats, content: ScreenContent) -> str:
    if camera.status.state is CameraState.CONNECTING and content.stats.model is None:
        return STARTING
    if camera.status.picture == "ok":
        return str(camera.status.state)
    return f"{camera.status.picture} picture"


def _facts(camera: CameraStats, content: ScreenContent, width: int) -> Text:
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
        age = max(0.0, content.stats.time - status.newest)
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


def _belief(
    camera: CameraStats, content: ScreenContent, width: int, rows: int, *, heading: bool
) -> list[Text]:
    """What the camera shows now: the open event with its duration, or what is believed, or why nothing is,
    on as many of `rows` lines as that needs.
    """
    what, style, since = _what(camera, content)
    if not since and camera.status.state is not CameraState.RUNNING:  # why it does not: all the room
        lines = wrapped(what, width - 2, rows)
        return [line([("  ", ""), (left(text, width - 2), style)], width) for text in lines]
    if not (heading and camera.main.top):
        known = score(camera.main.stable.score) if camera.main.stable and camera.main.top else ""
        ends: list[Part] = [(right(known, 5), "dim")] if known else []
        ends += [(right(since, 10), style)] if since else []
        taken = sum(len(text) for text, _ in ends)
        return [line([("  ", ""), (left(what, width - 2 - taken), style), *ends], width)]
    bars = _columns(camera, content, width)[1]
    room = 9 if bars < 9 else bars  # the duration stands over the bars, or takes from the name
    names = width - 2 - 1 - NUMBERS - room
    if not since:
        names, room = names + room, 0
    since = left(since, room) if bars >= 9 else right(since, room)
    parts: list[Part] = [("  ", ""), (left(what, names), style), (" ", ""), (since, style)]
    return [line([*parts, (f"{'raw':>6}{'stable':>8}", "dim")], width)]


def _what(camera: CameraStats, content: ScreenContent) -> tuple[str, str, str]:
    """(words, style, how long) of a camera now."""
    status, main = camera.status, camera.main
    if camera.open_events:
        newest = camera.open_events[-1]
        more = f" +{len(camera.open_events) - 1}" if len(camera.open_events) > 1 else ""
        style = f"bold {content.colour(newest.label)}"
        return f"▶ {newest.label}{more}", style, duration(content.stats.time - newest.started.time)
    if status.state is not CameraState.RUNNING:
        calm = status.state in (CameraState.CONNECTING, CameraState.ENDED)
        return status.detail, "dim" if calm else WARNING, ""
    if main.lacking:
        which = "next" if main.windows else "first"
        return f"{which} prediction in {duration(main.lacking)}", "dim", ""
    if not main.windows:
        return "first prediction soon" if content.stats.model else STARTING, "dim", ""
    return (main.stable.label, "", "") if main.stable else ("unknown", "dim", "")


def _others(camera: CameraStats, width: int) -> list[Text]:
    """A line for each further model: its name, and what it believes, or sees best."""
    names = max(10, min(30, int(width * 0.38)))
    lines = []
    for other in camera.models[1:]:
        best = other.top[0] if other.top else None
        believed = other.stable or best
        what = believed.label if believed else "no prediction yet"
        parts: list[Part] = [
            ("  ", ""),
            (left(other.model.rsplit("/", 1)[-1], names), "dim"),
            (" ", ""),
            (left(what, width - names - 9), "bold" if other.stable else "dim"),
            (f"  {score(believed.score if believed else None)}", "dim"),
        ]
        lines.append(line(parts, width))
    return lines


def _people(camera: CameraStats, content: ScreenContent, width: int) -> list[Text]:
    """A line for each person who is followed: what they do, for how long, and how sure that is."""
    return [_person(person, camera, content, width) for person in camera.people]


def _person(person: PersonStats, camera: CameraStats, content: ScreenContent, width: int) -> Text:
    number = person.track.id
    doing = [event for event in camera.open_events if event.track is not None and event.track.id == number]
    best = person.stable or (person.top[0] if person.top else None)
    what, style, since = "seen, no prediction yet", "dim", ""
    if doing:
        newest = doing[-1]
        what, style = f"▶ {newest.label}", f"bold {content.colour(newest.label)}"
        since = duration(content.stats.time - newest.started.time)
    elif best is not None:
        what, style = best.label, content.colour(best.label) if person.stable else "dim"
    who = f"person {number}"
    parts: list[Part] = [("  ", ""), (left(who, max(10, len(who))), "dim"), (" ", "")]
    taken = sum(len(text) for text, _ in parts) + 9 + 6
    parts += [(left(what, max(0, width - taken)), style), (right(since, 9), style)]
    return line([*parts, (f"  {score(best.score if best else None)}", "dim")], width)


def _columns(camera: CameraStats, content: ScreenContent, width: int) -> tuple[int, int]:
    """Cells for the label and for the bar; the numbers, two of indent and one between take the rest.

    Labels get what their longest needs, as long as half of a short bar is left.
    """
    rest = max(0, width - 2 - 1 - NUMBERS)
    longest = max([content.widest, *(cell_width(entry.label) for entry in camera.main.top)])
    usual = max(10, min(30, int(width * 0.38)))
    names = min(rest, max(usual, min(longest, rest - 6)))
    return names, rest - names


def _labels(camera: CameraStats, content: ScreenContent, width: int, rows: int) -> list[Text]:
    names, bars = _columns(camera, content, width)
    live = camera.status.state is CameraState.RUNNING
    lines = []
    for entry in camera.main.top[: max(0, rows)]:
        smoothed = camera.main.smoothed.get(entry.label)
        believed = camera.main.stable is not None and camera.main.stable.label == entry.label
        colour = content.colour(entry.label) if live else "dim"
        lines.append(
            line(
                [
                    ("  ", ""),
                    (left(entry.label, names), "" if live else "dim"),
                    (" ", ""),
                    *bar(smoothed, entry.score, bars, f"bold {colour}" if believed and live else colour),
                    (f"  {score(entry.score)}", "dim"),
                    (f"    {score(smoothed)}", "" if live else "dim"),
                ],
                width,
            )
        )
    return lines
