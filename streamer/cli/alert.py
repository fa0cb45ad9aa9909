"""`streamer alert`: notifications on a phone, by ntfy or any other service that Apprise knows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.subscribers import bridge
from streamer.subscribers.alerts.alert_policy import AlertRules, QuietHours
from streamer.subscribers.state_file import default_file
from streamer.subscribers.stderr_lines import print_line
from streamer.system.install_extras import need

if TYPE_CHECKING:
    from streamer.subscribers.alerts.apprise_targets import Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer alert`."""
    parser.epilog = (
        "Services and their addresses: https://github.com/caronc/apprise/wiki. See docs/integrations.md."
    )
    subscriber_options.add_delivery(parser)
    parser.add_argument(
        "--to-file", metavar="FILE",
        help="addresses, one a line, such as ntfy://ntfy.sh/TOPIC (or ALERT_URLS); they hold secrets",
    )  # fmt: skip
    subscriber_options.add_filter(parser, "start")
    parser.add_argument("--every", type=float, default=300.0, metavar="S",
                        help="the same action of a camera again after so many seconds; what comes before is "
                        "counted and told as one (300)")  # fmt: skip
    parser.add_argument("--most", type=int, default=20, metavar="N", help="in an hour, of everything (20)")
    parser.add_argument("--quiet", metavar="HH:MM-HH:MM", help="hours in which events are only counted")
    parser.add_argument("--always", action="append", default=[], metavar="LABEL",
                        help="told at once, whatever hour and however often; may be repeated")  # fmt: skip
    parser.add_argument("--fresh", type=float, default=600.0, metavar="S",
                        help="older events are counted, not told one by one (600)")  # fmt: skip
    parser.add_argument("--pictures", action="store_true",
                        help="attach the snapshots that the run keeps: they leave this machine")  # fmt: skip
    parser.add_argument("--recordings", metavar="DIR", help="where they are (where the run says)")
    parser.add_argument("--try", action="store_true", dest="trial", help="send one notification and end")


def run(args: argparse.Namespace) -> int:
    """Tell until asked to stop. Raises ConfigError, BusError."""
    need("alert", "alert")
    from streamer.subscribers.alerts.alert_bridge import AlertBridge, Settings
    from streamer.subscribers.alerts.apprise_targets import targets_of

    rules = rules_of(args)
    addresses = bridge.read_secret(args.to_file, "--to-file", "ALERT_URLS")
    if not addresses:
        raise ConfigError("where to? write addresses into a file of yours and give --to-file FILE")
    targets = targets_of(addresses.splitlines())
    if args.trial:
        return _try(targets)
    folder = Path(args.recordings).expanduser() if args.recordings else None
    if args.pictures:
        print_line("alert: snapshots of events are sent to these services")
    state = Path(args.state).expanduser() if args.state else None
    settings = Settings(
        subscriber_options.publisher_of(args),
        state or default_file("alert", args.endpoint, private=addresses),
        subscriber_options.since_or_now(args),
        subscriber_options.filter_of(args),
        rules,
        args.pictures,
        folder,
    )
    return bridge.run_bridge(AlertBridge(settings, targets))


def rules_of(args: argparse.Namespace) -> AlertRules:
    """How often somebody is told. Raises ConfigError."""
    for name, value in (("--every", args.every), ("--fresh", args.fresh)):
        if not 0 <= value <= 86400:
            raise ConfigError(f"{name} {value:g}: must be seconds, 0 to a day")
    if args.most < 1:
        raise ConfigError(f"--most {args.most}: must be 1 or more")
    try:
        quiet = None if args.quiet is None else QuietHours.parse(args.quiet)
    except ValueError:
        raise ConfigError(f"--quiet {args.quiet}: write HH:MM-HH:MM, such as 22:00-07:00") from None
    return AlertRules(args.every, args.most, args.fresh, quiet, tuple(args.always))


def _try(targets: Sequence[Target]) -> int:
    failed = 0
    for target in targets:
        why = target.send("streamer", "This is how events will be told.", None, urgent=False)
        failed += why is not None
        print_line(f"alert: {target.shown}: {'sent' if why is None else why}")
    return 1 if failed else 0
