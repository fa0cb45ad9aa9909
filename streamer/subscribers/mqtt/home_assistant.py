"""Home Assistant's MQTT discovery: one device a camera, described in one retained message.

The format is that of Home Assistant 2024.11 and later (device discovery: `device`, `origin`, `components`),
as in https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. Texts that come from outside
reach a template only as escaped string literals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamer import __version__
from streamer.subscribers.mqtt.topic_names import identifier, topic_level

ONLINE, OFFLINE = b"online", b"offline"  # Home Assistant's own default words
IDLE = "idle"  # the action of a camera without an open event


@dataclass(frozen=True, slots=True)
class Layout:
    """Which topic is what. `discovery` is Home Assistant's prefix, or None for none."""

    prefix: str = "streamer"
    discovery: str | None = "homeassistant"
    labels: tuple[str, ...] = ()  # those that get a binary sensor
    fresh: float = 60.0  # seconds after which Home Assistant need not hear of an event any more

    @property
    def availability(self) -> str:
        """Whether the bridge is there: online, offline."""
        return f"{self.prefix}/availability"

    @property
    def birth(self) -> str | None:
        """Where Home Assistant says that it has started."""
        return None if self.discovery is None else f"{self.discovery}/status"

    def of(self, camera: str, what: str) -> str:
        """A camera's topic: availability, status, state or event."""
        return f"{self.prefix}/{topic_level(camera)}/{what}"

    def config(self, camera: str) -> str | None:
        """Where a camera is described for Home Assistant."""
        return None if self.discovery is None else f"{self.discovery}/device/{self._id(camera)}/config"

    def _id(self, *parts: str) -> str:
        return "__".join(map(identifier, (self.prefix, *parts)))

    def describe(
        self, camera: str, *, follows: bool = False, live: bool = False, kept: bool = False
    ) -> dict[str, Any]:
        """What is published to `config`. `follows`: how many people are there is told too; `live`: there are
        live pictures, `kept`: pictures of events.
        """
        bridge, here = {"topic": self.availability}, {"topic": self.of(camera, "availability")}
        return {
            "device": {
                "identifiers": [self._id(camera)],
                "name": camera,
                "manufacturer": "streamer",
                "model": "action recognition",
                "sw_version": __version__,
            },
            "origin": {"name": "streamer", "sw_version": __version__},
            "availability": [bridge, here],
            "availability_mode": "all",
            "qos": 1,
            "components": {
                part: {"unique_id": self._id(camera, part), **config}
                for part, config in (
                    ("action", self._action(camera)),
                    ("event", self._event(camera)),
                    ("connection", self._connection(camera) | {"availability": [bridge]}),
                    ("rate", self._rate(camera)),
                    *((("people", self._people(camera)),) if follows else ()),
                    *((("picture", self._picture(camera)),) if live else ()),
                    *((("event_picture", self._event_picture(camera)),) if kept else ()),
                    *((f"label_{identifier(label)}", self._label(camera, label)) for label in self.labels),
                )
            },
        }

    def _picture(self, camera: str) -> dict[str, Any]:
        return {"platform": "camera", "name": "Picture", "topic": self.of(camera, "picture")}

    def _event_picture(self, camera: str) -> dict[str, Any]:
        return {
            "platform": "image", "name": "Newest event", "content_type": "image/jpeg",
            "image_topic": self.of(camera, "event_picture"),
        }  # fmt: skip

    def _action(self, camera: str) -> dict[str, Any]:
        return {
            "platform": "sensor", "name": "Action", "icon": "mdi:motion-sensor",
            "state_topic": self.of(camera, "state"),
            "value_template": "{{ value_json.action[:255] }}",  # Home Assistant's states have at most 255
            "json_attributes_topic": self.of(camera, "state"),
        }  # fmt: skip

    def _event(self, camera: str) -> dict[str, Any]:
        fresh = f" and now().timestamp() - value_json.published_at < {self.fresh:g}" if self.fresh else ""
        return {
            "platform": "event", "name": "Event", "event_types": ["start", "end"],
            "state_topic": self.of(camera, "event"),
            # empty = no event: updates come each second, and a light need not go on for yesterday's wave
            "value_template":
                "{% if value_json.event_type in ['start', 'end']" + fresh + " %}{{ value }}{% endif %}",
        }  # fmt: skip

    def _connection(self, camera: str) -> dict[str, Any]:
        return {
            "platform": "binary_sensor", "name": "Connection", "device_class": "connectivity",
            "entity_category": "diagnostic", "state_topic": self.of(camera, "status"),
            "value_template": "{{ 'ON' if value_json.state == 'running' else 'OFF' }}",
            "json_attributes_topic": self.of(camera, "status"),
        }  # fmt: skip

    def _rate(self, camera: str) -> dict[str, Any]:
        return {
            "platform": "sensor", "name": "Frame rate", "unit_of_measurement": "fps",
            "state_class": "measurement", "entity_category": "diagnostic",
            "state_topic": self.of(camera, "status"), "value_template": "{{ value_json.fps }}",
        }  # fmt: skip

    def _people(self, camera: str) -> dict[str, Any]:
        return {
            "platform": "sensor", "name": "People", "icon": "mdi:account-group", "state_class": "measurement",
            "state_topic": self.of(camera, "status"), "value_template": "{{ value_json.following }}",
        }  # fmt: skip

    def _label(self, camera: str, label: str) -> dict[str, Any]:
        return {
            "platform": "binary_sensor", "name": label, "state_topic": self.of(camera, "state"),
            "value_template":
                "{{ 'ON' if " + _literal(label) + " in value_json.actions else 'OFF' }}",
        }  # fmt: skip


def _literal(text: str) -> str:
    """A string of Jinja that cannot be left: everything but plain letters is escaped."""
    return "'" + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + "'"


def config_topics(layout: Layout, camera: str) -> Sequence[str]:
    """All retained topics of a camera, to be emptied when it is gone."""
    own = [layout.of(camera, what) for what in ("availability", "status", "state", "event_picture")]
    config = layout.config(camera)
    return own if config is None else [config, *own]
