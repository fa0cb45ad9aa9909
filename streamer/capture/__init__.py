"""Video in: what can be opened, and the supervised thread that reads it. Owns OpenCV."""

from __future__ import annotations

from streamer.capture.address import Kind, kind_of
from streamer.capture.camera_supervisor import Camera
from streamer.capture.devices import Device, list_devices
from streamer.capture.source import OpenedSource, check_source, open_source

__all__ = [
    "Camera",
    "Device",
    "Kind",
    "OpenedSource",
    "check_source",
    "kind_of",
    "list_devices",
    "open_source",
]
