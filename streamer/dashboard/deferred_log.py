"""Log lines that would be written across the screen are kept until it is gone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

HELD = 200  # the newest lines; a log file (any other handler) has them all


class _Holder(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: deque[logging.LogRecord] = deque(maxlen=HELD)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def deferred_log() -> Iterator[None]:
    """While this is open, no log line goes to a terminal; at the end those that were held come out."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger("streamer")]
    held: list[tuple[logging.Logger, logging.Handler, _Holder]] = []
    for logger in loggers:
        for handler in [handler for handler in logger.handlers if _to_terminal(handler)]:
            logger.removeHandler(handler)
            held.append((logger, handler, _Holder(handler.level)))
    last_resort = logging.lastResort
    if last_resort is not None and not held and not any(logger.handlers for logger in loggers):
        held.append((root, last_resort, _Holder(last_resort.level)))
    for logger, _, holder in held:
        logger.addHandler(holder)
    try:
        yield
    finally:
        for logger, handler, holder in held:
            logger.removeHandler(holder)
            if handler is not last_resort:
                logger.addHandler(handler)
            for record in holder.records:
                handler.handle(record)


def _to_terminal(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler):
        return False
    try:
        return bool(handler.stream.isatty())
    except (AttributeError, ValueError):
        return False
