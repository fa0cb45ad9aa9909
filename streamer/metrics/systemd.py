"""Telling systemd how the service is doing (sd_notify): one datagram to the socket that systemd names.

The protocol: sd_notify(3) of systemd. Nothing happens where no socket is named, so the same program runs in a
terminal. A message that cannot be sent is dropped: systemd then acts as if it had not come.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from streamer.system.terminal_text import printable

LONGEST = 200  # characters of a status line


class Notifier:
    """Sends to $NOTIFY_SOCKET. `interval`: seconds in which the watchdog wants to hear; None: no watchdog."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # "@name" is Linux's abstract namespace; anything else that is no path is not for us (vsock)
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""
        if not hasattr(socket, "AF_UNIX"):
            self._address = ""
        self.interval = _interval(environment)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def send(self, **fields: str | int) -> bool:
        """`send(READY=1, STATUS="...")`; False where it could not be sent."""
        if not self._address:
            return False
        lines = (f"{key}={_one_line(value)}" for key, value in fields.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(0.5)
            out.sendto("\n".join(lines).encode(), self._address)
            return True
        return False


def _one_line(value: str | int) -> str:
    """What `systemctl status` shows on a terminal: cameras' own words may be in it."""
    return " ".join(printable(str(value)).split())[:LONGEST]


def _interval(environment: Mapping[str, str]) -> float | None:
    try:
        microseconds = int(environment["WATCHDOG_USEC"])
        pid = int(environment.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return microseconds / 1e6 if microseconds > 0 and pid == os.getpid() else None
