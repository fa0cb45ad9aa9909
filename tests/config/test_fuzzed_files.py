"""Random and broken files: every reader answers with a value or with ConfigError, never with a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.config import Config, load_config
from streamer.config.schema import schema_of
from streamer.errors import ConfigError
from streamer.labels.label_files import LabelFile, read_labels
from streamer.recognition.words.prompts import WordFile, read_words, words_of
from streamer.subscribers.narration.settings import Settings, load_settings
from streamer.system.terminal_text import JOINERS, printable

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
READERS: dict[str, tuple[Callable[[Path], Any], Any, Path]] = {
    "config": (lambda path: load_config(path, env={"A": "b"}), Config, CONFIGS / "cameras.yaml"),
    "labels": (read_labels, LabelFile, CONFIGS / "labels" / "ar.yaml"),
    "words": (lambda path: read_words([str(path)]), WordFile, CONFIGS / "labels" / "en.yaml"),
    "speech": (lambda path: load_settings(path, {}), Settings, CONFIGS / "speak.yaml"),
}
bounded = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

TOKENS = [
    "{", "}", "[", "]", ":", ": ", "- ", "\n", "\n  ", "\n- ", ",", "#", "&a ", "*a", "!", "!!int ", "<<: ",
    "'", '"', "|\n", ">\n", "%YAML 1.1\n---\n", "---\n", "...\n", "? ", "~", "null", "true", "no",
    "0x" + "f" * 60,
    "1e999", ".inf", ".nan", "-1", "9" * 60, "1:30", "2024-01-01", "\\", '"\\U99999999"', '"\\ud800"', "\x00",
    "\t", "\ufeff", "\u2028", "\x85", "é", "م", "${A}", "${", "$${", "{}", "rtsp://u:pw@h/", "=", "@", "`",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(TOKENS),
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, 5e-324, "", " ", "a.yaml", "~x", "~\0", "y" * 400]),
)  # fmt: skip


def keys_of(model: Any) -> st.SearchStrategy[str]:
    words = {word.strip("[]*") for key in schema_of(model).all_keys() for word in key.split(".")}
    return st.one_of(st.sampled_from(sorted(words - {""})), st.text(max_size=5), st.sampled_from(TOKENS))


def documents(model: Any) -> st.SearchStrategy[Any]:
    keys = keys_of(model)
    values = st.recursive(
        SCALARS,
        lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(keys, below, max_size=5)),
        max_leaves=20,
    )
    return st.dictionaries(keys, values, max_size=6)


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 30))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.text(max_size=6), st.just(text[place : place + 60])))
        text = text[:place] + new + text[place + cut :]
    return text


def answers(read: Callable[[], Any], begins: str = "") -> None:
    try:
        read()
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            assert line.startswith((begins, "... and ")), line
            assert line == printable(line), repr(line)
            assert "".join(c for c in line if c not in JOINERS).isprintable(), repr(line)
            assert len(line) <= 1000


@pytest.mark.parametrize("kind", READERS)
@bounded
@given(data=st.data())
def test_random_texts(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    text = "".join(data.draw(st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=8)), max_size=30)))
    file(kind, tmp_path, text.encode("utf-8", "surrogatepass"))


@pytest.mark.realtime
@pytest.mark.parametrize("kind", READERS)
@bounded
@given(data=st.data())
def test_random_documents_of_known_keys(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    document = data.draw(documents(READERS[kind][1]))
    file(kind, tmp_path, json.dumps(document).encode())  # JSON is YAML


@pytest.mark.parametrize("kind", READERS)
@bounded
@given(data=st.data())
def test_mutations_of_files_that_ship(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    shipped = READERS[kind][2].read_text("utf-8").replace("  #", "  ")[:4000]
    file(kind, tmp_path, data.draw(mutations(shipped)).encode("utf-8", "surrogatepass"))


def file(kind: str, folder: Path, content: bytes) -> None:
    path = folder / "fuzzed.yaml"
    path.write_bytes(content)
    answers(lambda: READERS[kind][0](path), str(path))


@bounded
@given(st.lists(st.tuples(keys_of(Config), keys_of(Config), SCALARS), max_size=4))
def test_random_overrides_and_variables(items: list[tuple[str, str, Any]]) -> None:
    plain = [f"{one}.{two}={value}" for one, two, value in items]
    answers(lambda: load_config(overrides=plain, env={}))
    answers(lambda: load_config(overrides={f"{one}.{two}": value for one, two, value in items}, env={}))
    env = {f"STREAMER_{one}__{two}".upper(): str(value) for one, two, value in items}
    answers(lambda: load_config(env=env))


@bounded
@given(st.one_of(SCALARS, st.lists(SCALARS), documents(WordFile)))
def test_random_words_of_a_request(value: Any) -> None:
    answers(lambda: words_of(value))
