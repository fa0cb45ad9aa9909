"""`streamer web`: a page for browsers that shows what a running streamer recognises."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.bus import endpoints
from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.subscribers.stderr_lines import print_line, warn_if_exposed
from streamer.subscribers.web.page_address import (
    DEFAULT_BIND,
    check_exposure,
    parse_bind,
    read_token,
)
from streamer.system.addresses import is_loopback
from streamer.system.install_extras import need

if TYPE_CHECKING:
    from streamer.subscribers.web.app import Settings
    from streamer.subscribers.web.web_server import Tls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer web`."""
    subscriber_options.add_publisher(parser)
    parser.add_argument(
        "--bind", default=DEFAULT_BIND, metavar="HOST:PORT", help=f"where to serve ({DEFAULT_BIND})"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="its only line is the token that readers must give"
    )
    parser.add_argument("--token-env", metavar="NAME", help="environment variable that holds the token")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="another name under which the page may be asked for; may be given several times",
    )  # fmt: skip
    parser.add_argument("--alert", action="append", default=[], metavar="LABEL",
                        help="an alert until a reader chooses others; several times")  # fmt: skip
    parser.add_argument(
        "--recordings", metavar="DIR", help="folder of the events' snapshots and clips (where the run says)"
    )
    parser.add_argument(
        "--pages", type=int, default=64, metavar="N", help="how many may be open at the same time (64)"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate: serve https")
    parser.add_argument("--tls-key", metavar="FILE", help="the certificate's key")
    parser.add_argument("--beside-run", action="store_true", help=argparse.SUPPRESS)  # of `run --web`


def run(args: argparse.Namespace) -> int:
    """Serve until asked to stop; returns the exit code.

    Raises:
        ConfigError, BusError: before anything is served.
    """
    need("web", "the page")
    from streamer.subscribers.web.web_server import listen, serve
    from streamer.system.signals import Stopper

    option = "--web" if args.beside_run else "--bind"
    host, port = parse_bind(args.bind, option)
    token = read_token(args.token_file, args.token_env, os.environ)
    check_exposure(host, port, token, args.endpoint, beside_run=args.beside_run)
    tls = _tls(args)
    with Stopper() as stopper:
        if args.beside_run:
            _end_with_the_run(stopper.stop)
        listening = listen(host, port, option)
        port = int(listening.getsockname()[1])
        settings = settings_of(args, host, port, token)
        url = f"{'http' if tls is None else 'https'}://{host}:{port}/"

        def ready() -> None:
            how = " (it asks for the token)" if token else ""
            print_line(f"streamer: the page is at {url}{how}")
            if not args.beside_run:
                print_line(f"streamer: it shows what {args.endpoint} publishes; Ctrl+C ends it")

        serve(settings, listening, stopper.stop, tls=tls, on_ready=ready)
        code = stopper.exit_code
        # without the interpreter's own end, which can take seconds on a busy machine
        if stopper.signalled or args.beside_run:
            sys.stderr.flush()
            os._exit(code)
    return code


def _end_with_the_run(stop: threading.Event) -> None:
    """The run holds the other end of standard input: where it ends, however that may be, so does the page."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would be in the way of the interpreter's own end
            pass
        stop.set()

    threading.Thread(target=wait, name="run-ended", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # recognition goes first


def settings_of(args: argparse.Namespace, host: str, port: int, token: str | None) -> Settings:
    """The options as the page's settings. Raises ConfigError, BusError."""
    from streamer.bus.encryption import ClientKeys
    from streamer.subscribers.web.access_control import LOCAL_NAMES, AccessRules
    from streamer.subscribers.web.app import Settings

    for endpoint in filter(None, (args.endpoint, args.requests)):
        endpoints.check(endpoint)
    if args.keys is not None:
        ClientKeys.load(args.keys)  # a mistake is said now
    if args.pages < 1:
        raise ConfigError(f"--pages {args.pages}: must be 1 or more")
    folder = None if args.recordings is None else Path(args.recordings).expanduser()
    if folder is not None and not folder.is_dir():
        print_line(f"streamer: --recordings {folder}: there is no such folder yet")
    names = tuple(name.lower() for name in args.host)
    # With a token any name will do: a web site that points its own name here has no cookie to send.
    hosts = (*LOCAL_NAMES, host.lower(), *names) if token is None or is_loopback(host) or names else ()
    rules = AccessRules(token, hosts, secure=args.tls_cert is not None, port=port)
    return Settings(subscriber_options.publisher_of(args), rules, folder, tuple(args.alert), args.pages)


def _tls(args: argparse.Namespace) -> Tls | None:
    from streamer.subscribers.web.web_server import Tls

    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key: give both")
    if args.tls_cert is None:
        return None
    key = Path(args.tls_key).expanduser()
    warn_if_exposed(key, "--tls-key")
    return Tls(Path(args.tls_cert).expanduser(), key)
