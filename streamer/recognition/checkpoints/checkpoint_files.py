"""Which files make a checkpoint, whether they are all there, and reading the JSON ones. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable
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
MAX_JSON = 5_000_000  # bytes; 21,000 labels take 1 MB, so larger is a mistake


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
    return bool(weights_files(folder))


def weights_files(folder: Path) -> list[Path]:
    """The files that hold the weights, those of the first kind that is there; empty where any is missing."""
    for name in (*SAFE_WEIGHTS, *PICKLED_WEIGHTS):
        file = folder / name
        if not file.exists():
            continue
        if not name.endswith(".json"):
            return [file]
        try:
            table = read_json(file, f"the weights in {folder}").get("weight_map")
        except ModelLoadError:
            return []
        parts = set(map(str, table.values())) if isinstance(table, dict) else set()
        plain = all(part == Path(part).name for part in parts)  # none that leads out of the folder
        return [folder / part for part in sorted(parts)] if plain and _all_there(folder, parts) else []
    return []


def _all_there(folder: Path, names: Iterable[str]) -> bool:
    return all((folder / name).is_file() for name in names)


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
