"""The words that a user gives: labels, their prompts, and what is none of them. No torch here.

A label is what messages carry; its prompts are what the text model reads, each put into every template. Plain
words (`--labels "a person waving"`) are label and prompt at once. A file says more:

    labels:
      waving: {prompts: [a person waving, someone waves a hand], threshold: 0.4}
      falling: {prompts: [a person falling], negatives: [a person lying in bed]}
      reading: a person reading a book
    negatives: [an empty room, an empty street]   # together "nothing of these"
    templates: ["a photo of {}.", "a video frame of {}."]
    margin: 0.1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.config.yaml_reader import Document, read_document
from streamer.errors import ConfigError

NOTHING = "nothing of these"
NEGATIVES = ("an empty room", "nothing", "something else")  # where nobody says otherwise
ENDINGS = (".yaml", ".yml")
MOST_LABELS = 1000
MOST_PROMPTS = 4000  # of all labels together, negatives included
LONGEST = 300  # characters of a label or prompt
_KEYS = ("labels", "negatives", "templates", "margin")
_OWN_KEYS = ("prompts", "negatives", "threshold")


@dataclass(frozen=True, slots=True)
class Word:
    """One label in words. `threshold`: the score at which its event opens; None = the common one."""

    label: str
    prompts: tuple[str, ...]
    negatives: tuple[str, ...] = ()  # what it is mistaken for
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class WordSet:
    """What one camera is asked to look for.

    `negatives`: prompts of "nothing of these"; () = there is no such outcome. `templates` and `margin` None:
    the model's usual ones.
    """

    words: tuple[Word, ...]
    negatives: tuple[str, ...] = NEGATIVES
    templates: tuple[str, ...] | None = None
    margin: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The outcomes, "nothing of these" last."""
        own = tuple(word.label for word in self.words)
        return (*own, NOTHING) if self.has_nothing else own

    @property
    def has_nothing(self) -> bool:
        return bool(self.negatives) or any(word.negatives for word in self.words)

    @property
    def thresholds(self) -> tuple[tuple[str, float], ...]:
        """(label, score at which its event opens), of the labels that have their own."""
        return tuple((word.label, word.threshold) for word in self.words if word.threshold is not None)


def label_file(labels: Sequence[str]) -> Path | None:
    """The file that is meant instead of words: a single item that ends in .yaml or .yml."""
    if len(labels) == 1 and labels[0].lower().endswith(ENDINGS):
        return Path(labels[0]).expanduser()
    return None


def read_words(labels: Sequence[str]) -> WordSet:
    """Words, or the file that the single item names.

    Raises:
        ConfigError: nothing usable; names the file and the line.
    """
    file = label_file(labels)
    if file is None:
        return words_of(list(labels), "labels")
    document = read_document(file)
    if document.errors:
        raise ConfigError("\n".join(document.errors))
    return _Reader(str(file), document).read(document.data)


def words_of(value: Any, where: str) -> WordSet:
    """From a list of words or the object that a file holds; `where` begins the message if it is wrong.

    Raises:
        ConfigError: it is neither, or a label stands twice, is blank or too long.
    """
    reader = _Reader(where, None)
    return reader.read(value if isinstance(value, Mapping) else {"labels": value})


def _usual_negatives(words: Sequence[Word]) -> tuple[str, ...]:
    """Without those that somebody is looking for: "an empty room" may be a label."""
    wanted = {text.lower() for word in words for text in (word.label, *word.prompts)}
    return tuple(negative for negative in NEGATIVES if negative not in wanted)


class _Reader:
    def __init__(self, where: str, document: Document | None) -> None:
        self._where = where
        self._document = document

    def read(self, data: Mapping[str, Any]) -> WordSet:
        self._known(data, _KEYS, ())
        if not data.get("labels"):
            raise self._wrong((), "labels: is missing or empty; give at least one label")
        words = self._words(data["labels"])
        negatives = self._texts(data, "negatives", (), "negatives")
        templates = self._texts(data, "templates", (), "templates")
        for template in templates or ():
            if template.count("{}") != 1:
                raise self._wrong(("templates",), f"templates: {template!r} must hold {{}} once")
        found = WordSet(
            words,
            _usual_negatives(words) if negatives is None else negatives,
            templates or None,
            self._number(data, "margin", (), -1.0),
        )
        prompts = len(found.negatives) + sum(len(word.prompts) + len(word.negatives) for word in words)
        if len(words) > MOST_LABELS or prompts > MOST_PROMPTS:
            raise self._wrong(
                ("labels",), f"{len(words)} labels with {prompts} prompts; at most {MOST_LABELS} with "
                f"{MOST_PROMPTS}"
            )  # fmt: skip
        return found

    def _words(self, value: Any) -> tuple[Word, ...]:
        pairs = list(value.items()) if isinstance(value, Mapping) else None
        if pairs is None and isinstance(value, (list, tuple)):
            pairs = [(item, None) for item in value]
        if pairs is None:
            raise self._wrong(("labels",), "labels: expected a list of words, or labels with their prompts")
        words: list[Word] = []
        taken: set[str] = set()
        for index, (name, own) in enumerate(pairs):
            path = ("labels", name if isinstance(value, Mapping) else index)
            label = self._text(name, path, "a label")
            if label in taken:
                raise self._wrong(path, f"label {label!r} stands twice")
            if label == NOTHING:
                raise self._wrong(path, f"{NOTHING!r} is the outcome of negatives: and no label of its own")
            taken.add(label)
            words.append(self._word(label, own, path))
        return tuple(words)

    def _word(self, label: str, own: Any, path: tuple[str | int, ...]) -> Word:
        if own is None:
            return Word(label, (label,))
        if isinstance(own, (str, list, tuple)):
            own = {"prompts": own}
        if not isinstance(own, Mapping):
            raise self._wrong(path, f"{label}: expected prompts, or the keys {', '.join(_OWN_KEYS)}")
        self._known(own, _OWN_KEYS, path)
        prompts = self._texts(own, "prompts", path, f"{label}.prompts")
        negatives = self._texts(own, "negatives", path, f"{label}.negatives") or ()
        return Word(label, prompts or (label,), negatives, self._number(own, "threshold", path, 0.0))

    def _texts(
        self, data: Mapping[str, Any], key: str, path: tuple[str | int, ...], name: str
    ) -> tuple[str, ...] | None:
        value = data.get(key)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise self._wrong((*path, key), f"{name}: expected text or a list of texts")
        return tuple(dict.fromkeys(self._text(item, (*path, key), name) for item in items))

    def _text(self, value: Any, path: tuple[str | int, ...], name: str) -> str:
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not text:
            raise self._wrong(path, f"{name}: expected words, not {value!r}; put yes or 12 in quotes")
        if len(text) > LONGEST or not text.isprintable():
            raise self._wrong(path, f"{name}: expected at most {LONGEST} printable characters: {text[:40]!r}")
        return text

    def _number(
        self, data: Mapping[str, Any], key: str, path: tuple[str | int, ...], least: float
    ) -> float | None:
        value = data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 1.0:
            raise self._wrong((*path, key), f"{key}: expected a number from {least:g} to 1, not {value!r}")
        return float(value)

    def _known(self, data: Mapping[str, Any], keys: Sequence[str], path: tuple[str | int, ...]) -> None:
        for key in data:
            if key not in keys:
                raise self._wrong((*path, key), f"{key}: unknown key; known here: {', '.join(keys)}")

    def _wrong(self, path: tuple[str | int, ...], text: str) -> ConfigError:
        origins = {} if self._document is None else self._document.origins
        for length in range(len(path), 0, -1):
            if (origin := origins.get(path[:length])) is not None:
                return ConfigError(f"{origin.label}: {text}")
        return ConfigError(f"{self._where}: {text}")
