"""Files that are no configuration, or a hostile one: one clear line each, soon, whatever they hold."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamer.config import load_config
from streamer.config import yaml_values as reader_module
from streamer.config.yaml_values import read_document
from streamer.errors import ConfigError
from streamer.labels.label_files import read_labels
from streamer.recognition.words.prompts import read_words
from streamer.subscribers.narration.settings import load_settings

READERS: dict[str, Callable[[Path], Any]] = {
    "config": lambda path: load_config(path, env={}),
    "labels": read_labels,
    "words": lambda path: read_words([str(path)]),
    "speech": lambda path: load_settings(path, {}),
}
LAUGHS = "l0: &l0 [a,a,a,a,a,a,a,a,a]\n" + "".join(
    f"l{i}: &l{i} [{','.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
MERGES = "m0: &m0 {a: 1}\n" + "".join(
    f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
)
NO_YAML = [
    "a: [", "a: b: c", "\tx: 1", "a: \x01", "a: &x [*x]", "a: *b", "%", "? [a]\n: b", "a: 'x", "a: @b",
    "a: 1\n---\nb: 2", "%YAML 9.9\n---\na: 1", "a: !x!y b", 'a: "\\U99999999"', 'a: "\\U00110000"',
    'a: "\\ud800"', 'a: "\\0"', 'a: "\\e[31m"', '"\\e[31m": a', "a: &x\n  <<: *x", "<<: [1]", "a: {<<: b}",
    "a: !!binary aGk=", "a: !!python/object/apply:os.getcwd []", "!!map [a]", "a: !!set {b}", "a: |99\n x",
    "[" * 5000, "{a: " * 3000, "- " * 4000, "a: " + "[" * 30 + "]" * 30, LAUGHS, MERGES,
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", NO_YAML, ids=[text[:20] for text in NO_YAML])
def test_text_that_is_not_yaml_is_one_clear_line(reader: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "office.yaml"
    path.write_text(text, "utf-8")
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        READERS[reader](path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 11
    assert time.monotonic() - began < 15, "nothing in it takes long"


HUGE = [
    "0x" + "f" * 100_000, "0b" + "1" * 100_000, "0o" + "7" * 100_000, "9" * 100_000, "-" + "9" * 5000,
    "9" * 30, "1e999", "-1e999", ".inf", ".nan", "1_" * 5000 + "1", "!!int x",
    "!!float '1:2'", "!!bool maybe", "2024-99-99", "1:" * 3000 + "1", "x" * 300_000,
]  # fmt: skip
NUMBERS = [
    "events.half_life",
    "model.top",
    "duration",
    "bus.heartbeat",
    "uncertain.per_day",
]


@pytest.mark.parametrize("value", HUGE, ids=[value[:12] for value in HUGE])
def test_numbers_that_are_too_much_are_refused_in_a_short_line(value: str, tmp_path: Path) -> None:
    """A hexadecimal number has no limit of digits in Python, until it is to be written down."""
    path = tmp_path / "office.yaml"
    for key in NUMBERS:
        *sections, last = key.split(".")
        path.write_text("".join(f"{name}: " for name in sections[:1]) + f"{{{last}: {value}}}\n"
                        if sections else f"{last}: {value}\n", "utf-8")  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            load_config(path, env={})
        assert str(caught.value).startswith(f"{path}:1: {key} = ")
        assert len(str(caught.value)) < len(str(path)) + 200
        with pytest.raises(ConfigError):
            load_config(overrides=[f"{key}={value}"], env={})
    path.write_text(f"cameras: [{{name: a, source: 0, width: {value}}}]", "utf-8")
    with pytest.raises(ConfigError):
        load_config(path, env={})


@pytest.mark.parametrize("source", [-1, 10_000, 10**30, "9" * 30, "9" * 5000, 2**5000, 1e99, True])
def test_webcams_have_small_numbers(source: Any) -> None:
    with pytest.raises(ConfigError, match=r"cameras\[0\]\.source"):
        load_config(overrides={"cameras": [{"name": "a", "source": source}]}, env={})


def test_many_mistakes_are_told_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "office.yaml"
    path.write_text("".join(f"key{i}: 1\n" for i in range(15_000)), "utf-8")
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_config(path, env={})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:1: key0: unknown key")
    assert lines[-1].startswith("... and ")
    assert len(lines) == 51
    assert time.monotonic() - began < 60


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read_document(path)
        return str(caught.value).replace(f"{path}: ", "")

    assert said(tmp_path / "none.yaml") == "no such file; give the path of one that exists"
    (tmp_path / "latin.yaml").write_bytes("ui: é".encode("latin-1"))
    assert said(tmp_path / "latin.yaml") == "is not UTF-8 text; save it as UTF-8"
    assert said(tmp_path) == "cannot be read: is a directory"
    assert said(tmp_path / "latin.yaml" / "x") == "cannot be read: not a directory"
    assert said(tmp_path / ("x" * 300)).startswith("cannot be read: ")
    assert said(Path("a\0b")).startswith("cannot be read: ")
    (tmp_path / "big.yaml").write_text("#" * 1_000_001, encoding="utf-8")
    assert "too large" in said(tmp_path / "big.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    assert said(tmp_path / "loop.yaml").startswith("cannot be read: ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs Unix's devices")
def test_devices_in_a_files_place() -> None:
    with pytest.raises(ConfigError, match="too large"):
        read_document(Path("/dev/zero"))
    assert load_config(Path("/dev/null"), env={}) == load_config(env={})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("ui: plain\n"), daemon=True)
    writer.start()
    assert load_config(pipe, env={}).ui == "plain"
    writer.join(10)
    monkeypatch.setattr(reader_module, "PIPE_DEADLINE", 0.2)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"pipe\.yaml: cannot be read: nothing came out of this pipe"):
        load_config(pipe, env={})
    assert time.monotonic() - began < 10


def test_texts_are_what_they_look_like(tmp_path: Path) -> None:
    """YAML 1.2: no Norway problem, no sexagesimal numbers, no dates, no octal numbers by accident."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "ignore: [no, on, yes, 12:30, 2024-01-01, '7']\ngroups: {no: [off], 1: [y], ~: [z]}\n", "utf-8"
    )
    found = read_labels(path)
    assert found.ignore == ("no", "on", "yes", "12:30", "2024-01-01", "7")
    assert dict(found.groups) == {"no": ("off",), "1": ("y",), "~": ("z",)}
    path.write_text("loop: yes\nmodel: {top: 010}\n", "utf-8")
    config = load_config(path, env={})
    assert (config.loop, config.model.top) == (True, 10)
