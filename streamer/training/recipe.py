"""What a checkpoint says about itself to streamer: the key "streamer" of its config.json."""

from __future__ import annotations

from collections.abc import Sequence


def own_background(model_id: str) -> tuple[str, ...]:
    """The labels that a checkpoint itself calls background (streamer.background in its config.json)."""
    from streamer.recognition.checkpoint import open_checkpoint

    named = open_checkpoint(model_id, download=False).own.get("background")
    return tuple(map(str, named)) if isinstance(named, Sequence) and not isinstance(named, str) else ()
