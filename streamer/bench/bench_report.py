"""A benchmark's table and plot."""

from __future__ import annotations

import sys
from html import escape

from streamer.bench.plan import Report, Result
from streamer.system.terminal_text import printable
from streamer.system.text_table import text_table, width_of

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 420, 60, 50, 50, 190  # of the plot, pixels
ROW, NAMES, NUMBERS_WIDTH = 24, 290, 110  # of the bars, pixels: height of a row, room for names and numbers
COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


WORDS = ("way", "engine", "precision", "cameras")
NUMBERS = ("windows/s", "ratio", "pre ms", "model ms", "p50 ms", "p95 ms", "top-1", "error", "peak", "MB")


def print_table(report: Report) -> None:
    """To standard output, as wide as it needs to be when that is not a terminal."""
    machine, model = report.machine, report.model
    rows = [(r.way, r.engine, r.precision, str(r.cameras), *_numbers(r)) for r in report.results]
    peaks = ", ".join(f"{name} {rate:.0f}" for name, rate in machine["gemm_gflops"].items())
    theirs, ours = model["gflop_transformers"], model["gflop_streamer"]
    for line in (
        f"{model['name']} on {machine['processor']}",
        *text_table((*WORDS, *NUMBERS), rows, right=NUMBERS, width=width_of(sys.stdout)),
        f"GEMM peak, GFLOP/s: {peaks or 'not measured'}; threads: {machine['threads']}",
        f"GFLOP a window: transformers {theirs:.1f}, streamer {ours:.1f}",
        *report.notes,
    ):
        print(printable(line))


def _numbers(r: Result) -> tuple[str, ...]:
    return (
        f"{r.windows_per_s:.2f}",
        f"{r.ratio:.2f} ±{r.spread:.2f}",
        f"{r.preprocess_ms:.1f}",
        f"{r.model_ms:.1f}",
        f"{r.p50_ms:.0f}",
        f"{r.p95_ms:.0f}",
        "-" if r.top1_agreement is None else f"{r.top1_agreement:.1%}",
        "-" if r.score_error is None else f"{r.score_error:.1e}",
        "-" if r.peak_fraction is None else f"{r.peak_fraction:.0%}",
        "-" if r.memory_mb is None else f"{r.memory_mb:.0f}",
    )


def plot(report: Report) -> str:
    """Windows per second over cameras, one line a way; for one number of cameras, bars. An SVG document."""
    if len({result.cameras for result in report.results}) == 1:
        return _bars(report)
    lines: dict[str, list[Result]] = {}
    for result in report.results:
        lines.setdefault(f"{result.way} {result.engine} {result.precision}", []).append(result)
    most = max((r.windows_per_s for r in report.results), default=1.0) * 1.1
    cameras = sorted({r.cameras for r in report.results}) or [1]

    def x(count: int) -> float:  # evenly spaced: the counts double
        step = (WIDTH - LEFT - RIGHT) / max(1, len(cameras) - 1)
        return LEFT + cameras.index(count) * step

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * rate / most

    parts = _head(report, LEFT, HEIGHT)
    for tick in range(6):
        rate = most * tick / 5
        parts.append(f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:.3g}</text>')
    for count in cameras:
        parts.append(
            f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{count}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">cameras</text>')
    for number, (name, results) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x(r.cameras), y(r.windows_per_s)) for r in results]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in points]
        row = TOP + 18 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 14}" y="{row}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _head(report: Report, left: int, height: int) -> list[str]:
    title = escape(str(report.model["name"]))
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="24" font-size="15">{title}: windows per second</text>',
        f'<text x="{left}" y="40" fill="#666">{escape(str(report.machine["processor"]))}</text>',
    ]


def _bars(report: Report) -> str:
    """A row for each way, with how many times the first one's speed it has."""
    most = max(result.windows_per_s for result in report.results)
    height = TOP + ROW * len(report.results) + ROW
    parts = _head(report, NAMES, height)
    for number, result in enumerate(report.results):
        name = escape(f"{result.way} {result.engine} {result.precision}")
        colour = COLOURS[list(dict.fromkeys(r.way for r in report.results)).index(result.way) % len(COLOURS)]
        top = TOP + ROW * number
        long = (WIDTH - NAMES - NUMBERS_WIDTH) * result.windows_per_s / most
        text = f"{result.windows_per_s:.3g} ({result.ratio:.3g} x)"
        parts += [
            f'<text x="{NAMES - 8}" y="{top + 14}" text-anchor="end">{name}</text>',
            f'<rect x="{NAMES}" y="{top}" width="{max(1.0, long):.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<text x="{NAMES + long + 6:.1f}" y="{top + 14}">{text}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])
