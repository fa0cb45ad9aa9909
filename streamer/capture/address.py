"""What a camera's `source` means, its credentials, and how both are kept out of sight."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from streamer.config import CameraConfig
from streamer.config.sections import PASSWORD_HERE
from streamer.errors import ConfigError, SourceOpenError
from streamer.system.private_files import exposure, open_to_others
from streamer.system.redaction import (
    redact_address,
    remember,
    secret_parameters,
    without_secret_parameters,
)

log = logging.getLogger(__name__)

_told: set[Path] = set()  # password files whose wide rights were told
_MEDIA_FILES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".flv")


class Kind(StrEnum):
    """The kinds of sources, by how they are opened and timed."""

    DEVICE = "device"  # webcam: index or /dev/videoN
    RTSP = "rtsp"
    HTTP = "http"  # MJPEG and other endless streams
    HLS = "hls"  # live, but it comes in lumps of seconds: played by its own time stamps
    RTMP = "rtmp"
    FILE = "file"  # also a video file behind http(s)

    @property
    def live(self) -> bool:
        """Time is the moment of arrival, and an end is a loss."""
        return self is not Kind.FILE


_KINDS = {
    "rtsp": Kind.RTSP,
    "rtsps": Kind.RTSP,
    "rtmp": Kind.RTMP,
    "rtmps": Kind.RTMP,
    "http": Kind.HTTP,
    "https": Kind.HTTP,
}


@dataclass(frozen=True)
class Address:
    """Where a camera's video comes from. `secret_url` is for the native call only; repr hides it."""

    kind: Kind
    secret_url: str | int = field(repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def network(self) -> bool:
        """It is reached through a URL."""
        return isinstance(self.secret_url, str) and "://" in self.secret_url

    @property
    def place(self) -> str:
        """For people: host and port, or the device or file; never credentials, path or query of a URL."""
        if isinstance(self.secret_url, int):
            return f"webcam {self.secret_url}"
        if not self.network:
            return self.secret_url
        host = bare_host(self.secret_url)
        return host if host else redact_address(self.secret_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown."""
        return (self.password,) if self.password else ()


def split_userinfo(url: str) -> tuple[str, str | None, str | None]:
    """`scheme://user:password@rest` -> the URL without them, user, password (decoded).

    The last `@` before the path counts, as in FFmpeg.
    """
    scheme, _, rest = url.partition("://")
    cut = len(rest)
    for mark in "/?#":
        place = rest.find(mark)
        cut = min(cut, place) if place >= 0 else cut
    at = rest.rfind("@", 0, cut)
    if at < 0:
        return url, None, None
    user, colon, password = rest[:at].partition(":")
    return f"{scheme}://{rest[at + 1 :]}", unquote(user), unquote(password) if colon else None


def split_query_password(url: str) -> tuple[str, str | None]:
    """`...?password=word` -> the URL with `{password}` in the word's place, and the word (decoded).

    Raises ConfigError where it holds several secrets: a camera has one password.
    """
    shorter, words = without_secret_parameters(url, PASSWORD_HERE)
    if len(words) > 1:
        raise ConfigError(
            "the address holds several secrets; write the camera into the config yourself, each as ${NAME} of"
            " the environment"
        )
    return shorter, unquote(words[0]) if words else None


def bare_host(url: str) -> str:
    """`host` or `host:port` of a URL; empty where it has none."""
    try:
        parts = urlsplit(split_userinfo(url)[0])
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def kind_of(config: CameraConfig) -> Kind:
    """What kind of source a camera has. Raises SourceOpenError for what can never be opened."""
    source = _source(config)
    if isinstance(source, int) or source.startswith("/dev/video"):
        return Kind.DEVICE
    scheme, mark, rest = source.partition("://")
    scheme = scheme.lower()
    if not mark and (meant := _mistyped_scheme(source)) and not os.path.exists(source):
        # The source is not quoted: where it is an address, it may hold a password.
        raise SourceOpenError(
            f"camera {config.name}: its source is no file, and as an address it lacks ://; "
            f"write {meant}://HOST[:PORT]/PATH, and the password as `password`",
            "not_found",
        )
    if not mark or scheme == "file":
        return Kind.FILE
    kind = _KINDS.get(scheme)
    if kind is None:
        raise SourceOpenError(
            f"camera {config.name}: {redact_address(source).partition('://')[0]}:// is not known; use one"
            f" of {', '.join(_KINDS)}, a webcam's number, /dev/videoN, or a file",
            "codec",
        )
    if not bare_host(source):
        raise SourceOpenError(
            f"camera {config.name}: its {scheme}:// address names no usable host; "
            f"write {scheme}://HOST[:PORT]/PATH, and the password as `password`",
            "not_found",
        )
    path = rest.partition("?")[0].lower()
    if kind is Kind.HTTP and path.endswith(".m3u8"):
        return Kind.HLS
    return Kind.FILE if kind is Kind.HTTP and path.endswith(_MEDIA_FILES) else kind


def _mistyped_scheme(source: str) -> str | None:
    """The scheme that rtsp:/HOST, rtsp:USER:PASSWORD@HOST or USER:PASSWORD@HOST lacks; None for other paths.

    They may stand behind the folder of a config file, which relative paths are meant from.
    """
    if found := re.search(r"(?:^|/)(rtsps?|rtmps?|https?):", source, re.IGNORECASE):
        return found[1].lower()
    user = re.search(r"(?:^|/)(?![A-Za-z]:\\)[^/:@\\]*:", source)
    return "rtsp" if user and "@" in source[user.end() :] else None


def _source(config: CameraConfig) -> str | int:
    source = config.source
    if isinstance(source, str):
        source = source.strip()
        if source.isdigit() and not Path(source).exists():
            return int(source)
    return source


def parse(config: CameraConfig) -> Address:
    """The address of a camera, its password file read now.

    Raises SourceOpenError: as `kind_of`, and `not_found` or `permission` for a password file.
    """
    kind = kind_of(config)
    source = _source(config)
    if isinstance(source, int) or kind is Kind.DEVICE:
        return Address(kind, source)
    if source == "demo":
        from streamer.demo.assets import clip_path

        return Address(kind, os.fspath(clip_path()))
    if source[:7].lower() == "file://":
        return Address(kind, os.path.abspath(unquote(source[7:])))
    if "://" not in source:
        # An absolute path cannot be taken for one of FFmpeg's protocols ("concat:", "data:", ...).
        return Address(kind, os.path.abspath(os.path.expanduser(source)))
    url, user, password = split_userinfo(source)
    user = config.user if config.user is not None else user
    configured = _password(config)
    remember(password, *secret_parameters(url))
    password = configured if configured is not None else password
    remember(password)
    if password is not None:
        url = url.replace(PASSWORD_HERE, quote(password, safe=""))
    if user is None and (password is None or PASSWORD_HERE in source):
        return Address(kind, url, None, password)
    userinfo = quote(user or "", safe="") + (":" + quote(password, safe="") if password is not None else "")
    head, _, rest = url.partition("://")
    return Address(kind, f"{head}://{userinfo}@{rest}", user or "", password)


def _password(config: CameraConfig) -> str | None:
    if config.password is not None:
        return config.password.get_secret_value()
    if config.password_file is None:
        return None
    path = Path(config.password_file).expanduser()
    try:
        word = path.read_text(encoding="utf-8").rstrip("\r\n")
        if open_to_others(path) and path not in _told:  # read at each open
            _told.add(path)
            log.warning("%s", exposure(path, f"camera {config.name}: password_file"))
        return word
    except FileNotFoundError:
        reason, code = "does not exist", "not_found"
    except (OSError, UnicodeDecodeError) as error:
        reason, code = f"cannot be read ({error.__class__.__name__})", "permission"
    raise SourceOpenError(
        f"camera {config.name}: its password_file {path} {reason}; check the path and who may read it",
        "not_found" if code == "not_found" else "permission",
    )
