"""Events: smoothing in time, thresholds with hysteresis, merging, and what ends an event."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.config import EventsConfig, LabelRule
from streamer.errors import ConfigError
from streamer.events.event_settings import events_for
from streamer.events.tracker import INTERRUPTED, RESTARTED, SILENT, EventTracker
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import ModelLabels
from streamer.types import Event, Frame, Moment, Phase, Prediction, Track, Window

IMAGE = np.zeros((2, 2, 3), np.uint8)
LABELS = ("still", "waving", "moving left")
RAW = EventsConfig(half_life=0.0, enter=0.5, exit=0.3, min_on=0.0, min_off=0.0, merge_gap=0.0)
Signal = Callable[[float], float]


def prediction(
    time: float,
    scores: Sequence[float],
    *,
    epoch: int = 0,
    media: float | None = None,
    wall: float | None = None,
    labels: tuple[str, ...] = LABELS,
) -> Prediction:
    one = Frame(
        "cam", int(time * 1000), epoch, time, time, 1.7e9 + time if wall is None else wall, media, IMAGE
    )
    window = Window("cam", int(time * 1000), (one,), 0.1)
    return Prediction("cam", "m", window, labels, np.array(scores, np.float32))


def tracker(
    config: EventsConfig, labels: tuple[str, ...] = LABELS, independent: bool = False
) -> EventTracker:
    ids = count(1)
    return EventTracker("cam", "m", labels, config, new_id=lambda: f"e{next(ids)}", independent=independent)


def run(config: EventsConfig, waving: Mapping[float, float], end: bool = True) -> list[Event]:
    """Scores of one label by time."""
    one = tracker(config)
    published = [event for t, s in waving.items() for event in one.update(prediction(t, [0.0, s, 0.0]))]
    if end:
        last = max(waving)
        published += one.end_all(Moment(last, 1.7e9 + last), "stop")
    return published


def sample(signal: Signal, hop: float, seconds: float, phase: float = 0.0) -> dict[float, float]:
    times = [phase + i * hop for i in range(int((seconds - phase) / hop) + 1)]
    return {t: signal(t) for t in times}


def ended(events: Sequence[Event]) -> list[tuple[float, float]]:
    """(started, ended) of each event."""
    return [(e.started.time, e.ended.time) for e in events if e.phase is Phase.END and e.ended is not None]


def box(*spans: tuple[float, float]) -> Signal:
    return lambda t: 0.9 if any(a <= t < b for a, b in spans) else 0.05


# ---- the state machine, without smoothing


@pytest.mark.parametrize(
    "rise", [{5.0: 0.95}, {3.0: 0.95, 3.5: 0.1, 5.0: 0.1}], ids=["too late", "too short"]
)
def test_an_end_that_is_held_back_keeps_its_own_score_and_peak(rise: dict[float, float]) -> None:
    """What comes after an event, while a neighbour might still join it, is not the event's."""
    config = RAW.model_copy(update={"merge_gap": 3.0, "min_off": 0.5, "min_on": 1.0})
    waving = {0.0: 0.6, 0.5: 0.6, 1.0: 0.6, 1.5: 0.5, 2.0: 0.1, 2.5: 0.1, **rise, 6.0: 0.1}
    (end,) = [event for event in run(config, waving) if event.phase is Phase.END]
    assert (end.peak, end.score) == pytest.approx((0.6, 0.1))


def test_a_neighbour_that_joins_brings_its_peak() -> None:
    config = RAW.model_copy(update={"merge_gap": 3.0, "min_off": 0.5, "min_on": 0.5})
    waving = {0.0: 0.6, 0.5: 0.6, 1.0: 0.1, 1.5: 0.1, 2.0: 0.95, 2.5: 0.7, 3.0: 0.7}
    (end,) = [event for event in run(config, waving) if event.phase is Phase.END]
    assert (end.peak, end.score) == pytest.approx((0.95, 0.7))


def test_silence_by_the_clock_waits_for_a_slow_model() -> None:
    one = tracker(RAW)
    one.update(prediction(0.0, [0.0, 0.9, 0.0]))
    one.update(prediction(4.0, [0.0, 0.9, 0.0]))
    assert one.end_silent(11.0) == [], "its usual hop is 4 s"
    (end,) = one.end_silent(13.0)
    assert (end.phase, end.reason, end.ended.time) == (Phase.END, SILENT, 4.0)
    assert one.end_silent(14.0) == []
    assert [event.phase for event in one.update(prediction(20.0, [0.0, 0.9, 0.0]))] == [Phase.START]
    assert one.end_silent(40.0) == [], "the longer hop is its usual one now"


def test_an_event_has_its_start_its_decision_and_its_end() -> None:
    config = EventsConfig(half_life=0.0, min_on=0.4, min_off=0.6, merge_gap=0.0)
    start, *_, end = run(config, sample(box((2.0, 2.9)), 0.1, 5.0), end=False)
    assert start.phase is Phase.START
    assert start.id == end.id == "e1"
    assert (start.camera, start.model, start.label) == ("cam", "m", "waving")
    assert start.started.time == pytest.approx(2.0)
    assert start.started.wall == pytest.approx(1.7e9 + 2.0)
    assert start.decided.time == pytest.approx(2.4)
    assert start.ended is None
    assert end.phase is Phase.END
    assert (end.started, end.decided) == (start.started, start.decided)
    assert end.ended is not None
    assert end.ended.time == pytest.approx(2.8)  # the last window above
    assert end.peak == pytest.approx(0.9)
    assert end.score == pytest.approx(0.05)
    assert end.reason is None


@pytest.mark.parametrize("hop", [0.05, 0.1, 0.25, 0.4])
def test_a_flicker_shorter_than_min_on_never_opens_an_event(hop: float) -> None:
    config = EventsConfig(half_life=0.0, min_on=0.4)
    assert run(config, sample(box((1.0, 1.39), (3.0, 3.2), (5.0, 5.39)), hop, 8.0)) == []
    assert run(config, sample(box((1.0, 1.39), (3.0, 4.3)), hop, 8.0)) != []


def test_one_window_over_the_threshold_is_not_min_on_however_long_the_hop() -> None:
    assert run(EventsConfig(half_life=0.0, min_on=0.4), {0.0: 0.0, 1.0: 0.9, 2.0: 0.0}) == []


def test_between_exit_and_enter_an_event_neither_opens_nor_closes() -> None:
    config = EventsConfig(half_life=0.0, enter=0.6, exit=0.3, min_on=0.2, min_off=0.2, merge_gap=0.0)
    scores = {i * 0.1: s for i, s in enumerate([0.5] * 10 + [0.7] * 5 + [0.4] * 20 + [0.1] * 5)}
    assert ended(run(config, scores, end=False)) == [(pytest.approx(1.0), pytest.approx(3.4))]


def test_a_dip_shorter_than_min_off_does_not_close() -> None:
    config = EventsConfig(half_life=0.0, min_on=0.2, min_off=0.6, merge_gap=0.0)
    assert ended(run(config, sample(box((1.0, 2.0), (2.5, 4.0)), 0.1, 8.0), end=False)) == [
        (pytest.approx(1.0), pytest.approx(3.9))
    ]


@pytest.mark.parametrize(("second", "events"), [(3.4, 1), (4.3, 2)])
def test_neighbours_within_merge_gap_become_one_event(second: float, events: int) -> None:
    config = EventsConfig(half_life=0.0, min_on=0.4, min_off=0.2, merge_gap=2.0)
    published = run(config, sample(box((1.0, 2.0), (second, second + 1)), 0.1, 10.0), end=False)
    spans = ended(published)
    assert len(spans) == events
    assert spans[0][0] == pytest.approx(1.0)
    assert spans[-1][1] == pytest.approx(second + 0.9)
    if events == 2:
        assert spans[0][1] == pytest.approx(1.9)  # the true end, though it was held
        assert spans[1][0] == pytest.approx(second)


def test_a_neighbour_that_rises_within_merge_gap_joins_though_it_is_decided_later() -> None:
    config = EventsConfig(half_life=0.0, min_on=1.0, min_off=0.2, merge_gap=1.0)
    spans = ended(run(config, sample(box((1.0, 3.0), (3.8, 6.0)), 0.1, 10.0), end=False))
    assert spans == [(pytest.approx(1.0), pytest.approx(5.9))]


def test_a_rise_after_merge_gap_is_another_event_even_where_no_window_fell_between() -> None:
    config = EventsConfig(half_life=0.0, min_on=0.0, min_off=0.0, merge_gap=0.5)
    for rise, expected in [(0.45, [(0.0, 0.45)]), (0.8, [(0.0, 0.0), (0.8, 0.8)])]:
        assert ended(run(config, {0.0: 0.9, 0.3: 0.0, rise: 0.9})) == expected


def test_a_flicker_within_merge_gap_does_not_prolong() -> None:
    config = EventsConfig(half_life=0.0, min_on=1.0, min_off=0.2, merge_gap=1.0)
    spans = ended(run(config, sample(box((1.0, 3.0), (3.8, 4.2)), 0.1, 10.0), end=False))
    assert spans == [(pytest.approx(1.0), pytest.approx(2.9))]


def test_updates_come_at_most_once_a_second() -> None:
    config = EventsConfig(half_life=0.0, min_on=0.0)
    published = run(config, sample(box((1.0, 9.0)), 0.1, 12.0), end=False)
    assert [e.phase for e in published] == [Phase.START, *[Phase.UPDATE] * 8, Phase.END]
    times = [1.0 + i for i in range(9)]
    assert len(times) == len(published) - 1
    fast = run(config, sample(box((1.0, 9.0)), 0.01, 12.0), end=False)
    assert sum(e.phase is Phase.UPDATE for e in fast) <= 9


def test_several_labels_may_be_open_and_ends_come_before_starts() -> None:
    one = tracker(RAW.model_copy(update={"min_off": 0.0}), independent=True)
    first = one.update(prediction(0.0, [0.9, 0.8, 0.0]))
    assert [(e.label, e.phase) for e in first] == [("still", Phase.START), ("waving", Phase.START)]
    assert [e.label for e in one.open] == ["still", "waving"]
    second = one.update(prediction(0.5, [0.0, 0.8, 0.9]))
    assert [(e.label, e.phase) for e in second] == [("still", Phase.END), ("moving left", Phase.START)]
    assert one.stable is not None
    assert one.stable.label == "moving left"


# ---- smoothing


def test_the_average_is_exact_whatever_the_hops() -> None:
    """A step from 0 to 1: after n half-lives the average is 1 - 0.5 ** n, on any times."""
    random = np.random.default_rng(5)
    for _ in range(20):
        one = tracker(EventsConfig(half_life=0.7))
        one.update(prediction(0.0, [0.0, 0.0, 0.0]))
        time = 0.0
        for step in random.uniform(0.01, 1.0, 12):
            time += float(step)
            one.update(prediction(time, [0.0, 1.0, 0.0]))
            assert one.smoothed["waving"] == pytest.approx(1 - 0.5 ** (time / 0.7))


def test_the_average_begins_with_the_first_score() -> None:
    one = tracker(EventsConfig(half_life=5.0))
    assert one.smoothed == {}
    one.update(prediction(3.0, [0.1, 0.7, 0.2]))
    assert one.smoothed == pytest.approx({"still": 0.1, "waving": 0.7, "moving left": 0.2})


def test_unknown_is_a_state() -> None:
    one = tracker(EventsConfig(half_life=0.0, min_on=0.4, min_off=0.4, merge_gap=5.0))
    states = []
    for time, score in sample(box((1.0, 2.0)), 0.1, 4.0).items():
        one.update(prediction(time, [0.4, score, 0.0]))
        states.append((round(time, 1), one.stable.label if one.stable else None))
    known = [t for t, label in states if label == "waving"]
    assert (known[0], known[-1]) == (1.4, 2.3)
    assert {label for t, label in states if t not in known} == {None}
    assert one.open  # its end is still held for a neighbour; what is believed now is not


# ---- labels


def test_a_group_adds_its_labels() -> None:
    config = RAW.model_copy(update={"groups": {"moving": ("waving", "moving left")}})
    one = tracker(config)
    (event,) = one.update(prediction(0.0, [0.3, 0.4, 0.3]))
    assert event.label == "moving"
    assert event.score == pytest.approx(0.7)
    assert one.smoothed["waving"] == pytest.approx(0.4)
    assert one.update(prediction(0.1, [0.0, 0.9, 0.0])) == []  # a member is no event of its own
    assert [e.label for e in one.open] == ["moving"]


def test_a_group_of_independent_labels_takes_the_greatest() -> None:
    config = RAW.model_copy(update={"groups": {"moving": ("waving", "moving left")}})
    one = tracker(config, independent=True)
    one.update(prediction(0.0, [0.0, 0.4, 0.3]))
    assert one.smoothed["moving"] == pytest.approx(0.4)


def test_include_ignore_and_own_thresholds() -> None:
    scores = prediction(0.0, [0.6, 0.6, 0.6])
    assert [e.label for e in tracker(RAW).update(scores)] == list(LABELS)
    for update, expected in [
        ({"include": ("waving",)}, ["waving"]),
        ({"include": ()}, []),
        ({"ignore": ("still",)}, ["waving", "moving left"]),
        ({"include": ("waving", "still"), "ignore": ("still",)}, ["waving"]),
        ({"thresholds": {"waving": LabelRule(enter=0.7)}}, ["still", "moving left"]),
        ({"thresholds": {"waving": LabelRule(min_on=0.5)}}, ["still", "moving left"]),
        ({"groups": {"moving": ("waving", "moving left")}, "ignore": ("moving",)}, ["still"]),
        ({"groups": {"moving": ("waving", "moving left")}, "include": ("moving",)}, ["moving"]),
    ]:
        assert [e.label for e in tracker(RAW.model_copy(update=update)).update(scores)] == expected


def test_an_ignored_label_does_not_count_in_its_group() -> None:
    config = RAW.model_copy(update={"groups": {"moving": ("waving", "moving left")}, "ignore": ("waving",)})
    one = tracker(config)
    one.update(prediction(0.0, [0.0, 0.6, 0.4]))
    assert one.smoothed["moving"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("update", "where"),
    [
        ({"include": ("wavng",)}, "include"),
        ({"ignore": ("wavng",)}, "ignore"),
        ({"thresholds": {"wavng": LabelRule()}}, "thresholds"),
        ({"groups": {"moving": ("wavng",)}}, "groups"),
    ],
)
def test_a_label_that_the_model_does_not_have_is_an_error_with_the_nearest(
    update: dict[str, object], where: str
) -> None:
    with pytest.raises(ConfigError, match=rf"events\.{where}: 'wavng' .* did you mean 'waving'"):
        tracker(RAW.model_copy(update=update))


def test_a_group_may_not_take_the_name_of_a_label_outside_it() -> None:
    with pytest.raises(ConfigError, match="'still' is a label of m itself"):
        tracker(RAW.model_copy(update={"groups": {"still": ("waving",)}}))
    tracker(RAW.model_copy(update={"groups": {"still": ("waving", "still")}}))


# ---- what breaks off


def test_a_new_epoch_ends_events_where_they_were_last_seen_and_forgets_the_average() -> None:
    one = tracker(EventsConfig(half_life=10.0, min_on=0.0))
    one.update(prediction(0.0, [0.0, 0.9, 0.0]))
    one.update(prediction(1.0, [0.0, 0.9, 0.0]))
    (end,) = one.update(prediction(4.0, [0.0, 0.2, 0.0], epoch=1))
    assert (end.phase, end.reason) == (Phase.END, INTERRUPTED)
    assert end.ended == Moment(1.0, 1.7e9 + 1.0)
    assert one.smoothed["waving"] == pytest.approx(0.2)
    assert one.open == ()


def test_a_looped_file_ends_its_events_as_restarted() -> None:
    one = tracker(RAW)
    one.update(prediction(10.0, [0.0, 0.9, 0.0], media=9.5))
    end, start = one.update(prediction(10.5, [0.0, 0.9, 0.0], media=0.5, epoch=1))
    assert (end.phase, end.reason) == (Phase.END, RESTARTED)
    assert end.ended is not None
    assert end.ended.media == 9.5
    assert (start.phase, start.started.media) == (Phase.START, 0.5)
    assert start.id != end.id


def test_a_rise_is_not_counted_over_a_break() -> None:
    for later in (prediction(0.6, [0, 0.9, 0], epoch=1), prediction(60.0, [0, 0.9, 0])):
        one = tracker(EventsConfig(half_life=0.0, min_on=0.5))
        one.update(prediction(0.0, [0.0, 0.9, 0.0]))
        assert one.update(later) == []


def test_silence_ends_events() -> None:
    one = tracker(RAW)
    for i in range(10):
        one.update(prediction(i * 0.5, [0.0, 0.9, 0.0]))
    end, start = one.update(prediction(30.0, [0.0, 0.9, 0.0]))
    assert (end.phase, end.reason, start.phase) == (Phase.END, SILENT, Phase.START)
    assert end.ended is not None
    assert end.ended.time == 4.5


def test_a_slow_model_is_not_silence() -> None:
    scores = {i * 12.0: 0.9 if 2 <= i < 6 else 0.0 for i in range(10)}
    published = run(EventsConfig(half_life=0.4, min_on=0.4, min_off=0.6), scores, end=False)
    assert ended(published) == [(24.0, 60.0)]
    assert {e.reason for e in published} == {None}


def test_end_all_ends_what_goes_on_at_the_given_moment_and_what_fades_where_it_was_seen() -> None:
    config = EventsConfig(half_life=0.0, min_on=0.0, min_off=5.0)
    for scores, at, expected in [
        ([0.9, 0.9, 0.9], 1.2, 1.2),
        ([0.9, 0.9, 0.1], 1.2, 0.5),
        ([0.9, 0.9, 0.9], 0.3, 1.0),  # before its last window
        ([0.9, 0.9, 0.9], 1e6, 1.0),  # nobody can say
    ]:
        one = tracker(config)
        for i, score in enumerate(scores):
            one.update(prediction(i * 0.5, [0.0, score, 0.0]))
        (end,) = one.end_all(Moment(at, 1.7e9 + at), "stop")
        assert end.reason == "stop"
        assert end.ended == Moment(expected, 1.7e9 + expected)
        assert one.open == ()
        assert one.stable is None
        assert one.end_all(Moment(at, at), "again") == []


def test_predictions_that_say_nothing_change_nothing() -> None:
    one = tracker(RAW)
    one.update(prediction(1.0, [0.0, 0.9, 0.0], epoch=3))
    before = one.smoothed
    for bad in (
        prediction(1.0, [0.0, 0.0, 0.0], epoch=3),
        prediction(0.5, [0.0, 0.0, 0.0], epoch=3),
        prediction(2.0, [0.0, 0.0, 0.0], epoch=2),
        prediction(2.0, [0.0, math.nan, 0.0], epoch=3),
        prediction(2.0, [0.0, math.inf, 0.0], epoch=3),
    ):
        assert one.update(bad) == []
        assert one.smoothed == before
    with pytest.raises(ValueError, match="expected 3 scores"):
        one.update(prediction(2.0, [0.0, 0.0], epoch=3))


def test_a_wall_clock_that_is_set_back_does_not_end_an_event_before_it_starts() -> None:
    one = tracker(EventsConfig(half_life=0.0, min_on=0.1, min_off=0.0, merge_gap=0.0))
    one.update(prediction(0.0, [0, 0.9, 0], wall=1000.0))
    (start,) = one.update(prediction(0.5, [0, 0.9, 0], wall=500.0))
    (end,) = one.update(prediction(1.0, [0, 0.0, 0], wall=501.0))
    assert end.ended is not None
    assert start.started.wall <= start.decided.wall <= end.ended.wall


def test_ids_differ_between_trackers() -> None:
    events = [
        EventTracker("cam", "m", LABELS, RAW).update(prediction(0.0, [0, 0.9, 0]))[0].id for _ in range(100)
    ]
    assert len(set(events)) == 100
    assert all(len(one) == 12 for one in events)


# ---- properties


@st.composite
def configs(draw: st.DrawFn) -> EventsConfig:
    enter = draw(st.floats(0.2, 0.9))
    seconds = st.sampled_from([0.0, 0.1, 0.4, 1.0, 3.0])
    return EventsConfig(
        half_life=draw(seconds),
        enter=enter,
        exit=enter * draw(st.floats(0.1, 0.95)),
        min_on=draw(seconds),
        min_off=draw(seconds),
        merge_gap=draw(seconds),
    )


@st.composite
def predictions(draw: st.DrawFn) -> list[Prediction]:
    time, epoch, made = 0.0, 0, []
    steps = st.tuples(
        st.sampled_from([0.05, 0.1, 0.3, 1.0, 8.0]),
        st.integers(0, 20),
        st.tuples(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.0, 1.0])),
    )
    for step, chance, scores in draw(st.lists(steps, min_size=1, max_size=60)):
        time += step
        epoch += chance == 0
        made.append(prediction(time, scores, epoch=epoch))
    return made


@pytest.mark.training
@settings(max_examples=200, deadline=None)
@given(configs(), predictions())
def test_any_scores_give_events_that_make_sense(config: EventsConfig, made: list[Prediction]) -> None:
    one = tracker(config, independent=True)
    phases: dict[str, list[Event]] = {}
    open_now: dict[str, str] = {}
    last_published: dict[str, float] = {}
    seen: dict[str, float] = {}

    def check(events: list[Event], now: float) -> None:
        for event in events:
            history = phases.setdefault(event.id, [])
            if event.phase is Phase.START:
                assert not history
                assert event.label not in open_now  # at most one open event a label
                open_now[event.label] = event.id
                assert event.decided.time - event.started.time >= config.min_on - 1e-5
                assert event.score >= config.enter
            else:
                assert open_now[event.label] == event.id
                assert (event.started, event.decided) == (history[0].started, history[0].decided)
            if event.phase is Phase.UPDATE:
                assert now - last_published[event.id] >= 1.0 - 1e-5
            assert (event.ended is not None) == (event.phase is Phase.END)
            if event.ended is not None:
                del open_now[event.label]
                assert event.started.time <= event.decided.time <= event.ended.time <= now
                assert event.started.wall <= event.decided.wall <= event.ended.wall
            assert event.peak >= max([event.score, *(e.peak for e in history)])
            assert event.peak <= seen[event.label] + 1e-9
            last_published[event.id] = now
            history.append(event)

    for p in made:
        changes = one.update(p)
        for label, score in one.smoothed.items():
            seen[label] = max(seen.get(label, 0.0), score)
        check(changes, p.window.end)
        assert {e.label: e.id for e in one.open} == open_now
        assert one.stable is None or one.stable.label in open_now
    end = made[-1].window.end
    check(one.end_all(Moment(end, 1.7e9 + end), "stop"), end)
    assert not open_now
    for history in phases.values():
        order = [e.phase for e in history]
        assert order == [Phase.START, *[Phase.UPDATE] * (len(order) - 2), Phase.END]
    for label in LABELS:
        spans = sorted(
            (h[-1].started.time, h[-1].ended.time)
            for h in phases.values()
            if h[-1].label == label and h[-1].ended is not None
        )
        assert all(a[1] < b[0] for a, b in pairwise(spans))


@pytest.mark.training
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(3.0, 6.0), st.floats(3.0, 6.0)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.2, 0.4, 0.8]),
    st.floats(0.0, 0.99),
)
def test_the_events_do_not_depend_on_the_hop(
    spans: list[tuple[float, float]], half_life: float, phase: float
) -> None:
    config = EventsConfig(half_life=half_life, min_on=0.4, min_off=0.6, merge_gap=0.5)
    edges, time = [], 0.0
    for off, on in spans:
        edges.append((time + off, time + off + on))
        time += off + on
    signal = box(*edges)
    reference = ended(run(config, sample(signal, 0.02, time + 5), end=False))
    assert len(reference) == len(edges)
    for hop in (0.1, 0.25, 0.5):
        events = ended(run(config, sample(signal, hop, time + 5, phase * hop), end=False))
        assert len(events) == len(reference)
        for (start, end), (true_start, true_end) in zip(events, reference, strict=True):
            # A score stands for the hop before it, so a change is seen up to a hop early; a moment is that of
            # a window, so the start is up to a hop late and the end (the last window above) another early.
            assert abs(start - true_start) <= hop + 0.03
            assert -2 * hop - 0.03 <= end - true_end <= 0.03


def test_settings_that_a_model_recommends_hold_where_nobody_says_others() -> None:
    own = ModelLabels(("still", "waving"), events=(("half_life", 0.1), ("enter", 0.6)))
    assert events_for(EventsConfig(), own, LabelSet()).half_life == 0.1
    said = events_for(EventsConfig(half_life=0.4), own, LabelSet())
    assert (said.half_life, said.enter, said.exit) == (0.4, 0.6, 0.35)
    kept = events_for(EventsConfig(exit=0.7, enter=0.9), own, LabelSet())
    assert (kept.half_life, kept.enter) == (0.1, 0.9)


def test_a_model_that_speaks_of_a_moment_before_the_windows_end_dates_its_events_back() -> None:
    config = EventsConfig(half_life=0.0, enter=0.5, exit=0.3, min_on=0.4, min_off=0.4, merge_gap=0.0)
    scores = {round(0.2 * n, 1): 0.9 if 10 <= n <= 20 else 0.0 for n in range(30)}

    def times(lag: float) -> tuple[float, float, float]:
        one = EventTracker("cam", "m", LABELS, config, lag=lag)
        phases = [e for time, score in scores.items() for e in one.update(prediction(time, [0, score, 0]))]
        end = phases[-1]
        assert end.phase is Phase.END
        assert end.ended is not None
        return end.started.time, end.decided.time, end.ended.time

    assert times(0.0) == pytest.approx((2.0, 2.4, 4.0))
    assert times(0.45) == pytest.approx((1.55, 2.4, 3.55))


def test_an_event_shorter_than_the_models_lag_ends_not_before_it_starts() -> None:
    config = EventsConfig(half_life=0.0, enter=0.5, exit=0.3, min_on=0.0, min_off=0.0, merge_gap=0.0)
    one = EventTracker("cam", "m", LABELS, config, lag=1.0)
    phases = [
        e for time, score in ((1.0, 0.9), (1.2, 0.0)) for e in one.update(prediction(time, [0, score, 0]))
    ]
    assert [e.phase for e in phases] == [Phase.START, Phase.END]
    ended = phases[-1].ended
    assert ended is not None
    assert phases[-1].started.time <= ended.time


def test_each_phase_has_the_box_of_its_moment() -> None:
    one = EventTracker("cam", "m", LABELS, RAW, follows=True)

    def of_person(time: float, score: float) -> Prediction:
        seen = prediction(time, [0.0, score, 0.0])
        where = Track(4, (time / 10, 0.0, 0.1, 0.2))
        return replace(seen, window=replace(seen.window, track=where, follows=True))

    told = [event for t in (0.0, 1.0, 2.0) for event in one.update(of_person(t, 0.9))]
    assert [(e.phase, e.track.box[0] if e.track else None, e.follows) for e in told] == [
        (Phase.START, 0.0, True),
        (Phase.UPDATE, 0.1, True),
        (Phase.UPDATE, 0.2, True),
    ]
    last = Track(4, (0.25, 0.0, 0.1, 0.2))
    (end,) = one.end_all(Moment(2.5, 1.7e9 + 2.5), "track lost", last)
    assert (end.reason, end.track, end.ended) == ("track lost", last, Moment(2.5, 1.7e9 + 2.5))
