"""`streamer webhook`: posts each event to a URL, signed, in order, until the receiver has accepted it."""

from __future__ import annotations

import argparse
import os
import ssl
from pathlib import Path

from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.subscribers import bridge
from streamer.subscribers.state_file import default_file
from streamer.subscribers.stderr_lines import print_line, warn_if_exposed
from streamer.subscribers.webhook import signing
from streamer.subscribers.webhook.http_client import parse_target
from streamer.subscribers.webhook.webhook_bridge import Settings, WebhookBridge
from streamer.system.addresses import is_loopback


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer webhook`."""
    parser.epilog = (
        "One receiver a process, so that a dead one holds up nobody. Exit code 5: the receiver answered 410,"
        "\nit wants no more. See docs/integrations.md."
    )
    subscriber_options.add_delivery(parser)
    parser.add_argument("--url", help="where to post to (or WEBHOOK_URL, which other users cannot see)")
    parser.add_argument(
        "--secret-file", metavar="FILE",
        help="the signing secret, whsec_...; several while a new one takes over (or WEBHOOK_SECRET)",
    )  # fmt: skip
    subscriber_options.add_filter(parser, "start,end")
    parser.add_argument("--timeout", type=float, default=15.0, metavar="S",
                        help="for each attempt as a whole (15)")  # fmt: skip
    parser.add_argument("--max-wait", type=float, default=60.0, metavar="S",
                        help="longest wait between two attempts (60)")  # fmt: skip
    parser.add_argument(
        "--give-up", type=int, default=5, metavar="N",
        help="answers 3xx and 4xx to one event after which it is put into the dead-letter file (5; 0: never)",
    )  # fmt: skip
    parser.add_argument("--dead-letters", metavar="FILE", help="(beside the state file)")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust instead of the system's")


def run(args: argparse.Namespace) -> int:
    """Deliver until asked to stop. Raises ConfigError, BusError."""
    settings = settings_of(args)
    target = settings.target
    warn_if_exposed(settings.dead_letters, "--dead-letters")
    if not settings.secrets:
        print_line(f"webhook: not signed: {target.shown} cannot tell our events from others' (--secret-file)")
    if not target.tls and not is_loopback(target.host):
        print_line(f"webhook: {target.shown} is not encrypted: everybody on the way can read the events")
    return bridge.run_bridge(WebhookBridge(settings))


def settings_of(args: argparse.Namespace) -> Settings:
    """The options as settings. Raises ConfigError, BusError."""
    url = args.url or os.environ.get("WEBHOOK_URL")
    if not url:
        raise ConfigError("where to? give --url https://HOST/PATH, or set WEBHOOK_URL")
    target = parse_target(url)
    events = subscriber_options.filter_of(args)
    for name, value in (("--timeout", args.timeout), ("--max-wait", args.max_wait)):
        if not 0 < value <= 86400:
            raise ConfigError(f"{name} {value:g}: must be seconds, more than 0 and at most a day")
    if args.give_up < 0:
        raise ConfigError(f"--give-up {args.give_up}: must be 0 or more")
    secret = bridge.read_secret(args.secret_file, "--secret-file", "WEBHOOK_SECRET")
    if args.secret_file is not None and secret is None:
        raise ConfigError(f"--secret-file: {args.secret_file} is empty")
    where = "WEBHOOK_SECRET" if args.secret_file is None else f"--secret-file {args.secret_file}"
    state = Path(args.state).expanduser() if args.state else None
    if state is None:
        state = default_file("webhook", args.endpoint, target.shown, private=target.path)
    return Settings(
        publisher=subscriber_options.publisher_of(args),
        target=target,
        state=state,
        dead_letters=Path(args.dead_letters or f"{state}.dead-letters.jsonl").expanduser(),
        since=subscriber_options.since_or_now(args),
        secrets=signing.parse_secrets(secret, where) if secret else (),
        events=events,
        timeout=args.timeout,
        max_wait=args.max_wait,
        give_up=args.give_up,
        context=_context(args.ca) if target.tls else None,
    )


def _context(authorities: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--ca {authorities}: no usable certificates there ({error})") from error
