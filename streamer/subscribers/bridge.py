"""What the MQTT and the webhook bridge share: secrets, waiting longer each time, messages, ending in time."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from streamer.bus.messages import EventMessage, Gap
from streamer.errors import ConfigError
from streamer.system.private_files import read_private
from streamer.system.redaction import remember

PATIENCE = 2.0  # seconds for a bridge to end; the program promises 3
POLL = 0.25  # seconds between two looks at whether to end


class Bridge(Protocol):
    """What `run_bridge` runs: `run` on a thread of its own, `stop` from the main thread."""

    def run(self) -> int:
        """Work until `stop`; the exit code."""
        ...

    def stop(self) -> None:
        """End soon, whatever is being waited for."""
        ...


def run_bridge(bridge: Bridge) -> int:
    """Run a bridge until it ends or a signal comes; returns the exit code, raises what it raised."""
    from streamer.system.signals import Stopper

    codes: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            codes.append(bridge.run())
        except BaseException as error:  # noqa: BLE001 - a thread's top: raised again on the main thread
            errors.append(error)

    with Stopper() as stopper:
        thread = threading.Thread(target=work, name="bridge", daemon=True)
        thread.start()
        while thread.is_alive() and not stopper.stop.wait(POLL):
            pass
        bridge.stop()
        thread.join(PATIENCE)  # a name that is being looked up cannot be interrupted: it is left behind
        if errors:
            raise errors[0]
        code = stopper.exit_code or (codes[0] if codes else 0)
        if stopper.signalled:  # the interpreter's own end would wait for the name that is being looked up
            sys.stderr.flush()
            os._exit(code)
    return code


class ProblemReporter:
    """Says when something begins to fail, when the reason changes, and when it works again; not each time."""

    def __init__(self, tell: Callable[[str], None], again: str) -> None:
        self._tell, self._again, self._reason = tell, again, ""

    def fails(self, reason: str) -> None:
        if reason != self._reason:
            self._tell(reason)
        self._reason = reason

    def works(self) -> None:
        if self._reason:
            self._tell(self._again)
        self._reason = ""


def idempotency_key(message: EventMessage) -> str:
    """The idempotency key: which phase of which event this is, the same in every delivery of it.

    `seq` is the number in the history; it is only unique together with the session that gave it out, because
    a power cut can take the end of a history, whose numbers are then given out anew. Both are in the stored
    message, so the key needs nothing that a restart could forget. Holds only letters, digits, "-" and "_".
    """
    return f"{re.sub(r'[^A-Za-z0-9]', lambda c: f'_{ord(c[0]):x}_', message.session)}-{message.seq}"


def gap_line(gap: Gap) -> str:
    """What is missing, for people."""
    why = {"expired": "no longer in the publisher's history", "no replay": "the publisher gives no history"}
    return (
        f"{gap.count} event message(s), numbers {gap.first} to {gap.last}, cannot be had any more"
        f" ({why.get(gap.reason, gap.reason)}); continuing after them"
    )


def read_secret(file: str | None, option: str, variable: str) -> str | None:
    """The text of a secret file or, without one, of an environment variable; None where there is neither.

    Raises ConfigError where the file cannot be read or others on this machine can read it.
    """
    if file is None:
        secret = os.environ.get(variable) or None
    else:
        secret = read_private(Path(file).expanduser(), option, ConfigError).strip() or None
    remember(secret, *(secret or "").split())
    return secret
