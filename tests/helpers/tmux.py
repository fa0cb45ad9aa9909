"""A real terminal with a shell in it, by tmux."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """80x24 until it is resized; the shell's prompt is `ready> `."""

    def __init__(self, folder: Path) -> None:
        self.name = f"streamer-test-{os.getpid()}-{folder.name}"
        self.run("new-session", "-d", "-x", "80", "-y", "24", "env -u CI PS1='ready> ' sh")

    def run(self, *words: str) -> str:
        command = ["tmux", "-L", self.name, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def wait_for(self, *texts: str, gone: str | None = None, timeout: float = 20) -> str:
        """The screen once it shows all of `texts`, and not `gone`."""
        waiter, until = threading.Event(), time.monotonic() + timeout
        while not all(text in (shown := self.screen()) for text in texts) or (gone and gone in shown):
            assert time.monotonic() < until, f"{texts} not on the terminal, or {gone} still:\n{shown}"
            waiter.wait(0.05)
        return shown

    def modes(self) -> list[str]:
        """cursor shown, alternate screen, wrapping."""
        return self.run("display", "-p", "#{cursor_flag} #{alternate_on} #{wrap_flag}").split()
