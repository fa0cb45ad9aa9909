"""Where this user's files lie on this system, by its own custom (platformdirs).

    state    history of events, recordings, what subscribers remember     ~/.local/state/streamer
    config   keys                                                         ~/.config/streamer
    cache    converted models, measurements: may be deleted at any time   ~/.cache/streamer

On macOS ~/Library/Application Support/streamer (state and config) and ~/Library/Caches/streamer; on Windows
%LOCALAPPDATA%\\streamer, %APPDATA%\\streamer and %LOCALAPPDATA%\\streamer\\Cache. XDG_STATE_HOME,
XDG_CONFIG_HOME and XDG_CACHE_HOME name other places. Nothing is made here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "streamer"


def state_folder() -> Path:
    """What the program remembers from one run to the next."""
    from platformdirs import user_state_path

    return _on_mac(user_state_path(NAME, appauthor=False))


def config_folder() -> Path:
    """What the user has set up."""
    from platformdirs import user_config_path

    return _on_mac(user_config_path(NAME, appauthor=False, roaming=True))


def cache_folder() -> Path:
    """What can be made again."""
    from platformdirs import user_cache_path

    named = os.environ.get("XDG_CACHE_HOME")  # was always heeded here, on Windows too
    return Path(named) / NAME if named else user_cache_path(NAME, appauthor=False)


def _on_mac(folder: Path) -> Path:
    """The XDG variables count on macOS, but files that lie in the system's own place stay in use."""
    if sys.platform == "darwin" and not folder.exists():
        before = Path.home() / "Library" / "Application Support" / NAME
        return before if before.exists() else folder
    return folder
