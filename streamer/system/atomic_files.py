"""Files that appear whole or not at all: written under another name beside the final one, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def write_atomically(
    path: Path, data: bytes | str, *, mode: int | None = None, durable: bool = False
) -> None:
    """Replace `path` by a file with this content (text in UTF-8); its folder must exist.

    Args:
        mode: the file's rights from its first moment on, such as 0o600; None: what the umask leaves.
        durable: it is on the disk when this returns: a power cut leaves the old content or the new.

    Raises:
        OSError: it cannot be written; the old file is untouched and nothing is left beside it.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with replacing(path, durable=durable) as part, _new_file(part, mode) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, part: Path | None = None, *, durable: bool = False) -> Iterator[Path]:
    """A name beside `path` for what others write (an encoder): renamed to `path` at the end of the block.

    Where the block raises, or has written nothing under that name, nothing is renamed; the unfinished file
    never stays.

    Args:
        part: the name to write under; None: a hidden one that no other process takes, of the same suffix.

    Raises:
        OSError: it cannot be flushed or renamed.
    """
    if part is None:
        part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        if part.exists():
            if durable:
                _flush(part, os.O_RDWR)
            os.replace(part, path)
            if durable and os.name == "posix":  # elsewhere folders cannot be opened
                _flush(path.parent, os.O_RDONLY)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _new_file(part: Path, mode: int | None) -> BinaryIO:
    return os.fdopen(os.open(part, _FLAGS, 0o666 if mode is None else mode), "wb")


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
