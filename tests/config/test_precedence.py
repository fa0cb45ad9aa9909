"""What a stronger layer changes beside the key it names, and variables that are nobody's settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, EventsConfig, LabelRule, ModelConfig, Option, load_config
from streamer.config import precedence as precedence
from streamer.errors import ConfigError

# --- what belongs to a checkpoint ---

TUNED = "model: {id: mine, temperature: 1.7, interval: 0.5, frames: 4, hop: 0.3, labels: [a dog]}\n"


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    path = tmp_path / "tuned.yaml"
    path.write_text(TUNED, "utf-8")
    return path


@pytest.mark.parametrize(
    ("overrides", "env"),
    [
        (["model.id=other"], {}),
        ([Option("model.id", "other", "--model")], {}),
        ({"model.id": "other"}, {}),
        ({"model": {"id": "other"}}, {}),
        ((), {"STREAMER_MODEL__ID": "other"}),
    ],
)
def test_another_checkpoint_takes_what_was_said_of_the_one_before(
    tuned: Path, overrides: Any, env: Mapping[str, str]
) -> None:
    model = load_config(tuned, overrides, env).model
    assert model == ModelConfig(id="other", hop=0.3, labels=("a dog",))


@pytest.mark.parametrize("order", [1, -1])
def test_what_the_same_layer_says_stays(tuned: Path, order: int) -> None:
    model = load_config(tuned, ["model.id=other", "model.temperature=2"][::order], {}).model
    assert (model.temperature, model.interval) == (2.0, None)
    env = {"STREAMER_MODEL__ID": "other", "STREAMER_MODEL__FRAMES": "3"}
    assert load_config(tuned, (), env).model == ModelConfig(id="other", hop=0.3, labels=("a dog",), frames=3)


def test_a_stronger_layer_may_speak_of_the_checkpoint_of_a_weaker_one(tuned: Path) -> None:
    config = load_config(tuned, ["model.interval=1"], {"STREAMER_MODEL__ID": "other"})
    assert (config.model.id, config.model.interval, config.model.temperature) == ("other", 1.0, 1.0)


def test_the_same_checkpoint_keeps_it(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config(tuned, ["model.id=mine"], {}).model.temperature == 1.7
    (tuned.parent / "mine").mkdir()
    monkeypatch.chdir(tuned.parent.parent)
    spelled_otherwise = f"{tuned.parent.name}/../{tuned.parent.name}/mine"
    assert load_config(tuned, [f"model.id={spelled_otherwise}"], {}).model.temperature == 1.7


def test_cameras_and_lists_of_models_too(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(
        "model: {id: mine, temperature: 1.7}\n"
        "models: [{interval: 0.2}, {id: two, temperature: 3}]\n"
        "cameras:\n"
        "- {name: a, source: 0, model: {interval: 0.5, hop: 1}}\n"  # of the common checkpoint
        "- {name: b, source: 1, model: {id: own, interval: 0.5}}\n"
        "- {name: c, source: 2, models: [{frames: 3}, {id: own, frames: 5}]}\n",
        "utf-8",
    )
    before = load_config(path, env={})
    assert before.cameras[0].model == ModelConfig(id="mine", temperature=1.7, interval=0.5, hop=1)
    assert before.cameras[1].model == ModelConfig(id="own", interval=0.5), "no temperature of another's"
    assert before.models[1] == ModelConfig(id="two", temperature=3)
    after = load_config(path, ["model.id=other"], {})
    assert after.cameras[0].model == ModelConfig(id="other", hop=1)
    assert after.cameras[1].model == ModelConfig(id="own", interval=0.5)
    assert after.cameras[2].models == (ModelConfig(id="other"), ModelConfig(id="own", frames=5))
    assert after.models == (ModelConfig(id="other"), ModelConfig(id="two", temperature=3))
    one = load_config(path, ["cameras.b.model.id=other"], {})
    assert one.cameras[1].model == ModelConfig(id="other")
    assert one.model == before.model


def test_programs_get_the_same() -> None:
    config = Config(model=ModelConfig(temperature=2), models=(ModelConfig(id="x"), ModelConfig(hop=1)))
    assert config.models == (ModelConfig(id="x"), ModelConfig(temperature=2, hop=1))


# --- rules ---


def test_a_cameras_rule_says_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "events: {thresholds: {waving: {enter: 0.8, min_off: 2}, still: {enter: 0.9}}}\n"
        "cameras:\n- {name: a, source: 0, events: {thresholds: {waving: {min_on: 1}, fall: {enter: 0.4}}}}\n",
        "utf-8",
    )
    events = load_config(path, env={}).cameras[0].events
    assert events is not None
    assert events.thresholds == {
        "waving": LabelRule(enter=0.8, min_off=2, min_on=1),
        "still": LabelRule(enter=0.9),
        "fall": LabelRule(enter=0.4),
    }
    common = EventsConfig(thresholds={"a": LabelRule(enter=0.8)})
    camera = {"name": "a", "source": 0, "events": EventsConfig(thresholds={"a": LabelRule(min_on=1)})}
    config = Config.model_validate({"events": common, "cameras": [camera]})
    assert config.cameras[0].events is not None
    assert config.cameras[0].events.thresholds == {"a": LabelRule(enter=0.8, min_on=1)}


# --- variables ---

LINKS = {  # what a service called streamer, and one called streamer-bus, put into every container
    "STREAMER_SERVICE_HOST": "10.96.0.7",
    "STREAMER_SERVICE_PORT": "9464",
    "STREAMER_SERVICE_PORT_METRICS": "9464",
    "STREAMER_PORT": "tcp://10.96.0.7:9464",
    "STREAMER_PORT_9464_TCP": "tcp://10.96.0.7:9464",
    "STREAMER_PORT_9464_TCP_PROTO": "tcp",
    "STREAMER_PORT_9464_TCP_PORT": "9464",
    "STREAMER_PORT_9464_TCP_ADDR": "10.96.0.7",
    "STREAMER_BUS_SERVICE_HOST": "10.96.0.8",
    "STREAMER_BUS_PORT": "tcp://10.96.0.8:5555",
}


def test_links_to_services_are_told_and_ignored(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precedence, "_told", set())
    assert load_config(env={**LINKS, "STREAMER_UI": "plain"}) == Config(ui="plain")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[1].startswith("STREAMER_BUS_SERVICE_HOST is no setting (the nearest is STREAMER_BUS__")
    assert lines[3] == "7 more variables like STREAMER_SERVICE_PORT_METRICS are ignored"
    load_config(env=LINKS)
    assert len(caplog.records) == 4, "told once"


@pytest.mark.parametrize(
    "name", ["STREAMER_PORTS", "STREAMER_BUS__PORT", "STREAMER_UI_", "STREAMER_HOST", "STREAMER_PORT_TCP"]
)
def test_other_unknown_variables_stay_errors(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: unknown variable"):
        load_config(env={**LINKS, name: "1"})


def test_the_program_starts_where_such_links_are_set() -> None:
    command = [sys.executable, "-m", "streamer", "check", "configs/demo.yaml"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=LINKS, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ok, 1 camera (demo)" in done.stdout
    assert "STREAMER_PORT_9464_TCP" not in done.stdout


@pytest.mark.parametrize(
    ("text", "meant"),
    [("false", False), ("no", False), ("true", True), ("yes", True), (f"sha256:{'ab' * 32}", None)],
)
def test_whether_a_certificate_is_verified_can_be_said_in_text(text: str, meant: bool | None) -> None:
    """`true or false, or text` would take "false" for the text."""
    overrides = ["cameras.0.name=a", "cameras.0.source=0", f"cameras.0.tls_verify={text}"]
    assert load_config(overrides=overrides, env={}).cameras[0].tls_verify == (
        text if meant is None else meant
    )


@pytest.mark.parametrize(("text", "meant"), [("yes", True), ("no", False), ("on", True), ("off", False)])
def test_every_switch_of_a_file_takes_the_same_words(tmp_path: Path, text: str, meant: bool) -> None:
    """Also the one that takes a fingerprint beside true and false."""
    path = tmp_path / "own.yaml"
    path.write_text(f"loop: {text}\ncameras: [{{name: a, source: 0, tls_verify: {text}}}]\n", "utf-8")
    config = load_config(path, env={})
    assert (config.loop, config.cameras[0].tls_verify) == (meant, meant)
