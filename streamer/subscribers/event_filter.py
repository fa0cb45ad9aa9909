"""Which events a subscriber carries on: `--camera`, `--label`, `--phase` mean the same in every command."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.bus.messages import EventMessage

PHASES = ("start", "update", "end")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Empty: all of them but those whose label means "no action". A label is the model's, or what people call
    it; one that is named counts, whatever it means.
    """

    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    phases: tuple[str, ...] = PHASES
    also: tuple[str, ...] = ()  # labels that count though they mean "no action"

    def wants(self, message: EventMessage) -> bool:
        return message.phase in self.phases and self.wants_subject(message)

    def wants_subject(self, message: EventMessage) -> bool:
        """Whatever its phase."""
        return self.wants_camera(message.camera) and self._wants_label(message)

    def wants_camera(self, camera: str) -> bool:
        return not self.cameras or camera in self.cameras

    def _wants_label(self, message: EventMessage) -> bool:
        names = {message.label, display_of(message)}
        if self.labels:
            return not names.isdisjoint(self.labels)
        return not message.background or not names.isdisjoint(self.also)


def display_of(message: EventMessage) -> str:
    """What people call the event's label."""
    display = message.raw.get("event", {}).get("display")
    return display if isinstance(display, str) else message.label
