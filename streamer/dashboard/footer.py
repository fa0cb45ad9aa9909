"""The lines at the foot of the screen: speed, losses, model, bus and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.text import Text

from streamer.dashboard.camera_view import BEHIND, WARNING
from streamer.dashboard.safe_text import isolated
from streamer.dashboard.text_layout import GUTTER, Part, beside, count, cut, left, line, milliseconds
from streamer.types import Stats

TWO_COLUMNS = 150  # from this width on, the footer has two columns


def footer(stats: Stats, width: int, height: int) -> list[Text]:
    """Speed, losses, model, bus and notes; what matters most comes first when there is little room."""
    speed, lost, model, bus = _speed(stats, width), _losses(stats), _model(stats), _bus(stats)
    if height < 8:
        return []
    if height < 16:
        rows = [line(_labelled("speed", speed), width)]
    elif width >= TWO_COLUMNS:
        half = (width - 2 * GUTTER) // 2
        pairs = [("speed", speed, "model", model), ("drops", lost, "bus", bus)]
        rows = []
        for a, b, c, d in pairs:
            blocks = [[line(_labelled(a, b), half)], [line(_labelled(c, d), half)]]
            rows += beside(blocks, [half, half], 2 * GUTTER)
    else:
        named = [("speed", speed), ("drops", lost), ("model", model), ("bus", bus)]
        rows = [line(_labelled(name, parts), width) for name, parts in named]
    for text in rows:
        text.truncate(width, overflow="crop", pad=True)
    notes = stats.notes[-(3 if height >= 32 else 1) :]
    rows += [line([("note    ", WARNING), (left(note, width - 8), "")], width) for note in notes]
    return rows


def _labelled(name: str, parts: list[Part]) -> list[Part]:
    return [(f"{name:<8}", "dim"), *parts]


def _speed(stats: Stats, width: int) -> list[Part]:
    models = [model for camera in stats.cameras for model in camera.models]
    asked = sum(model.asked_per_s for model in models)
    behind = stats.windows_per_s < BEHIND * asked and any(model.windows for model in models)
    given = f"{stats.windows_per_s:.1f}"
    parts: list[Part] = [
        (given, WARNING if behind else ""),
        (left(f" of {asked:.1f} windows/s{' (behind)' if behind else ''}", 30 - len(given)), "dim"),
    ]
    if "capture_to_publish" in stats.latency:
        p50, p95 = stats.latency["capture_to_publish"]
        parts += [("  latency ", "dim"), (milliseconds(p50), ""), ("  p95 ", "dim"), (milliseconds(p95), "")]
    if "inference" in stats.latency and width >= 90:
        parts += [("   inference ", "dim"), (milliseconds(stats.latency["inference"][0]), "")]
    return parts


def _losses(stats: Stats) -> list[Part]:
    frames: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for camera in stats.cameras:
        frames.update(camera.status.dropped)
        for model in camera.models:
            windows.update(model.skipped)
    parts: list[Part] = []
    for what, causes in (("frames", frames), ("windows", windows)):
        if any(causes.values()):
            parts += [("   " if parts else "", ""), (f"{what} ", "dim"), (_causes(causes), "")]
    return parts or [("none", "dim")]


def _causes(causes: Mapping[str, int]) -> str:
    words = {"rate": "not needed"}  # frames above the rate that windows need
    return cut(", ".join(f"{words.get(c, c)} {count(causes[c])}" for c in sorted(causes) if causes[c]), 60)


def _model(stats: Stats) -> list[Part]:
    spec = stats.model
    if spec is None:
        return [("loading", "dim")]
    hardware = " ".join((spec.device, spec.precision, spec.engine))
    return [
        (isolated(cut(spec.name, 44)), ""),
        ("  ", ""),
        (cut(spec.licence or "licence unknown", 16), "" if spec.licence else WARNING),
        (f"  {spec.frames} × {spec.interval:.3g} s  ", "dim"),
        (cut(hardware, 24), "dim"),
    ]


def _bus(stats: Stats) -> list[Part]:
    bus = stats.publisher
    if not bus.endpoint:
        return [("off", "dim")]
    plural = "" if bus.subscribers == 1 else "s"
    return [(cut(bus.endpoint, 48), ""), (f"   {bus.subscribers} subscriber{plural}", "dim")]
