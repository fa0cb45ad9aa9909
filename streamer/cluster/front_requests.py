"""Requests that a front answers: workers renew their leases, people drain, the rest goes to workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from streamer.bus.encryption import ClientKeys
from streamer.cluster.front_leases import Members
from streamer.cluster.lease_renewal import Renewal, read_renewal
from streamer.cluster.worker_leases import VERSION
from streamer.errors import BusError, RequestError

if TYPE_CHECKING:
    from streamer.bus.requests import Answer, Handler, Peer

PATIENCE = 3.0  # seconds for a worker's answer
AT_ONCE = 4  # requests that are passed on at the same time
KEYS_OF_WORKERS = "worker"  # how the names of keys begin that may join


class FrontRequests:
    """`handlers` are for the publisher; they run on its thread and are quick.

    Args:
        keys: of a worker that said its server's key; None: it uses none.
        renew: a worker's request -> the answer.
        join: what a worker is told before it can renew.
        configured: cameras of the configuration, and what pages may know of it.
    """

    def __init__(
        self,
        members: Members,
        keys: Callable[[str], ClientKeys | None],
        renew: Callable[[Renewal], Mapping[str, Any]],
        join: Callable[[], Mapping[str, Any]],
        configured: Callable[[], tuple[list[str], Mapping[str, Any]]],
    ) -> None:
        self._members, self._keys, self._configured = members, keys, configured
        self._renew, self._join = renew, join
        self._pool = ThreadPoolExecutor(AT_ONCE, "pass-on")

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "join": self._joined,
            "renew": self._renewed,
            "leave": self._left,
            "drain": lambda request, peer: self._drained(request, peer, True),
            "undrain": lambda request, peer: self._drained(request, peer, False),
            "workers": lambda request, peer: {
                "workers": self._members.states(),
                "cameras": self._members.owners(),
                "models": self._loaded(),
            },
            "features": self._features,
            "labels": self._labels,
            "mark": self._of_camera,
            "scores": self._of_camera,
        }

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _loaded(self) -> dict[str, list[str]]:
        """Worker -> models that a camera need not wait for there; those that are lost have none."""
        members = {name: self._members.member(name) for name in self._members.states()}
        return {name: sorted(m.told.loaded) for name, m in members.items() if m is not None and not m.lost}

    def _joined(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        _may_work(peer)
        return self._join()

    def _renewed(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        _may_work(peer)
        return self._renew(read_renewal(dict(request), VERSION))

    def _left(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        _may_work(peer)
        self._members.leave(str(request.get("worker")), str(request.get("process")))
        return {}

    def _drained(self, request: Mapping[str, Any], peer: Peer, leave: bool) -> Mapping[str, Any]:
        if not (peer.local or peer.key is not None):
            raise RequestError("forbidden", "workers are drained from this machine, or with a key")
        name = request.get("worker")
        if not isinstance(name, str):
            raise RequestError("bad_request", "op 'drain' needs 'worker', its name")
        self._members.drain(name, leave)
        return {"worker": name, "cameras": [c for c, w in self._members.owners().items() if w == name]}

    # ---- passed on

    def _features(self, request: Mapping[str, Any], peer: Peer) -> Answer:
        """What the configuration says, and the labels of the first camera's model, which its worker knows."""
        cameras, offered = self._configured()
        owner = next(filter(None, map(self._members.owner, cameras)), None)
        if owner is None:
            return offered
        asked = self._ask(owner, {"op": "features"})

        def merged() -> Mapping[str, Any]:
            try:
                labels = asked.result(PATIENCE + 1.0).get("labels", [])
            except (RequestError, BusError, TimeoutError):
                labels = []  # colours go by the names of actions meanwhile
            return {**offered, "labels": labels}

        return _later(merged)

    def _labels(self, request: Mapping[str, Any], peer: Peer) -> Answer:
        if request.get("camera") is not None:
            return self._of_camera(request, peer)
        self._may(request, peer)
        workers = sorted(set(self._members.owners().values()))
        asked = [self._ask(name, request) for name in workers]

        def merged() -> Mapping[str, Any]:
            cameras: dict[str, Any] = {}
            change, refused = 0, None
            for future in asked:
                try:
                    told = future.result(PATIENCE + 1.0)
                except (RequestError, BusError) as error:
                    refused = error
                    continue
                cameras.update(told.get("cameras", {}))
                change = max(change, told.get("change", 0))
            if refused is not None and not cameras:
                raise refused
            return {"cameras": cameras, **({"change": change} if change else {})}

        return _later(merged)

    def _of_camera(self, request: Mapping[str, Any], peer: Peer) -> Answer:
        self._may(request, peer)
        camera = request.get("camera")
        known = self._configured()[0]
        if not isinstance(camera, str) or camera not in known:
            raise RequestError(
                "unknown_camera",
                f"there is no camera {str(camera)[:100]!r}; there are {', '.join(known[:50]) or 'none'}",
            )
        owner = self._members.owner(camera)
        if owner is None:
            raise RequestError("unplaced", f"no worker watches {camera} at the moment")
        return self._ask(owner, request)

    def _may(self, request: Mapping[str, Any], peer: Peer) -> None:
        """The worker sees us, not who asks: what it would refuse is refused here already."""
        if request.get("op") == "scores" or (request.get("op") == "labels" and request.get("labels") is None):
            return
        if not (peer.local or peer.key is not None):
            raise RequestError("forbidden", "that is done from this machine, or with an encryption key")

    def _ask(self, worker: str, request: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
        member = self._members.member(worker)
        fields = {key: value for key, value in request.items() if key not in ("op", "id")}

        def ask() -> Mapping[str, Any]:
            from streamer.bus.request_client import RequestClient

            if member is None:
                raise BusError(f"worker {worker} has gone")
            with RequestClient(member.told.requests, self._keys(member.told.key)) as client:
                told = client.ask(str(request["op"]), PATIENCE, **fields)
            return {key: value for key, value in told.items() if key not in ("v", "type", "id")}

        return self._pool.submit(ask)


def _later(work: Callable[[], Mapping[str, Any]]) -> Future[Mapping[str, Any]]:
    """On a thread of its own: it waits for others of the pool."""
    import threading

    future: Future[Mapping[str, Any]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - told to who asked
            future.set_exception(error)

    threading.Thread(target=run, name="merge-answers", daemon=True).start()
    return future


def _may_work(peer: Peer) -> None:
    """Raises RequestError where somebody may read only."""
    if peer.key is not None and not peer.key.startswith(KEYS_OF_WORKERS):
        raise RequestError(
            "forbidden",
            f"the key {peer.key!r} may read, not join: allow a worker's key under a name that begins with"
            f" '{KEYS_OF_WORKERS}', as in: streamer keys allow client.key --name worker-2",
        )
    if peer.key is None and not peer.local:
        raise RequestError("forbidden", "workers on other machines join with a key: streamer keys new")
