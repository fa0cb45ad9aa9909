"""What a screen is drawn of: the statistics, where the reader is, colours of actions, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from streamer.dashboard.text_layout import cell_width
from streamer.dashboard.view_state import ViewState
from streamer.labels.action_colours import COLOURS, colour_of, colours_of
from streamer.types import Belief, CameraStats, Event, LabelScore, ModelStats, PersonStats, Stats

# camera, most cells wide, most high -> cells wide, and rows of cells with their escape sequences; or None
PictureOf = Callable[[str, int, int], tuple[int, list[str]] | None]


@dataclass(frozen=True)
class ScreenContent:
    """What one drawing of the screen shows."""

    stats: Stats
    state: ViewState = field(default_factory=ViewState)
    picture: PictureOf | None = None
    keys: bool = False  # keys are read
    message: str = ""  # the answer to the last key
    background: frozenset[str] = frozenset()  # labels that mean "no action"
    colours: Mapping[str, int] = field(default_factory=dict)  # label, as it is shown -> its colour's number
    widest: int = 0  # cells of the longest label

    def colour(self, label: str) -> str:
        """A label's own colour, the same each time; Rich finds the nearest that the terminal has."""
        if label in self.background:
            return "dim"
        return COLOURS[colour_of(label, self.colours)].text


def screen_content(
    stats: Stats,
    state: ViewState | None = None,
    *,
    names: Callable[[str], str] | None = None,
    picture: PictureOf | None = None,
    keys: bool = False,
    message: str = "",
) -> ScreenContent:
    """`names`: what people call labels; None: as the statistics say."""
    if names is None:
        shown = stats.names
        names = (lambda label: shown.get(label, label)) if shown else None
    known = colours_of(stats.model.labels) if stats.model is not None else {}
    order = {**known} | {label: colour_of(label, known) for label in stats.names}
    events = [event for camera in stats.cameras for event in camera.open_events]
    background = {event.label for event in (*stats.recent, *events) if event.background}
    stats = _shown(stats, names or str)
    if names is not None:
        order = {names(label): number for label, number in order.items()}
        background = {names(label) for label in background}
    widest = max(map(cell_width, order), default=0)
    return ScreenContent(
        stats, state or ViewState(), picture, keys, message, frozenset(background), order, widest
    )


def _shown(stats: Stats, name: Callable[[str], str]) -> Stats:
    """With what people call the labels, and without events of labels that mean "no action"."""

    def score_of(entry: LabelScore | None) -> LabelScore | None:
        return None if entry is None else LabelScore(name(entry.label), entry.score)

    def top_of(top: tuple[LabelScore, ...]) -> tuple[LabelScore, ...]:
        return tuple(LabelScore(name(entry.label), entry.score) for entry in top)

    def events_of(events: Iterable[Event]) -> tuple[Event, ...]:
        return tuple(replace(one, label=name(one.label)) for one in events if not one.background)

    def model_of(model: ModelStats) -> ModelStats:
        return replace(
            model,
            top=top_of(model.top),
            stable=score_of(model.stable),
            smoothed={name(label): score for label, score in model.smoothed.items()},
            past=tuple(Belief(one.time, score_of(one.stable)) for one in model.past),
        )

    def person_of(person: PersonStats) -> PersonStats:
        return replace(person, top=top_of(person.top), stable=score_of(person.stable))

    def camera_of(camera: CameraStats) -> CameraStats:
        if name is str:
            return replace(camera, open_events=events_of(camera.open_events))
        return replace(
            camera,
            models=tuple(map(model_of, camera.models)),
            open_events=events_of(camera.open_events),
            people=tuple(map(person_of, camera.people)),
        )

    return replace(stats, cameras=tuple(map(camera_of, stats.cameras)), recent=events_of(stats.recent))
