"""Texts to embeddings: the checkpoint's tokenizer and text tower, each text computed once and kept on disk.

    <cache>/streamer/words/<checkpoint>.safetensors    one tensor a text, named by the text's digest

The name of the file is a digest of the text tower's weights and of the tokenizer's files, so another
checkpoint never meets these embeddings.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from streamer.errors import ConfigError, ModelError, ModelLoadError
from streamer.recognition.checkpoints.checkpoint import Checkpoint
from streamer.recognition.checkpoints.limits import MAX_TOKENIZER
from streamer.recognition.device import model_threads, use_threads
from streamer.recognition.engines.cache import weights_hash
from streamer.system.atomic_files import write_atomically
from streamer.system.install_extras import need
from streamer.system.user_folders import cache_folder

log = logging.getLogger(__name__)

# Any of these makes a tokenizer; without one transformers builds an empty one and says nothing.
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",))
OTHER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
BATCH = 32  # texts in one forward
KEPT = 2000  # embeddings, in memory and on disk: about 4 MB

Embed = Callable[[Tensor, Tensor], Tensor]  # input_ids, attention_mask (N, S) -> (N, D)


class TextEncoder:
    """`embeddings` is for one thread at a time, `tokens` for any.

    Args:
        checkpoint: where the tokenizer is.
        tower: the text tower, in its place; only its weights are looked at.
        embed: how it is asked.
        longest: tokens that it takes.
        padded: True where it was trained on texts padded to `longest` (SigLIP).

    Raises:
        ModelLoadError: the checkpoint has no tokenizer that can be read.
    """

    def __init__(
        self, checkpoint: Checkpoint, tower: Any, embed: Embed, *, longest: int, vocabulary: int, padded: bool
    ) -> None:
        self._name = checkpoint.name
        self._embed = embed
        self._longest = longest
        self._vocabulary = vocabulary
        self._padded = padded
        self._device = next(tower.parameters()).device
        self._threads = model_threads(sum(p.numel() for p in tower.parameters()), self._device)
        self._tokenizer = _tokenizer(checkpoint)
        self._tokenizing = threading.Lock()
        self._known: OrderedDict[str, Tensor] = OrderedDict()  # digest of the text -> (D,) float32
        self._file = cache_folder() / "words" / f"{_digest(checkpoint, tower)}.safetensors"
        self._read()
        self.computed = 0  # texts through the model

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text.

        Raises:
            ConfigError: a text is longer than the model takes.
            ModelLoadError: the tokenizer is of another checkpoint.
        """
        if not texts:
            return []
        with self._tokenizing:
            found: list[list[int]] = self._tokenizer(list(texts))["input_ids"]
        for text, ids in zip(texts, found, strict=True):
            if len(ids) > self._longest:
                raise ConfigError(
                    f"{text[:60]!r} has {len(ids)} tokens, {self._name} takes {self._longest}: say it in "
                    "fewer words"
                )
            if max(ids, default=0) >= self._vocabulary:
                raise ModelLoadError(
                    f"{self._name}: its tokenizer has more words ({max(ids) + 1} and up) than its text model "
                    f"({self._vocabulary}): the two belong to different checkpoints"
                )
        return found

    def embeddings(self, texts: Sequence[str]) -> Tensor:
        """float32 (N, D) on the host, as the model projects them: not normalised.

        Raises:
            ConfigError: a text is too long.
            ModelError: the text model failed.
        """
        keys = {text: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in texts}
        new = [text for text, key in keys.items() if key not in self._known]
        ids = self.tokens(new)
        for start in range(0, len(new), BATCH):
            part = slice(start, start + BATCH)
            for text, row in zip(new[part], self._compute(ids[part]), strict=True):
                self._known[keys[text]] = row.clone()
        found = torch.stack([self._known[keys[text]] for text in texts])
        for key in keys.values():
            self._known.move_to_end(key)
        while len(self._known) > max(KEPT, len(keys)):
            self._known.popitem(last=False)
        if new:
            self.computed += len(new)
            self._write()
        return found

    def _compute(self, ids: list[list[int]]) -> Tensor:
        length = self._longest if self._padded else max(map(len, ids))
        padding = self._tokenizer.pad_token_id or 0
        inputs = torch.full((len(ids), length), padding, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for row, own in enumerate(ids):
            inputs[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        use_threads(self._threads)  # words that change are computed on a thread of their own
        try:
            with torch.inference_mode():
                found = self._embed(inputs.to(self._device), mask.to(self._device)).float().cpu()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the text model of {self._name} failed: {reason[:200]}") from error
        if not bool(torch.isfinite(found).all()):
            raise ModelError(f"the text model of {self._name} gives numbers that are none")
        return found

    # --- the disk ---

    def _read(self) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            self._known.update(load(self._file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, SafetensorError, ValueError) as error:
            log.warning("the text embeddings kept in %s are damaged and made again: %s", self._file, error)
            self._known.clear()

    def _write(self) -> None:
        from safetensors.torch import save

        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, save(dict(self._known)))
        except OSError as error:
            log.warning("the text embeddings could not be kept for the next start: %s", error)


def _tokenizer(checkpoint: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    folder = checkpoint.folder
    if not any(all((folder / name).exists() for name in names) for names in TOKENIZER_FILES):
        raise ModelLoadError(
            f"{checkpoint.name} has no tokenizer (tokenizer.json, or vocab.json with merges.txt, or "
            "spiece.model): copy it from where the checkpoint came from"
        )
    for name in sorted({name for names in TOKENIZER_FILES for name in names} | set(OTHER_FILES)):
        if (folder / name).exists() and (folder / name).stat().st_size > MAX_TOKENIZER:
            raise ModelLoadError(f"{folder / name} is larger than any tokenizer's file: fetch it again")
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except ImportError as error:
        need("words", f"the tokenizer of {checkpoint.name}", raising=ModelLoadError)
        # transformers has looked for them already, and remembers
        raise ModelLoadError(f"the tokenizer of {checkpoint.name} can be read at the next start") from error
    except Exception as error:  # tokenizers raises nothing more special on a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelLoadError(f"the tokenizer of {checkpoint.name} cannot be read: {reason}") from error


def _digest(checkpoint: Checkpoint, tower: Any) -> str:
    digest = hashlib.sha256(weights_hash(tower).encode())
    for name in sorted({name for names in TOKENIZER_FILES for name in names} | set(OTHER_FILES)):
        file = checkpoint.folder / name
        if file.exists():
            digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]
