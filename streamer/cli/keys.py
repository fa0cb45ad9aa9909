"""`streamer keys new|allow|list`: makes CURVE key pairs, and keeps the list of clients that may connect."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from streamer.bus.key_store import allow, allowed, default_folder, new_pair

_LIKE_AN_OPTION = re.compile(r"(?!--(?:dir|name)=)-[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{39}")


def plain_words(words: Sequence[str]) -> list[str]:
    """One key in 85 begins with '-': a space before it tells it from an option. Before parsing."""
    return [f" {word}" if _LIKE_AN_OPTION.fullmatch(word) else word for word in words]


def _key(text: str) -> str:
    return text[1:] if text.startswith(" ") and _LIKE_AN_OPTION.fullmatch(text[1:]) else text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer keys`."""
    parser.set_defaults(keys_command=None)
    verbs = parser.add_subparsers(dest="keys_command", metavar="new|allow|list", required=True)
    new = verbs.add_parser("new", help="make a key pair")
    new.add_argument(
        "name", nargs="?", default="server", help="server (default) or client, or any other name"
    )
    allow_ = verbs.add_parser("allow", help="let a client connect")
    allow_.add_argument("key", type=_key, help="the client's public key: its file, or the 40 characters")
    allow_.add_argument("--name", help="what to call this client (default: the file's name)")
    verbs.add_parser("list", help="who may connect")
    for verb in verbs.choices.values():
        verb.add_argument("--dir", metavar="FOLDER", help=f"keys folder (default: {default_folder()})")


def run(args: argparse.Namespace) -> int:
    """Returns the exit code. Raises BusError for the command line to print."""
    folder = default_folder() if args.dir is None else Path(os.path.expanduser(args.dir))
    if args.keys_command == "new":
        public, secret = new_pair(folder, args.name)
        print(f"{secret}  (secret: stays on this machine)\n{public}  (public)")
        if args.name == "server":
            print(f"next: streamer run --set bus.keys={folder} ..., and give {public.name} to every client")
        else:
            print(
                f"next, on the publisher's machine: streamer keys allow {public.name};"
                " put its server.key here"
            )
    elif args.keys_command == "allow":
        print(f"{allow(folder, args.key, args.name)}: may connect from now on")
    else:
        found = allowed(folder)
        for name, public_key in found:
            print(f"{name}  {public_key}")
        if not found:
            print(f"no client may connect yet ({folder / 'allowed'} is empty): streamer keys allow FILE")
    return 0
