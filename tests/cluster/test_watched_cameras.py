"""What a worker makes of what its front wants: cameras come and go as leases and definitions say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamer.cluster import watched_cameras
from streamer.cluster.camera_definitions import camera_json, fingerprint, models_json, models_of
from streamer.cluster.watched_cameras import WatchedCameras
from streamer.cluster.worker_leases import Leases, lease_clock
from streamer.config import CameraConfig, Config
from streamer.errors import ModelLoadError
from streamer.types import Phase, Stats
from tests.helpers.bus_parts import DEADLINE, event, until

FOR_EVER = 1e6  # seconds


class Cameras:
    """What stands for the pipeline: notes what comes and goes. `opening` is called with a camera's name."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.opening: Callable[[str], None] = lambda name: None

    def stats(self) -> Stats:
        return Stats(0.0, 0.0, 0.0, ready_since=0.0)

    def add(self, camera: CameraConfig) -> None:
        self.opening(camera.name)
        self.told.append(("came", camera.name))

    def remove(self, name: str, reason: str) -> bool:
        self.told.append(("went", name, reason))
        return True


class Worker:
    def __init__(self) -> None:
        self.leases, self.cameras = Leases(), Cameras()
        self.watched = WatchedCameras(self.leases, lambda *_: pytest.fail("nothing is loaded here"))

    def lease(self, **epochs: int) -> None:
        self.leases.renewed(lease_clock(), epochs, FOR_EVER)

    def want(self, *broken: str, **epochs: int) -> None:
        """The front wants these cameras, and says of them what it has not said before."""
        known = self.watched.defined()
        define = {name: defined(name) for name in epochs if name not in known}
        define |= {name: {"name": name, "what": "?"} for name in broken}
        self.watched.wanted(epochs, define, {name: fingerprint(one) for name, one in define.items()})
        self.lease(**epochs)

    def told(self, *wanted: tuple[str, ...]) -> None:
        until(lambda: self.cameras.told == list(wanted), f"{wanted}, not {self.cameras.told}")


def defined(name: str) -> dict[str, Any]:
    camera = CameraConfig(name=name, source="demo")
    return camera_json(Config(cameras=(camera,)), camera)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made, over = Worker(), threading.Event()
    thread = threading.Thread(target=made.watched.run, args=(made.cameras, over))
    thread.start()
    yield made
    over.set()
    thread.join(DEADLINE)


def test_an_event_that_began_while_the_lease_had_run_out_for_a_moment_is_told_after_all(
    worker: Worker,
) -> None:
    worker.want(cam0=5, cam1=6)
    worker.told(("came", "cam0"), ("came", "cam1"))
    worker.leases.drop()
    assert worker.leases.admit(event("silenced")) is None
    worker.lease(cam0=5, cam1=6)  # sooner than anybody saw it
    until(lambda: ("went", "cam0", "lease lost") in worker.cameras.told, "it is opened anew")
    until(lambda: worker.cameras.told.count(("came", "cam0")) == 2)
    assert worker.leases.admit(event("silenced", Phase.END)) is None
    assert worker.leases.admit(event("the same")) == {"lease": 5}
    until(lambda: not worker.leases.withheld())


def test_a_camera_that_others_may_have_had_meanwhile_is_opened_anew(worker: Worker) -> None:
    worker.want(cam0=5)
    worker.told(("came", "cam0"))
    worker.want(cam0=9)
    worker.told(("came", "cam0"), ("went", "cam0", "lease lost"), ("came", "cam0"))


def test_a_definition_that_is_not_understood_concerns_its_camera_alone(worker: Worker) -> None:
    worker.want("strange", cam0=1, strange=2)
    worker.told(("came", "cam0"))
    assert "not understood" in worker.watched.failed()["strange"]
    assert worker.watched.holding() == {"cam0": 1}
    worker.want("cam0", cam0=1)
    worker.told(("came", "cam0"), ("went", "cam0", "camera changed"))
    until(lambda: worker.watched.holding() == {})
    assert set(worker.watched.failed()) == {"cam0", "strange"}
    told = models_json(Config(cameras=(CameraConfig(name="a", source="demo"),)))
    assert models_of([{"name": "new", "model": {"what": "?"}}, *told]) == models_of(told)


def test_a_lease_that_has_run_out_does_not_wait_for_a_model(worker: Worker) -> None:
    asked, let = threading.Event(), threading.Event()

    def load(name: str) -> None:
        if name == "slow":
            asked.set()
            assert let.wait(DEADLINE)

    worker.cameras.opening = load
    worker.want(cam0=1)
    worker.told(("came", "cam0"))
    worker.want(cam0=1, slow=2)
    try:
        assert asked.wait(DEADLINE)
        assert worker.watched.holding() == {"cam0": 1, "slow": 2}
        worker.leases.drop()
        worker.told(("came", "cam0"), ("went", "cam0", "lease lost"))
    finally:
        let.set()
    until(lambda: ("went", "slow", "lease lost") in worker.cameras.told, "nor is the slow one kept")


@pytest.mark.parametrize("error", [ModelLoadError("the disk is not mounted"), RuntimeError("no memory")])
def test_what_failed_for_a_reason_that_passes_is_tried_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(watched_cameras, "RETRY", 0.2)
    tries: list[str] = []

    def load(name: str) -> None:
        tries.append(name)
        if tries.count("cam0") == 1 and name == "cam0":
            raise error

    worker.cameras.opening = load
    worker.want(cam0=1, cam1=2)
    until(lambda: sorted(worker.cameras.told) == [("came", "cam0"), ("came", "cam1")])
    assert sorted(tries) == ["cam0", "cam0", "cam1"]
    assert worker.watched.failed() == {}
    assert worker.watched.holding() == {"cam0": 1, "cam1": 2}


def test_the_log_says_once_what_is_to_be_watched(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamer.cluster.watched_cameras")
    worker.want(cam1=1, cam0=1)
    worker.want(cam1=1, cam0=1)  # a renewal
    worker.want(cam1=2, cam0=1)  # another lease of the same camera
    worker.want(**{f"cam{n}": 1 for n in range(7)})
    worker.want()
    assert [line for line in caplog.messages if "to watch" in line] == [
        "cameras to watch: cam0, cam1",
        "cameras to watch: cam0, cam1, cam2, cam3, cam4 and 2 more",
        "cameras to watch: none",
    ]
