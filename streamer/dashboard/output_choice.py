"""Chooses what standard output shows: a live screen, plain text, or JSON lines.

`Screen` needs Rich and is imported only when it is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamer.config import Ui
from streamer.dashboard.json_lines import JsonSink
from streamer.dashboard.plain_text import PlainSink

if TYPE_CHECKING:
    from streamer.dashboard.live_screen import Screen

__all__ = ["JsonSink", "PlainSink", "Screen", "choose"]


def choose(ui: Ui, stdout_is_terminal: bool, environment: Mapping[str, str] | None = None) -> Ui:
    """What `--ui auto` means here; any other choice is returned as it is.

    The screen is for a terminal that can place its cursor; anything else (a file, a pipe, `TERM=dumb`, a CI
    job) gets plain text. NO_COLOR does not change the choice: the screen then shows itself without colours.
    """
    if ui is not Ui.AUTO:
        return ui
    env = os.environ if environment is None else environment
    if not stdout_is_terminal or env.get("TERM", "") in ("dumb", "unknown"):
        return Ui.PLAIN
    if env.get("CI", "").lower() not in ("", "0", "false"):
        return Ui.PLAIN
    return Ui.RICH


def __getattr__(name: str) -> Any:
    if name == "Screen":
        from streamer.dashboard.live_screen import Screen

        return Screen
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
