"""`streamer add`: finds cameras, takes a picture of one as proof, and writes it into a config file."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streamer.errors import ConfigError, SourceOpenError
from streamer.system.redaction import redact, remember
from streamer.system.terminal_text import printable

if TYPE_CHECKING:
    from streamer.config import CameraConfig

DEFAULT_FILE = "cameras.yaml"
_TRIES = 3  # at a login that is typed
_LONGEST_SEARCH = 60.0  # seconds
_PASSING = (
    "unknown",
    "codec",
)  # it has just said that it has video: a refusal, or a decoder that was too late
_PAUSE = 1.0  # seconds before a camera that refused is asked again


class _Login(NamedTuple):
    user: str | None = None
    password: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "CAMERA: a webcam's number; an address such as 192.168.1.20, which is asked by ONVIF for its video,\n"
        "and where known paths of common makers are tried; or a whole address, rtsp://HOST/PATH. Without it\n"
        "webcams and ONVIF cameras of the network are listed, and on a terminal one can be chosen. A login\n"
        "is asked for where the camera wants one; the password goes into a file of its own beside the\n"
        "config file, readable by you alone, also where the address holds it:\n"
        "http://HOST/video?user=ME&password={password} asks for it."
    )
    parser.add_argument("camera", nargs="?", metavar="CAMERA", help="which one; without it they are listed")
    parser.add_argument(
        "--config", default=DEFAULT_FILE, metavar="FILE", help=f"where it is written ({DEFAULT_FILE})"
    )
    parser.add_argument("--name", help="what it is called (its maker's or webcam's name, or its address)")
    parser.add_argument("--user", help="of the camera's login; the password is asked for")
    parser.add_argument("--password-file", metavar="FILE", help="its only line is the password")
    parser.add_argument("--password-env", metavar="NAME", help="environment variable that holds the password")
    parser.add_argument(
        "--picture", metavar="FILE", help="where the proof is kept (NAME.jpg beside the config)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="to look for cameras (3)")


def run(args: argparse.Namespace) -> int:
    """Find, try and write one camera; or list what there is.

    Raises:
        ConfigError: wrong options, or a config file that cannot take it.
        SourceOpenError: the camera gives no picture.
    """
    if not 0 <= args.seconds <= _LONGEST_SEARCH:
        raise ConfigError(f"--seconds {args.seconds:g}: must be 0 to {_LONGEST_SEARCH:g}")
    config = Path(args.config).expanduser()
    if args.name is not None and args.name in _taken(config):
        raise ConfigError(f"{config} has a camera {args.name!r} already; give another --name")
    source = args.camera
    if source is None:
        source = _choose(args.seconds)
        if source is None:
            return 0
    login = _given_login(args)
    camera, login, maker = _working(source, login)
    from streamer.capture.first_picture import as_jpeg

    image = _picture(camera)
    height, width = image.shape[:2]
    name = args.name or _free_name(config, maker)
    picture = Path(args.picture).expanduser() if args.picture else _free_file(config, _plain(name))
    entry: dict[str, str | int] = {"name": name, "source": camera.source}
    _write(config, entry, login, picture, as_jpeg(image))
    _say(f"{width}x{height}; a picture of it is in {picture}")
    _say(f"{name} is in {config}; watch it: streamer run --config {config}")
    return 0


def _picture(camera: CameraConfig) -> Any:
    """A camera's picture; asked again twice: some refuse for a moment after the path was looked for."""
    from streamer.capture.first_picture import first_picture
    from streamer.config import CaptureConfig

    tries = 3
    while True:
        try:
            return first_picture(camera, CaptureConfig())
        except SourceOpenError as error:
            tries -= 1
            if not tries or error.code not in _PASSING:
                text = str(error).removeprefix(f"camera {camera.name}: ")
                raise SourceOpenError(text, error.code) from error
        threading.Event().wait(_PAUSE)


def _choose(seconds: float) -> str | None:
    """Everything that is found, and on a terminal the number of one of them."""
    from streamer.capture import list_devices
    from streamer.capture.network_discovery import find_cameras

    _say(f"looking for webcams, and for ONVIF cameras in the network ({seconds:g} s)")
    found = [(str(device.index), f"webcam {device.index}  {device.name}") for device in list_devices()]
    found += [(camera.host, f"{camera.host}  {camera.name}") for camera in find_cameras(seconds)]
    if not found:
        _say(
            "none found; with a camera's address (its app or the router knows it): streamer add 192.168.1.20"
        )
        return None
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    for number, (source, text) in enumerate(found, 1):
        print(printable(f"{f'{number}  ' if asking else ''}{text.rstrip()}    streamer add {source}"))
    if not asking:
        return None
    word = _answer(f"Which one (1 to {len(found)}, Enter for none)? ")
    if not word:
        return None
    if not word.isdigit() or not 1 <= int(word) <= len(found):
        raise ConfigError(f"{word!r} is none of 1 to {len(found)}")
    return found[int(word) - 1][0]


def _given_login(args: argparse.Namespace) -> _Login:
    password = None
    if args.password_file and args.password_env:
        raise ConfigError("--password-file and --password-env: give one of them")
    if args.password_file:
        try:
            password = Path(args.password_file).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--password-file {args.password_file} cannot be read") from error
    elif args.password_env:
        password = os.environ.get(args.password_env)
        if password is None:
            raise ConfigError(f"--password-env {args.password_env}: there is no such variable")
    if password is not None and args.user is None and "{password}" not in (args.camera or ""):
        raise ConfigError("a password needs its --user, or {password} in the address")
    remember(password)
    if args.user is not None and password is None:
        password = _ask_password(args.user)
    return _Login(args.user, password)


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:  # Ctrl+D
        print(file=sys.stderr)
        return ""


def _ask_password(user: str | None) -> str:
    if not sys.stdin.isatty():
        raise ConfigError("the camera's password is needed: --password-file FILE or --password-env NAME")
    try:
        password = getpass.getpass(f"Password of {printable(user or 'the camera')} (not shown): ")
    except EOFError:
        raise ConfigError("no password was given") from None
    remember(password)
    return password


def _working(source: str, login: _Login) -> tuple[CameraConfig, _Login, str]:
    """The camera that a source means, its login, asked for where it wants one, and whose make it is."""
    from streamer.capture.address import split_query_password, split_userinfo
    from streamer.config.sections import PASSWORD_HERE

    if source.isdigit() or source.startswith("/dev/video"):
        from streamer.capture import list_devices

        names = [device.name for device in list_devices() if source in (str(device.index), device.path)]
        return _camera(source, _Login()), _Login(), (names or ["webcam"])[0]
    if "://" in source:
        source, user, password = split_userinfo(source)  # never written into the config
        if user is not None and login.user is None:
            login = _Login(user, password or "")
            remember(password)
        source, password = split_query_password(source)
        remember(password)
        if password is not None and login.password not in (None, password):
            raise ConfigError("two different passwords were given; a camera has one")
        login = _Login(login.user, login.password if password is None else password)
        if PASSWORD_HERE in source and login.password is None:
            login = _Login(login.user, _ask_password(login.user))
    for trial in range(_TRIES):
        try:
            url, maker = _stream(source, login)
            return _camera(url, login), login, maker
        except SourceOpenError as error:
            if error.code != "auth_failed" or trial == _TRIES - 1:
                raise
            if not sys.stdin.isatty():
                options = "--user USER with --password-file FILE or --password-env NAME"
                raise SourceOpenError(f"{error}; give {options}", error.code) from error
            _say(redact(str(error)))
            user = login.user if PASSWORD_HERE in source else _answer("User (Enter: give up): ")
            if user == "":
                raise
            login = _Login(user, _ask_password(user))
    raise AssertionError("the last trial has returned or raised")


def _stream(source: str, login: _Login) -> tuple[str, str]:
    from streamer.capture.address import bare_host
    from streamer.capture.failure_reason import PLAYABLE
    from streamer.capture.stream_paths import PATHS, asked, find_stream

    if "://" not in source:
        if not re.fullmatch(r"[\w.:\[\]%-]{1,253}", source, re.ASCII):
            # not quoted: it may hold a password
            raise ConfigError("what was given is no address: HOST, HOST:PORT, or rtsp://HOST/PATH")
        _say(f"asking {source} for its video by ONVIF, and trying {len(PATHS)} known paths")
        found = find_stream(source, login.user, login.password)
        _say(f"{found.url} has video ({f'a path of {found.maker}' if found.maker else 'the camera says so'})")
        return found.url, found.maker.partition(",")[0] or bare_host(found.url)
    if source.lower().startswith(("rtsp://", "http://")):
        reason = asked(source, login.user, login.password)
        if reason is not PLAYABLE and reason.code == "auth_failed":
            raise SourceOpenError(redact(f"{bare_host(source)} {reason.what}"), reason.code)
    return source, bare_host(source)


def _camera(source: str, login: _Login) -> CameraConfig:
    from streamer.config import load_config

    camera = {"name": "new", "source": int(source) if source.isdigit() else source}
    camera |= {key: word for key, word in login._asdict().items() if word is not None}
    return load_config(None, {"cameras": [camera]}).cameras[0]


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name.lower()).strip("-")[:40] or "camera"


def _taken(config: Path) -> set[str]:
    from streamer.config import load_config

    return {camera.name for camera in load_config(config).cameras} if config.exists() else set()


def _free_name(config: Path, told: str) -> str:
    """A name that no camera of the file has."""
    taken = _taken(config)
    name = _plain(told.partition("://")[2] or told)
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, 10_000))) if one not in taken)


def _free_file(config: Path, name: str) -> Path:
    """Where the picture goes: nobody's file is replaced that was not named."""
    names = (f"{name}.jpg", *(f"{name}-{n}.jpg" for n in range(2, 10_000)))
    return next(path for path in map(config.with_name, names) if not os.path.lexists(path))


def _write(config: Path, entry: dict[str, str | int], login: _Login, picture: Path, jpeg: bytes) -> None:
    """The config file last: what it names is there by then."""
    from streamer.config.camera_entry import add_camera
    from streamer.system.atomic_files import write_atomically

    try:
        if login.user is not None:
            entry |= {"user": login.user}
        if login.password is not None:
            secret = config.with_name(f"{_plain(str(entry['name']))}.password")
            if secret.exists() and secret.read_text(encoding="utf-8").rstrip("\r\n") != login.password:
                raise ConfigError(f"{secret} exists with another password; remove it, or give another --name")
            write_atomically(secret, f"{login.password}\n", mode=0o600)
            entry |= {"password_file": secret.name}
        write_atomically(picture, jpeg, mode=0o600)
    except OSError as error:
        raise ConfigError(f"{error.filename or config.parent} cannot be written: {error.strerror}") from error
    add_camera(config, entry)


def _say(text: str) -> None:
    print(f"streamer: {printable(redact(text))}", file=sys.stderr, flush=True)
