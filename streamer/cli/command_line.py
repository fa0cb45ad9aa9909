"""The command line: finds the command, imports only that command's module, and turns errors into exit codes.

A command is a module with `add_arguments(parser)` and `run(args) -> int`.

Exit codes: 0 done (SIGTERM included), 1 a fault of the program, 2 wrong usage or configuration, 3 no source
could be opened, 4 the model, 5 speech, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from streamer.errors import (
    BusError,
    ConfigError,
    DatasetError,
    ModelError,
    SourceError,
    SpeechError,
    StreamerError,
)
from streamer.system.install_extras import allow_installing
from streamer.system.redaction import redact, remember
from streamer.system.terminal_text import printable

EXIT_FAULT, EXIT_USAGE, EXIT_SOURCE, EXIT_MODEL, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
EXIT_SPEECH = 5
NOT_ANSWERED = -1  # of `main` with `usage_only`: nothing is wrong with the words


class Command(NamedTuple):
    """Where a command lives, and one line about it."""

    module: str
    help: str


COMMANDS = {
    "run": Command("streamer.cli.run", "watch cameras, streams or files"),
    "cluster": Command("streamer.cli.cluster", "one address for cameras that many machines watch"),
    "worker": Command("streamer.cli.worker", "watch cameras for a cluster"),
    "subscribe": Command("streamer.cli.subscribe", "print what a running streamer publishes"),
    "web": Command("streamer.cli.web", "serve a page that shows what a running streamer recognises"),
    "add": Command("streamer.cli.add", "find a camera, try it, and write it into a config file"),
    "check": Command("streamer.cli.check", "validate a config file"),
    "doctor": Command("streamer.cli.doctor", "what works on this machine, what does not, how to mend it"),
    "models": Command("streamer.cli.models", "known checkpoints, and which are on this machine"),
    "archive": Command(
        "streamer.cli.archive", "what happens in recorded files, as fast as all cores or machines go"
    ),
    "bench": Command("streamer.cli.bench", "how fast a model runs here"),
    "events": Command("streamer.cli.events", "list and export the event history"),
    "mqtt": Command("streamer.cli.mqtt", "events to an MQTT broker, with Home Assistant discovery"),
    "webhook": Command("streamer.cli.webhook", "events to a URL: signed, in order, at least once"),
    "alert": Command("streamer.cli.alert", "notifications on a phone: ntfy and a hundred other services"),
    "speak": Command("streamer.cli.speak", "say aloud what happens, or write it into sound files"),
    "captions": Command("streamer.cli.captions", "large captions, or lines for screen readers and braille"),
    "keys": Command("streamer.cli.keys", "make and allow encryption keys"),
    "train": Command("streamer.cli.train", "fine-tune a checkpoint on your own actions"),
    "evaluate": Command("streamer.cli.evaluate", "how good a model is on clips and on streams"),
    "calibrate": Command("streamer.cli.calibrate", "fit thresholds on idle footage"),
    "collect": Command("streamer.cli.collect", "record labelled clips from a camera"),
    "demo": Command("streamer.cli.demo", "write the demo's data set as video files"),
}


def main(argv: Sequence[str] | None = None, *, usage_only: bool = False) -> int:
    """Run one command; returns the exit code. `argv` without the program's name.

    With `usage_only` help is given and wrong usage is said, which needs no package, and no command runs.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    allow_installing("--no-install" not in words)
    words = [word for word in words if word != "--no-install"]
    remember(*map(_password_in, words))  # whatever a command makes of an address, it is not shown
    if isinstance(sys.stdout, io.TextIOWrapper):  # a camera may have a name that the terminal cannot write
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(words, usage_only)
    except StreamerError as error:
        for line in str(error).split("\n"):
            print(f"streamer: {printable(redact(line))}", file=sys.stderr)
        return code_of(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has seen enough (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the program's edge: shown whole, without the secrets of URLs
        for line in redact(traceback.format_exc()).rstrip("\n").split("\n"):
            print(printable(line), file=sys.stderr)
        return EXIT_FAULT


def _password_in(word: str) -> str | None:
    """What may be a password in an address: rtsp://me:SECRET@host, me:SECRET@host."""
    found = re.fullmatch(r"(?:[A-Za-z][\w+.-]*:/{1,2})?[^:/@]*:(.+)@[^@]*", word)
    return found[1] if found else None


def _dispatch(words: list[str], usage_only: bool) -> int:
    first = words[0] if words else ""
    if first in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if first == "--version":
        from streamer.system.program_version import described

        print(f"streamer {described()}")
        return 0
    if first == "--print-completion":
        if usage_only:
            return NOT_ANSWERED
        from streamer.cli.completion import script

        print(script(" ".join(words[1:]), {name: (c.module, c.help) for name, c in COMMANDS.items()}))
        return 0
    if not first or first.startswith("-"):  # no command: the demo
        return _run("run", ["--demo-if-none", *words], usage_only)
    if first in COMMANDS:
        return _run(first, words[1:], usage_only)
    raise ConfigError(_unknown(first))


def _run(name: str, words: list[str], usage_only: bool) -> int:
    try:
        module = import_module(COMMANDS[name].module)
    except ModuleNotFoundError:
        if usage_only:  # options of this command are made with a package
            return NOT_ANSWERED
        raise
    parser = _Parser(
        prog=f"streamer {name}",
        description=COMMANDS[name].help,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    words = getattr(module, "plain_words", list)(words)
    try:
        args = parser.parse_intermixed_args(words) if name == "run" else parser.parse_args(words)
    except SystemExit as leaving:  # argparse has said why
        return leaving.code if isinstance(leaving.code, int) else EXIT_USAGE
    if usage_only:
        return NOT_ANSWERED
    code: int = module.run(args)
    sys.stdout.flush()  # a closed pipe is found here, not in the interpreter's last breath
    return code


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line, as every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: streamer [COMMAND] [OPTIONS]",
            "",
            "Says in real time what people in live video are doing. Without a command: the demo.",
            "",
            *lines,
            "",
            "  streamer run 0                 your webcam",
            "  streamer run rtsp://HOST/PATH  a network camera",
            "  streamer COMMAND --help        the options of a command (those of the demo: run --help)",
            "  streamer --version             which version this is, with its commit where known",
            "  streamer COMMAND --no-install  says which packages it needs instead of installing them",
            "  streamer --print-completion S  completes commands and options; S: bash, zsh or tcsh",
        ]
    )


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    if near:
        return f"{word!r} is no command; did you mean {near[0]}?"
    if "://" in word or word == "demo" or word.isdigit() or os.path.exists(word):
        return f"{word!r} is no command; to watch it: streamer run {word}"
    if "@" in word:  # an address without its scheme may hold a password: not quoted
        return "an address is no command; to watch it: streamer run SCHEME://HOST[:PORT]/PATH"
    return f"{word!r} is no command; commands are {', '.join(COMMANDS)}"


def code_of(error: StreamerError) -> int:
    """The exit code of an error."""
    if isinstance(error, SourceError):
        return EXIT_SOURCE
    if isinstance(error, ModelError):
        return EXIT_MODEL
    if isinstance(error, SpeechError):
        return EXIT_SPEECH
    return EXIT_USAGE if isinstance(error, (ConfigError, BusError, DatasetError)) else EXIT_FAULT
