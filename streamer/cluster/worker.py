"""A worker: joins a front, watches the cameras that it is given, and stops when its lease has run out."""

from __future__ import annotations

import threading

from streamer.cluster.worker_settings import WorkerSettings


def run_worker(settings: WorkerSettings, stop: threading.Event) -> None:
    """Work for a front until `stop` is set; any thread. Starts empty: cameras and models come from the front.

    A front that is away is looked for again for ever.

    Raises:
        BusError: the endpoints or keys cannot be used, or the front refuses this worker for good.
        ModelError: recognition failed for good; start the process anew.
    """
    raise NotImplementedError(f"joining {settings.join} is being written")
