"""Fetching a checkpoint from the Hub: only what a model needs, each error one line. No torch here."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from streamer.errors import ModelLoadError
from streamer.recognition.checkpoints.checkpoint_files import cached_folder

ASK_TIMEOUT = 8.0  # seconds for the first answer; the Hub's own client would retry for half a minute
WANTED = (
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "README.md",  # its front matter names the licence
    # the tokenizers of models that read words
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
)
_BLOCK = 1 << 20


def download(model_id: str, *, progress: bool | None = None) -> Path:
    """Fetch a checkpoint into the Hub's cache and check every file's hash; returns its folder.

    Files that are there already stay; under HF_HUB_OFFLINE a checkpoint that is there is enough. A file that
    is not what the Hub says is deleted, so that the next try fetches it again.

    Args:
        model_id: "owner/name".
        progress: bars on stderr; None = when stderr is a terminal.

    Raises:
        ModelLoadError: no such model, no permission, no network, no space, a file that arrived damaged.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
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
        hashes = _files(model_id)
        folder = Path(snapshot_download(model_id, allow_patterns=list(hashes)))
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise ModelLoadError(
            f"model {model_id}: the Hub has none of that name that you may read; check the spelling, or log "
            "in with `hf auth login`"
        ) from error
    except HFValidationError as error:
        raise ModelLoadError(f"model {model_id}: this is no Hub id such as OWNER/NAME") from error
    except OfflineModeIsEnabled as error:
        if (there := cached_folder(model_id)) is not None:
            return there
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
    _check(model_id, folder, hashes)
    return folder


def _check(model_id: str, folder: Path, hashes: Mapping[str, str | None]) -> None:
    """Compare each file with the Hub's hash: SHA-256 of large files, Git's SHA-1 of small ones."""
    for name, expected in hashes.items():
        file = folder / name
        if expected is None or file_hash(file, sha256=len(expected) == 64) == expected:
            continue
        file.resolve().unlink(missing_ok=True)  # the cache's blob, to which the name is a link
        file.unlink(missing_ok=True)
        raise ModelLoadError(
            f"model {model_id}: {name} is not the file that the Hub has (its hash differs): it is deleted "
            "here; fetch it again"
        )


def file_hash(file: Path, *, sha256: bool) -> str:
    """A file's hash as the Hub lists it, in hexadecimal digits."""
    digest = hashlib.sha256() if sha256 else hashlib.sha1(f"blob {file.stat().st_size}\0".encode())
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _files(model_id: str) -> dict[str, str | None]:
    """The files to fetch, each with its hash (None: unknown): JSON, card, tokenizer, and one kind of weights,
    safetensors where there are any.
    """
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(model_id, files_metadata=True, timeout=ASK_TIMEOUT).siblings or []
    hashes = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in siblings}
    names = [name for name in hashes if "/" not in name]
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
    wanted = [name for name in names if name in WANTED] + (safe or pickled)
    return {name: hashes[name] for name in wanted}


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
