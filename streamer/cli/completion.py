"""`streamer --print-completion SHELL`: a script that completes commands and options."""

from __future__ import annotations

import argparse
from importlib import import_module

from streamer.errors import ConfigError
from streamer.system.install_extras import need

SHELLS = ("bash", "zsh", "tcsh")


def script(shell: str, commands: dict[str, tuple[str, str]]) -> str:
    """`commands`: name -> (module, help). Imports every command's module, and nothing heavy.

    Raises:
        ConfigError: another shell, or shtab is missing.
    """
    if shell not in SHELLS:
        raise ConfigError(f"--print-completion {shell!r}: expected {', '.join(SHELLS[:-1])} or {SHELLS[-1]}")
    need("completion", "--print-completion")
    import shtab

    parser = argparse.ArgumentParser(prog="streamer")
    parser.add_argument("--version", action="store_true", help="the version, with its commit where known")
    choices = parser.add_subparsers()
    for name, (module, words) in commands.items():
        import_module(module).add_arguments(choices.add_parser(name, help=words))
    return str(shtab.complete(parser, shell))
