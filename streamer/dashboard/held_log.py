"""Log lines that would be written across the screen are kept until it is gone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

HELD = 200  # the newest lines; a log file (any other handler) has them all


class _Holder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=HELD)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def held_log() -> Iterator[None]:
    """While this is open, the root logger writes nothing to a terminal; at the end the lines come out."""
    root = logging.getLogger()
    loud = [handler for handler in root.handlers if _to_terminal(handler)]
    holders: list[tuple[logging.Handler, _Holder]] = []
    for handler in loud:
        holder = _Holder()
        holder.setLevel(handler.level)
        holders.append((handler, holder))
        root.removeHandler(handler)
        root.addHandler(holder)
    if not loud and not root.handlers and logging.lastResort is not None:
        holder = _Holder()
        holder.setLevel(logging.lastResort.level)
        holders.append((logging.lastResort, holder))
        root.addHandler(holder)
    try:
        yield
    finally:
        for handler, holder in holders:
            root.removeHandler(holder)
            if handler is not logging.lastResort:
                root.addHandler(handler)
            for record in holder.records:
                if handler.filter(record):
                    handler.handle(record)


def _to_terminal(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler):
        return False
    try:
        return bool(handler.stream.isatty())
    except (AttributeError, ValueError):
        return False
