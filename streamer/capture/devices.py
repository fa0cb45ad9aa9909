"""The webcams of this machine."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_V4L = Path("/sys/class/video4linux")
_CAPTURE_INDEX = "0"  # a camera's further nodes carry metadata, not pictures


@dataclass(frozen=True)
class Device:
    """One webcam: `index` is what `streamer run` takes."""

    index: int
    path: str
    name: str


def list_devices(root: Path = _V4L, probe_up_to: int = 4) -> list[Device]:
    """The webcams found, lowest index first.

    Linux: read from sysfs, nothing is opened. Elsewhere the first `probe_up_to` indexes are opened one
    after the other, up to the first that is absent: seconds on Windows.
    """
    if sys.platform.startswith("linux"):
        return _from_sysfs(root)
    return _by_opening(probe_up_to)


def _from_sysfs(root: Path) -> list[Device]:
    found = []
    entries = root.iterdir() if root.is_dir() else iter(())
    for entry in entries:
        number = re.fullmatch(r"video(\d+)", entry.name)
        if number and _line(entry / "index", _CAPTURE_INDEX) == _CAPTURE_INDEX:
            name = _line(entry / "name", "camera")
            found.append(Device(int(number[1]), f"/dev/{entry.name}", name))
    return sorted(found, key=lambda device: device.index)


def _line(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or default
    except OSError:
        return default


def _by_opening(limit: int) -> list[Device]:
    from streamer.capture import opencv

    cv2 = opencv.load()
    found = []
    for index in range(limit):
        handle = cv2.VideoCapture(index)
        opened = handle.isOpened()
        handle.release()
        if not opened:
            break
        found.append(Device(index, str(index), f"webcam {index}"))
    return found
