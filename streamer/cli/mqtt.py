"""`streamer mqtt`: events, states and availability to an MQTT broker, described for Home Assistant."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from streamer.cli import subscriber_options
from streamer.errors import ConfigError
from streamer.subscribers import bridge
from streamer.subscribers.mqtt.broker import Address, make_context
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.mqtt.mqtt_bridge import MqttBridge, Settings
from streamer.subscribers.mqtt.topic_names import check_prefix
from streamer.subscribers.state_file import default_file
from streamer.subscribers.stderr_lines import print_line, warn_if_exposed
from streamer.system.addresses import is_loopback, split_host_port
from streamer.system.install_extras import need

_SCHEMES = ("mqtts://", "mqtt://")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer mqtt`."""
    parser.epilog = "Topics, payloads and what Home Assistant shows: docs/integrations.md."
    subscriber_options.add_delivery(parser)
    parser.add_argument("--broker", required=True, metavar="HOST[:PORT]", help="port 1883, with TLS 8883")
    parser.add_argument("--user", help="at the broker")
    parser.add_argument("--password-file", metavar="FILE", help="its password (or MQTT_PASSWORD)")
    parser.add_argument("--tls", action="store_true", help="encrypt; the broker's certificate is verified")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust instead of the system's")
    parser.add_argument("--cert", metavar="FILE", help="our own certificate, for brokers that want one")
    parser.add_argument("--cert-key", metavar="FILE", help="its key, when not in the same file")
    parser.add_argument("--protocol", choices=("5", "3.1.1"), default="5", help="of MQTT (5)")
    parser.add_argument("--prefix", default="streamer", metavar="TOPIC", help="before all topics (streamer)")
    parser.add_argument("--discovery", default="homeassistant", metavar="TOPIC",
                        help="Home Assistant's discovery prefix (homeassistant)")  # fmt: skip
    parser.add_argument("--no-discovery", action="store_true", help="plain MQTT only")
    subscriber_options.add_filter(parser, "start,update,end")
    parser.add_argument("--sensor", action="append", default=[], metavar="LABEL",
                        help="a binary sensor of its own for this label; may be repeated")  # fmt: skip
    parser.add_argument(
        "--pictures", action="store_true",
        help="send live pictures and events' snapshots too, where the run has them",
    )  # fmt: skip
    parser.add_argument("--picture-every", type=float, default=5.0, metavar="S",
                        help="between two live pictures of a camera (5)")  # fmt: skip
    parser.add_argument("--fresh", type=float, default=60.0, metavar="S",
                        help="Home Assistant ignores events older than this (60; 0: takes all)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Bridge until asked to stop. Raises ConfigError, BusError."""
    need("mqtt", "MQTT")
    address = _address(args)
    if not args.fresh >= 0 or args.fresh > 1e9:
        raise ConfigError(f"--fresh {args.fresh:g}: must be seconds, 0 or more")
    if not 0.2 <= args.picture_every <= 86400:
        raise ConfigError(f"--picture-every {args.picture_every:g}: must be seconds, 0.2 to a day")
    if args.pictures:
        print_line(f"mqtt: pictures of the cameras are sent to {address}, which keeps the newest event's")
    layout = Layout(
        check_prefix("--prefix", args.prefix),
        None if args.no_discovery else check_prefix("--discovery", args.discovery),
        tuple(dict.fromkeys(args.sensor)),
        args.fresh,
    )
    if address.certificate is not None:
        key = address.certificate_key or address.certificate
        warn_if_exposed(Path(key).expanduser(), "--cert-key" if address.certificate_key else "--cert")
    if address.tls:
        make_context(address)  # a mistake there is told now, not at each attempt
    elif address.password is not None and not is_loopback(address.host):
        print_line(f"mqtt: {address} is not encrypted (--tls): everybody on the way can read the password")
    state = Path(args.state).expanduser() if args.state else None
    return bridge.run_bridge(
        MqttBridge(
            Settings(
                subscriber_options.publisher_of(args), address, layout,
                state or default_file("mqtt", args.endpoint, str(address), args.prefix),
                subscriber_options.since_or_now(args),
                replace(subscriber_options.filter_of(args), also=tuple(args.sensor)),
                args.picture_every if args.pictures else None,
            )
        )
    )  # fmt: skip


def _address(args: argparse.Namespace) -> Address:
    scheme = next((one for one in _SCHEMES if args.broker.startswith(one)), "")
    tls = args.tls or scheme == "mqtts://" or args.ca is not None or args.cert is not None
    try:
        place = args.broker.removeprefix(scheme).removesuffix("/")
        host, port = split_host_port(place, default_port=8883 if tls else 1883)
    except ValueError:
        secret = " (a password does not belong there: --user, --password-file)" if "@" in args.broker else ""
        raise ConfigError(f"--broker: write HOST, HOST:PORT or [IPv6]:PORT{secret}") from None
    if not port:
        raise ConfigError("--broker: 0 is no port")
    if args.cert_key is not None and args.cert is None:
        raise ConfigError("--cert-key goes with --cert")
    password = bridge.read_secret(args.password_file, "--password-file", "MQTT_PASSWORD")
    if args.password_file is not None and args.user is None:
        raise ConfigError("--password-file goes with --user")
    return Address(
        host, port, tls, args.ca, args.cert, args.cert_key, args.user,
        password if args.user is not None else None, args.protocol,
    )  # fmt: skip
