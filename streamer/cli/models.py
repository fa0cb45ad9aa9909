"""`streamer models`: the published checkpoints that streamer knows, and which are on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError
from streamer.system.terminal_text import printable, printable_json

if TYPE_CHECKING:
    from streamer.recognition.checkpoints.registry import KnownModel

_COLUMNS = ("id", "family", "frames", "interval", "span", "size", "GFLOP", "licence", "here")
_RIGHT = ("frames", "interval", "span", "size", "GFLOP")
_WHAT_COUNTS = (
    "interval and span in seconds, GFLOP for one window; here: downloaded, works without a network.\n"
    "streamer models show ID says what one is for, streamer models get ID downloads it,\n"
    "streamer run --model ID uses it. CC-BY-NC-4.0 forbids commercial use."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="show|get ID", help="say all that is known of one; download one"
    )
    parser.add_argument("--cached", action="store_true", help="only those on this machine")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the table or one entry, or download one.

    Raises:
        ConfigError: no such verb or entry.
        ModelLoadError: it cannot be downloaded.
    """
    words = args.words
    if len(words) == 1 and words[0] not in ("show", "get"):
        words = ["show", *words]
    if words and (len(words) != 2 or words[0] not in ("show", "get")):
        raise ConfigError("write streamer models, streamer models show ID, or streamer models get ID")
    if words and words[0] == "get":
        from streamer.recognition.checkpoints.hub import download

        print(download(_full_name(words[1])))
        return 0
    if words:
        return _show(_full_name(words[1]), as_json=args.json)
    from streamer.demo.assets import BUNDLED

    models = [*map(_bundled, BUNDLED), *map(_entry, _known()), _moving(), *map(_entry, _detectors())]
    if args.cached:
        models = [model for model in models if model["here"]]
    if args.json:
        for model in models:
            print(printable_json(json.dumps(model, ensure_ascii=False)))
    else:
        _table(models)
    return 0


def _show(name: str, *, as_json: bool) -> int:
    """All that is known of one checkpoint: in the table, in the Hub's cache, or in a folder."""
    from streamer.demo.assets import BUNDLED
    from streamer.recognition.checkpoints.describe import describe
    from streamer.recognition.checkpoints.registry import cached, find

    if name == "moving":
        notes = [
            "background subtraction on a picture of 320 x 240, ten times a second; no weights, no network",
            "finds whatever moves and stands upright, a dog or a car too; who sat there from the beginning "
            "is not found until they move",
        ]
        told = {**_moving(), "kind": "detector", "notes": notes, "here": None, "GFLOP": None}
        return _print(told, as_json=as_json)
    here = name in BUNDLED or Path(name).expanduser().exists() or cached(name)
    if not here and find(name) is None:
        raise ConfigError(
            f"{name!r} is neither in the table nor on this machine (a checkpoint need not be in the table: "
            f"streamer models get {name} fetches it); known: streamer models"
        )
    return _print(describe(name), as_json=as_json)


def _print(told: Mapping[str, Any], *, as_json: bool) -> int:
    if as_json:
        print(printable_json(json.dumps(told, ensure_ascii=False)))
        return 0
    for key, value in told.items():
        of_windows = told.get("kind") == "detector" and key in ("frames", "interval", "span")
        if value is None or value == [] or of_windows:
            continue
        if key == "notes":
            for note in value:
                print(f"{'note:':<12} {printable(str(note))}")
            continue
        print(f"{key.replace('_', ' ') + ':':<12} {printable(_detail(key, value))}")
    return 0


def _detail(key: str, value: Any) -> str:
    if key == "size":
        return f"{value[1]} x {value[0]} pixels"
    if isinstance(value, list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if key in ("interval", "span"):
        return f"{value:.3f} s"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _known() -> list[KnownModel]:
    from streamer.recognition.checkpoints.registry import known

    return known()


def _detectors() -> list[KnownModel]:
    from streamer.recognition.checkpoints.registry import known_detectors

    return known_detectors()


def _full_name(name: str) -> str:
    from streamer.recognition.checkpoints.registry import find

    found = find(name)
    return name if found is None else found.id


def _entry(model: KnownModel) -> dict[str, Any]:
    from streamer.recognition.checkpoints.registry import cached

    return {
        "id": model.id,
        "family": model.family,
        "frames": None if model.kind == "detector" else model.frames,
        "interval": None if model.kind == "detector" else round(model.interval, 3),
        "span": None if model.kind == "detector" else round(model.span, 2),
        "size": model.size,
        "GFLOP": model.gflop,
        "licence": model.licence,
        "here": cached(model.id),
        "use": model.use,
    }


def _moving() -> dict[str, Any]:
    """The detector that is no checkpoint."""
    told = dict.fromkeys(("frames", "interval", "span", "size"))
    return {
        "id": "moving",
        "family": "background subtraction",
        **told,
        "GFLOP": 0.0,
        "licence": "Apache-2.0",
        "here": True,
        "use": "finds whoever moves: --follow",
    }


def _bundled(name: str) -> dict[str, Any]:
    from streamer.demo.assets import checkpoint_path
    from streamer.recognition.checkpoints.describe import describe

    with (checkpoint_path(name) / "config.json").open(encoding="utf-8") as file:
        config = json.load(file)
    frames, interval = config["num_frames"], config["streamer"]["interval"]
    return {
        "id": name,
        "family": config["model_type"],
        "frames": frames,
        "interval": interval,
        "span": round((frames - 1) * interval, 2),
        "size": config["image_size"],
        "GFLOP": describe(name)["gflop"],
        "licence": config["streamer"]["licence"],
        "here": True,
        "use": (
            "the same, one frame of work a hop"
            if config["streamer"].get("streaming")
            else "eight motions, bundled: " + ", ".join(config["id2label"].values())
        ),
    }


def _table(models: list[dict[str, Any]]) -> None:
    from streamer.system.text_table import text_table, width_of

    rows = [[_shown(column, model[column]) for column in _COLUMNS] for model in models]
    for line in text_table(_COLUMNS, rows, right=_RIGHT, width=width_of(sys.stdout)):
        print(line)
    if sys.stdout.isatty():
        print(f"\n{_WHAT_COUNTS}")


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "?" if column == "licence" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "interval":
        return f"{value:.3f}"
    return f"{value:.1f}" if column == "span" else f"{value:.3g}" if isinstance(value, float) else str(value)
