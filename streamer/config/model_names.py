"""What models are called in messages: short names that tell all models of a configuration apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from streamer.demo.assets import BUNDLED


def model_names(ids: Iterable[str]) -> dict[str, str]:
    """The name of each id: a Hub id as it is, a folder's last part, with as many above it as are needed.

    `runs/a/best` and `runs/b/best` are `a/best` and `b/best`. The names come from the ids alone, so that they
    are the same after a restart; two ways to write one folder are one name.
    """
    known = list(dict.fromkeys(ids))
    folders = {name: folder for name in known if (folder := _folder(name)) is not None}
    names = {name: name for name in known if name not in folders}
    taken = set(names)
    for name, folder in folders.items():
        others = {other for other in folders.values() if other != folder}
        depths = range(1, len(folder.parts))
        tails = (folder.parts[-depth:] for depth in depths)
        free = (tail for tail in tails if not _is_taken(tail, others, taken))
        names[name] = "/".join(next(free, folder.parts))
    return names


def _folder(name: str) -> Path | None:
    """The folder that is meant; None: a Hub id, or a bundled model."""
    try:
        path = Path(name).expanduser()
        return path.resolve() if name not in BUNDLED and path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # such a path cannot be, as its loading will say
        return None


def _is_taken(tail: tuple[str, ...], others: set[Path], taken: set[str]) -> bool:
    return "/".join(tail) in taken or any(other.parts[-len(tail) :] == tail for other in others)
