"""Config files, STREAMER_* and overrides: what they may say, and what is said of mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.config import CameraConfig, Config, EventsConfig, ModelConfig, Pace, Ui, load_config
from streamer.config.schema import schema_of
from streamer.config.yaml_values import read_document
from streamer.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CAMERA = "cameras:\n- name: a\n  source: 0\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(text: str) -> Path:
        path = tmp_path / "office.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return file


def errors(path: Path | None, overrides: Any = (), env: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, {} if env is None else env)
    lines = str(caught.value).splitlines()
    return [line.replace(f"{path.parent}/" if path else "\0", "").replace("\\", "/") for line in lines]


# --- the layers ---


def test_without_anything_there_are_the_defaults() -> None:
    assert load_config(env={}) == Config()


def test_each_layer_is_stronger_than_the_one_before(write: Write) -> None:
    path = write("events: {enter: 0.6, exit: 0.2, min_on: 1.0}\nui: plain")
    env = {"STREAMER_EVENTS__EXIT": "0.3", "STREAMER_EVENTS__MIN_ON": "2.0", "PATH": "x"}
    config = load_config(path, ["events.min_on=3.0"], env)
    assert config.ui is Ui.PLAIN
    assert (config.events.half_life, config.events.enter) == (0.2, 0.6)
    assert (config.events.exit, config.events.min_on) == (0.3, 3.0)


def test_overrides_may_be_values_already() -> None:
    config = load_config(overrides={"events.ignore": ["still"], "loop": True, "model.top": 3}, env={})
    assert (config.events.ignore, config.loop, config.model.top) == (("still",), True, 3)


def test_texts_become_what_the_key_is() -> None:
    config = load_config(
        overrides=[
            "duration=1.5", "loop=true", "pace=fast", "model.id=123", "model.interval=null", "bus.bind=",
            "events.include=[a b, 'on', \"c, d\"]", "events.groups={drinking: [beer, tea]}",
            "events.thresholds={a b: {enter: 0.9}}", "model.top= 7",
        ],
        env={},
    )  # fmt: skip
    assert (config.duration, config.loop, config.pace) == (1.5, True, Pace.FAST)
    assert (config.model.id, config.model.interval, config.model.top) == ("123", None, 7)
    assert config.events.include == ("a b", "on", "c, d")
    assert config.events.groups == {"drinking": ("beer", "tea")}
    assert config.events.thresholds["a b"].enter == 0.9
    assert config.bus.bind == ""


def test_cameras_are_reached_by_index_or_by_name_and_can_be_added(write: Write) -> None:
    path = write(CAMERA)
    added = ["cameras.1.name=b", "cameras.1.source=x.mp4", "cameras.a.source=7", "cameras.0.enabled=no"]
    config = load_config(path, added, {"STREAMER_CAMERAS__0__WIDTH": "640"})
    first, second = config.cameras
    assert (first.source, first.enabled, first.width) == (7, False, 640)
    assert (second.name, second.source) == ("b", "x.mp4")


def test_a_section_given_whole_changes_only_its_keys(write: Write) -> None:
    config = load_config(write("events: {enter: 0.6, min_on: 1}"), ["events={min_on: 2}"], {})
    assert (config.events.enter, config.events.min_on) == (0.6, 2.0)


def test_a_list_given_whole_is_a_new_list(write: Write) -> None:
    config = load_config(write("events: {ignore: [a, b]}"), ["events.ignore=[c]"], {})
    assert config.events.ignore == ("c",)


def test_an_empty_file_is_a_configuration(write: Write) -> None:
    assert load_config(write("# nothing yet\n"), env={}) == Config()


def test_a_section_whose_keys_are_all_comments_is_empty(write: Write) -> None:
    text = "events:\n  # enter: 0.6\nmodel:\ncameras:\n- name: a\n  source: 0\n  events:\n  model:\n"
    config = load_config(write(text), env={})
    assert config.events == EventsConfig()
    assert load_config(write("cameras:\n"), env={}).cameras == ()


def test_sections_can_share_values(write: Write) -> None:
    text = "cameras:\n- &one {name: a, source: 0, fps: 5}\n- {<<: *one, name: b}\n"
    second = load_config(write(text), env={}).cameras[1]
    assert (second.name, second.source, second.fps) == ("b", 0, 5.0)


def test_yaml_does_not_turn_texts_into_dates_or_minutes(write: Write) -> None:
    config = load_config(write("events: {ignore: [2024-01-01, 12:30], groups: {on: [a], 1: [b]}}"), env={})
    assert config.events.ignore == ("2024-01-01", "12:30")
    assert set(config.events.groups) == {"on", "1"}


# --- cameras ---


def test_a_camera_says_only_what_differs(write: Write) -> None:
    text = (
        "events: {exit: 0.1, ignore: [still]}\nmodel: {device: cpu, interval: 0.5}\n"
        "cameras:\n- {name: a, source: 0, events: {enter: 0.2}, model: {hop: 1}}\n"
        "- {name: b, source: 1, model: {id: other}}\n- {name: c, source: 2}\n"
    )
    a, b, c = load_config(write(text), env={}).cameras
    assert a.events == EventsConfig(enter=0.2, exit=0.1, ignore=("still",))
    assert a.model == ModelConfig(device="cpu", interval=0.5, hop=1)
    assert b.model == ModelConfig(id="other", device="cpu"), "an interval belongs to its checkpoint"
    assert (c.events, c.model) == (None, None)


def test_programs_get_the_same_inheritance_as_files() -> None:
    camera = CameraConfig(name="a", source=0, events=EventsConfig(enter=0.9))
    config = Config(cameras=(camera,), events=EventsConfig(min_on=3))
    assert config.cameras[0].events == EventsConfig(enter=0.9, min_on=3)


def test_variables_of_the_environment_are_filled_in(write: Write) -> None:
    text = "cameras:\n- {name: a, source: 'rtsp://${HOST}:554/$${x}', password: '${PASS}'}\n"
    text += "- {name: b, source: '${N}'}"
    a, b = load_config(write(text), env={"HOST": "h", "PASS": "p:{w}#", "N": "3"}).cameras
    assert a.source == "rtsp://h:554/${x}"
    assert a.password is not None
    assert a.password.get_secret_value() == "p:{w}#"
    assert b.source == 3


def test_paths_that_cannot_be_are_texts_like_others(write: Write) -> None:
    long = "x" * 400
    config = load_config(write(f"model: {{id: {long}}}\ncameras: [{{name: a, source: {long}}}]"), env={})
    assert config.model.id == long
    assert load_config(overrides={"model.id": "~\0"}, env={}).model.id == "~\0"


def test_relative_paths_are_meant_from_the_files_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = (
        "cameras:\n- {name: a, source: clips/x.mp4, password_file: secret, model: {id: mine}}\n"
        "- {name: b, source: demo}\n- {name: c, source: /dev/video0}\n- {name: d, source: http://h/x}\n"
        "bus: {keys: keys}\njournal: {path: e.sqlite3}\nmodel: {id: facebook/timesformer}\n"
    )
    config = load_config(write(text), ["cameras.4.name=e", "cameras.4.source=y.mp4"], {})
    a = config.cameras[0]
    assert [camera.source for camera in config.cameras[1:]] == ["demo", "/dev/video0", "http://h/x", "y.mp4"]
    assert (Path(str(a.source)), a.password_file) == (tmp_path / "clips/x.mp4", str(tmp_path / "secret"))
    assert a.model is not None
    assert (a.model.id, config.model.id) == (str(tmp_path / "mine"), "facebook/timesformer")
    assert (config.bus.keys, config.journal.path) == (str(tmp_path / "keys"), str(tmp_path / "e.sqlite3"))


# --- mistakes ---

MISTAKES = [
    ("ui: plane", "office.yaml:1: ui = 'plane': expected one of auto, rich, plain, json, none"),
    ("\nevents:\n  enter: 1.5", "office.yaml:3: events.enter = 1.5: expected a number from 0 to 1"),
    ("events: {enter: yes}", "office.yaml:1: events.enter = 'yes': expected a number from 0 to 1"),
    ("events: {enter: true}", "office.yaml:1: events.enter = true: expected a number from 0 to 1"),
    ("events: {enter: .nan}", "office.yaml:1: events.enter = nan: expected a number from 0 to 1"),
    ("duration: 0", "office.yaml:1: duration = 0: expected a number above 0, at most 1,000,000,000"),
    ("model: {top: 2.5}", "office.yaml:1: model.top = 2.5: expected a whole number from 1 to 1000"),
    ("ui: on", "office.yaml:1: ui = 'on': expected one of auto, rich, plain, json, none"),
    ("loop: 5", "office.yaml:1: loop = 5: expected true or false"),
    ("evnts: {}", "office.yaml:1: evnts: unknown key; did you mean events?"),
    ("bind: x", "office.yaml:1: bind: unknown key; did you mean bus.bind?"),
    ("cameras: [{name: a, source: demo, loop: true}]",
     "office.yaml:1: cameras[0].loop: unknown key; did you mean loop at the top level?"),
    ("bus:\n  xyz: x", "office.yaml:2: bus.xyz: unknown key; known here: bind, requests, high_water_mark, "
     "heartbeat, keys, insecure_bind"),
    ("bus: tcp://x", "office.yaml:1: bus = 'tcp://x': expected a section with the keys bind, requests, "
     "high_water_mark, heartbeat, keys, insecure_bind"),
    ("events:\n  ignore: still", "office.yaml:2: events.ignore = 'still': expected a list, each item text"),
    ("events:\n  thresholds:\n    waving: {entr: 1}", "office.yaml:3: events.thresholds.waving.entr: unknown "
     "key; did you mean enter?"),
    ("events: {enter: 0.3}", "office.yaml:1: events.exit: exit (0.35) must be below enter (0.3)"),
    ("events:\n  thresholds:\n    a:\n      exit: 0.9", "office.yaml:4: events.thresholds.a.exit = 0.9: exit "
     "(0.9) must be below enter (0.5)"),
    ("cameras:\n- name: a", "office.yaml:2: cameras[0].source: missing; expected text or a whole number"),
    (CAMERA + "- name: 5\n  source: 1", "office.yaml:4: cameras[1].name = 5: expected text of 1 to 100 "
     "characters; put it in quotes"),
    (CAMERA + CAMERA[9:],
     "office.yaml:4: cameras[1].name = 'a': two cameras are called a; names must differ"),
    (CAMERA + "  events: {enter: 2}",
     "office.yaml:4: cameras[0].events.enter = 2: expected a number from 0 to 1"),
    (CAMERA + "  region: [[0, 0]]", "office.yaml:4: cameras[0].region = [...]: give two opposite corners "
     "[x, y], or three or more of a polygon"),
    (CAMERA + "  user: ${WHO}", "office.yaml:4: cameras[0].user = '${WHO}': the environment has no variable "
     "'WHO'; set it, or write $${"),
    ("cameras: [{name: a/b, source: 0}]",
     "office.yaml:1: cameras[0].name = 'a/b': a name may not be blank nor "
     "hold / or control characters (it is part of topics)"),
    ("ui: rich\nloop: true\nui: plain", "office.yaml:3: ui: stands twice (first in line 1); keep one"),
    ("capture: {retry_min: 50}", "office.yaml:1: capture.retry_max: must not be below retry_min"),
    ("- a", "office.yaml:1: expected keys with values, such as `ui: plain`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[text[:30] for text, _ in MISTAKES])
def test_a_mistake_is_placed_and_explained(write: Write, text: str, line: str) -> None:
    assert errors(write(text)) == [line]


def test_tags_make_no_objects(write: Write) -> None:
    found = errors(write("ui: !!python/object/apply:os.getcwd []"))
    assert found[0] == "office.yaml:1: tags (text that begins with !) mean nothing; use quotes"


def test_all_mistakes_are_told_in_the_order_of_the_lines(write: Write) -> None:
    found = errors(write("ui: x\nloop: x\nui: y\nevents: {a: 1}\npace: x"))
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "4", "5"]


def test_a_wrong_common_value_is_told_once(write: Write) -> None:
    text = "events: {enter: 7}\n" + CAMERA + "  events: {exit: 0.1}\n"
    assert errors(write(text)) == ["office.yaml:1: events.enter = 7: expected a number from 0 to 1"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["events.entr=1"], "--set events.entr: unknown key; did you mean enter?"),
        (["events.enter=9"], "--set events.enter: events.enter = '9': expected a number from 0 to 1"),
        (["enter"], "--set enter: write --set KEY=VALUE, such as --set events.enter=0.6"),
        (["model.id.x=1"], "--set model.id.x: model.id is a value and has no keys below it"),
        (["cameras.3.name=x"], "--set cameras.3.name: cameras has no item 3; there are 0, counted from 0"),
        ({"ui": "x"}, "ui: ui = 'x': expected one of auto, rich, plain, json, none"),
    ],
)
def test_wrong_overrides(overrides: Any, line: str) -> None:
    assert errors(None, overrides) == [line]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("STREAMER_BUS__BNID", "STREAMER_BUS__BNID: unknown variable; did you mean STREAMER_BUS__BIND?"),
        ("STREAMER_UI", "STREAMER_UI: ui = 'x': expected one of auto, rich, plain, json, none"),
        (
            "STREAMER_EVENTS__IGNORE",
            "STREAMER_EVENTS__IGNORE: events.ignore = 'x': expected a list, each item text",
        ),
    ],
)
def test_wrong_variables(name: str, line: str) -> None:
    assert errors(None, env={name: "x"}) == [line]


# --- secrets ---


@pytest.mark.parametrize(
    "text",
    [
        CAMERA + "  password: [hunter2]",
        CAMERA + "  password: *hunter2",
        CAMERA + "  password: !hunter2 x",
        CAMERA + "  password: 'hunter2",
        CAMERA + "  password: {hunter2: x}",
        CAMERA + "  passwort: hunter2",
        CAMERA + '  password: "\\hunter2"',
        CAMERA + "  password: hunter2\n  password_file: x",
        "cameras: [{name: a, source: 'rtsp://u:hunter2@h/', sorce: 1}]",
        "cameras: [{name: a, source: ['rtsp://u:hunter2@h/']}]",
        "cameras: {a: 'rtsp://u:hunter2@h/'}",
        "bus: {bind: 5}\nmodel: 'http://x/?password=hunter2'",
        CAMERA + "  password: ${P}\n  width: x",
    ],
)
def test_no_error_shows_a_password(write: Write, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), env={"P": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_address_that_asks_for_the_password_needs_one(write: Write) -> None:
    camera = "cameras:\n- {name: a, source: 'http://h/v?pwd={password}'"
    with pytest.raises(ConfigError, match=r"asks for \{password\}, but no password or password_file"):
        load_config(write(camera + "}\n"))
    (found,) = load_config(write(camera + ", password_file: a.password}\n")).cameras
    assert found.source == "http://h/v?pwd={password}"


def test_repr_shows_no_password() -> None:
    config = load_config(
        overrides={
            "cameras": [
                {"name": "a", "source": "rtsp://me:hunter2@h/x?pwd=hunter2&q=1", "password": "hunter2"}
            ]
        },
        env={},
    )
    assert "hunter2" not in repr(config) + str(config)
    assert "rtsp://***@h/x?pwd=***&q=1" in repr(config)


# --- the files that ship ---


def test_cameras_yaml_documents_every_key(tmp_path: Path) -> None:
    shipped = ROOT / "configs" / "cameras.yaml"
    text = shipped.read_text(encoding="utf-8")
    switched_on = tmp_path / "all.yaml"
    switched_on.write_text(re.sub(r"(?m)^(\s*)#(?=[a-z_]+:)", r"\1", text), encoding="utf-8")
    documented = set(_dotted(read_document(switched_on).data, ""))
    listed = ("cameras[].", "models[].")
    wanted = {key for key in schema_of(Config).all_keys() if ".*." not in key and not key.startswith(listed)}
    own = {f"cameras[].{key}" for key in CameraConfig.model_fields}
    assert not (wanted | own) - documented, "add these to configs/cameras.yaml"


def _dotted(data: Any, prefix: str) -> list[str]:
    if isinstance(data, list):
        return [key for item in data for key in _dotted(item, f"{prefix}[]")]
    if not isinstance(data, dict):
        return []
    found = []
    for key, value in data.items():
        name = f"{prefix}.{key}" if prefix else key
        found += [name, *_dotted(value, name)]
    return found


def test_cameras_yaml_shows_the_defaults() -> None:
    config = load_config(ROOT / "configs" / "cameras.yaml", env={})
    assert config.model_copy(update={"cameras": ()}) == Config()
    assert [camera.name for camera in config.cameras if camera.enabled] == ["front-door", "desk"]


@pytest.mark.parametrize("name", ["demo.yaml", "webcam.yaml"])
def test_the_small_files_are_right(name: str) -> None:
    assert len(load_config(ROOT / "configs" / name, env={}).cameras) == 1


def test_the_schema_for_editors_accepts_what_ships() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema_of(Config).json)
    jsonschema.validate(read_document(ROOT / "configs" / "cameras.yaml").data, schema_of(Config).json)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"ui": "plane"}, schema_of(Config).json)


@pytest.mark.parametrize("name", ["\x1b[31m", "a\x9b31m", "a\nb", "a\u2028b", "a\ud800", "a/b", " ", "\x7f"])
def test_a_camera_cannot_be_called_so(name: str) -> None:
    """Not by the environment either, whose texts no YAML reader has seen."""
    with pytest.raises(ConfigError, match=r"cameras\[0\]\.name") as caught:
        load_config(overrides={"cameras": [{"name": "${NAME}", "source": 0}]}, env={"NAME": name})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["front-door", "باب‌خانه", "Küche 1", "玄関", "🚪"])
def test_a_camera_may_be_called_so(name: str) -> None:
    assert load_config(overrides={"cameras": [{"name": name, "source": 0}]}, env={}).cameras[0].name == name
