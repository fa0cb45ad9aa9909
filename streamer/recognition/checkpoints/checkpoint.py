"""A checkpoint on disk: where it is, and what its JSON files say. No torch here.

A checkpoint is a folder in transformers' format. A Hub id becomes a folder first (the Hub's own cache,
filled once), so that everything after that is the same, works offline, and asks the network nothing on
later starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.demo.assets import BUNDLED, SHORT, checkpoint_path
from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.checkpoint_files import CONFIG, cached_folder, read_json
from streamer.recognition.checkpoints.limits import check_config

# Hub names allow letters, digits, "-", "_" and "."; older models have no owner.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a readable config.json."""

    name: str  # the Hub id, or the folder's name
    folder: Path
    config: Mapping[str, Any] = field(repr=False)

    @property
    def family(self) -> str:
        """transformers' model_type."""
        return str(self.config.get("model_type", ""))

    @property
    def own(self) -> Mapping[str, Any]:
        """What config.json says to streamer (its key "streamer")."""
        own = self.config.get("streamer")
        return own if isinstance(own, Mapping) else {}


def open_checkpoint(model_id: str, *, download: bool = True) -> Checkpoint:
    """Find a checkpoint and read its config.json.

    Args:
        model_id: "demo", "demo-streaming" ("streaming" for short), a folder, or a Hub id.
        download: fetch a Hub id that is not in the cache.

    Raises:
        ModelLoadError: there is none, or it is unreadable.
    """
    name, folder = _locate(model_id, download)
    config = read_json(folder / CONFIG, f"{folder} is not a checkpoint folder")
    if not config.get("model_type"):
        raise ModelLoadError(f"{folder / CONFIG} has no model_type: it is not a transformers checkpoint")
    check_config(config, str(folder / CONFIG))
    return Checkpoint(name, folder, config)


def _locate(model_id: str, download: bool) -> tuple[str, Path]:
    if model_id in BUNDLED:
        return model_id, checkpoint_path(model_id)
    path = Path(model_id).expanduser()
    if path.is_dir():
        return path.resolve().name, path
    if model_id in SHORT:
        return SHORT[model_id], checkpoint_path(SHORT[model_id])
    if path.exists():
        raise ModelLoadError(f"model {model_id} is a file: give the folder that holds {CONFIG}")
    if not HUB_ID.fullmatch(model_id):
        raise ModelLoadError(
            f"model {model_id}: there is no such folder, and it is not a Hub id such as "
            "facebook/timesformer-base-finetuned-k400"
        )
    folder = cached_folder(model_id)
    if folder is None:
        if not download:
            raise ModelLoadError(
                f"model {model_id} is not on this machine: `streamer models get {model_id}` fetches it"
            )
        from streamer.recognition.checkpoints.hub import download as fetch

        folder = fetch(model_id)
    return model_id, folder
