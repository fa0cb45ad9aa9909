"""A picture of one watched video: for each label the truth, the raw scores of the windows, and the events."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from streamer.training.ground_truth import Segment
from streamer.training.stream_scores import DetectedEvent, VideoResult

LEFT, RIGHT, TOP, BOTTOM, LANE, GAP = 150, 20, 54, 34, 44, 10  # pixels
SCALE, NARROWEST, WIDEST = 10.0, 800.0, 12_000.0  # pixels a second, pixels
MOST_LANES = 14
TRUTH, SCORES, EVENT = "#2b8a3e", "#74a9cf", "#d9480f"
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


def timeline(watched: VideoResult, truth: Sequence[Segment]) -> str:
    """An SVG document.

    Of a model with many labels the lanes show those that occur in the truth or in events, then those with the
    highest scores.
    """
    length = max([1.0, watched.seconds, *(s.end for s in truth)])
    inner = min(WIDEST, max(NARROWEST, SCALE * length))
    lanes = _lanes(watched, truth)
    height = TOP + len(lanes) * (LANE + GAP) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{inner + LEFT + RIGHT:.0f}" height="{height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(watched.name)}</text>',
        _legend(),
    ]
    step = next((tick for tick in TICKS if inner / length * tick >= 60), TICKS[-1])
    for tick in range(0, int(length) + 1, step):
        x = LEFT + inner * tick / length
        parts.append(f'<path d="M{x:.1f} {TOP}V{height - BOTTOM}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{_clock(tick)}</text>')
    for number, label in enumerate(lanes):
        top = TOP + number * (LANE + GAP)
        parts += _lane(watched, truth, label, top, inner / length)
    return "\n".join([*parts, "</svg>\n"])


def _lanes(watched: VideoResult, truth: Sequence[Segment]) -> list[str]:
    named = {s.label for s in truth} | {e.label for e in watched.events}
    best = dict.fromkeys(watched.labels, 0.0)
    for window in watched.windows:
        for label, score in zip(watched.labels, window.scores.tolist(), strict=True):
            best[label] = max(best[label], score)
    order = sorted(watched.labels, key=lambda label: (label not in named, -best[label]))[:MOST_LANES]
    return [label for label in watched.labels if label in order]


def _lane(watched: VideoResult, truth: Sequence[Segment], label: str, top: int, scale: float) -> list[str]:
    column, base = watched.labels.index(label), top + LANE
    parts = [f'<text x="{LEFT - 8}" y="{top + LANE / 2 + 4}" text-anchor="end">{escape(label)}</text>']
    parts.append(f'<path d="M{LEFT} {base}h{scale * watched.seconds:.1f}" stroke="#999"/>')
    for segment in truth:
        if segment.label == label:
            parts.append(_bar(segment.start, segment.end, top, LANE, scale, f'fill="{TRUTH}" opacity="0.22"'))
    points = [
        f"{LEFT + scale * window.end:.1f},{base - LANE * float(window.scores[column]):.1f}"
        for window in watched.windows
    ]
    if points:
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{SCORES}"/>')
    parts += [_event(event, base, scale) for event in watched.events if event.label == label]
    return parts


def _event(event: DetectedEvent, base: int, scale: float) -> str:
    title = f"{event.label}: {event.started:.1f} to {event.ended:.1f} s, decided {event.decided:.1f} s"
    bar = _bar(event.started, event.ended, base - 5, 7, scale, f'fill="{EVENT}"')
    tick = LEFT + scale * event.decided
    return f'<g><title>{escape(title)}</title>{bar}<path d="M{tick:.1f} {base - 9}v13" stroke="{EVENT}"/></g>'


def _bar(start: float, end: float, top: float, height: float, scale: float, style: str) -> str:
    return (
        f'<rect x="{LEFT + scale * start:.1f}" y="{top}" width="{max(1.0, scale * (end - start)):.1f}" '
        f'height="{height}" {style}/>'
    )


def _legend() -> str:
    parts, x = [], float(LEFT)
    for colour, text in (
        (TRUTH, "truth"),
        (SCORES, "score of the window that ends there"),
        (EVENT, "event, with the moment it was decided"),
    ):
        parts.append(f'<rect x="{x:.0f}" y="31" width="12" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="40" fill="#555">{text}</text>')
        x += 40 + 6.6 * len(text)
    return "".join(parts)


def _clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"
