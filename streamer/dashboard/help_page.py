"""What the keys do and what the words and signs of the screen mean."""

from __future__ import annotations

from rich.text import Text

from streamer.dashboard.text_layout import left, line, wrapped

_NAMES = 12  # cells

_KEYS = (
    ("?", "this help, and back"),
    ("↑ ↓ or k j", "choose a camera; scroll"),
    ("Enter", "the chosen camera alone, and back"),
    ("Esc", "back to all cameras"),
    ("e", "events and lost cameras, full screen, and back"),
    ("p", "hold the picture still, and go on; the cameras go on meanwhile"),
    ("s", "keep a picture of the chosen camera (or of each), where recording is on"),
    ("l", "names of labels in the next language"),
    ("q, Ctrl+C", "end the run"),
)
_WORDS = (
    ("raw", "the model's score for the newest window, from 0 to 1"),
    ("stable", "the same, averaged over the last moments: what events are made of"),
    ("8 × 0.2 s", "a window: the model looks at 8 frames, each 0.2 s after the one before"),
    ("windows/s", "windows computed each second, of as many as the settings ask for (hop); "
                  "yellow: the machine does not keep up"),
    ("latency", "from the newest frame's capture to the published result: median; 19 of 20 are below p95"),
    ("drops", "what was lost, by cause. cameras: times that one could not be seen; frames: not needed is no "
              "loss; windows: busy: the model was, gap: frames were missing"),
    ("last minute", "the two lines below the labels: which action when, now at the right; the stable score. "
                    "╱ camera lost, · nothing believed, ─ a label that means no action"),
    ("▶", "goes on now"),
    ("peak", "an event's highest stable score"),
    ("● ◌ ▲ ↻ ■ ✕", "a camera: running, connecting, stalled, reconnecting, ended, failed"),
)  # fmt: skip


def help_lines(width: int) -> list[Text]:
    """Keys, then words; each explanation broken between words."""
    lines = [line([("Keys", "bold")], width)]
    lines += _section(_KEYS, width)
    lines += [line([], width), line([("What the words mean", "bold")], width)]
    return lines + _section(_WORDS, width)


def _section(rows: tuple[tuple[str, str], ...], width: int) -> list[Text]:
    lines = []
    room = max(1, width - _NAMES - 2)
    for name, meaning in rows:
        for index, text in enumerate(wrapped(meaning, room, 99)):
            first = left(name if index == 0 else "", min(_NAMES, width))
            lines.append(line([(first, "cyan"), ("  ", ""), (left(text, room), "")], width))
    return lines
