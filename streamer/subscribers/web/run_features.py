"""What the run offers to a page: live pictures, recordings and where they lie, marks; once a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.labels.action_colours import colours_of
from streamer.recording.files import told_folder
from streamer.subscribers.web.page_state import Json

MOST_MODELS = 100
MOST_LABELS = 2000


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
    labels: tuple[str, ...] = ()  # of the main model, in its order; none before it is loaded

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Features:
        """From the run's answer; what is not as it should be counts as absent."""
        pictures, models, labels = (reply.get(key) for key in ("pictures", "models", "labels"))
        if not isinstance(pictures, Mapping):
            return cls()
        told = models.items() if isinstance(models, Mapping) else ()
        return cls(
            known=True,
            live=pictures.get("live") is True,
            snapshots=pictures.get("snapshots") is True,
            clips=pictures.get("clips") is True,
            marks=reply.get("marks") is True,
            folder=told_folder(pictures.get("folder")),
            models={str(name): one for name, one in list(told)[:MOST_MODELS] if isinstance(one, str)},
            labels=tuple(one for one in labels[:MOST_LABELS] if isinstance(one, str))
            if isinstance(labels, list)
            else (),
        )

    def told(self, recordings: bool) -> Json:
        """What browsers hear."""
        shown = {key: getattr(self, key) for key in ("known", "live", "snapshots", "clips", "marks")}
        return {**shown, "recordings": recordings, "colours": colours_of(self.labels)}
