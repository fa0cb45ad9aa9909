"""Joining a Ray cluster: what of Ray is not as a program expects it is dealt with here.

- `ray.init` takes SIGTERM for itself: in Python, but only on the main thread (it is called on another), and
  below Python, with a handler that prints a stack. Ours are put back after it.
- Its ports listen on all interfaces, also where its node has a loopback address (measured with 2.60), and
  whoever reaches them runs what he likes: a cluster that asks nobody for a token is not used.
- It sets OMP_NUM_THREADS in the processes it starts, to the CPUs that were asked for: its choice, not the
  user's.
- It prints on standard output what it thinks of processes that died: kept for our log.
- What it prints is for its own developers: errors become one line.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from streamer.errors import ConfigError
from streamer.system import install_extras

log = logging.getLogger(__name__)

CONNECT = 20.0  # seconds; a head that is there answers in a few
ASK = 60.0  # seconds for the first process that it starts
NAMESPACE = "streamer"
_TOKEN = (
    "it asks nobody for a token, so whoever reaches its ports, which are open on all interfaces, can run "
    "programs there. Type `ray get-auth-token --generate` on its head, copy ~/.ray/auth_token to every "
    "machine (and here), and start Ray anew with RAY_AUTH_MODE=token"
)


class NoClusterError(ConfigError):
    """There is no cluster that could be used, at least not now."""


def connect(address: str) -> Any:
    """The module `ray`, connected to a cluster that is there already.

    Args:
        address: HOST:PORT of its head, or "auto": the one on this machine, or RAY_ADDRESS.

    Raises:
        NoClusterError: there is none, or it does not answer.
        ConfigError: Ray is not installed, or the cluster is open to everybody.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    install_extras.need("cluster", "--ray", instead="leave --ray out")
    import ray

    _init(ray, address)
    _take_signals_back()
    try:
        _refuse_open_cluster(ray, address)
    except BaseException:
        ray.shutdown()
        raise
    return ray


def _keep_stdout() -> None:
    """What Ray has to say of dead processes goes to our log: it prints them on standard output, whatever
    `log_to_driver` says, where JSON lines may be.
    """
    from ray._private import worker

    def note(data: Mapping[str, Any], **_: Any) -> None:
        log.info("Ray: %s", " ".join(map(str, data.get("lines", ())))[:300])

    if hasattr(worker, "print_to_stdstream"):  # there is no public way; measured with 2.60
        worker.print_to_stdstream = note


def _take_signals_back() -> None:
    """Python's own handlers stand where they were, with what they were told to do."""
    if threading.current_thread() is not threading.main_thread():
        return  # whoever calls from elsewhere has none of ours
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and (handler := signal.getsignal(number)) is not None:
            signal.signal(number, handler)


def one_line(error: BaseException) -> str:
    """The line of Ray's that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next(
        (line for line in lines if "exit detail:" in line), lines[0] if lines else type(error).__name__
    )
    detail = told.rpartition("exit detail:")[2].strip().partition(". ")[0]
    return detail[:300]


def _init(ray: Any, address: str) -> None:
    failure: list[BaseException] = []

    def join() -> None:
        try:
            _keep_stdout()
            ray.init(
                address=address,
                namespace=NAMESPACE,
                logging_level=logging.ERROR,
                log_to_driver=False,
                ignore_reinit_error=False,
            )
        except BaseException as error:  # noqa: BLE001 - raised again below, where it was called
            failure.append(error)

    thread = threading.Thread(target=join, name="ray-connecting", daemon=True)
    thread.start()
    thread.join(CONNECT)
    if not thread.is_alive() and not failure:
        return
    why = (
        one_line(failure[0]) if failure else f"it does not answer within {CONNECT:g} s; has it another token?"
    )
    where = "on this machine" if address == "auto" else f"at {address}"
    raise NoClusterError(
        f"--ray {address}: no Ray cluster {where} can be used ({why}); start one with "
        "`ray start --head`, or leave --ray out"
    ) from (failure[0] if failure else None)


def _refuse_open_cluster(ray: Any, address: str) -> None:
    """Raise ConfigError where the cluster asks nobody for a token, or starts nothing."""
    try:
        mode = ray.get(ray.remote(_authentication).options(num_cpus=0).remote(), timeout=ASK)
    except Exception as error:
        raise NoClusterError(f"--ray {address}: nothing can be started there ({one_line(error)})") from error
    if mode != "token":
        raise ConfigError(f"--ray {address}: {_TOKEN}")


def _authentication() -> str:
    """How the processes of the cluster are protected; runs there."""
    return os.environ.get("RAY_AUTH_MODE", "").lower()
