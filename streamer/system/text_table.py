"""Rows as columns of text, as a terminal counts them (wide letters take two cells)."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Sequence
from typing import TextIO

from streamer.system.terminal_text import printable

GAP = 2  # cells between columns


def text_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int | None = None,
) -> list[str]:
    """The table's lines, without spaces at their ends. Cells may be foreign words: they are made printable.

    Args:
        right: the columns (by their heading) whose cells stand at the right.
        width: cells of the terminal, in which long cells are wrapped; None: as wide as it needs to be, one
            line for each row, whatever reads it.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in head:
        table.add_column(
            Text(name), justify="right" if name in right else "left", no_wrap=width is None, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    if width is None:
        needed = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
        width = sum(needed) + GAP * len(needed)
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(table)
    return [line.rstrip() for line in out.getvalue().rstrip("\n").split("\n")]


def width_of(out: TextIO) -> int | None:
    """Cells of the terminal that `out` writes to; None where it is none."""
    try:
        return os.get_terminal_size(out.fileno()).columns or None if out.isatty() else None
    except (OSError, ValueError):
        return None
