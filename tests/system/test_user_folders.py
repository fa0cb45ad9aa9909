"""Where a user's files lie: the places that existing installations have, on every system."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from streamer.system import user_folders

VARIABLES = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


def places() -> list[Path]:
    return [user_folders.state_folder(), user_folders.config_folder(), user_folders.cache_folder()]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def act_as(system: type[platformdirs.PlatformDirsABC], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(platformdirs, "PlatformDirs", system)
    monkeypatch.setattr(user_folders.sys, "platform", name)


def test_linux_keeps_its_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_as(Unix, monkeypatch, "linux")
    wanted = [home / ".local/state/streamer", home / ".config/streamer", home / ".cache/streamer"]
    assert places() == wanted
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(home / variable))
    assert places() == [home / name / "streamer" for name in VARIABLES[:3]]


def test_macos_keeps_its_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_as(MacOS, monkeypatch, "darwin")
    support = home / "Library" / "Application Support" / "streamer"
    assert places() == [support, support, home / "Library" / "Caches" / "streamer"]
    support.mkdir(parents=True)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(home / variable))
    assert places()[:2] == [support, support], "an existing history is not left behind"


def test_windows_keeps_its_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = pytest.importorskip("platformdirs.windows")
    folders = {"CSIDL_LOCAL_APPDATA": home / "Local", "CSIDL_APPDATA": home / "Roaming"}
    monkeypatch.setattr(windows, "get_win_folder", lambda name: str(folders[name]))
    act_as(windows.Windows, monkeypatch, "win32")
    roaming = home / "Roaming" / "streamer"
    assert places() == [home / "Local" / "streamer", roaming, home / "Local" / "streamer" / "Cache"]
