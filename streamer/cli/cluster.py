"""`streamer cluster CONFIG`: the front of a cluster. `streamer cluster drain NAME`: empties a worker."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from streamer.errors import BusError, ConfigError, RequestError
from streamer.system.signals import Stopper

VERBS = {
    "drain": "take all cameras from a worker, for maintenance",
    "undrain": "let it have cameras again",
    "workers": "list the workers and what they watch",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer cluster`."""
    parser.epilog = "\n".join(
        [
            "  streamer cluster cameras.yaml       the front; subscribers connect to it, workers join it",
            "  streamer worker --join tcp://HOST:5556",
            *(
                f"  {f'streamer cluster {verb}' + ('' if verb == 'workers' else ' NAME'):34}  {text}"
                for verb, text in VERBS.items()
            ),
        ]
    )
    parser.add_argument("words", nargs="+", metavar="CONFIG | drain NAME | undrain NAME | workers")
    parser.add_argument("--bind", metavar="ENDPOINT", help="where subscribers connect (bus.bind)")
    parser.add_argument("--requests", metavar="ENDPOINT", help="where workers join (the port after --bind's)")
    parser.add_argument("--keys", metavar="FOLDER", help="the front's keys (bus.keys); for drain: a client's")
    parser.add_argument(
        "--ray", metavar="auto|ADDRESS", help="keep a worker on each node of this Ray cluster"
    )
    parser.add_argument("--worker-keys", metavar="FOLDER", help="--ray: a client's keys, on each node")
    parser.add_argument("--metrics", metavar="[HOST:]PORT", help="serve /metrics, /healthz and /readyz there")
    parser.add_argument("--ui", metavar="auto|rich|plain|json|none", help="what standard output shows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of CONFIG")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped, or ask a front; returns the exit code. Raises ConfigError, BusError."""
    verb = args.words[0]
    if verb in VERBS:
        return _ask(verb, args.words[1:], args)
    if len(args.words) > 1:
        raise ConfigError(f"{args.words[1]!r}: a cluster has one CONFIG; see streamer cluster --help")
    return _serve(Path(verb), args)


def _serve(file: Path, args: argparse.Namespace) -> int:
    from streamer.cli.run import say, say_metrics, set_up_talk
    from streamer.cluster.front import Front
    from streamer.config import Config, Option, Ui, load_config
    from streamer.dashboard.json_lines import JsonSink
    from streamer.dashboard.output_choice import choose
    from streamer.dashboard.plain_text import PlainSink
    from streamer.metrics.monitoring import Monitoring

    options: list[Any] = list(args.set)
    for key, value in (
        ("bus.bind", args.bind), ("bus.requests", args.requests), ("bus.keys", args.keys),
        ("metrics.listen", args.metrics), ("ui", args.ui),
    ):  # fmt: skip
        if value is not None:
            options.append(Option(key, value, f"--{key.split('.')[-1]}"))

    def configuration() -> Config:
        config = load_config(file, options)
        if not any(camera.enabled for camera in config.cameras):
            raise ConfigError(f"{file}: no camera is enabled there")
        return config

    config = configuration()
    ui = choose(config.ui, sys.stdout.isatty())
    set_up_talk(args.verbose)
    with Stopper() as stopper, ExitStack() as stack:
        sinks: list[Any] = []
        if ui is Ui.JSON:
            sinks.append(stack.enter_context(JsonSink(stop=stopper.stop)))
        elif ui is Ui.PLAIN:
            sinks.append(stack.enter_context(PlainSink(stop=stopper.stop)))
        front = stack.enter_context(Front(config, sinks=sinks, config_file=file, reload=configuration))
        if args.ray is not None:
            from streamer.cluster.ray_staffing import ray_staffing

            stack.enter_context(ray_staffing(front, config, args.ray, args.worker_keys))
        monitoring = stack.enter_context(Monitoring(config.metrics, front.stats))
        if ui is Ui.RICH:
            from streamer.dashboard.live_screen import Screen

            stack.enter_context(Screen(front.stats))
        else:
            say(f"publishing on {front.endpoint}; workers join {front.requests_endpoint}")
            if monitoring.address:
                say_metrics(monitoring)
        front.run(stopper.stop)
        return stopper.exit_code


def _ask(verb: str, names: list[str], args: argparse.Namespace) -> int:
    from streamer.bus.endpoints import DEFAULT, requests_beside
    from streamer.bus.request_client import RequestClient

    if (verb == "workers") == bool(names) or len(names) > 1:
        words = f"streamer cluster {verb}{'' if verb == 'workers' else ' NAME'}"
        raise ConfigError(f"write: {words}; --bind ENDPOINT names a front that publishes elsewhere")
    where = args.requests or requests_beside(args.bind or DEFAULT)
    with RequestClient(where, args.keys) as client:
        try:
            told = client.ask(verb, 3.0, **({"worker": names[0]} if names else {}))
        except RequestError as error:
            raise BusError(str(error)) from error
    if verb == "workers":
        for name, worker in told["workers"].items():
            cameras = sorted(camera for camera, owner in told["cameras"].items() if owner == name)
            print(f"{name}  {worker['state']}  {', '.join(cameras) or '-'}")
        if not told["workers"]:
            print(f"no worker has joined {where} yet")
    elif verb == "drain":
        left = ", ".join(told["cameras"]) or "none"
        print(
            f"{names[0]} gives its cameras away ({left}); 'streamer cluster workers' says when it is drained"
        )
    else:
        print(f"{names[0]} may watch cameras again")
    return 0
