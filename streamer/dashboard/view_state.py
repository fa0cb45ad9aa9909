"""Where the reader of the screen is, and what each key does about it. Pure: keys in, a new state out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Place(StrEnum):
    """What fills the screen."""

    ALL = "all"  # every camera, and the newest events
    CAMERA = "camera"
    EVENTS = "events"
    HELP = "help"


@dataclass(frozen=True)
class ViewState:
    """`camera`: the chosen one, None before anybody chose. `held`: the picture stands still."""

    place: Place = Place.ALL
    camera: str | None = None
    scroll: int = 0  # lines
    held: bool = False


# key -> what it is for, in the order in which the foot of the screen names them
KEYS = {
    "?": "help",
    "q": "quit",
    "e": "events",
    "↵": "camera",
    "p": "hold",
    "s": "snapshot",
    "l": "language",
}
_NEXT, _BEFORE = ("down", "right", "j"), ("up", "left", "k")
_BACK = ("escape", "backspace")


def press(state: ViewState, key: str, cameras: Sequence[str], page: int = 10) -> ViewState:
    """The state after a key. `cameras`: their names as they are shown; `page`: lines of a screen.

    Keys that change nothing here (quit, snapshot, language) leave it as it is.
    """
    if key == "?":
        return _to(state, Place.ALL if state.place is Place.HELP else Place.HELP)
    if key == "e":
        return _to(state, Place.ALL if state.place is Place.EVENTS else Place.EVENTS)
    if key == "p":
        return replace(state, held=not state.held)
    if key in _BACK:
        chosen = None if state.place is Place.ALL else state.camera
        return replace(_to(state, Place.ALL), camera=chosen)
    if state.place in (Place.EVENTS, Place.HELP):
        return _scrolled(state, key, page)
    if key == "enter" and cameras:
        if state.place is Place.CAMERA:
            return _to(state, Place.ALL)
        chosen = state.camera if state.camera in cameras else cameras[0]
        return replace(_to(state, Place.CAMERA), camera=chosen)
    if key in _NEXT or key in _BEFORE:
        return _chosen(state, 1 if key in _NEXT else -1, cameras)
    return state


def _to(state: ViewState, place: Place) -> ViewState:
    return replace(state, place=place, scroll=0)


def _chosen(state: ViewState, step: int, cameras: Sequence[str]) -> ViewState:
    if not cameras:
        return state
    if state.camera not in cameras:
        return replace(state, camera=cameras[0 if step > 0 else -1])
    return replace(state, camera=cameras[(cameras.index(state.camera) + step) % len(cameras)])


def _scrolled(state: ViewState, key: str, page: int) -> ViewState:
    """`scroll` may lie beyond the end: whoever draws knows how many lines there are."""
    steps = {"pagedown": page, " ": page, "pageup": -page, "end": 1_000_000, "home": -1_000_000}
    step = 1 if key in _NEXT else -1 if key in _BEFORE else steps.get(key, 0)
    return replace(state, scroll=max(0, state.scroll + step))
