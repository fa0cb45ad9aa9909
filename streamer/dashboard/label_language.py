"""The language of labels on the screen, which a key changes; messages on the bus keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamer.errors import ConfigError
from streamer.labels.label_files import languages, load_labels
from streamer.labels.label_set import LabelSet

AS_THE_MODEL = "as the model calls them"


class LabelLanguage:
    """Begins with the run's own. `file`: a label set of one's own, which stands above each language."""

    def __init__(self, language: str | None, file: str | Path | None = None) -> None:
        self._file = file
        self._language = language
        self._set: LabelSet | None = None  # None: what the statistics say

    @property
    def names(self) -> Callable[[str], str] | None:
        """What people call a label; None: nothing was changed yet."""
        return None if self._set is None else self._set.display

    def change(self) -> str:
        """Take the next language; a line that says which."""
        order = [None, *languages()]
        place = order.index(self._language) if self._language in order else 0
        self._language = order[(place + 1) % len(order)]
        try:
            self._set = load_labels(self._language, self._file)
        except ConfigError as error:  # its file was changed meanwhile
            return str(error)
        return f"labels: {self._language or AS_THE_MODEL}"
