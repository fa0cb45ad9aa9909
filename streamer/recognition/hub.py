"""Fetching a checkpoint from the Hub: only what a model needs, each error one line. No torch here."""

from __future__ import annotations

import sys
from pathlib import Path

from streamer.errors import ModelLoadError

ASK_TIMEOUT = 8.0  # seconds for the first answer; the Hub's own client would retry for half a minute
WANTED = (
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "README.md",  # its front matter names the licence
)


def download(model_id: str, *, progress: bool | None = None) -> Path:
    """Fetch a checkpoint into the Hub's cache; returns its folder. Files that are there already stay.

    Args:
        model_id: "owner/name".
        progress: bars on stderr; None = when stderr is a terminal.

    Raises:
        ModelLoadError: no such model, no permission, no network, no space.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    bars = sys.stderr.isatty() if progress is None else progress
    hide = not bars and not are_progress_bars_disabled()  # where the user has disabled them they stay so
    if hide:
        disable_progress_bars()
    try:
        folder = Path(snapshot_download(model_id, allow_patterns=_files(model_id)))
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise ModelLoadError(
            f"model {model_id}: the Hub has none of that name that you may read; check the spelling, or log "
            "in with `hf auth login`"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ModelLoadError(
            f"model {model_id} is not on this machine and HF_HUB_OFFLINE forbids fetching it: unset it once, "
            "or give a folder"
        ) from error
    except HfHubHTTPError as error:
        raise ModelLoadError(
            f"model {model_id}: the Hub refused ({_short(error)}); try again later"
        ) from error
    except _network_errors() as error:
        raise ModelLoadError(
            f"model {model_id} is not on this machine and the Hub cannot be reached ({_short(error)}): "
            "connect once, or give a folder"
        ) from error
    finally:
        if hide:
            enable_progress_bars()
    return folder


def _files(model_id: str) -> list[str]:
    """Names of the files to fetch: JSON, card, and one kind of weights, safetensors where there are any."""
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(model_id, timeout=ASK_TIMEOUT).siblings or []
    names = [sibling.rfilename for sibling in siblings if "/" not in sibling.rfilename]
    safe = [
        name
        for name in names
        if name.startswith("model") and name.endswith((".safetensors", ".safetensors.index.json"))
    ]
    pickled = [
        name
        for name in names
        if name.startswith("pytorch_model") and name.endswith((".bin", ".bin.index.json"))
    ]
    if not safe and not pickled:
        raise ModelLoadError(
            f"model {model_id}: no weights in transformers' format (model.safetensors) at the Hub"
        )
    return [name for name in names if name in WANTED] + (safe or pickled)


def _network_errors() -> tuple[type[Exception], ...]:
    """The HTTP client's own errors; which client it is depends on huggingface_hub's version."""
    found: list[type[Exception]] = [OSError]
    for module in ("httpx2", "httpx", "requests"):
        library = sys.modules.get(module)
        for name in ("HTTPError", "RequestException"):
            error = getattr(library, name, None)
            if isinstance(error, type) and issubclass(error, Exception):
                found.append(error)
    return tuple(found)


def _short(error: Exception) -> str:
    """The first line of an error, for the end of ours."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
