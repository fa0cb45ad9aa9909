"""`streamer run`, and the demo: options become a configuration, the configuration a running pipeline."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from streamer.cli import run_page
from streamer.system import memory
from streamer.system.redaction import redact
from streamer.system.signals import INTERRUPTED, Stopper
from streamer.system.terminal_text import printable

if TYPE_CHECKING:
    from streamer.config import Config, Option
    from streamer.metrics.monitoring import Monitoring
    from streamer.pipeline.results import RunResult

# option, key of the configuration, what is shown for its value, help
_OPTIONS = (
    ("--model", "model.id", "ID_OR_DIR", "checkpoint: demo, a local folder, or a Hub id"),
    ("--device", "model.device", "auto|cpu|cuda|mps", "where the model runs"),
    ("--precision", "model.precision", "auto|fp32|bf16|fp16|int8", "number format of the model"),
    ("--engine", "model.engine", "auto|torch|openvino", "what computes the model"),
    ("--hop", "model.hop", "S", "seconds between two windows"),
    ("--interval", "model.interval", "S", "seconds between two frames of a window"),
    ("--top", "model.top", "K", "labels in a prediction"),
    ("--bind", "bus.bind", "ENDPOINT", "where to publish; port 0 takes a free one, '' publishes nothing"),
    ("--requests", "bus.requests", "ENDPOINT", "where to answer requests; '' answers none"),
    (
        "--metrics",
        "metrics.listen",
        "[HOST:]PORT",
        "serve /metrics, /healthz and /readyz there; without HOST for this machine alone",
    ),
    ("--ui", "ui", "auto|rich|plain|json|none", "what standard output shows"),
    (
        "--pace",
        "pace",
        "realtime|fast",
        "files: at their own speed, or as fast as possible with nothing skipped",
    ),
    ("--duration", "duration", "S", "stop after so many seconds, or when all files have ended"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "SOURCE: a webcam's number (0), /dev/videoN, rtsp://..., rtmp://..., http(s)://..., a file or demo.\n"
        "Cameras are named cam0, cam1, ... in order. configs/cameras.yaml documents every key."
    )
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="what to watch")
    parser.add_argument("--config", metavar="FILE", help="a config file; SOURCEs replace its cameras")
    for option, key, shown, text in _OPTIONS:
        parser.add_argument(option, dest=key, metavar=shown, help=text)
    parser.add_argument(
        "--label", action="append", metavar="LABEL",
        help="only events of this label of the model (may be given again)",
    )  # fmt: skip
    parser.add_argument(
        "--labels", action="append", metavar="WORDS|FILE.yaml",
        help="what to look for, in your own words (may be given again), or a file; for models that read "
        "words, such as --model openai/clip-vit-base-patch32",
    )  # fmt: skip
    parser.add_argument(
        "--loop",
        action=argparse.BooleanOptionalAction,
        help="play files again from the start (the demo without a command does, and with --duration)",
    )
    run_page.add_arguments(parser)
    parser.add_argument(
        "--picture",
        action="store_true",
        help="the screen shows the cameras' pictures, as far as there is room",
    )
    parser.add_argument(
        "--give-up",
        action="store_true",
        help="for scripts: leave with exit code 3 when every source is one that no retry can mend",
    )
    parser.add_argument(
        "--follow", action="store_true",
        help="follow whoever moves, each with predictions and events of their own; --set follow.detector=ID "
        "takes a checkpoint that finds people",
    )  # fmt: skip
    parser.add_argument(
        "--insecure-bind", action="store_true", help="let other machines read without encryption"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the configuration"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    parser.add_argument("--demo-if-none", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Watch until done or stopped; returns the exit code.

    Raises:
        ConfigError, BusError: before anything started.
    """
    memory.prepare()  # before the first thread, numpy's included: each could have a heap of its own
    with Stopper() as stopper:
        config = configuration(args)
        result, abandoned = _watch(config, stopper, args)
        code = exit_code(result)
        if stopper.interrupted:
            code = INTERRUPTED
        if abandoned or stopper.signalled:
            # Without the interpreter's own end, which a native call that hangs on a thread could keep from
            # coming, and which takes part of the promised 3 s with torch loaded.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


def configuration(args: argparse.Namespace) -> Config:
    """The configuration that the options ask for.

    Raises:
        ConfigError: an option, the file or the environment is wrong, or there is nothing to watch.
    """
    from streamer.config import Option, Pace, load_config
    from streamer.demo.assets import STREAMING
    from streamer.errors import ConfigError

    options = _options(args)
    try:
        config = load_config(args.config, options)
        follows = config.follow.follows
    except ConfigError:
        if not args.follow:
            raise
        follows = False  # what is wrong may be that nobody is followed
    if args.follow and not follows:
        options.insert(0, Option("follow.detector", "moving", "--follow"))
        config = load_config(args.config, options)
    demo: list[Any] = []
    if not config.cameras:
        if not args.demo_if_none:
            hint = (
                "name a SOURCE (0 is the first webcam, demo needs none), or list cameras: in a --config FILE"
            )
            raise ConfigError(f"nothing to watch: {hint}")
        demo.append(Option("cameras", cameras_of(["demo"]), "demo"))
        if not config.follow.follows and not {"model", "models"} & config.model_fields_set:
            demo.append(Option("model.id", STREAMING, "demo"))  # sooner, and at least as often right there
    elif config.duration is None or any(camera.source != "demo" for camera in config.cameras):
        return config
    # The clip alone: again and again, for as long as was asked for, unless somebody said otherwise.
    if "loop" not in config.model_fields_set and config.pace is Pace.REALTIME:
        demo.append(Option("loop", True, "demo"))
    return load_config(args.config, [*demo, *options]) if demo else config


def cameras_of(sources: list[str]) -> list[dict[str, str]]:
    """SOURCEs as cameras: `demo` is called demo, the others cam0, cam1, ... by their place."""
    cameras: list[dict[str, str]] = []
    for index, source in enumerate(sources):
        taken = [camera["name"] for camera in cameras]
        name = "demo" if source == "demo" and "demo" not in taken else f"cam{index}"
        cameras.append({"name": name, "source": source})
    return cameras


def _options(args: argparse.Namespace) -> list[str | Option]:
    from streamer.config import Option

    options: list[str | Option] = []
    web = run_page.read_web(args)  # before the sources: it may be followed by one
    if web is not None:
        options.append(Option("web.listen", web, "--web"))
    if args.pictures is not None:
        options.append(Option("pictures", args.pictures, "--pictures"))
    if args.sources:
        options.append(Option("cameras", cameras_of(args.sources), "SOURCE"))
    for option, key, _, _ in _OPTIONS:
        value = getattr(args, key)
        if value is not None:
            options.append(Option(key, value, option))
    if args.label:
        options.append(Option("events.include", args.label, "--label"))
    if args.labels:
        options.append(Option("model.labels", args.labels, "--labels"))
    if args.loop is not None:
        options.append(Option("loop", args.loop, "--loop"))
    if args.give_up:
        options.append(Option("capture.give_up", True, "--give-up"))
    if args.picture:
        options.append(Option("picture", True, "--picture"))
    if args.insecure_bind:
        options.append(Option("bus.insecure_bind", True, "--insecure-bind"))
    return [*options, *args.set]


def _watch(config: Config, stopper: Stopper, args: argparse.Namespace) -> tuple[RunResult, bool]:
    """Run the pipeline under the chosen user interface: (what came of it, whether a thread was left)."""
    from streamer.config import Pace, Ui
    from streamer.dashboard.json_lines import JsonSink
    from streamer.dashboard.output_choice import choose
    from streamer.dashboard.plain_text import PlainSink
    from streamer.metrics.monitoring import Monitoring
    from streamer.pipeline.pipeline import Pipeline

    stop = stopper.stop
    ui = choose(config.ui, sys.stdout.isatty())
    # plain lines and the talk on one terminal: what a camera is like is said once, by the lines
    lines_say_it = ui is Ui.PLAIN and _same_place(sys.stdout, sys.stderr)
    talk = set_up_talk(args.verbose, cameras=not lines_say_it)
    complete = config.pace is Pace.FAST
    with ExitStack() as stack:
        sinks: list[JsonSink | PlainSink] = []
        if ui is Ui.JSON:
            sinks.append(stack.enter_context(JsonSink(stop=stop, complete=complete)))
        elif ui is Ui.PLAIN:
            sinks.append(stack.enter_context(PlainSink(stop=stop, complete=complete)))
        file = None if args.config is None else Path(args.config)
        running = Pipeline(config, sinks=sinks, config_file=file, reload=lambda: configuration(args))
        pipeline = stack.enter_context(running)
        monitoring = stack.enter_context(Monitoring(config.metrics, pipeline.stats))
        stack.enter_context(run_page.page_beside(config, pipeline.endpoint, pipeline.warn))
        if ui is Ui.RICH:
            from streamer.cli.run_screen import screen

            stack.enter_context(screen(pipeline, config, stopper))
        elif pipeline.endpoint:
            say(f"publishing on {pipeline.endpoint}")
        if config.uncertain.folder and ui is not Ui.RICH:
            say(f"pictures of windows worth labelling are saved in {config.uncertain.folder}")
        if monitoring.address and ui is not Ui.RICH:
            say_metrics(monitoring)
        result = pipeline.run(stop)
    _explain(result, talk, cameras=not lines_say_it)
    return result, pipeline.abandoned


def exit_code(result: RunResult) -> int:
    """A run's exit code for the shell."""
    from streamer.cli.command_line import EXIT_SOURCE, code_of

    if result.error is not None:
        return code_of(result.error)
    return EXIT_SOURCE if result.nothing_seen else 0


def _explain(result: RunResult, talk: _Talk, *, cameras: bool) -> None:
    """Why it ended, where nobody asked it to: what was not said before."""
    if result.error is not None:
        say(str(result.error))
    for camera in result.cameras if result.nothing_seen and cameras else ():
        if camera.code is not None:
            line = f"camera {camera.camera}: {camera.reason or camera.code}"
            if line not in talk.said:
                say(line)


def _same_place(one: TextIO, other: TextIO) -> bool:
    """Whether two streams end in the same file or terminal."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        return False


def say(text: str) -> None:
    print(f"streamer: {printable(redact(text))}", file=sys.stderr, flush=True)


class _Redacted(logging.Formatter):
    """Third-party libraries log addresses as they got them."""

    def format(self, record: logging.LogRecord) -> str:
        lines = redact(super().format(record)).split("\n")  # of a traceback
        return "\n".join(map(printable, lines))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name logging calls
        return printable(super().formatMessage(record))  # one line: nobody's text makes another


class _Talk(logging.StreamHandler[TextIO]):
    """Standard error; remembers what was said of late."""

    def __init__(self) -> None:
        super().__init__()
        self.said: deque[str] = deque(maxlen=200)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        super().emit(record)


def say_metrics(monitoring: Monitoring) -> None:
    """Where they are, and who can read them."""
    readers = "" if monitoring.private else "; other machines can read them, without a password"
    say(f"metrics on http://{monitoring.address}/metrics{readers}")


def set_up_talk(verbose: bool, *, cameras: bool = True) -> _Talk:
    """Warnings go to standard error; a live screen holds them back until it ends. `cameras`: theirs too."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Talk):
            root.removeHandler(old)
    handler = _Talk()
    handler.setFormatter(_Redacted("streamer: %(message)s"))
    root.addHandler(handler)
    level = logging.INFO if verbose else logging.WARNING
    root.setLevel(level)
    logging.getLogger("streamer").setLevel(level)  # libraries imported later change the root's
    logging.getLogger("streamer.capture.camera_supervisor").setLevel(
        logging.NOTSET if cameras or verbose else logging.ERROR
    )
    return handler
