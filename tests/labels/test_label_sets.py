"""Label sets for people: names in their language, other names, groups, ignored labels."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, EventsConfig, LabelRule
from streamer.dashboard.plain_text import event_text
from streamer.dashboard.screen_content import screen_content
from streamer.dashboard.view import render
from streamer.demo.assets import checkpoint_path
from streamer.errors import ConfigError
from streamer.events.event_settings import events_for
from streamer.events.rules import EventLabels
from streamer.events.tracker import EventTracker
from streamer.labels.label_files import languages, load_labels, read_labels
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import ModelLabels
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.words.prompts import words_of
from streamer.testing import FakeRecognizer
from tests.helpers.pipelines import DEMO, QUIET, watch

DEMO_LABELS = tuple(json.loads((checkpoint_path() / "config.json").read_text())["id2label"].values())
KINETICS = ("applauding", "brushing teeth", "drinking beer", "eating cake", "hugging", "jogging", "laughing",
            "playing guitar", "reading book", "shaking hands", "situp", "sweeping floor", "texting",
            "washing dishes", "yawning")  # fmt: skip


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(text, "utf-8")
    return file


# --- the files that ship ---


@pytest.mark.parametrize("language", ["en", "tr", "ar"])
def test_shipped_languages_are_whole(language: str) -> None:
    found = load_labels(language)
    assert found.language == language
    for label in (*DEMO_LABELS, *KINETICS, "nothing of these"):
        text = found.texts[label]
        assert text.display
        assert text.start
        assert text.end
        assert text.start != text.end
    displays = [text.display for text in found.texts.values()]
    assert len(set(displays)) == len(displays), "two labels that look the same cannot be told apart"
    assert set(found.texts) == set(load_labels("en").texts), "every language has every label"


def test_arabic_is_arabic_and_has_no_hidden_marks() -> None:
    for text in load_labels("ar").texts.values():
        kinds = {unicodedata.bidirectional(char) for char in text.display if char.isalpha()}
        assert kinds == {"AL"}
        assert not any(unicodedata.category(char) == "Cf" for char in text.display)


def test_languages_that_are_there() -> None:
    assert languages() == ["ar", "en", "tr"]
    for wrong in ("xx", "../labels/tr", "", "EN"):
        with pytest.raises(ConfigError, match="ar, en, tr"):
            load_labels(wrong)


# --- names ---


def test_display_and_sentences() -> None:
    turkish = load_labels("tr")
    assert turkish.display("waving") == "El sallama"
    assert turkish.sentence("waving", start=True) == "Biri el sallıyor"
    assert turkish.display("waving hand") == "El sallama", "Kinetics' name of the same"
    assert turkish.display("a person waving") == "a person waving"
    assert turkish.sentence("zumba", start=True) == "zumba başladı"
    assert LabelSet().sentence("zumba", start=False) == "zumba ended"


def test_a_file_of_ones_own_comes_first(tmp_path: Path) -> None:
    file = write(tmp_path, "labels: {waving: Selam, zumba: {display: Zumba dansı, aliases: [dancing zumba]}}")
    found = load_labels("tr", file)
    assert found.display("waving") == "Selam"
    assert found.display("dancing zumba") == "Zumba dansı"
    assert found.display("jogging") == "Hafif koşu"
    assert found.sentence("zumba", start=True) == "Zumba dansı başladı"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labels: {waving: {displya: x}}", "own.yaml:1: labels.waving.displya: unknown key"),
        ("labels: [waving]", "labels = [...]: expected names, each with a section with the keys display, "),
        ("labels: {waving: 7}", "labels.waving"),
        (
            "labels:\n  a: {aliases: [x]}\n  b: {aliases: [x]}",
            "own.yaml:3: labels.b.aliases = [...]: 'x'",
        ),
        ("labels: {a: {aliases: [b]}, b: B}", "'b' is another label's name"),
        ("groups: [a]", "groups"),
        ("ignore: {a: b}", "ignore = {...}: expected a list"),
        ("start: ''", "expected text"),
        ("nothing: 1", "unknown key"),
    ],
)
def test_wrong_files(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_labels(write(tmp_path, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# --- what they mean for events ---


def test_other_names_groups_and_ignored_labels() -> None:
    names = LabelSet(
        alias_of={"waving hand": "waving"},
        groups={"drinking": ("drinking beer", "drinking shots"), "sports": ("bowling",)},
        ignore=("still", "sleeping"),
    )
    model = ModelLabels(
        ("waving hand", "drinking beer", "still", "nothing of these"), ignored=("nothing of these",)
    )
    config = events_for(EventsConfig(include=("waving", "drinking", "still")), model, names)
    assert config.include == ("waving hand", "drinking", "still")
    assert config.groups == {"drinking": ("drinking beer",)}
    assert config.ignore == ("nothing of these",), "what is asked for by name is not ignored"
    assert events_for(EventsConfig(), model, names).ignore == ("still", "nothing of these")
    EventTracker("cam", "m", model.labels, config)


def test_thresholds_of_words_become_rules() -> None:
    model = ModelLabels(("a dog", "a cat"), thresholds=(("a dog", 0.1), ("a cat", 0.9)))
    written = EventsConfig.model_validate({"thresholds": {"a cat": {"enter": 0.8}}})
    rules = events_for(written, model, LabelSet()).thresholds
    assert rules["a dog"].enter == 0.1
    assert rules["a dog"].exit == pytest.approx(0.07)
    assert rules["a cat"].enter == 0.8, "the config's own word is stronger"


def test_rules_are_merged_key_by_key_with_the_words_own() -> None:
    model = ModelLabels(("a dog", "a cat"), thresholds=(("a dog", 0.1), ("a cat", 0.9)))
    written = {"a dog": LabelRule(min_on=1), "cat": LabelRule(min_off=2), "a cat": LabelRule(exit=0.4)}
    names = LabelSet(alias_of={"cat": "a cat"})
    rules = events_for(EventsConfig(thresholds=written), model, names).thresholds
    assert rules["a dog"] == LabelRule(enter=0.1, exit=0.7 * 0.1, min_on=1), "events can still open"
    assert rules["a cat"] == LabelRule(enter=0.9, exit=0.4, min_off=2)


def test_a_rule_that_contradicts_the_words_is_an_error() -> None:
    model = ModelLabels(("a dog",), thresholds=(("a dog", 0.1),))
    config = EventsConfig(thresholds={"a dog": LabelRule(exit=0.3)})
    with pytest.raises(ConfigError, match=r"'a dog': exit \(0.3\) must be below enter \(0.1\)"):
        events_for(config, model, LabelSet())


def test_words_that_collide_with_a_group_are_known_before_they_are_used() -> None:
    config = EventsConfig(groups={"moving": ("walking", "running")})
    words = words_of(["moving", "walking", "running"])
    with pytest.raises(ConfigError, match="'moving' is a label of m itself"):
        EventLabels("m", words.labels, events_for(config, words.model_labels, LabelSet(), None))
    words = words_of(["walking", "sitting"])
    fine = events_for(config, words.model_labels, LabelSet(), None)
    EventLabels("m", words.labels, fine)
    assert fine.groups == {"moving": ("walking",)}


def test_a_name_that_nobody_knows_stays_an_error() -> None:
    model = ModelLabels(("a dog",))
    config = events_for(EventsConfig(ignore=("a dgo",)), model, LabelSet(), {"a cat"})
    with pytest.raises(ConfigError, match="did you mean 'a dog'"):
        EventTracker("cam", "m", model.labels, config)
    assert events_for(EventsConfig(ignore=("a cat",)), model, LabelSet(), {"a cat"}).ignore == ()
    assert events_for(EventsConfig(ignore=("a dgo",)), model, LabelSet(), None).ignore == ()


# --- messages and screens ---


@pytest.mark.realtime
def test_messages_carry_label_and_display_name(tmp_path: Path) -> None:
    file = write(
        tmp_path, "labels: {busy: {display: مشغول, aliases: [working]}, calm: Ruhig}\nignore: [calm]"
    )
    config = Config(cameras=(DEMO,), label_set=str(file), **QUIET)
    result, sink = watch(config, FakeRecognizer(lambda _: (0.1, 0.9)))
    assert result.ok
    top = sink.of("prediction")[-1]["top"]
    assert [(e["label"], e["display"]) for e in top] == [("busy", "مشغول"), ("calm", "Ruhig")]
    assert sink.of("prediction")[-1]["stable"]["display"] == "مشغول"
    event = sink.of("event")[0]
    assert (event["event"]["label"], event["event"]["display"]) == ("busy", "مشغول")
    assert str(event_text(event)).startswith("مشغول")


@pytest.mark.realtime
def test_without_a_language_messages_are_as_before() -> None:
    _, sink = watch(Config(cameras=(DEMO,), **QUIET), FakeRecognizer(lambda _: (0.1, 0.9)))
    assert set(sink.of("prediction")[-1]["top"][0]) == {"label", "score"}
    assert "display" not in sink.of("event")[0]["event"]


@pytest.mark.realtime
def test_the_screen_shows_names_right_to_left_safe(tmp_path: Path) -> None:
    import threading

    config = Config(cameras=(DEMO,), label_set=str(write(tmp_path, "labels: {busy: مشغول}")), **QUIET)
    seen: list[Any] = []
    with Pipeline(config, recognizer=FakeRecognizer(lambda _: (0.1, 0.9))) as pipeline:
        pipeline.run(threading.Event())
        seen.append(pipeline.stats())
    assert seen[0].cameras[0].main.top[0].label == "busy", "the numbers keep the stable label"
    page = render(screen_content(seen[0]), 100, 30).plain
    assert "\u2068مشغول\u2069" in page, "isolated, so that it turns only itself"
    assert "busy" not in page


def test_an_unknown_language_is_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match="language 'xx'"):
        Pipeline(Config(cameras=(DEMO,), language="xx", **QUIET))
