"""A camera is put into a config file, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import load_config
from streamer.config.camera_entry import add_camera, with_camera
from streamer.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
NEW = {
    "name": "porch",
    "source": "rtsp://192.168.1.20/stream1",
    "user": "me: #1",
    "password_file": "porch.password",
}


def added(before: str, after: str) -> str:
    """What stands in `after` beyond `before`; fails where anything else changed."""
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    size = len(after) - len(before)
    while before[start:] != after[start + size :]:
        start -= 1
        assert start >= 0, "more than an insertion"
    return after[start : start + size]


def test_the_documented_file_keeps_every_byte(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    before = (ROOT / "configs" / "cameras.yaml").read_text()
    after = with_camera(before, NEW, str(file))
    assert added(before, after).count("porch") == 2
    lines = after.splitlines()
    assert lines[lines.index("  - name: porch") - 2 :][:2] == ["    enabled: false", "  - name: porch"] or (
        "garage" in after[: after.index("porch")]
    )
    assert after.index("porch") < after.index("# The checkpoint, for all cameras")


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# my cameras\n",
        "ui: plain\n",
        "ui: plain",
        "cameras:\nui: plain\n",
        "cameras: []  # none yet\nui: plain\n",
        "cameras:\n- name: desk\n  source: 0\n# the end\n",
        "cameras:\n    - name: desk # mine\n      source: 0\n      # more\n\n# of the model\nui: plain\n",
        "cameras:\n  - name: desk\n    source: 0\n    events:\n      ignore: [a,\n        b]\n\n\nui: plain",
        "cameras:\n  - {name: desk, source: 0}\n",
        "cameras:\n  - name: desk\n    source: >\n      demo\n\nui: plain\n",
    ],
)
def test_files_of_every_kind_take_one(tmp_path: Path, before: str) -> None:
    file = tmp_path / "cameras.yaml"
    (tmp_path / "porch.password").write_text("x")
    if before:
        file.write_text(before)
        names = [camera.name for camera in load_config(file).cameras]
    else:
        names = []
    add_camera(file, NEW)
    config = load_config(file)
    assert [camera.name for camera in config.cameras] == [*names, "porch"]
    porch = config.cameras[-1]
    assert (porch.source, porch.user) == (NEW["source"], NEW["user"])
    text = file.read_text()
    for line in before.splitlines():
        assert line.replace("[]", "").rstrip() in text.replace("[]", "")
    if "# of the model" in before:
        assert text.index("# more\n") < text.index("porch") < text.index("# of the model")
    add_camera(file, {"name": "porch-2", "source": 0})
    assert [camera.name for camera in load_config(file).cameras][-2:] == ["porch", "porch-2"]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("cameras:\n  - name: porch\n    source: 0\n", "porch"),
        ("cameras: [{name: desk, source: 0}]\n", "in brackets"),
        ("- a\n- b\n", "no list of settings"),
        ("cameras: [\n", "is no YAML"),
        ("cameras:\n  - name: desk\n    source: 0\nnonsense: 1\n", "nonsense"),
    ],
)
def test_what_cannot_take_one_stays_as_it_is(tmp_path: Path, before: str, said: str) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(before)
    with pytest.raises(ConfigError, match=said) as refused:
        add_camera(file, NEW)
    assert ".part" not in str(refused.value)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.yaml"]


def test_the_files_rights_stay(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    add_camera(file, {"name": "a", "source": 0})
    assert file.stat().st_mode & 0o777 == 0o600, "a new one may hold an address that is a secret"
    file.chmod(0o640)
    add_camera(file, {"name": "b", "source": 1})
    assert file.stat().st_mode & 0o777 == 0o640


def test_line_ends_stay(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    before = b"# mine\r\ncameras:\r\n  - name: a\r\n    source: 0\r\nui: plain\r\n"
    file.write_bytes(before)
    add_camera(file, {"name": "b", "source": 1})
    new = b"  - name: b\r\n    source: 1\r\n"
    assert file.read_bytes() == before.replace(b"ui: plain", new + b"ui: plain")
