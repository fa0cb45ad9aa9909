"""`streamer models`, `models show` and `models get`, against a hub on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.cli import command_line
from tests.helpers import checkpoints
from tests.helpers.hub_server import hub

ROOT = Path(__file__).parents[2]


def streamer(*words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the Hub's client reads its settings when it is imported."""
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "streamer", "models", *words],
        env={**plain, "HF_HUB_DISABLE_TELEMETRY": "1", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=home,
        check=False,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoints.save_words("clip", tmp_path_factory.mktemp("hub") / "clip")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "flax_model.msgpack").write_bytes(b"not wanted")
    return folder


@pytest.mark.realtime
def test_get_fetches_checks_and_then_needs_no_network(clip: Path, tmp_path: Path) -> None:
    with hub(clip) as (address, fetched):
        got = streamer("get", "owner/model", home=tmp_path, HF_ENDPOINT=address)
        assert got.returncode == 0, got.stderr
        folder = Path(got.stdout.strip())
        assert (folder / "model.safetensors").read_bytes() == (clip / "model.safetensors").read_bytes()
        assert "tokenizer.json" in fetched, "a model of words is nothing without it"
        assert "flax_model.msgpack" not in fetched
        count = len(fetched)
        again = streamer("get", "owner/model", home=tmp_path, HF_ENDPOINT=address)
        assert (again.returncode, again.stdout) == (0, got.stdout)
        assert len(fetched) == count, "what is there is not fetched again"
    offline = streamer("get", "owner/model", home=tmp_path, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (0, got.stdout)
    shown = streamer("show", "owner/model", home=tmp_path, HF_HUB_OFFLINE="1")
    assert shown.returncode == 0, shown.stderr
    assert "family:      clip" in shown.stdout
    assert "licence:     mit" in shown.stdout
    absent = streamer("get", "owner/other", home=tmp_path, HF_HUB_OFFLINE="1")
    assert absent.returncode == 4
    assert "HF_HUB_OFFLINE" in absent.stderr
    assert absent.stderr.count("\n") == 1


@pytest.mark.realtime
def test_a_file_that_differs_from_the_hubs_hash_is_refused_and_fetched_again(
    clip: Path, tmp_path: Path
) -> None:
    with hub(clip) as (address, fetched):
        got = streamer("get", "owner/model", home=tmp_path, HF_ENDPOINT=address)
        weights = Path(got.stdout.strip()) / "model.safetensors"
        damaged = bytearray(weights.read_bytes())
        damaged[-1] ^= 1
        weights.resolve().write_bytes(damaged)
        refused = streamer("get", "owner/model", home=tmp_path, HF_ENDPOINT=address)
        assert refused.returncode == 4
        assert "model.safetensors is not the file that the Hub has" in refused.stderr
        assert not weights.exists()
        mended = streamer("get", "owner/model", home=tmp_path, HF_ENDPOINT=address)
        assert mended.returncode == 0, mended.stderr
    assert weights.read_bytes() == (clip / "model.safetensors").read_bytes()
    assert fetched.count("model.safetensors") == 2


@pytest.mark.realtime
def test_progress_is_shown_where_a_person_looks(clip: Path, tmp_path: Path) -> None:
    code = (
        "from streamer.recognition.checkpoints.hub import download; import sys;"
        "download('owner/model', progress=sys.argv[1] == 'yes')"
    )
    said = {}
    with hub(clip) as (address, _):
        for wanted in ("yes", "no"):
            home = tmp_path / wanted
            home.mkdir()
            environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(home), "HF_ENDPOINT": address}
            said[wanted] = subprocess.run(
                [sys.executable, "-c", code, wanted],
                env={**environment, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=100,
                check=True,
            ).stderr
    assert "100%" in said["yes"]
    assert said["no"] == ""


# --- show ---


def show(capsys: pytest.CaptureFixture[str], name: str | Path) -> dict[str, object]:
    assert command_line.main(["models", "show", str(name), "--json"]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize("family", checkpoints.WORD_FAMILIES)
def test_show_a_model_of_words(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = show(capsys, checkpoints.save_words(family, tmp_path / "mine"))
    assert (told["family"], told["kind"]) == (family, "words")
    assert told["frames"] == (4 if family == "xclip" else 8)
    assert told["size"] == [checkpoints.SIZE, checkpoints.SIZE]
    assert told["labels"] is None
    assert "--labels" in str(told["notes"])
    assert float(str(told["gflop"])) > 0


def test_show_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["models", "show", "demo"]) == 0
    text = capsys.readouterr().out
    for words in ("frames:", "interval:", "span:", "size:", "mean:", "std:", "licence:", "gflop:", "waving"):
        assert words in text
    assert "pixels" in text


def test_show_the_detector_that_is_no_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["models", "show", "moving"]) == 0
    text = capsys.readouterr().out
    for words in ("background subtraction", "--follow", "Apache-2.0", "note:"):
        assert words in text
    assert "None" not in text
    assert "moves" in str(show(capsys, "moving")["use"])


def test_show_one_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    told = show(capsys, "openai/clip-vit-base-patch32")
    assert (told["family"], told["licence"], told["folder"]) == ("clip", "MIT", None)
    assert command_line.main(["models", "show", "nobody/nothing"]) == 2
    assert "neither in the table nor on this machine" in capsys.readouterr().err


def test_show_a_broken_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(checkpoints.shared("vit"), folder)
    (folder / "preprocessor_config.json").unlink()
    assert command_line.main(["models", "show", str(folder)]) == 4
    assert "preprocessor_config.json" in capsys.readouterr().err


def test_a_checkpoints_own_words_do_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoints.shared("timesformer"), folder)
    config = json.loads((folder / "config.json").read_text())
    evil = "left\x1b]0;x\x07\x9b31m\nlicence:     mit"
    config["id2label"]["0"] = evil
    (folder / "config.json").write_text(json.dumps(config))
    for words in ([], ["--json"]):
        assert command_line.main(["models", "show", str(folder), *words]) == 0
        out = capsys.readouterr().out
        assert "]0;x" in out
        assert all(line.isprintable() for line in out.splitlines())
        assert not any(line.startswith("licence:     mit") for line in out.splitlines())
