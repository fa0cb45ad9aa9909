"""Where in a clip its events are: the file itself says it, since one clip shows a whole burst of them.

MP4's `description` is JSON: {"events": {EVENT_ID: [FROM, TO]}}, in seconds of the clip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[float, float]  # from and to, seconds in the clip

LONGEST = 86_400.0  # seconds that anything in a clip may be from its beginning


def description(events: Mapping[str, Span]) -> str:
    """What is written into the file; `events`: by id."""
    told = {name: [round(begin, 3), round(end, 3)] for name, (begin, end) in events.items()}
    return json.dumps({"events": told}, separators=(",", ":"))


def span_in(clip: Path, event_id: str) -> Span | None:
    """Where an event is in a clip; None where the file does not say, or PyAV is missing. Never raises."""
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(clip), metadata_errors="replace") as container:
            begin, end = json.loads(container.metadata.get("description", ""))["events"][event_id]
    except (av.error.FFmpegError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (begin, end))
    if not numbers or not (math.isfinite(begin) and math.isfinite(end)) or not 0 <= begin <= end <= LONGEST:
        return None
    return float(begin), float(end)
