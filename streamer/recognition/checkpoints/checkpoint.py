"""A checkpoint on disk: where it is, and what its JSON files say. No torch here.

A checkpoint is a folder in transformers' format. A Hub id becomes a folder first (the Hub's own cache,
filled once), so that everything after that is the same, works offline, and asks the network nothing on
later starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.errors import ModelLoadError

CONFIG = "config.json"
# (file, key inside it): first found wins, as in transformers
VIDEO_PROCESSORS = (
    ("processor_config.json", "video_processor"),
    ("video_preprocessor_config.json", None),
    ("preprocessor_config.json", None),
    ("processor_config.json", "image_processor"),
)
FRAME_PROCESSORS = (
    ("processor_config.json", "image_processor"),
    ("preprocessor_config.json", None),
)
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# Hub names allow letters, digits, "-", "_" and "."; older models have no owner.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
MAX_JSON = 50_000_000  # bytes; a config is a few kilobytes, so larger is a mistake


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
        model_id: "demo", a folder, or a Hub id.
        download: fetch a Hub id that is not in the cache.

    Raises:
        ModelLoadError: there is none, or it is unreadable.
    """
    name, folder = _locate(model_id, download)
    config = read_json(folder / CONFIG, f"{folder} is not a checkpoint folder")
    if not config.get("model_type"):
        raise ModelLoadError(f"{folder / CONFIG} has no model_type: it is not a transformers checkpoint")
    return Checkpoint(name, folder, config)


def _locate(model_id: str, download: bool) -> tuple[str, Path]:
    if model_id == "demo":
        from streamer.demo.assets import checkpoint_path

        return "demo", Path(checkpoint_path())
    path = Path(model_id).expanduser()
    if path.is_dir():
        return path.resolve().name, path
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


def cached_folder(model_id: str) -> Path | None:
    """The Hub cache's folder of a checkpoint that is completely there; None otherwise. No network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model_id, local_files_only=True))
    except HFValidationError:
        return None
    except LocalEntryNotFoundError as error:
        # Newer clients call a folder incomplete that lacks any file of the repository; we fetch only some.
        found = getattr(error, "snapshot_path", None)
        if found is None:
            return None
        folder = Path(found)
    processors = {file for file, _ in VIDEO_PROCESSORS}
    whole = (folder / CONFIG).exists() and any((folder / file).exists() for file in processors)
    return folder if whole and weights_present(folder) else None


def weights_present(folder: Path) -> bool:
    """True when a weights file is there and, for split ones, all of its parts."""
    for name in (*SAFE_WEIGHTS, *PICKLED_WEIGHTS):
        file = folder / name
        if not file.exists():
            continue
        if not name.endswith(".json"):
            return True
        try:
            parts = set(json.loads(file.read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return all((folder / part).exists() for part in parts)
    return False


def read_json(file: Path, why: str) -> dict[str, Any]:
    """A JSON object from a file; `why` begins the message where it is not one.

    Raises:
        ModelLoadError: absent, unreadable or not a JSON object.
    """
    try:
        if file.stat().st_size > MAX_JSON:
            raise ModelLoadError(
                f"{why}: {file.name} is {file.stat().st_size:,} bytes, which no such file is"
            )
        value = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(f"{why}: it has no {file.name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{why}: {file.name} cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{why}: {file.name} holds no JSON object")
    return value
