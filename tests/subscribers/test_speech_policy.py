"""What is said when: the rules that speech and captions share, on a clock that only moves when told to."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from streamer.bus.messages import EventMessage, Gap, HeartbeatMessage, StatusMessage, TrackMessage
from streamer.errors import ConfigError
from streamer.labels.label_files import languages, load_labels, read_labels
from streamer.labels.label_set import LabelSet
from streamer.labels.phrases import ENGLISH, fault_in, plain
from streamer.subscribers.narration.policy import SILENCE, Policy, Utterance, within
from streamer.subscribers.narration.settings import Priority, Settings, load_settings, parse_hours
from streamer.subscribers.speech.speech_queue import SpeechQueue
from streamer.testing import FakeClock

NOON = datetime(2026, 3, 4, 12, 0).timestamp()


label_set = cache(load_labels)  # read once: it is frozen


class Bench:
    """A policy and its clock; makes messages as the bus would bring them now."""

    def __init__(self, language: str = "en", wall: float = NOON, **settings: Any) -> None:
        self.clock = FakeClock(wall=wall)
        self.names = label_set(language)
        self.policy = Policy(Settings.model_validate(settings), self.names, self.clock)
        self.seq = 0
        self.beat("front-door")

    def event(self, phase: str = "start", label: str = "waving", name: str = "e1", camera: str = "front-door",
              age: float = 0.0, **more: Any) -> list[Utterance]:  # fmt: skip
        self.seq += 1
        at = self.clock.wall() - age
        ended = at if phase == "end" else None
        raw = {"event": more.pop("raw", {})}
        background = more.pop("background", False)
        why, box = more.pop("reason", None), more.pop("box", None)
        track = None if box is None else TrackMessage(4711, box)
        made = EventMessage("s", self.seq, at, camera, name, phase, label, 0.8, 0.9, at, at, ended, why, raw,
                            track=track, background=background)  # fmt: skip
        return self.policy.message(made)

    def status(self, state: str, camera: str = "front-door", following: int | None = None) -> list[Utterance]:
        at = self.clock.wall()
        told = StatusMessage("s", 1, at, camera, state, at, "", 25.0, 1, 1, {}, {}, following=following)
        return self.policy.message(told)

    def beat(self, *cameras: str, late: float = 0.0) -> None:
        states = dict.fromkeys(cameras, "running")
        self.policy.message(HeartbeatMessage("s", 1, self.clock.wall() - late, 0, states, {}))

    def pass_time(self, seconds: float, connected: bool = True) -> list[Utterance]:
        said = []
        for _ in range(round(seconds / 0.5)):
            self.clock.advance(0.5)
            said += self.policy.tick(connected)
        return said


def texts(utterances: list[Utterance]) -> list[str]:
    return [one.text for one in utterances if one.left_out is None]


def reasons(utterances: list[Utterance]) -> list[str | None]:
    return [one.left_out for one in utterances]


# --- words ---


LEFT, MIDDLE, RIGHT = (0.05, 0.2, 0.1, 0.5), (0.45, 0.2, 0.1, 0.5), (0.8, 0.2, 0.3, 0.5)


@pytest.mark.parametrize(
    ("following", "box", "said"),
    [
        (2, LEFT, "Someone is waving, on the left"),
        (2, MIDDLE, "Someone is waving, in the middle"),
        (5, RIGHT, "Someone is waving, on the right"),
        (1, LEFT, "Someone is waving, on the left"),
        (1, RIGHT, "Someone is waving, on the right"),
        (1, MIDDLE, "Someone is waving"),
        (1, (0.2, 0.2, 0.3, 0.5), "Someone is waving"),
        (3, None, "Someone is waving"),  # the whole picture
        (None, LEFT, "Someone is waving, on the left"),  # not told yet how many there are
    ],
)
def test_where_somebody_is_is_said_where_it_helps_and_never_who(
    following: int | None, box: Any, said: str
) -> None:
    bench = Bench()
    bench.status("running", following=following)
    (start,) = bench.event(box=box)
    assert start.text == said
    assert "4711" not in start.text


def test_two_people_who_do_the_same_are_both_said_and_an_end_says_whose_it_was() -> None:
    bench = Bench()
    bench.status("running", following=2)
    assert texts(bench.event(name="a", box=LEFT)) == ["Someone is waving, on the left"]
    assert texts(bench.event(name="b", box=RIGHT)) == ["Someone is waving, on the right"]
    assert texts(bench.event("end", name="b", box=RIGHT)) == ["The waving has stopped, on the right"]


def test_sides_in_every_language_and_in_ones_own_words() -> None:
    for language, said in (("tr", "Biri el sallıyor, solda"), ("ar", "شخص يلوّح بيده، على اليسار")):
        assert texts(Bench(language).event(box=LEFT)) == [said]
    own = Bench(labels={"waving": {"start": "Look out"}})
    assert texts(own.event(box=LEFT)) == ["Look out"], "a sentence of one's own is said as it is"


def test_start_and_end_are_said_in_the_language() -> None:
    for language, start, end in (
        ("en", "Someone is waving", "The waving has stopped"),
        ("tr", "Biri el sallıyor", "El sallama bitti"),
        ("ar", "شخص يلوّح بيده", "توقف التلويح"),
    ):
        bench = Bench(language)
        assert texts(bench.event()) == [start]
        assert texts(bench.event("end")) == [end]


def test_the_cameras_name_comes_where_there_are_several() -> None:
    bench = Bench()
    bench.beat("front-door", "kitchen")
    assert texts(bench.event()) == ["Front door: Someone is waving"]
    bench.beat("front-door")
    assert texts(bench.event(label="jogging")) == ["Someone is jogging"]
    assert texts(Bench(camera_names="always").event()) == ["Front door: Someone is waving"]
    assert texts(Bench("tr", camera_names="always", cameras={"front-door": {"name": "iç kapı"}}).event()) == [
        "iç kapı: Biri el sallıyor"
    ], "the capital of a Turkish i is not I"


def test_own_phrases_name_the_camera() -> None:
    bench = Bench(
        labels={"approaching": {"start": "Someone is approaching {camera}", "end": ""}},
        cameras={"front-door": {"name": "the front door"}},
    )
    assert texts(bench.event(label="coming closer")) == ["Someone is approaching the front door"], "an alias"
    assert reasons(bench.event("end", label="coming closer")) == ["label not wanted"]


def test_only_the_end_can_be_wanted() -> None:
    bench = Bench(labels={"opening door": {"start": "", "end": "The door is shut"}})
    assert reasons(bench.event(label="opening door")) == ["label not wanted"]
    assert texts(bench.event("end", label="opening door")) == ["The door is shut"]


def test_a_label_nobody_knows_is_said_as_the_publisher_shows_it() -> None:
    assert texts(Bench("tr").event(label="zumba")) == ["zumba başladı"]
    assert texts(Bench("tr").event(label="zumba", raw={"display": "Zumba dansı"})) == ["Zumba dansı başladı"]


def test_names_cannot_carry_control_codes() -> None:
    bench = Bench(camera_names="always")
    (said,) = bench.event(camera="a\x1b[2J\n\u202eb{sentence}", label="x\x07\u0085y{camera}")
    assert said.text == "A[2J b{sentence}: x y{camera} started", "and places in names are not filled in"
    assert said.text.isprintable()
    assert plain("a\u200cb") == "a\u200cb", "Persian words need it"


def test_every_language_has_every_phrase() -> None:
    for language in languages():
        phrases = load_labels(language).phrases
        assert set(phrases) == set(ENGLISH), language
        assert not any(fault_in(name, text) for name, text in phrases.items())
    assert load_labels("en").phrases == ENGLISH


@pytest.mark.parametrize("text", ["phrases: {lost: no camera}", "phrases: {lots: x}", "phrases: [x]",
                                  "phrases: {heard: '{x}'}", "phrases: {lost: 7}"])  # fmt: skip
def test_wrong_phrases_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"own\.yaml:1: phrases"):
        read_labels(file)


# --- whether ---


def test_nothing_is_said_twice_within_a_while() -> None:
    bench = Bench(repeat_after=60)
    assert texts(bench.event(name="a")) == ["Someone is waving"]
    bench.event("end", name="a")
    bench.clock.advance(30)
    assert reasons(bench.event(name="b")) == ["said a short while ago"]
    assert reasons(bench.event("end", name="b")) == ["its start was not said"]
    bench.clock.advance(30)
    assert texts(bench.event(name="c")) == ["Someone is waving"]


def test_a_label_may_be_said_again_sooner() -> None:
    bench = Bench(labels={"waving": {"repeat_after": 0}})
    assert texts(bench.event(name="a") + bench.event(name="b")) == ["Someone is waving"] * 2


def test_old_news_is_left_out_and_a_wrong_clock_does_not_make_it_old() -> None:
    bench = Bench(fresh=15)
    assert reasons(bench.event(age=16)) == ["old news"]
    assert reasons(bench.event(age=14)) == [None]
    assert reasons(Bench(fresh=0).event(age=1e6)) == [None]
    bench = Bench(fresh=15)
    bench.beat("front-door", late=3600)  # the publisher's clock is an hour behind
    assert reasons(bench.event(age=3601)) == [None]
    assert reasons(bench.event(label="jogging", age=3620)) == ["old news"]


def test_an_end_that_the_scores_did_not_make_is_not_said() -> None:
    bench = Bench()
    bench.event()
    assert reasons(bench.event("end", reason="program stopped")) == ["it was cut short: program stopped"]


def test_only_the_chosen_labels_are_spoken_of() -> None:
    bench = Bench(label=["falling", "still"], repeat_after=0, labels={"waving": {"start": "Hello"}})
    assert reasons(bench.event()) == ["label not wanted"]
    assert reasons(bench.event("end")) == ["its start was not said"]
    assert texts(bench.event(label="falling", name="e2"))
    assert texts(bench.event(label="düşme", name="e3", raw={"display": "falling"}))
    assert texts(bench.event(label="still", name="e4", background=True)), "what is named is spoken of"
    assert reasons(Bench().event(label="still", background=True)) == ["nothing happens"]
    bench = Bench(label=["falling"], labels={"waving": {"start": ""}})
    assert reasons(bench.event() + bench.event("end")) == ["label not wanted", "its start was not said"]


def test_verbosity() -> None:
    brief = Bench(verbosity="brief")
    assert reasons(brief.event() + brief.event("end")) == [None, "verbosity"]
    for verbosity, wanted in (("normal", []), ("full", ["Still: Someone is waving"])):
        bench = Bench(verbosity=verbosity, goes_on_every=30)
        bench.event()
        said: list[Utterance] = []
        for _ in range(45):
            bench.clock.advance(1)
            said += bench.event("update")
        assert texts(said) == wanted


def test_cameras_that_are_not_wanted() -> None:
    assert reasons(Bench(camera=("kitchen",)).event()) == ["camera not wanted"]
    assert reasons(Bench(cameras={"front-door": {"say": False}}).event()) == ["camera not wanted"]
    assert reasons(Bench(camera=("front-door",)).event()) == [None]


def test_priorities() -> None:
    bench = Bench(labels={"waving": {"priority": "urgent"}}, cameras={"kitchen": {"priority": "high"}})
    assert bench.event()[0].priority is Priority.URGENT
    assert bench.event("end")[0].priority is Priority.NORMAL, "an end breaks in on nothing"
    assert bench.event(label="jogging", camera="kitchen")[0].priority is Priority.HIGH
    assert bench.event(label="waving", camera="kitchen")[0].priority is Priority.URGENT


def test_quiet_hours_across_midnight() -> None:
    night = {"quiet_hours": ["22:00-07:00"], "labels": {"waving": {"priority": "urgent"}}}
    for hour, minute, quiet in ((21, 59, 0), (22, 0, 1), (23, 59, 1), (0, 0, 1), (6, 59, 1), (7, 0, 0)):
        bench = Bench(wall=datetime(2026, 3, 4, hour, minute).timestamp(), **night)
        assert reasons(bench.event(label="jogging")) == (["quiet hours"] if quiet else [None]), hour
        assert reasons(bench.event()) == [None], "what is urgent is said"
    bench = Bench(wall=datetime(2026, 3, 4, 23, 0).timestamp(), quiet_hours="22:00-07:00")
    captions = Policy(Settings(quiet_hours=("22:00-07:00",)), bench.names, bench.clock, quiet=False)
    assert texts(captions.message(bench_message(bench))) == ["C: Someone is waving"], "they wake nobody"


def bench_message(bench: Bench) -> EventMessage:
    at = bench.clock.wall()
    return EventMessage("s", 1, at, "c", "e", "start", "waving", 1.0, 1.0, at, at, None, None, {})


# --- cameras and the publisher ---


def test_a_lost_camera_is_said_once_and_its_return_once() -> None:
    bench = Bench(settle=3)
    assert bench.status("running") == []
    said = bench.status("reconnecting")
    for _ in range(10):
        said += bench.pass_time(1) + bench.status("reconnecting") + bench.status("stalled")
    assert texts(said) == ["Front door: the picture is lost"]
    assert said[0].priority is Priority.HIGH
    said = bench.status("connecting") + bench.status("running")
    for _ in range(10):
        said += bench.pass_time(1) + bench.status("running")
    assert texts(said) == ["Front door: the picture is back"]


def test_a_hiccup_is_not_said_and_a_flapping_camera_is_calm_but_true_in_the_end() -> None:
    bench = Bench(settle=3, repeat_after=60)
    assert texts(bench.status("stalled") + bench.pass_time(2) + bench.status("running")
                 + bench.pass_time(9)) == []  # fmt: skip
    said: list[Utterance] = []
    for _ in range(5):
        said += bench.status("stalled") + bench.pass_time(5) + bench.status("running") + bench.pass_time(5)
    assert texts(said) == ["Front door: the picture is lost", "Front door: the picture is back"]
    said = bench.status("failed") + bench.pass_time(100)
    assert texts(said) == ["Front door: the picture is lost"], "told when the while is over"


def test_a_file_that_ended_is_said_once() -> None:
    bench = Bench()
    assert texts(bench.status("ended") + bench.pass_time(30) + bench.status("ended")) == [
        "Front door: the video has ended"
    ]


def test_a_camera_lost_in_quiet_hours_is_said_when_they_are_over() -> None:
    bench = Bench(wall=datetime(2026, 3, 4, 6, 59).timestamp(), quiet_hours=["22:00-07:00"])
    bench.status("failed")
    assert texts(bench.pass_time(50)) == []
    assert texts(bench.pass_time(20)) == ["Front door: the picture is lost"]


def test_a_lost_publisher_is_said_once_and_its_return_once() -> None:
    bench = Bench()
    assert bench.pass_time(SILENCE - 1, connected=False) == []
    assert [one.kind for one in bench.pass_time(120, connected=False)] == ["silent"]
    assert [one.kind for one in bench.pass_time(120)] == ["heard"]
    assert bench.pass_time(SILENCE - 1, connected=False) == [], "a moment without it is nothing"


def test_missed_events_are_told() -> None:
    bench = Bench()
    said = bench.policy.message(Gap("event", 3, 9, "lost")) + bench.policy.message(
        Gap("event", 12, 12, "lost")
    )
    assert texts(said) == ["Some changes were missed"]
    assert bench.policy.message(Gap("status", 3, 9, "lost")) == []


def test_going_on_after_a_restart() -> None:
    bench = Bench()
    bench.policy.restore({"Someone is waving": bench.clock.wall() - 10}, ["known"])
    assert reasons(bench.event()) == ["said a short while ago"]
    assert texts(bench.event("end", name="known")) == ["The waving has stopped"]


# --- always ---

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "update", "stalled", "running", "silence", "time"]),
        st.sampled_from(["waving", "jogging", "fall"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 1.0, 7.0, 40.0, 3600.0]),
    ),
    max_size=40,
)


@pytest.mark.realtime
@given(STEPS, st.integers(0, 1439), st.sampled_from([0.0, 10.0, 60.0]), st.sampled_from(["normal", "full"]))
@how(max_examples=150, deadline=None)
def test_never_twice_never_in_quiet_hours_and_everything_accounted(
    steps: list[tuple[str, str, int, float]], minute: int, window: float, verbosity: str
) -> None:
    bench = Bench(
        wall=NOON - NOON % 86400 + minute * 60, repeat_after=window, verbosity=verbosity,
        quiet_hours=["22:00-07:00", "13:00-14:00"], labels={"fall": {"priority": "urgent"}}, goes_on_every=5,
    )  # fmt: skip
    last: dict[str, float] = {}
    told: set[str | None] = set()
    for what, label, number, seconds in steps:
        bench.clock.advance(seconds)
        if what in ("start", "end", "update"):
            said = bench.event(what, label, f"{label}{number}")
            if what != "update":
                assert len(said) == 1, "every start and end is accounted for"
        elif what in ("silence", "time"):
            said = bench.policy.tick(what == "time")
        else:
            said = bench.status(what, camera=label)
        now = bench.clock.monotonic()
        local = datetime.fromtimestamp(bench.clock.wall())
        quiet = local.hour >= 22 or local.hour < 7 or local.hour == 13
        for one in said:
            if one.left_out is not None:
                continue
            assert one.text
            assert one.text not in last or now - last[one.text] >= window
            last[one.text] = now
            assert not quiet or one.priority is Priority.URGENT
            if one.kind == "start":
                told.add(one.event)
            elif one.kind == "end":
                assert one.event in told, "nobody hears the end of what they did not hear begin"
                told.discard(one.event)


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1440))
@how(deadline=None)
def test_spans_of_the_day(minute: int, first: int, last: int) -> None:
    if first == last:
        return
    inside = set(range(first, last)) if first < last else {*range(first, 1440), *range(last)}
    assert within(minute, first, last) == (minute in inside)


# --- the queue ---


def one(text: str, priority: Priority = Priority.NORMAL, made: float = 0.0, kind: str = "start") -> Utterance:
    return Utterance(text, kind, priority, 0.0, made, event=text)


def test_the_most_important_first_then_the_oldest() -> None:
    queue = SpeechQueue(fresh=0)
    for text, priority in (("a", 1), ("b", 0), ("c", 3), ("d", 1)):
        assert queue.offer(one(text, Priority(priority)), 0.0) == []
    taken = [queue.take(0.0)[0] for _ in range(5)]
    assert [each and each.text for each in taken] == ["c", "a", "d", "b", None]


def test_what_waited_too_long_is_dropped_and_its_end_with_it() -> None:
    queue = SpeechQueue(fresh=10)
    queue.offer(one("a", made=0.0), 0.0)
    taken, dropped = queue.take(11.0)
    assert taken is None
    assert [(each.text, each.left_out) for each in dropped] == [("a", "too late")]
    queue.offer(one("a", made=11.0, kind="end"), 11.0)
    taken, dropped = queue.take(11.0)
    assert taken is None
    assert dropped[0].left_out == "its start was not said"


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5), st.booleans()), max_size=60))
@how(max_examples=100, deadline=None)
def test_the_queue_is_bounded_and_loses_nothing_silently(steps: list[tuple[int, float, bool]]) -> None:
    queue, now, out = SpeechQueue(fresh=8, most=5), 0.0, 0
    for offered, (priority, seconds, take) in enumerate(steps, 1):
        now += seconds
        dropped = queue.offer(one(str(offered), Priority(priority), now), now)
        if take:
            taken, more = queue.take(now)
            dropped += more
            out += taken is not None
            assert taken is None or now - taken.made <= 8
        assert all(each.left_out for each in dropped)
        out += len(dropped)
        assert len(queue) <= 5
        assert out + len(queue) == offered


# --- settings ---


def test_the_shipped_settings_are_good() -> None:
    found = load_settings(Path(__file__).parents[2] / "configs" / "speak.yaml", {"rate": 200})
    assert found.rate == 200
    assert found.labels["approaching"].priority is Priority.URGENT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: 20", "own.yaml:1: rate = 20: expected a whole number from 80 to 450"),
        (
            "\nquiet_hours: [25:00-07:00]",
            "own.yaml:2: quiet_hours[0] = '25:00-07:00': '25:00-07:00' is",
        ),
        ("quiet_hours: 07:00-07:00", "must end at another time"),
        (
            "labels: {waving: {priority: loud}}",
            "'loud': expected one of low, normal, high, urgent",
        ),
        ("labels: {waving: {say: no}}", "labels.waving.say: unknown key; did you mean cameras.*.say?"),
        ("cameras: {door: {nam: x}}", "unknown key; did you mean name?"),
        ("volume: 3", "unknown key; known here: language"),
        ("labels: {waving: {start: '{cam} x'}}", "the only one here is {camera}"),
        ("repeat_after: -1", "repeat_after = -1: expected a number from 0 to 604800"),
        ("verbosity: loud", "expected one of brief, normal, full"),
    ],
)
def test_wrong_settings(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load_settings(file, {})
    assert words in str(error.value)
    assert str(error.value).startswith(str(file))


def test_sentences_and_names_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("cameras: {door: {name: 'the ${WHAT} door'}}\nlabel_set: mine.yaml", "utf-8")
    found = load_settings(file, {})
    assert found.cameras["door"].name == "the ${WHAT} door"
    assert found.label_set == str(tmp_path / "mine.yaml"), "meant from the file's folder"
    assert load_settings(file, {"label_set": "mine.yaml"}).label_set == "mine.yaml"


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--quiet-hours: quiet_hours\[0\] = 'x': .* HH:MM-HH:MM"):
        load_settings(None, {"quiet_hours": ["x"]})
    assert parse_hours("0:00-24:00") == (0, 1440)


def test_without_label_files_english_is_said() -> None:
    policy = Policy(Settings(), LabelSet(), FakeClock(wall=NOON))
    at = NOON
    said = policy.message(
        EventMessage("s", 1, at, "c", "e", "start", "zumba", 1.0, 1.0, at, at, None, None, {})
    )
    assert texts(said) == ["C: zumba"]
