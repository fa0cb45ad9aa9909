"""The front of a cluster: what subscribers connect to, and what tells workers which cameras to watch.

One publisher with its own session, numbers and history; a follower for each worker; a controller that
looks ten times a second at who is lost, where cameras belong, and what the configuration says now.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from streamer.bus import Publisher, Sink, wire
from streamer.bus.encryption import ClientKeys, KeyPair
from streamer.cluster.camera_definitions import camera_json, common_json, fingerprint, models_json
from streamer.cluster.front_leases import UNPLACED, Members, Wanted
from streamer.cluster.front_requests import FrontRequests
from streamer.cluster.front_stats import REMOVED, FrontStats
from streamer.cluster.lease_renewal import Renewal
from streamer.cluster.worker_follower import Follower
from streamer.cluster.worker_leases import LOST, VERSION
from streamer.config import Config
from streamer.errors import StreamerError
from streamer.system import memory
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.file_watch import FileWatch
from streamer.types import CameraState, CameraStatus, Stats

log = logging.getLogger(__name__)

LOOK = 0.1  # seconds between two looks of the controller
REPEAT = 5.0  # seconds between two statuses of a camera that nobody watches
AGAIN = 2.0  # seconds between two ends of what silent workers left open
JOIN = 0.5  # seconds for threads at the end


class Front:
    """A context manager: it serves from entering on, `run` returns when `stop` is set.

    Args:
        config: cameras and all that they inherit; `bus`, `journal` and `metrics` are the front's own.
        sinks: get every message as sent.
        config_file, reload: cameras that are edited there are taken over.
        lost_after: seconds of a worker's silence after which its cameras are given away.

    Raises (on entering):
        BusError: an endpoint cannot be bound, or keys are missing.
    """

    def __init__(
        self,
        config: Config,
        *,
        sinks: Sequence[Sink] = (),
        config_file: Path | None = None,
        reload: Callable[[], Config] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        lost_after: float = LOST,
    ) -> None:
        self._config, self._reload, self._clock, self._lost_after = config, reload, clock, lost_after
        self._members = Members(clock.monotonic, int(clock.wall() * 1000), lost_after=lost_after)
        self._stats = FrontStats(clock, self._members)
        self._sinks = (*sinks, self._stats)
        self._watch = FileWatch([config_file] if config_file is not None else [])
        self._pair = KeyPair.new() if config.bus.keys is not None else None
        self._requests = FrontRequests(
            self._members, self._keys_for, self._renew, self._join, self._configured
        )
        self._followers: dict[str, Follower] = {}  # changed on the bus thread, read by others
        # camera -> why nobody watches it; when that was said (monotonic), since when (Unix)
        self._told: dict[str, tuple[str, float, float]] = {}
        self._known: set[str] = set()  # cameras that subscribers know of
        self._watched: set[str] = set()  # cameras that some worker has had
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._control, name="controller", daemon=True)
        self._take(config)

    def __enter__(self) -> Self:
        memory.prepare()
        self._publisher = Publisher(
            self._config.bus,
            self._config.journal,
            sinks=self._sinks,
            clock=self._clock,
            on_problem=self.warn,
            handlers=self._requests.handlers,
            keeps_open=True,
            beat=lambda: {"workers": self._members.states()},
        )
        self._publisher.__enter__()
        self._members.serving()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(JOIN)
        followers = list(self._followers.values())
        for follower in followers:
            follower.stop()
        for follower in followers:
            follower.join(JOIN)
        self._requests.close()
        self._publisher.close()

    @property
    def endpoint(self) -> str:
        """Where subscribers connect; "" without a bus."""
        return self._publisher.endpoint

    @property
    def requests_endpoint(self) -> str | None:
        """What workers join."""
        return self._publisher.requests_endpoint

    @property
    def members(self) -> Members:
        """Which workers there are, and what they watch."""
        return self._members

    def warn(self, text: str) -> None:
        """Something that people should know: in the log, and on the screen."""
        log.warning("%s", text)
        self._stats.note(text)

    def stats(self) -> Stats:
        """What is known, for screen, health and metrics; any thread."""
        return self._stats.stats(self._publisher.state())

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        while not self._clock.wait(stop, LOOK):
            if not self._thread.is_alive():
                raise StreamerError("the controller has ended; the log says why")

    # ---- requests, on the bus thread

    def _renew(self, told: Renewal) -> Mapping[str, Any]:
        follower = self._followers.get(told.name)
        same = follower is not None and follower.told.process == told.process
        ready = False
        member = self._members.member(told.name)
        if same and follower is not None and member is not None:
            heard = self._clock.monotonic() - member.heard_at <= self._lost_after
            ready = follower.ready and heard
        answer = self._members.renew(told, ready)
        if not same:  # after it was accepted
            self._follow(told)
        models = self._models if told.models != self._models_print else None
        answer = {**answer, "models": models, "models_print": self._models_print}
        return {**answer, "key": None if self._pair is None else self._pair.public.decode()}

    def _join(self) -> Mapping[str, Any]:
        """What a worker needs before it can be anything: what all cameras share."""
        return {
            "version": VERSION,
            "common": self._common,
            "common_print": fingerprint(self._common),
            "key": None if self._pair is None else self._pair.public.decode(),
        }

    def _follow(self, told: Renewal) -> None:
        before = self._followers.get(told.name)
        if before is not None:
            before.stop()
        keys = self._keys_for(told.key)
        follower = Follower(told, keys, self._publisher, self._members, self.warn, before)
        self._followers[told.name] = follower
        follower.start(one.told.journal.id for one in self._followers.values())

    def _keys_for(self, key: str) -> ClientKeys | None:
        return None if self._pair is None or not key else ClientKeys(self._pair, key.encode())

    def _configured(self) -> tuple[list[str], Mapping[str, Any]]:
        config = self._config
        features = {
            "pictures": {
                "live": config.preview is not None, "snapshots": config.recording.snapshots,
                "clips": config.recording.clips, "folder": None,
            },
            "marks": bool(config.uncertain.folder),
            "models": {},
        }  # fmt: skip
        return [camera.name for camera in config.cameras if camera.enabled], features

    # ---- the controller

    def _control(self) -> None:
        away_at = self._clock.monotonic() + 2 * self._lost_after
        ends_at = trim_at = away_at
        while not self._clock.wait(self._over, LOOK):
            try:
                now = self._clock.monotonic()
                found = self._members.look()
                for worker in found.lost:
                    if worker not in found.left:
                        self.warn(f"worker {worker} is lost: its cameras go to others")
                    self._publisher.end_left_open(worker, "worker lost")
                if now >= ends_at:  # what came late of those that are gone, and of those that never came back
                    ends_at = now + AGAIN
                    silent = [w for w in self._publisher.left_by if self._members.member(w) is None]
                    for worker in (*found.silent, *silent):
                        self._publisher.end_left_open(worker, "worker lost")
                self._unfollow()
                self._tell_unplaced(now)
                self._edited()
                if now >= trim_at:
                    trim_at = now + memory.TRIM_EVERY
                    memory.trim()
                self._stats.looked()
            except Exception:  # the thread's top: one bad look must not end the cluster
                log.exception("the controller failed at something")

    def _unfollow(self) -> None:
        """Workers that are forgotten will not come back under their names."""
        for name, follower in list(self._followers.items()):
            if self._members.member(name) is None and self._followers.get(name) is follower:
                del self._followers[name]
                follower.stop()

    def _tell_unplaced(self, now: float) -> None:
        unplaced = self._members.unplaced()
        self._watched |= self._members.owners().keys()
        for camera, why in unplaced.items():
            before = self._told.get(camera)
            if before is None or before[0] != why or now - before[1] >= REPEAT:
                # at the start nothing is wrong with cameras that wait for workers
                wrong = why.startswith(UNPLACED) or camera in self._watched
                code = UNPLACED if wrong else None
                since = self._clock.wall() if before is None else before[2]
                status = CameraStatus(camera, CameraState.CONNECTING, since, why, code)
                self._told[camera] = (why, now, since)
                self._publisher.forward(wire.status_body(status, now))
        for camera in self._told.keys() - unplaced.keys():
            del self._told[camera]
        wanted = {camera.name for camera in self._config.cameras if camera.enabled}
        held = self._members.owners()
        for camera in [name for name in self._known - wanted if name not in held]:
            self._known.discard(camera)
            self._watched.discard(camera)
            status = CameraStatus(camera, CameraState.ENDED, self._clock.wall(), REMOVED)
            self._publisher.forward(wire.status_body(status, now))
            self._publisher.forget(camera)
        self._known |= wanted

    def _edited(self) -> None:
        """Take over an edited configuration; a broken one is reported, and nothing changes."""
        if self._reload is None or not self._watch.changed():
            return
        try:
            self._take(self._reload())
        except StreamerError as error:
            self.warn(f"the edited configuration is not used: {error}")

    def _take(self, config: Config) -> None:
        wanted = {}
        for camera in config.cameras:
            if camera.enabled:
                told = camera_json(config, camera)
                hops = {model.id: model.hop for model in config.models_of(camera)}
                wanted[camera.name] = Wanted(told, fingerprint(told), hops)
        common = common_json(config)
        self._common = common
        self._models = models_json(config)
        self._models_print = fingerprint({"models": self._models})
        self._members.want(wanted, fingerprint(common))
        self._config = config
