"""Sending by Apprise: which services, and what came of it. Addresses hold secrets: none of them is shown."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from streamer.errors import ConfigError
from streamer.system.redaction import redact, remember

SHORTEST_SECRET = 6  # characters; shorter parts of an address say nothing
_NO_SECRET = re.compile(r"localhost|\d{1,3}(\.\d{1,3}){3}")  # hiding these would hide the run's own address


class _LastWords(logging.Handler):
    """Keeps the last warning of Apprise: why something was not sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class Target:
    """One service. Raises ConfigError where its address cannot be used."""

    def __init__(self, number: int, url: str) -> None:
        import apprise

        parts = [part for part in re.split(r"[/:@?&=]+", url) if len(part) >= SHORTEST_SECRET]
        parts = [part for part in parts if not _NO_SECRET.fullmatch(part)]
        remember(url, *parts, *map(unquote, parts))  # as they stand, and as a service may repeat them
        scheme = url.partition("://")[0]
        self.shown = f"{scheme}:// (address {number})"
        self._words = _LastWords()
        logger = logging.getLogger("apprise")
        logger.propagate = False  # its lines would hold addresses
        logger.addHandler(self._words)
        self._apprise: Any = apprise.Apprise()
        if "://" not in url or not self._apprise.add(url):
            raise ConfigError(
                f"address {number} is none that Apprise knows; write one a line, such as"
                " ntfy://ntfy.sh/TOPIC: https://github.com/caronc/apprise/wiki"
            )

    def send(self, title: str, text: str, picture: Path | None, *, urgent: bool) -> str | None:
        """Blocks, for some seconds at most; why it failed, None where it was sent."""
        self._words.text = ""
        attached = None if picture is None else str(picture)
        try:
            kind = "failure" if urgent else "info"
            sent = self._apprise.notify(body=text, title=title, attach=attached, notify_type=kind)
        except (OSError, TypeError, ValueError) as error:
            return redact(f"{type(error).__name__}: {error}")
        return None if sent else redact(self._words.text or "it was not accepted")


def targets_of(lines: Sequence[str]) -> list[Target]:
    """One for each line that is an address; `#` begins a comment. Raises ConfigError."""
    urls = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not urls:
        raise ConfigError("no address to send to; write one a line, such as ntfy://ntfy.sh/TOPIC")
    return [Target(number, url) for number, url in enumerate(urls, 1)]
