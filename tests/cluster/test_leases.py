"""Who may watch what, without sockets: a worker's leases, a front's members and grants, placement."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.cluster.front_leases import Members, Wanted
from streamer.cluster.lease_renewal import JournalPlace, Loaded, Renewal, read_renewal
from streamer.cluster.placement import HOLD_OFF, Demand, Place, place
from streamer.cluster.worker_leases import LEASE, LOST, Leases, lease_clock
from streamer.errors import RequestError
from streamer.types import Phase
from tests.helpers.bus_parts import event

HALF = Demand({"m": 2.0})


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Cluster:
    """A front's members, and workers that do what they are told at once."""

    def __init__(self, *cameras: str) -> None:
        self.time = Time()
        self.members = Members(self.time, 100)
        self.have: dict[str, dict[str, int]] = {}
        self.n = 0
        self.want(*cameras)

    def want(self, *cameras: str) -> None:
        self.members.want({name: Wanted({"name": name}, name, {"m": 1.0}) for name in cameras}, "common")

    def told(self, name: str, **more: Any) -> Renewal:
        self.n += 1
        fields: dict[str, Any] = {
            "v": 1, "name": name, "process": f"{name}-1", "n": self.n, "endpoint": "tcp://h:1",
            "requests": "tcp://h:2", "journal": JournalPlace(f"j-{name}", "s", 0),
            "have": self.have.get(name, {}), "defined": {}, "capacity": 10,
        }  # fmt: skip
        return Renewal(**{**fields, **more})

    def renew(self, *names: str, **more: Any) -> None:
        for name in names:
            self.members.heard(name)
            self.have[name] = dict(self.members.renew(self.told(name, **more), True)["leases"])

    def pass_time(self, seconds: float, *alive: str) -> list[str]:
        """Who was lost meanwhile."""
        lost = []
        for _ in range(round(seconds / 0.5)):
            self.time.now += 0.5
            self.renew(*alive)
            lost += self.members.look().lost
        return lost


def test_cameras_are_given_after_the_grace_and_to_one_worker_each() -> None:
    cluster = Cluster("a", "b", "c", "d")
    cluster.pass_time(LOST - 0.5, "w1", "w2")
    assert cluster.have == {"w1": {}, "w2": {}}, "somebody may still hold them"
    cluster.pass_time(2.0, "w1", "w2")
    assert len(cluster.have["w1"]) == len(cluster.have["w2"]) == 2
    assert set(cluster.have["w1"]) | set(cluster.have["w2"]) == {"a", "b", "c", "d"}


def test_a_front_that_was_started_anew_takes_over_what_workers_hold() -> None:
    cluster = Cluster("a", "b")
    cluster.have["w1"] = {"a": 7_000}
    cluster.renew("w1")
    assert cluster.have["w1"] == {"a": 7_000}, "it goes on under the lease that it has"
    cluster.pass_time(LOST + 1, "w1")
    assert cluster.have["w1"]["a"] == 7_000
    assert cluster.have["w1"]["b"] > 7_000


def test_a_silent_workers_cameras_go_to_another_only_when_its_lease_has_run_out() -> None:
    cluster = Cluster("a")
    cluster.pass_time(LOST + 1, "w1")
    cluster.pass_time(1.0, "w1", "w2")
    held = cluster.have["w1"]["a"]
    assert cluster.pass_time(LEASE, "w2") == []
    assert cluster.have["w2"] == {}
    assert cluster.pass_time(LOST - LEASE + 1.0, "w2") == ["w1"]
    assert cluster.have["w2"]["a"] > held
    assert not cluster.members.may_start("w1", "a", cluster.have["w2"]["a"])
    assert cluster.members.may_start("w1", "a", held), "what it saw while it held the lease is told"
    assert not cluster.members.may_start("w2", "a", held)
    cluster.have["w1"] = {}  # it has noticed too
    cluster.pass_time(1.0, "w1", "w2")
    assert cluster.have["w1"] == {}


def test_a_camera_moves_only_when_its_holder_says_that_it_stopped() -> None:
    cluster = Cluster("a")
    cluster.pass_time(LOST + 1, "w1")
    cluster.pass_time(1.0, "w1", "w2")
    cluster.members.drain("w1", True)
    before = dict(cluster.have["w1"])
    cluster.members.look()
    answer = cluster.members.renew(cluster.told("w1"), True)
    assert answer["leases"] == {}
    assert answer["draining"]
    cluster.renew("w2")
    assert cluster.have["w2"] == {}, "w1 has not said that it stopped"
    cluster.have["w1"] = before
    cluster.members.renew(cluster.told("w1"), True)  # still stopping
    cluster.renew("w2")
    assert cluster.have["w2"] == {}
    cluster.members.renew(cluster.told("w1", have={}), True)
    cluster.renew("w2")
    assert set(cluster.have["w2"]) == {"a"}
    assert cluster.members.states()["w1"]["state"] == "drained"


def test_requests_that_come_late_or_from_a_namesake_are_refused() -> None:
    cluster = Cluster("a")
    late = cluster.told("w1")
    cluster.renew("w1")
    with pytest.raises(RequestError, match="newer"):
        cluster.members.renew(late, True)
    with pytest.raises(RequestError, match="another worker called w1"):
        cluster.renew("w1", process="other", journal=JournalPlace("elsewhere", "s", 0))
    cluster.renew("w1", process="its next run")


def test_a_camera_that_fits_nowhere_is_said_to_be_unplaced() -> None:
    cluster = Cluster("a", "b")
    assert "no worker is here" in cluster.members.unplaced()["a"]
    cluster.pass_time(LOST + 1)
    for _ in range(6):
        cluster.time.now += 0.5
        cluster.renew("w1", capacity=1)
        cluster.members.look()
    assert cluster.members.unplaced() == {"b": "unplaced: no worker has room for it"}
    cluster.want("b")
    for _ in range(3):
        cluster.renew("w1", capacity=1)
        cluster.members.look()
    assert cluster.members.unplaced() == {}


def test_a_request_of_another_version_or_shape_is_refused() -> None:
    with pytest.raises(RequestError, match="same release"):
        read_renewal({"v": 99}, 1)
    with pytest.raises(RequestError, match="renew"):
        read_renewal({"v": 1, "name": "../x"}, 1)


# --- the worker's side


def test_a_start_is_told_only_while_the_lease_holds() -> None:
    leases = Leases()
    assert leases.admit(event("early")) is None
    assert leases.admit(event("early", Phase.END)) is None, "nor what follows it"
    leases.renewed(lease_clock(), {"cam0": 5}, 100.0)
    assert leases.hold
    assert leases.admit(event("e")) == {"lease": 5}
    assert leases.admit(event("other", camera="cam1")) is None
    leases.renewed(lease_clock(), {}, 100.0)
    assert leases.admit(event("late")) is None
    assert leases.admit(event("e", Phase.END)) == {}, "what was begun is ended"
    leases.drop()
    assert not leases.hold
    leases.extended(lease_clock() + 100.0)
    assert not leases.hold, "what has run out is not held on to"


# --- placement


def workers(**more: Any) -> dict[str, Place]:
    return {name: Place(name, **({"capacity": 4} | more)) for name in ("w1", "w2")}


def test_placement_is_sticky_first() -> None:
    cameras = dict.fromkeys("abcd", HALF)
    at = dict.fromkeys("abc", "w1")
    placed = place(cameras, workers(), at, {}, 0.0)
    assert {placed[name] for name in "abc"} == {"w1"}
    assert placed["d"] == "w2"


def test_placement_by_cost_and_capacity() -> None:
    fast = Place("fast", speeds={"m": 40.0})
    slow = Place("slow", speeds={"m": 5.0})
    cameras = {f"c{n}": HALF for n in range(30)}
    placed = place(cameras, {"fast": fast, "slow": slow}, {}, {}, 0.0)
    count = {name: sum(worker == name for worker in placed.values()) for name in ("fast", "slow", None)}
    assert count == {"fast": 18, "slow": 2, None: 10}, "0.05 and 0.4 of their time for each camera"


def test_a_camera_goes_where_its_model_is_loaded() -> None:
    there = {"w1": Place("w1"), "w2": Place("w2", speeds={"m": 100.0})}
    assert place({"a": HALF}, there, {}, {}, 0.0) == {"a": "w2"}


def test_one_camera_moves_back_after_the_hold_off() -> None:
    cameras = dict.fromkeys("abcd", HALF)
    at = dict.fromkeys("abcd", "w1")
    moved = dict.fromkeys("abcd", 0.0)
    new = {
        "w1": Place("w1", speeds={"m": 10.0}, since=0.0),
        "w2": Place("w2", speeds={"m": 10.0}, since=50.0),
    }
    assert set(place(cameras, new, at, moved, 60.0).values()) == {"w1"}
    levelled = place(cameras, new, at, moved, 50.0 + HOLD_OFF)
    assert list(levelled.values()).count("w2") == 1
    assert Loaded(10.0, 0.5).speed == 10.0


def test_a_camera_does_not_go_back_to_where_it_failed() -> None:
    there = {"w1": Place("w1", refuses=frozenset("a")), "w2": Place("w2", capacity=0)}
    assert place({"a": HALF}, there, {"a": "w1"}, {}, 0.0) == {"a": None}


def test_a_camera_that_was_refused_everywhere_is_tried_again_when_it_is_edited() -> None:
    cluster = Cluster("a")
    cluster.pass_time(LOST + 2, "w1")
    assert set(cluster.have["w1"]) == {"a"}
    refused: dict[str, Any] = {"have": {}, "failed": {"a": "no label waving"}, "failed_as": {"a": "a"}}
    for _ in range(3):
        cluster.renew("w1", **refused)
        cluster.members.look()
    assert cluster.have["w1"] == {}
    assert cluster.members.unplaced() == {"a": "unplaced: no label waving"}
    cluster.members.want({"a": Wanted({"name": "a"}, "a, edited", {"m": 1.0})}, "common")
    cluster.members.look()
    cluster.renew("w1", **refused)
    assert set(cluster.have["w1"]) == {"a"}


def test_a_front_that_took_long_to_start_waits_from_when_it_answers() -> None:
    cluster = Cluster("a")
    cluster.time.now += LOST  # workers saw nobody listen meanwhile, and went on
    cluster.members.serving()
    cluster.pass_time(LOST - 0.5, "w1")
    assert cluster.have["w1"] == {}
    cluster.pass_time(2.0, "w1")
    assert set(cluster.have["w1"]) == {"a"}
