"""Every error streamer raises on purpose.

    StreamerError
    ├── ConfigError            a config file, environment variable or option is wrong
    ├── SourceError            a camera's video
    │   ├── SourceOpenError    cannot be opened; `code` says why
    │   └── SourceLostError    was open and stopped giving frames
    ├── ModelError             recognition
    │   ├── ModelLoadError     a checkpoint cannot be found, read or used
    │   └── WindowShapeError   a window does not have the shape its checkpoint was made for
    ├── BusError               ZeroMQ, the journal, keys
    ├── DatasetError           training data
    └── SpeechError            no voice, or no sound

Third-party exceptions are translated once, where they enter, with `raise ... from`. A message says what
failed, why, and what to do, on one line and without secrets: the command line prints it as it is.
"""

from __future__ import annotations

from typing import Literal, get_args

SourceCode = Literal[
    "auth_failed",  # the camera wants another user or password
    "not_found",  # no such file, path, device or stream
    "permission",  # the system refuses access
    "codec",  # nothing here can decode it, or it holds no video
    "unreachable",  # host or port does not answer, refused or unknown
    "timeout",  # it was reached, and then nothing came
    "lost",  # it was running and ended by itself
    "unknown",  # none of these could be told
]
SOURCE_CODES: tuple[str, ...] = get_args(SourceCode)
UNMENDABLE = frozenset({"auth_failed", "not_found", "codec", "permission"})  # no retry mends these


class StreamerError(Exception):
    """Base of all of streamer's errors."""


class ConfigError(StreamerError):
    """A config file, environment variable or option is wrong."""


class SourceError(StreamerError):
    """A camera's video cannot be had. `code` is one of SOURCE_CODES, for programs."""

    def __init__(self, message: str, code: SourceCode = "unknown") -> None:
        super().__init__(message)
        self.code: SourceCode = code


class SourceOpenError(SourceError):
    """A source cannot be opened."""


class SourceLostError(SourceError):
    """A source was open and stopped giving frames."""


class ModelError(StreamerError):
    """Recognition failed."""


class ModelLoadError(ModelError):
    """A checkpoint cannot be found, read or used."""


class WindowShapeError(ModelError):
    """A window does not have the number of frames or the size its checkpoint was made for."""


class BusError(StreamerError):
    """A socket, the journal or a key file."""


class DatasetError(StreamerError):
    """Training data cannot be used."""


class SpeechError(StreamerError):
    """The system cannot speak: no voice, library or sound device."""


class RequestError(Exception):
    """A request that cannot be served; handlers may raise it too. `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
