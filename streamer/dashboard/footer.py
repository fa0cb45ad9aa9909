"""The lines at the foot of the screen: speed, losses, model, bus, notes and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.text import Text

from streamer.dashboard.camera_view import BEHIND, STARTING, WARNING
from streamer.dashboard.safe_text import isolated
from streamer.dashboard.screen_content import ScreenContent
from streamer.dashboard.text_layout import (
    GUTTER,
    Part,
    beside,
    cell_width,
    count,
    cut,
    left,
    line,
    milliseconds,
    wrapped,
)
from streamer.dashboard.view_state import KEYS, Place
from streamer.types import ClusterStats, Stats

TWO_COLUMNS = 150  # from this width on, the footer has two columns
AWAY = ("lost", "unheard")  # states of workers
NAME = 8  # cells of what a line is about


def footer(content: ScreenContent, width: int, height: int) -> list[Text]:
    """Speed, losses, model, bus, notes, keys; what matters most comes first when there is little room."""
    stats = content.stats
    if height < 8:
        return []
    if height < 16:
        rows = [line(_labelled("speed", _speed(stats, width)), width)]
    elif width >= TWO_COLUMNS:
        half = (width - 2 * GUTTER) // 2
        pairs = [
            ("speed", _speed(stats, half), "model", _model(stats, half)),
            ("drops", _losses(stats, half), "bus", _bus(stats, half)),
        ]
        rows = []
        for a, b, c, d in pairs:
            blocks = [[line(_labelled(a, b), half)], [line(_labelled(c, d), half)]]
            rows += beside(blocks, [half, half], 2 * GUTTER)
    else:
        made = (_speed, _losses, _model, _bus)
        named = zip(("speed", "drops", "model", "bus"), made, strict=True)
        rows = [line(_labelled(name, of(stats, width)), width) for name, of in named]
    if stats.cluster is not None and height >= 16:
        rows.append(line(_labelled("workers", _workers(stats.cluster, width)), width))
    for text in rows:
        text.truncate(width, overflow="crop", pad=True)
    rows += _notes(stats, width, 1 if height < 24 else 2 if height < 32 else 4) if height >= 16 else []
    return [*rows, _keys(content, width)]


def _notes(stats: Stats, width: int, most: int) -> list[Text]:
    """The newest notes, whole as far as there is room."""
    lines: list[Text] = []
    for note in reversed(stats.notes):
        broken = wrapped(note, width - NAME, most - len(lines))
        names = ["note", *[""] * len(broken)]
        told = [line(_labelled(*pair), width) for pair in zip(names, map(_plain, broken), strict=False)]
        lines = [*told, *lines]
    return lines


def _keys(content: ScreenContent, width: int) -> Text:
    """What the keys do here, as far as there is room; Ctrl+C always."""
    end = "Ctrl+C ends it"
    if content.message:
        return line([(left(content.message, width), "bold")], width)
    if not content.keys:
        return line([(left(end, width), "dim")], width)
    words = dict(KEYS)
    state = content.state
    if state.held:
        words["p"] = "go on"
    if state.place is not Place.ALL:
        words = {"Esc": "back", **{key: word for key, word in words.items() if key != "↵"}}
    if state.place in (Place.EVENTS, Place.HELP):
        words = {"j k": "scroll", **words}
    elif len(content.stats.cameras) > 1:
        words = {**words, "j k": "choose"}
    shown: list[Part] = []
    room = width - len(end)
    for key, word in words.items():
        taken = len(key) + 1 + len(word) + 2
        if taken <= room:
            shown += [(key, "bold"), (f" {word}  ", "dim")]
            room -= taken
    return line([*shown, (end, "dim")], width)


def _labelled(name: str, parts: list[Part]) -> list[Part]:
    return [(f"{name:<{NAME}}", WARNING if name == "note" else "dim"), *parts]


def _plain(text: str) -> list[Part]:
    return [(isolated(text), "")]


def _speed(stats: Stats, width: int) -> list[Part]:
    models = [model for camera in stats.cameras for model in camera.models]
    asked = sum(model.asked_per_s for model in models)
    if not any(model.windows for model in models):
        return [(STARTING, "dim")]
    behind = stats.windows_per_s < BEHIND * asked
    given = f"{stats.windows_per_s:.1f}"
    of = f" of {asked:.1f}" if asked else ""
    parts: list[Part] = [
        (given, WARNING if behind else ""),
        (left(f"{of} windows/s{' (behind)' if behind else ''}", 30 - len(given)), "dim"),
    ]
    if "capture_to_publish" in stats.latency:
        p50, p95 = stats.latency["capture_to_publish"]
        parts += [("  latency ", "dim"), (milliseconds(p50), ""), ("  p95 ", "dim"), (milliseconds(p95), "")]
    if "inference" in stats.latency and width >= 90:
        parts += [("   inference ", "dim"), (milliseconds(stats.latency["inference"][0]), "")]
    return parts


def _losses(stats: Stats, width: int) -> list[Part]:
    """What was lost, by cause: times without a camera, frames, windows."""
    frames: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for camera in stats.cameras:
        frames.update(camera.status.dropped)
        for model in camera.models:
            windows.update(model.skipped)
    kinds = {"cameras": stats.outage_counts, "frames": frames, "windows": windows}
    groups = [(what, _causes(causes)) for what, causes in kinds.items() if any(causes.values())]
    room = width - NAME - sum(len(what) + 1 for what, _ in groups) - 3 * (len(groups) - 1)
    parts: list[Part] = []
    for index, (what, causes) in enumerate(groups):
        words = cut(causes, max(12, room // (len(groups) - index)))
        room -= cell_width(words)
        parts += [("   " if parts else "", ""), (f"{what} ", "dim"), (words, "")]
    return parts or [("none", "dim")]


def _causes(causes: Mapping[str, int]) -> str:
    words = {"rate": "not needed"}  # frames above the rate that windows need
    told = [(words.get(cause, cause).replace("_", " "), count(causes[cause])) for cause in sorted(causes)]
    return ", ".join(f"{cause} {number}" for cause, number in told if number != "0")


def _model(stats: Stats, width: int) -> list[Part]:
    spec = stats.model
    if spec is None:
        known = [one.model for camera in stats.cameras for one in camera.models]  # of a front: its workers'
        return [(isolated(cut(", ".join(dict.fromkeys(known)) or "loading", width - NAME)), "dim")]
    licence = cut(spec.licence or "licence unknown", 24)
    window = f"  {spec.frames} × {spec.interval:.3g} s  "
    hardware = cut(" ".join((spec.device, spec.precision, spec.engine)), 32)
    room = width - NAME - 2 - cell_width(licence) - len(window) - cell_width(hardware)
    return [
        (isolated(cut(spec.name, max(16, room))), ""),
        ("  ", ""),
        (licence, "" if spec.licence else WARNING),
        (window, "dim"),
        (hardware, "dim"),
    ]


def _workers(cluster: ClusterStats, width: int) -> list[Part]:
    """Of a front: cameras that nobody watches first, then workers by state, those that are gone first."""
    parts: list[Part] = []
    if cluster.unplaced:
        many = len(cluster.unplaced)
        parts.append((f"{count(many)} camera{'' if many == 1 else 's'} without a worker", WARNING))
    by: dict[str, list[str]] = {}
    for name, state in cluster.workers.items():
        by.setdefault(state, []).append(name)
    for state in sorted(by, key=lambda state: (state not in AWAY, state)):
        words = f"{', '.join(sorted(by[state]))} {state}"
        parts += [("   " if parts else "", ""), (words, WARNING if state in AWAY else "")]
    return parts or [("none has joined", WARNING)]


def _bus(stats: Stats, width: int) -> list[Part]:
    bus = stats.publisher
    if not bus.endpoint:
        return [("off", "dim")]
    programs = f"   {bus.subscribers} subscriber{'' if bus.subscribers == 1 else 's'}"
    return [(cut(bus.endpoint, width - NAME - len(programs)), ""), (programs, "dim")]
