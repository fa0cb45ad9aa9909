"""The screen as a picture for documents."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from streamer.dashboard.look import look_at
from streamer.dashboard.view import render
from streamer.types import Stats


def export_svg(stats: Stats, path: Path | str, width: int = 100, height: int = 30) -> None:
    """Write the screen as a picture (SVG) for documents."""
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        _environ={},
    )
    console.print(render(look_at(stats), width, height))
    Path(path).write_text(_SVG_RUN.sub(_tight, console.export_svg(title="streamer")), encoding="utf-8")


_SVG_RUN = re.compile(
    r' x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>((?:&#160;)*)(.*?)((?:&#160;)*)</text>'
)


def _tight(run: re.Match[str]) -> str:
    """A run of text without the spaces around it: some viewers drop those and then stretch the rest."""
    x, y, length, rest, before, text, after = run.groups()
    if not text:
        return run.group()
    character_width = 12.2  # of Rich's export
    spaces = len("&#160;")
    start = float(x) + character_width * (len(before) // spaces)
    length_left = float(length) - character_width * ((len(before) + len(after)) // spaces)
    return f' x="{start:.1f}" y="{y}" textLength="{length_left:.1f}"{rest}>{text}</text>'
