"""Whole sentences for people: an event's own, with the camera's name, and what is said besides.

Languages put words differently, and some change a name's ending, so a camera's name stands before the
sentence ("Front door: Someone is waving") unless a sentence of the user's own has a place for it ("Someone is
approaching {camera}").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

ENGLISH = {  # where a label set has no phrase of its own
    "joined": "{camera}: {sentence}",  # an event's sentence that does not name its camera
    "goes_on": "Still: {sentence}",
    "left": "{sentence}, on the left",  # where somebody who is followed is in the picture
    "middle": "{sentence}, in the middle",
    "right": "{sentence}, on the right",
    "lost": "{camera}: the picture is lost",
    "back": "{camera}: the picture is back",
    "ended": "{camera}: the video has ended",
    "silent": "Nothing is being watched: streamer is not running or cannot be reached",
    "heard": "Watching again",
    "missed": "Some changes were missed",
}
_PLACES = {"joined": {"camera", "sentence"}, "goes_on": {"sentence"}, "left": {"sentence"},
           "middle": {"sentence"}, "right": {"sentence"}, "lost": {"camera"}, "back": {"camera"},
           "ended": {"camera"}}  # fmt: skip
_PLACE = re.compile(r"\{(\w*)\}")
# these two join and part letters in Persian and Indian scripts; all else that cannot be seen goes
_KEPT = "\u200c\u200d"


def fault_in(name: str, text: str) -> str | None:
    """What is wrong with a phrase: it must have its places, such as {camera}, and no others."""
    wanted, found = _PLACES.get(name, set()), set(_PLACE.findall(text))
    if found == wanted:
        return None
    needs = " and ".join(f"{{{place}}}" for place in sorted(wanted)) or "no {places}"
    return f"{text!r} must have {needs}, each as it stands here"


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with {places} filled in; what is filled in is not looked at again."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)


def plain(text: str) -> str:
    """One line of nothing but readable characters: for voices, screen readers and braille displays.

    Control characters, marks of text direction and the like are left out, any white space is one blank.
    """
    text = "".join(char if char in _KEPT or unicodedata.category(char)[0] != "C" else _instead(char)
                   for char in text)  # fmt: skip
    return " ".join(text.split())


def _instead(char: str) -> str:
    return " " if char.isspace() else ""


def name_of(camera: str) -> str:
    """A camera's name as it is said: `front-door` is "front door"."""
    return plain(re.sub(r"[-_]+", " ", camera)) or plain(camera) or "camera"
