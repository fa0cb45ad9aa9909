"""What people call labels, in memory: see label_files.py for the file.

Messages carry the label as the model knows it, which never changes, and its display name beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LabelText:
    """What people read and hear of one label."""

    display: str
    start: str | None = None  # the sentence at an event's start, and at its end
    end: str | None = None


@dataclass(frozen=True)
class LabelSet:
    """Names, groups and ignored labels. Empty: every label is called what it is called."""

    language: str | None = None
    texts: Mapping[str, LabelText] = field(default_factory=dict)
    alias_of: Mapping[str, str] = field(default_factory=dict)  # other name -> label
    start: str = "{}"
    end: str = "{} ended"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    phrases: Mapping[str, str] = field(default_factory=dict)

    def display(self, label: str) -> str:
        """What people call a label; itself where nobody said."""
        found = self._text(label)
        return found.display if found else label

    def sentence(self, label: str, *, start: bool) -> str:
        """What is said when an event of this label starts, or ends."""
        found = self._text(label)
        own = (found.start if start else found.end) if found else None
        return own or (self.start if start else self.end).replace("{}", self.display(label))

    def known_as(self, name: str, known: Iterable[str]) -> str:
        """The one of `known` that `name` means: itself, or another name of the same label; else `name`."""
        known = list(known)
        if name in known:
            return name
        meant = self.alias_of.get(name, name)
        return next((label for label in known if self.alias_of.get(label, label) == meant), name)

    def _text(self, label: str) -> LabelText | None:
        return self.texts.get(label) or self.texts.get(self.alias_of.get(label, ""))

    def over(self, other: LabelSet) -> LabelSet:
        """This set where it says something, the other elsewhere."""
        empty = LabelSet()
        return LabelSet(
            self.language or other.language,
            {**other.texts, **self.texts},
            {**other.alias_of, **self.alias_of},
            other.start if self.start == empty.start else self.start,
            other.end if self.end == empty.end else self.end,
            {**other.groups, **self.groups},
            tuple(dict.fromkeys([*other.ignore, *self.ignore])),
            {**other.phrases, **self.phrases},
        )
