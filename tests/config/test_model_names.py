"""What models are called in messages."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from streamer.config import load_config
from streamer.config.model_names import model_names
from streamer.errors import ConfigError


def folders(root: Path, *names: str) -> list[str]:
    for name in names:
        (root / name).mkdir(parents=True)
    return [str(root / name) for name in names]


def test_a_folder_is_called_by_its_last_part_and_a_hub_id_by_itself(tmp_path: Path) -> None:
    (best,) = folders(tmp_path, "runs/best")
    assert list(model_names(["demo", "openai/clip", best]).values()) == ["demo", "openai/clip", "best"]


def test_folders_of_one_name_are_told_apart_by_those_above_in_any_order(tmp_path: Path) -> None:
    ids = folders(tmp_path, "a/best", "b/best", "x/b/best", "other", "demo")
    wanted = {
        ids[0]: "a/best",
        ids[1]: f"{tmp_path.name}/b/best",
        ids[2]: "x/b/best",
        ids[3]: "other",
        ids[4]: f"{tmp_path.name}/demo",
        "demo": "demo",
    }
    for order in permutations([*ids, "demo"]):
        assert model_names(order) == wanted


def test_a_folder_that_looks_like_a_hub_id(tmp_path: Path) -> None:
    (local,) = folders(tmp_path, "openai/clip")
    (other,) = folders(tmp_path, "mine/clip")
    names = model_names(["openai/clip", local, other])
    assert names == {"openai/clip": "openai/clip", local: f"{tmp_path.name}/openai/clip", other: "mine/clip"}


def test_one_folder_written_twice_is_one_model(tmp_path: Path) -> None:
    (best,) = folders(tmp_path, "best")
    again = f"{tmp_path}/../{tmp_path.name}/best/"
    assert set(model_names([best, again]).values()) == {"best"}
    with pytest.raises(ConfigError, match=r"models\[1\]\.id = .*: best stands twice"):
        load_config(overrides={"models": [{"id": best}, {"id": again}]}, env={})
