"""`run --web`: what the option means, and the page's process beside the run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from streamer.errors import ConfigError
from streamer.system.addresses import join_host_port, split_host_port
from streamer.system.install_extras import need

if TYPE_CHECKING:
    from streamer.config import Config

DEFAULT = "127.0.0.1:8080"
FEWEST_PORT = 64  # a lone smaller number after --web is a webcam's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--web`, and the choice about pictures."""
    parser.add_argument(
        "--web", nargs="?", const=DEFAULT, metavar="[HOST:]PORT",
        help=f"serve a page for browsers too ({DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", metavar="off|show|keep",
        help="show: live pictures on the page; keep: these, and a snapshot and a clip of each event on disk; "
        "off: neither (without it: as recording and preview in the configuration say)",
    )  # fmt: skip


def read_web(args: argparse.Namespace) -> str | None:
    """Where the page is to be served; None: nothing was said. A word after `--web` that is no address is a
    SOURCE, as in `run --web demo`, and is moved there.
    """
    given: str | None = args.web
    if given is None:
        return None
    try:
        _, port = split_host_port(given)
    except ValueError:
        args.sources, args.web = [given, *args.sources], DEFAULT  # once: the configuration is read again
        return DEFAULT
    if given.isdigit() and port < FEWEST_PORT and not args.sources and args.config is None:
        args.sources, args.web = [given], DEFAULT
        return DEFAULT
    return given


def page_beside(config: Config, endpoint: str, note: Callable[[str], None]) -> AbstractContextManager[object]:
    """The page's process, to be entered; nothing where none is wanted. `endpoint`: of the publisher.

    Raises:
        ConfigError: nothing is published that it could show. On entering: it cannot be served.
    """
    web = config.web
    if not web.listen:
        return nullcontext()
    if not endpoint:
        raise ConfigError("--web shows what the bus publishes; give it an endpoint again (bus.bind)")
    need("web", "the page")
    from streamer.subscribers.web.page_process import PageProcess

    words = [_reachable(endpoint), "--bind", join_host_port(*split_host_port(web.listen))]
    if config.bus.requests:
        words += ["--requests", config.bus.requests]
    if config.bus.keys:
        words += ["--keys", config.bus.keys]
    if web.token_file:
        words += ["--token-file", web.token_file]
    for option, values in (("--host", web.hosts), ("--alert", web.alerts)):
        for value in values:
            words += [f"{option}={value}"]
    return PageProcess(words, note)


def _reachable(endpoint: str) -> str:
    """An endpoint on all interfaces, as this machine reaches it."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
