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
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from streamer.config.read_yaml import read_yaml, validated
from streamer.config.section_parts import Score, Section, wrong
from streamer.config.yaml_values import Document
from streamer.labels.model_labels import ModelLabels

NOTHING = "nothing of these"
NEGATIVES = ("an empty room", "nothing", "something else")  # where nobody says otherwise
ENDINGS = (".yaml", ".yml")
MOST_LABELS = 1000
MOST_PROMPTS = 4000  # of all labels together, negatives included
LONGEST = 300  # characters of a label or prompt


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
    def model_labels(self) -> ModelLabels:
        """For the events: labels, thresholds, and that "nothing of these" is none."""
        return ModelLabels(self.labels, self.thresholds, (NOTHING,) if self.has_nothing else ())

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
    return words_of(list(labels)) if file is None else _word_set(read_yaml(file, WordFile))


def words_of(value: Any) -> WordSet:
    """From a list of words or the object that a file holds.

    Raises:
        ConfigError: it is neither, or a label stands twice, is blank or too long.
    """
    data = dict(value) if isinstance(value, Mapping) else {"labels": value}
    return _word_set(validated(Document("", data), WordFile))


# --- a file as it is written ---


def _one_line(value: Any) -> Any:
    """Texts alone: whoever writes 12 may mean the number."""
    if not isinstance(value, str):
        raise wrong((), "expected words; put 12 or true in quotes")
    return " ".join(value.split())


def _printable(text: str) -> str:
    if not text:
        raise wrong((), "expected words")
    if len(text) > LONGEST or not text.isprintable():
        raise wrong((), f"expected at most {LONGEST} printable characters")
    return text


def _texts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _entry(value: Any) -> Any:
    return {} if value is None else {"prompts": value} if isinstance(value, (str, list, tuple)) else value


Text = Annotated[str, BeforeValidator(_one_line), AfterValidator(_printable)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_texts)]


class WordEntry(Section):
    """One label of the file; texts alone are its prompts."""

    prompts: Texts | None = None
    negatives: Texts | None = None
    threshold: Score | None = None


class WordFile(Section):
    """A file of words."""

    labels: dict[Text, Annotated[WordEntry, BeforeValidator(_entry)]]
    negatives: Texts | None = None
    templates: Texts | None = None
    margin: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _words_are_labels_and_prompts(cls, labels: Any) -> Any:
        if not labels and not isinstance(labels, (bool, int, float)):
            raise wrong((), "missing or empty; give at least one label")
        if not isinstance(labels, (Mapping, list, tuple)):
            raise wrong((), "expected a list of words, or labels with their prompts")
        found: dict[str, Any] = {}
        for index, name in enumerate(labels):
            place = name if isinstance(labels, Mapping) else index
            try:
                label = _printable(_one_line(name))
            except PydanticCustomError as error:
                raise wrong((place,), error.message()) from None
            if label in found:
                raise wrong((place,), f"{label!r} stands twice")
            if label == NOTHING:
                raise wrong((place,), f"{label!r} is the outcome of negatives: and no label of its own")
            found[label] = labels[name] if isinstance(labels, Mapping) else None
        return found

    @field_validator("templates")
    @classmethod
    def _templates_have_a_place(cls, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for index, template in enumerate(templates or ()):
            if template.count("{}") != 1:
                raise wrong((index,), f"{template!r} must hold {{}} once")
        return templates

    @model_validator(mode="after")
    def _are_not_too_many(self) -> WordFile:
        of_labels = [(one.prompts or ("",)) + (one.negatives or ()) for one in self.labels.values()]
        prompts = len(self.negatives or ()) + sum(map(len, of_labels))
        if len(self.labels) > MOST_LABELS or prompts > MOST_PROMPTS:
            most = f"at most {MOST_LABELS} with {MOST_PROMPTS}"
            raise wrong(("labels",), f"{len(self.labels)} labels with {prompts} prompts; {most}")
        return self


def _word_set(file: WordFile) -> WordSet:
    words = tuple(
        Word(label, _unique(one.prompts) or (label,), _unique(one.negatives), one.threshold)
        for label, one in file.labels.items()
    )
    negatives = _usual_negatives(words) if file.negatives is None else _unique(file.negatives)
    return WordSet(words, negatives, _unique(file.templates) or None, file.margin)


def _unique(texts: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts or ()))


def _usual_negatives(words: Sequence[Word]) -> tuple[str, ...]:
    """Without those that somebody is looking for: "an empty room" may be a label."""
    wanted = {text.lower() for word in words for text in (word.label, *word.prompts)}
    return tuple(negative for negative in NEGATIVES if negative not in wanted)
