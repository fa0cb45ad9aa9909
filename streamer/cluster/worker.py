"""A worker: joins a front, watches the cameras that it is given, and stops when its lease has run out."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import uuid
from pathlib import Path
from typing import Any

from streamer.bus import endpoints
from streamer.bus.key_store import allow, new_pair
from streamer.bus.request_client import RequestClient
from streamer.cluster.camera_definitions import common_of
from streamer.cluster.front_link import FrontLink
from streamer.cluster.watched_cameras import WatchedCameras
from streamer.cluster.worker_leases import RENEW, VERSION, Leases
from streamer.cluster.worker_settings import WorkerSettings
from streamer.config import Config
from streamer.errors import BusError, RequestError
from streamer.metrics.monitoring import Monitoring
from streamer.pipeline.lane_pool import Load
from streamer.pipeline.pipeline import Pipeline
from streamer.pipeline.results import Ending
from streamer.recognition.loaded_models import LoadedModels
from streamer.system.addresses import bracketed
from streamer.system.private_files import private_folder
from streamer.system.user_folders import state_folder

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds for a front's first answer
REFUSED = ("version", "forbidden")  # answers that another try does not change
HEARTBEAT = 0.5  # seconds


def run_worker(settings: WorkerSettings, stop: threading.Event, *, load: Load | None = None) -> bool:
    """Work for a front until `stop` is set; any thread. Starts empty: cameras and models come from the front.

    A front that is away is looked for again for ever. Where it is out of reach, cameras are let go when their
    lease has run out; what was seen until then waits in the history.

    Args:
        load: makes a model's recognizer; None: checkpoints are loaded, and stay loaded.

    Returns whether a hanging native call was left behind: then the process should leave by `os._exit`.

    Raises:
        BusError: the endpoints or keys cannot be used, or the front refuses this worker for good.
        ModelError: recognition failed for good; start the process anew.
    """
    models = LoadedModels()
    try:
        with RequestClient(settings.join, settings.keys) as client:
            abandoned = False
            while not stop.is_set() and not abandoned:
                joined = _join(client, settings, stop)
                if joined is not None:
                    log.info("joined %s as %s", settings.join, settings.known_as)
                    abandoned = _work(client, joined, settings, stop, load or models.load)
        return abandoned
    finally:
        models.close()


def _join(client: RequestClient, settings: WorkerSettings, stop: threading.Event) -> dict[str, Any] | None:
    """What the front tells a newcomer; None where stopped meanwhile."""
    silent = False
    while not stop.is_set():
        try:
            return client.ask("join", PATIENCE, v=VERSION, name=settings.known_as)
        except RequestError as error:
            if error.code == "unknown_op":
                raise BusError(
                    f"{settings.join} is no front: give the requests endpoint of 'streamer cluster'"
                ) from None
            if error.code in REFUSED:
                raise BusError(f"{settings.join} refuses this worker: {error}") from error
            log.warning("%s: %s", settings.join, error)
        except BusError as error:
            if not silent:
                log.warning("%s; tried again until it does", error)
            silent = True
        stop.wait(RENEW)
    return None


def _work(
    client: RequestClient, joined: dict[str, Any], settings: WorkerSettings, stop: threading.Event, load: Load
) -> bool:
    """Until `stop` is set, or the common settings change; whether a native call was left behind."""
    state = _state(settings)
    key = _own_keys(state / "keys", joined.get("key"))
    config = _configuration(joined["common"], settings, state, key is not None)
    leases, over = Leases(), threading.Event()
    watched = WatchedCameras(leases, load)
    with Pipeline(config, load=watched.load, endless=True, admit=leases.admit) as pipeline:
        link = FrontLink(
            client, settings, leases, watched, pipeline, joined["common_print"], key,
            lambda front_key: _let_front_in(state / "keys", front_key), uuid.uuid4().hex,
        )  # fmt: skip
        ended = threading.Event()
        threads = [
            threading.Thread(target=link.run, args=(over, ended), name="renewal", daemon=True),
            threading.Thread(target=watched.run, args=(pipeline, over), name="assignments", daemon=True),
            threading.Thread(target=_pass_on, args=(stop, ended, over), name="stop", daemon=True),
        ]
        for thread in threads:
            thread.start()
        with Monitoring(config.metrics, pipeline.stats):
            result = pipeline.run(over)
        over.set()
        leases.drop()
        for thread in threads[:2]:
            thread.join(PATIENCE + 1.0)
        if result.ending is Ending.FAILED and result.error is not None:
            raise result.error
        link.leave()
        return pipeline.abandoned


def _pass_on(stop: threading.Event, ended: threading.Event, over: threading.Event) -> None:
    """Either ends the work."""
    while not (stop.wait(0.1) or ended.is_set() or over.is_set()):
        pass
    over.set()


def _configuration(common: dict[str, Any], settings: WorkerSettings, state: Path, encrypted: bool) -> Config:
    own = {
        "bus": {
            "bind": settings.bind or f"tcp://{bracketed(_address_towards(settings.join))}:0",
            "keys": str(state / "keys") if encrypted else None,
            "heartbeat": HEARTBEAT,
            "insecure_bind": settings.insecure_bind,
            "high_water_mark": 1000,
        },
        "journal": {"path": str(state / "events.db")},
        "metrics": {"listen": settings.metrics},
    }
    return common_of(common, own)


def _state(settings: WorkerSettings) -> Path:
    named = settings.state
    folder = (
        state_folder() / "workers" / settings.known_as if named is None else Path(os.path.expanduser(named))
    )
    private_folder(folder)
    return folder


def _own_keys(folder: Path, front: str | None) -> str | None:
    """A fresh key pair, with which only the front is let in: its public key. None: no encryption."""
    shutil.rmtree(folder, ignore_errors=True)
    if front is None:
        return None
    public, _ = new_pair(folder, "server")
    _let_front_in(folder, front)
    from streamer.bus.encryption import read_key

    return read_key(public).public.decode()


def _let_front_in(folder: Path, front: str | None) -> None:
    """A front that was started anew has another key."""
    if front is not None:
        (folder / "allowed" / "front.key").unlink(missing_ok=True)
        allow(folder, front, "front")


def _address_towards(endpoint: str) -> str:
    """The address of this machine from which the front is reached."""
    found = endpoints.split_tcp(endpoint)
    if found is None:
        return "127.0.0.1"
    host, port = found
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise BusError(f"cannot find the way to {endpoint}: {error}; is the name right?") from error
