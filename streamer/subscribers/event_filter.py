"""Which events a subscriber carries on: `--camera`, `--label`, `--phase` mean the same in every command."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.bus.messages import EventMessage

PHASES = ("start", "update", "end")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Empty: all of them. A label is the model's, or what people call it."""

    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    phases: tuple[str, ...] = PHASES

    def wants(self, message: EventMessage) -> bool:
        return message.phase in self.phases and self.wants_subject(message)

    def wants_subject(self, message: EventMessage) -> bool:
        """Whatever its phase."""
        return self.wants_camera(message.camera) and self._wants_label(message)

    def wants_camera(self, camera: str) -> bool:
        return not self.cameras or camera in self.cameras

    def _wants_label(self, message: EventMessage) -> bool:
        return not self.labels or bool({message.label, display_of(message)} & set(self.labels))


def display_of(message: EventMessage) -> str:
    """What people call the event's label."""
    display = message.raw["event"].get("display")
    return display if isinstance(display, str) else message.label
