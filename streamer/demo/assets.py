"""The bundled demo: a clip of photographs in motion, its ground truth, and a small checkpoint that knows it.

Imports nothing heavy: other parts of the program ask it only for paths and for the truth.
"""

from __future__ import annotations

import csv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WINDOW, STREAMING = "demo", "demo-streaming"
BUNDLED = {WINDOW: "checkpoint", STREAMING: "streaming_checkpoint"}  # name -> its folder
SHORT = {"streaming": STREAMING}  # where no folder has this name


def clip_path() -> Path:
    """The bundled video file, H.264 in MP4."""
    return FOLDER / "clip.mp4"


def checkpoint_path(name: str = WINDOW) -> Path:
    """The folder of a bundled checkpoint, for ``from_pretrained``. Raises KeyError: no such name."""
    return FOLDER / BUNDLED[name]


def truth(path: Path | None = None) -> list[tuple[float, float, str]]:
    """What the clip shows, as (start, end, label) in seconds of the file, in order.

    Args:
        path: another file of the same form (columns ``start,end,label``); by default the bundled clip's.

    Raises:
        OSError: the file cannot be read.
        ValueError: a column is missing or a time is no number.
    """
    with (path or FOLDER / "clip.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"start", "end", "label"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path or 'clip.csv'} lacks the columns {', '.join(sorted(missing))}")
        return [(float(row["start"]), float(row["end"]), row["label"]) for row in reader]
