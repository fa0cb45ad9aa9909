"""The command line: one module for each command, found by `command_line.py`."""

from streamer.cli.command_line import main

__all__ = ["main"]
