"""The front's side of leases: which workers there are, who holds which camera, and who may start events.

No sockets, no threads of its own: requests come in on the bus thread, looks from the controller. A camera is
given to a worker only when nobody else can hold it: its last holder has said that it stopped, or has been
silent for longer than a lease lasts. A front that was started waits that long before it gives anything away;
until then it takes over what workers say that they hold.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamer.cluster.lease_renewal import Renewal
from streamer.cluster.placement import Demand, Place, place
from streamer.cluster.worker_leases import LEASE, LOST, VERSION
from streamer.errors import RequestError

MOST_GRANTS = 100_000  # remembered: whose events with which lease may begin
SETTLE = 1.5  # seconds without a new worker until a front that was started gives cameras away
SETTLE_AT_MOST = 10.0
FORGOTTEN = 3600.0  # seconds after which a worker that is lost is not shown any more
UNPLACED = "unplaced"  # how reasons begin that another worker, or more room, would mend; a code of statuses
DEFAULT_HOP = 0.5  # seconds, of models that no worker has loaded yet


@dataclass
class Member:
    """One worker, as it was at its last request."""

    told: Renewal
    since: float  # monotonic seconds: it joined, or came back
    asked_at: float
    heard_at: float = -math.inf  # its messages arrive
    lost: bool = False
    draining: bool = False
    left: bool = False  # it has said that it ends


@dataclass(frozen=True)
class Wanted:
    """A camera that is to be watched."""

    definition: Mapping[str, Any]
    fingerprint: str
    hops: Mapping[str, float | None]  # model id -> seconds, where configured


@dataclass
class Loss:
    """What a look found."""

    lost: list[str] = field(default_factory=list)  # workers
    left: list[str] = field(default_factory=list)  # those of them that have ended as they should
    silent: list[str] = field(default_factory=list)  # workers that were lost before and say nothing


class Members:
    """Thread-safe. `clock`: monotonic seconds; `first_epoch`: greater than any of an earlier front."""

    def __init__(self, clock: Callable[[], float], first_epoch: int, *, lost_after: float = LOST) -> None:
        self._clock, self._lost_after = clock, lost_after
        self._lock = threading.RLock()
        self._members: dict[str, Member] = {}
        self._wanted: dict[str, Wanted] = {}
        self._common_print = ""
        self._owners: dict[str, tuple[str, int]] = {}  # camera -> who holds it, number of the lease
        self._targets: dict[str, str | None] = {}
        self._moved_at: dict[str, float] = {}
        self._grants: dict[int, tuple[str, str]] = {}  # number -> worker, camera
        self._first_epoch = self._epoch = first_epoch
        self._grace = clock() + lost_after
        self._settled = False  # cameras are given away from now on

    # ---- what is wanted

    def want(self, cameras: Mapping[str, Wanted], common_print: str) -> None:
        """All cameras that are to be watched from now on, and the fingerprint of what they share."""
        with self._lock:
            self._wanted = dict(cameras)
            self._common_print = common_print
            for camera in self._targets.keys() - cameras.keys():
                del self._targets[camera]

    def serving(self) -> None:
        """Requests are answered from now on. Until now workers have gone on without a front."""
        with self._lock:
            self._grace = max(self._grace, self._clock() + self._lost_after)

    def drain(self, name: str, leave: bool) -> Member:
        """Take all cameras from a worker and give it no more; or give it some again. Raises RequestError."""
        with self._lock:
            member = self._members.get(name)
            if member is None:
                known = ", ".join(self._members) or "none yet"
                raise RequestError("unknown_worker", f"there is no worker {name[:100]!r}; there are {known}")
            member.draining = leave
            return member

    # ---- requests

    def renew(self, told: Renewal, ready: bool) -> dict[str, Any]:
        """A worker's request; the answer. `ready`: its messages arrive here, and where they begin is written.

        Raises RequestError: another worker of this name lives.
        """
        with self._lock:
            now = self._clock()
            member = self._member(told, now)
            self._take_back(told, member)
            leases: dict[str, int] = {}
            for camera, target in self._targets.items():
                owner = self._owners.get(camera)
                if target != told.name:
                    continue
                if owner is None and ready and now >= self._grace:
                    owner = self._grant(camera, told.name, now)
                if owner is not None and owner[0] == told.name:
                    leases[camera] = owner[1]
            for camera, (owner_name, epoch) in self._owners.items():
                unplaced = camera in self._wanted and camera not in self._targets
                if owner_name == told.name and unplaced:
                    leases[camera] = epoch  # taken over from the front before; not looked at yet
            return self._answer(told, member, leases)

    def _member(self, told: Renewal, now: float) -> Member:
        member = self._members.get(told.name)
        if member is None:
            member = Member(told, now, now, draining=told.draining)
        elif member.told.process != told.process:
            # The same history: its file is locked, so the process before it has ended.
            if not member.lost and member.told.journal.id != told.journal.id:
                raise RequestError(
                    "name_taken", f"another worker called {told.name} lives; give each its own --name"
                )
            self._release_all(told.name)
            member = Member(told, now, now, draining=member.draining)
        elif told.n <= member.told.n:
            raise RequestError("stale", "a newer request of this worker has been answered already")
        elif member.lost:
            member.lost, member.since = False, now
        member.told, member.asked_at = told, now
        self._members[told.name] = member
        return member

    def _take_back(self, told: Renewal, member: Member) -> None:
        """Believe that a worker holds what nobody else does; take note of what it has let go."""
        for camera, epoch in told.have.items():
            self._epoch = max(self._epoch, epoch)
            if self._owners.get(camera) is None and camera in self._wanted:
                self._owners[camera] = (told.name, epoch)
                self._grants[epoch] = (told.name, camera)
                self._moved_at.setdefault(camera, member.since)
        for camera, (owner, epoch) in list(self._owners.items()):
            stopped = told.have.get(camera) != epoch
            moving = self._targets.get(camera, owner) != owner or camera not in self._wanted
            if owner == told.name and stopped and moving:
                del self._owners[camera]

    def _grant(self, camera: str, worker: str, now: float) -> tuple[str, int]:
        self._epoch += 1
        owner = self._owners[camera] = (worker, self._epoch)
        self._grants[self._epoch] = (worker, camera)
        self._moved_at[camera] = now
        if len(self._grants) > MOST_GRANTS:
            del self._grants[next(iter(self._grants))]
        return owner

    def _answer(self, told: Renewal, member: Member, leases: dict[str, int]) -> dict[str, Any]:
        define = {
            camera: self._wanted[camera].definition
            for camera in leases
            if told.defined.get(camera) != self._wanted[camera].fingerprint
        }
        answer: dict[str, Any] = {
            "version": VERSION,
            "lease": LEASE,
            "leases": leases,
            "define": define,
            "prints": {camera: self._wanted[camera].fingerprint for camera in define},
            "draining": member.draining,
            "common_print": self._common_print,
        }
        return answer

    def leave(self, name: str, process: str) -> None:
        """A worker has stopped watching and ends."""
        with self._lock:
            member = self._members.get(name)
            if member is not None and member.told.process == process:
                member.asked_at, member.left = -math.inf, True

    # ---- looks

    def heard(self, name: str) -> None:
        """A message of a worker has arrived."""
        with self._lock:
            if (member := self._members.get(name)) is not None:
                member.heard_at = self._clock()

    def look(self) -> Loss:
        """Who has been silent for too long; their cameras are free from now on."""
        with self._lock:
            now, found = self._clock(), Loss()
            for name, member in list(self._members.items()):
                silent = now - member.asked_at > self._lost_after
                if silent and not member.lost:
                    member.lost = True
                    found.lost.append(name)
                    if member.left:
                        found.left.append(name)
                    self._release_all(name)
                elif member.lost and now - member.heard_at > self._lost_after:
                    found.silent.append(name)
                if member.lost and now - max(member.asked_at, member.heard_at) > FORGOTTEN:
                    del self._members[name]
            if now >= self._grace and not self._more_may_come(now):
                self._place(now)
            return found

    def _more_may_come(self, now: float) -> bool:
        """A cluster that starts: workers join one after the other, and the first shall not get everything."""
        came = [member.since for member in self._members.values()]
        if came:
            self._settled |= now - max(came) >= SETTLE or now - min(came) >= SETTLE_AT_MOST
        return not self._settled

    def _place(self, now: float) -> None:
        workers = {
            name: Place(
                name,
                member.told.capacity,
                {model: one.speed for model, one in member.told.loaded.items()},
                member.since,
                member.draining,
                frozenset(self._refused(member)),
            )
            for name, member in self._members.items()
            if not member.lost and now - member.heard_at <= self._lost_after
        }
        hops = {
            model: one.hop for member in self._members.values() for model, one in member.told.loaded.items()
        }
        cameras = {
            name: Demand({m: 1.0 / (hop or hops.get(m, DEFAULT_HOP)) for m, hop in one.hops.items()})
            for name, one in self._wanted.items()
            if not self._refused_everywhere(name, workers)
        }
        at = {camera: owner for camera, (owner, _) in self._owners.items() if camera in cameras}
        for camera, target in self._targets.items():
            if target is not None and camera in cameras:
                at.setdefault(camera, target)
        self._targets = dict.fromkeys(self._wanted)
        self._targets.update(place(cameras, workers, at, self._moved_at, now))

    def _refused_everywhere(self, camera: str, workers: Mapping[str, Place]) -> bool:
        """No worker can run it: its model does not load, its settings do not fit."""
        return bool(workers) and all(camera in self._refused(self._members[name]) for name in workers)

    def _refused(self, member: Member) -> dict[str, str]:
        """Camera -> why a worker cannot watch it as it is defined now."""
        told = member.told
        return {
            camera: why
            for camera, why in told.failed.items()
            if (wanted := self._wanted.get(camera)) is not None
            and told.failed_as.get(camera, wanted.fingerprint) == wanted.fingerprint
        }

    def _release_all(self, name: str) -> list[str]:
        gone = [camera for camera, (owner, _) in self._owners.items() if owner == name]
        for camera in gone:
            del self._owners[camera]
        return gone

    # ---- what others ask

    def owner(self, camera: str) -> str | None:
        """Who holds a camera now."""
        with self._lock:
            found = self._owners.get(camera)
            return None if found is None else found[0]

    def member(self, name: str) -> Member | None:
        with self._lock:
            return self._members.get(name)

    def may_start(self, worker: str, camera: str, lease: object) -> bool:
        """Whether an event may begin: under a lease that this worker was given for this camera."""
        with self._lock:
            if not isinstance(lease, int):
                return False
            granted = self._grants.get(lease)
            # given by a front before this one, and not asked for again since: the worker's word counts
            return granted == (worker, camera) if granted is not None else lease <= self._first_epoch

    def unplaced(self) -> dict[str, str]:
        """Cameras that nobody watches -> why, for people."""
        with self._lock:
            found = {}
            alive = [name for name, member in self._members.items() if not member.lost]
            for camera in self._wanted:
                if camera in self._owners:
                    continue
                target = self._targets.get(camera)
                refused = map(self._refused, self._members.values())
                failed = next((one[camera] for one in refused if camera in one), None)
                if target is not None:
                    found[camera] = f"worker {target} is about to watch it"
                elif not alive:
                    found[camera] = f"{UNPLACED}: no worker is here"
                elif failed is not None:
                    found[camera] = f"{UNPLACED}: {failed}"
                elif self._clock() < self._grace or not self._settled:
                    found[camera] = "waiting for the workers that may hold it"
                else:
                    found[camera] = f"{UNPLACED}: no worker has room for it"
            return found

    def states(self) -> dict[str, dict[str, Any]]:
        """Worker -> its state and seconds since its last request, for heartbeats."""
        with self._lock:
            now = self._clock()
            return {
                name: {"state": self._state(name, member, now), "age": _age(now - member.asked_at)}
                for name, member in self._members.items()
            }

    def _state(self, name: str, member: Member, now: float) -> str:
        if member.lost:
            return "left" if member.left else "lost"
        if now - member.heard_at > self._lost_after:
            return "joining" if member.heard_at == -math.inf else "unheard"
        if member.draining:
            return "draining" if any(owner == name for owner, _ in self._owners.values()) else "drained"
        return "working" if any(owner == name for owner, _ in self._owners.values()) else "idle"

    def owners(self) -> dict[str, str]:
        """Camera -> worker."""
        with self._lock:
            return {camera: owner for camera, (owner, _) in self._owners.items()}


def _age(seconds: float) -> float | None:
    return round(seconds, 3) if math.isfinite(seconds) else None
