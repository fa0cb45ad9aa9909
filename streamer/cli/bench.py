"""`streamer bench`: how fast a model runs here, next to transformers' own way, on the same frames.

Everything is measured in one run, taking turns, so that a busy moment hits all ways alike: ratios hold on a
machine where seconds do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from streamer.bench.plan import Plan
from streamer.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("--model", metavar="ID_OR_DIR", help="checkpoint; default: TimeSformer-base with random weights")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    add("--clip", metavar="FILE", help="video that the frames come from; default: the bundled clip")
    add("--size", metavar="WxH", default="1280x720", help="size of the frames (%(default)s)")
    add("--rounds", type=int, default=5, help="timed windows of each way (%(default)s)")
    add("--cameras", metavar="N,N", default="1,2,4,8", help="stops where more give no more (%(default)s)")
    add("--engines", metavar="NAME,NAME", help="torch, openvino; default: all that are here")
    add("--precisions", metavar="NAME,NAME", help="fp32, bf16, fp16, int8; default: all that are here")
    add("--threads", type=int, help="of a forward; 1 is the steadiest on a busy machine (default: all cores)")
    add("--strong", action="store_true", help="transformers with SDPA, and with torch.compile, too (minutes)")
    add("--json", action="store_true", help="one JSON object instead of a table")
    add("--plot", metavar="FILE.svg", help="draw windows per second over cameras")


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError: an option's value makes no sense.
        ModelError: the checkpoint cannot be loaded or computed.
        OSError: the plot cannot be written.
    """
    wanted = _plan(args)
    from streamer.bench.bench_report import plot, print_table
    from streamer.bench.measure import measure  # torch and transformers: only now

    report = measure(wanted, lambda line: print(line, file=sys.stderr))
    if args.json:
        print(json.dumps(report.as_json(), indent=1))
    else:
        print_table(report)
    if args.plot:
        Path(args.plot).write_text(plot(report), encoding="utf-8")
        print(f"plot written to {args.plot}", file=sys.stderr)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    if args.rounds < 1:
        raise ConfigError(f"--rounds must be at least 1, not {args.rounds}")
    if args.threads is not None and args.threads < 1:
        raise ConfigError(f"--threads must be at least 1, not {args.threads}")
    try:
        cameras = sorted({int(word) for word in args.cameras.split(",")})
        width, height = (int(word) for word in args.size.lower().split("x"))
    except ValueError as error:
        raise ConfigError(
            f"--cameras takes numbers such as 1,2,4 and --size a size such as 1280x720; "
            f"got {args.cameras!r} and {args.size!r}"
        ) from error
    if cameras[0] < 1 or cameras[-1] > 256 or not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise ConfigError("--cameras allows 1 to 256, --size 16x16 to 8192x8192")
    engines = _names("--engines", args.engines, ("torch", "openvino"))
    precisions = _names("--precisions", args.precisions, ("fp32", "bf16", "fp16", "int8"))
    clip = Path(args.clip) if args.clip else None
    if clip is not None and not clip.is_file():
        raise ConfigError(f"--clip {clip}: there is no such file")
    return Plan(
        model=args.model,
        device=args.device,
        clip=clip,
        size=(height, width),
        rounds=args.rounds,
        cameras=tuple(cameras),
        engines=engines,
        precisions=precisions,
        threads=args.threads,
        strong=args.strong,
    )


def _names(option: str, value: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return allowed
    names = tuple(word.strip() for word in value.split(","))
    if wrong := [name for name in names if name not in allowed]:
        raise ConfigError(f"{option}: {', '.join(wrong)} is none of {', '.join(allowed)}")
    return names
