"""`python -m streamer.cluster.ray_process ADDRESS ENTRY`: a Ray launcher behind standard input and output.

Ray ends the process that is connected to it when its head has been away for a minute, or when its own process
on this machine dies. So it is not the front's. One JSON object a line: `{"call": NAME, ...}` is answered with
`{"told": ...}` or `{"error": TEXT}`; the first line, unasked, with this machine's address or why the cluster
is not used. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any

from streamer.cluster.child_output import private_output
from streamer.cluster.ray_connection import NoClusterError
from streamer.cluster.ray_launcher import LauncherError, RayLauncher
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import ConfigError


def main() -> None:
    address, entry = sys.argv[1:]
    calls: queue.Queue[dict[str, Any]] = queue.Queue()
    answers = private_output()

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def listen() -> None:
        for line in sys.stdin:
            calls.put(json.loads(line))
        os._exit(0)  # a call of Ray's that waits cannot hold it up

    threading.Thread(target=listen, name="calls", daemon=True).start()
    try:
        launcher = RayLauncher(address, entry=entry)
    except ConfigError as error:
        tell({"error": str(error), "never": not isinstance(error, NoClusterError)})
        return
    tell({"told": launcher.here})
    while True:
        call = calls.get()
        try:
            tell({"told": _answer(launcher, call)})
        except LauncherError as error:
            tell({"error": str(error)})


def _answer(launcher: RayLauncher, call: dict[str, Any]) -> Any:
    match call["call"]:
        case "nodes":
            return launcher.nodes()
        case "workers":
            return launcher.workers()
        case "start":
            return launcher.start(call["node"], WorkerSettings(**call["settings"]))
        case "stop":
            return launcher.stop(call["name"])
    raise LauncherError(f"there is no call {call['call']!r}")


if __name__ == "__main__":
    main()
