"""`streamer web`: a page for browsers that shows what a running streamer recognises."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.bus import endpoints
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.subscribers.web.app import Settings
    from streamer.subscribers.web.web_server import Tls

DEFAULT = "127.0.0.1:8080"
SHORTEST_TOKEN = 16  # characters
_BIND = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^:\[\]/]+):)?(?P<port>\d{1,5})")
_LONE_TOKEN = re.compile(r"[\x21-\x7e]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer web`."""
    parser.add_argument(
        "endpoint", nargs="?", default=endpoints.DEFAULT, help=f"of the publisher ({endpoints.DEFAULT})"
    )
    parser.add_argument("--bind", default=DEFAULT, metavar="HOST:PORT", help=f"where to serve ({DEFAULT})")
    parser.add_argument("--token-file", metavar="FILE", help="whose only line a reader must know")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable that holds the token")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="another name under which the page may be asked for; may be given several times",
    )  # fmt: skip
    parser.add_argument("--alert", action="append", default=[], metavar="LABEL",
                        help="an alert until a reader chooses others; several times")  # fmt: skip
    parser.add_argument("--recordings", metavar="DIR", help="folder of the events' snapshots and clips")
    parser.add_argument("--pages", type=int, default=64, metavar="N", help="open at the same time (64)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate: serve https")
    parser.add_argument("--tls-key", metavar="FILE", help="the certificate's key")
    parser.add_argument("--requests", metavar="ENDPOINT", help="where requests are answered (the next port)")
    parser.add_argument("--keys", metavar="FOLDER", help="with client.key_secret and server.key")


def run(args: argparse.Namespace) -> int:
    """Serve until told to end; returns the exit code.

    Raises:
        ConfigError, BusError: before anything is served.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{' and '.join(missing)} is missing; the page needs: pip install 'streamer[web]'")
    from streamer.subscribers.web.web_server import listen, serve
    from streamer.system.signals import INTERRUPTED, Stopper

    host, port = parse_bind(args.bind)
    token = read_token(args, os.environ)
    check_exposure(host, port, token, args.endpoint)
    tls = _tls(args)
    with Stopper() as stopper:
        listening = listen(host, port)
        port = int(listening.getsockname()[1])
        settings = settings_of(args, host, port, token)
        url = f"{'http' if tls is None else 'https'}://{host}:{port}/"

        def ready() -> None:
            how = " (the first time with the token: ?token=TOKEN at its end)" if token else ""
            _say(f"the page is at {url}{how}")
            _say(f"it shows what {args.endpoint} publishes; Ctrl+C ends it")

        serve(settings, listening, stopper.stop, tls=tls, on_ready=ready)
        code = INTERRUPTED if stopper.interrupted else 0
        if stopper.signalled:  # without the interpreter's own end, which can take seconds on a busy machine
            sys.stderr.flush()
            os._exit(code)
    return code


def _say(text: str) -> None:
    print(f"streamer: {text}", file=sys.stderr, flush=True)


def settings_of(args: argparse.Namespace, host: str, port: int, token: str | None) -> Settings:
    """The options as the page's settings. Raises ConfigError, BusError."""
    from streamer.bus.security import ClientKeys
    from streamer.subscribers.web.app import Settings
    from streamer.subscribers.web.guard import LOCAL_NAMES, Rules
    from streamer.subscribers.web.requester import BusAddress

    for endpoint in filter(None, (args.endpoint, args.requests)):
        endpoints.check(endpoint)
    if args.keys is not None:
        ClientKeys.load(args.keys)  # a mistake is said now
    if args.pages < 1:
        raise ConfigError(f"--pages {args.pages}: must be 1 or more")
    folder = None if args.recordings is None else Path(args.recordings).expanduser()
    if folder is not None and not folder.is_dir():
        _say(f"--recordings {folder}: there is no such folder yet")
    names = tuple(name.lower() for name in args.host)
    # With a token any name will do: a web site that points its own name here has no cookie to send.
    hosts = (*LOCAL_NAMES, host.lower(), *names) if token is None or is_loopback(host) or names else ()
    rules = Rules(token, hosts, secure=args.tls_cert is not None, port=port)
    return Settings(
        BusAddress(args.endpoint, args.requests, args.keys), rules, folder, tuple(args.alert), args.pages
    )


def parse_bind(text: str) -> tuple[str, int]:
    """Host (IPv6 in brackets) and port of `HOST:PORT`, or of a port alone. Raises ConfigError."""
    found = _BIND.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ConfigError(f"--bind {text}: write HOST:PORT, such as {DEFAULT} (port 0 takes a free one)")
    return found["host"] or "127.0.0.1", int(found["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, port: int, token: str | None, endpoint: str) -> None:
    """Raises ConfigError where everybody on the network could read the page."""
    if token is None and not is_loopback(host):
        where = "" if endpoint == endpoints.DEFAULT else f" {endpoint}"
        raise ConfigError(
            f"--bind {host}:{port} would show what happens before your cameras to everybody on the network;"
            " to allow it with a token:"
            ' (umask 077; python3 -c "import secrets; print(secrets.token_urlsafe())" > web.token);'
            f" streamer web{where} --bind {host}:{port} --token-file web.token"
        )


def read_token(args: argparse.Namespace, environment: os._Environ[str] | dict[str, str]) -> str | None:
    """The token, or None where none is wanted. Raises ConfigError; no message has the token in it."""
    if args.token_file is not None and args.token_env is not None:
        raise ConfigError("--token-file and --token-env: give one of them")
    if args.token_env is not None:
        if args.token_env not in environment:
            raise ConfigError(f"--token-env {args.token_env}: the environment has no such variable")
        return _checked(environment[args.token_env].strip(), f"--token-env {args.token_env}")
    if args.token_file is None:
        return None
    path = Path(args.token_file).expanduser()
    try:
        text, mode = path.read_text("utf-8"), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"--token-file {path}: cannot be read: {reason}") from None
    if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"--token-file {path}: others on this machine can read it; mend it: chmod 600 {path}"
        )
    return _checked(text.strip(), f"--token-file {path}")


def _checked(token: str, where: str) -> str:
    if len(token) < SHORTEST_TOKEN or _LONE_TOKEN.fullmatch(token) is None:
        raise ConfigError(
            f"{where}: a token is one line of at least {SHORTEST_TOKEN} letters, digits and signs; make one:"
            ' python3 -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return token


def _tls(args: argparse.Namespace) -> Tls | None:
    from streamer.subscribers.web.web_server import Tls

    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key: give both")
    if args.tls_cert is None:
        return None
    return Tls(Path(args.tls_cert).expanduser(), Path(args.tls_key).expanduser())
