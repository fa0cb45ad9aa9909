"""What the run offers to a page: live pictures, recordings and where they lie, marks; once a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.recording.files import MARKER
from streamer.subscribers.web.page_state import Json

LONGEST_PATH = 4096  # characters
MOST_MODELS = 100


@dataclass(frozen=True)
class Features:
    """`known` is False where the run could not say: it is older, or answers no requests."""

    known: bool = False
    live: bool = False
    snapshots: bool = False
    clips: bool = False
    marks: bool = False
    folder: Path | None = None
    models: Mapping[str, str] = field(default_factory=dict)  # model's name in messages -> its id

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Features:
        """From the run's answer; what is not as it should be counts as absent."""
        pictures, models = reply.get("pictures"), reply.get("models")
        if not isinstance(pictures, Mapping):
            return cls()
        told = models.items() if isinstance(models, Mapping) else ()
        return cls(
            known=True,
            live=pictures.get("live") is True,
            snapshots=pictures.get("snapshots") is True,
            clips=pictures.get("clips") is True,
            marks=reply.get("marks") is True,
            folder=_folder(pictures.get("folder")),
            models={str(name): one for name, one in list(told)[:MOST_MODELS] if isinstance(one, str)},
        )

    def told(self, recordings: bool) -> Json:
        """What browsers hear."""
        shown = {key: getattr(self, key) for key in ("known", "live", "snapshots", "clips", "marks")}
        return {**shown, "recordings": recordings}


def _folder(path: object) -> Path | None:
    """A folder of pictures on this machine; nothing else will do, whoever names it."""
    if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH or "\0" in path:
        return None
    folder = Path(path)
    try:
        return folder if folder.is_absolute() and (folder / MARKER).is_file() else None
    except OSError:
        return None
