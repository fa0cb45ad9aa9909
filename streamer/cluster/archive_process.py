"""`python -m streamer.cluster.archive_process`: plays recordings for the process that started it.

It reads one JSON object a line on standard input: first `{"load": CONFIG}`, then `{"play": JOB}`. It answers
with `News`, one a line, on what was standard output; whatever else is printed goes to standard error. It ends
at once when its input ends: a process that was killed leaves none of these behind.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any

from streamer.cluster.archive_jobs import Job, News, What
from streamer.cluster.child_output import private_output
from streamer.errors import ModelError, StreamerError
from streamer.system import memory, threads

MODEL_FAILED = 4  # exit code: a new process is needed


def main() -> None:
    memory.prepare()  # before the first thread
    threads.prepare()
    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    answers = private_output()
    saying = threading.Lock()

    def tell(news: News) -> None:
        with saying:
            answers.write(json.dumps(news.as_json()) + "\n")
            answers.flush()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, name="orders", daemon=True).start()
    os._exit(_serve(lines, tell))  # a native call that hangs on a thread cannot hold it up


def _serve(lines: queue.Queue[dict[str, Any]], tell: Any) -> int:
    from streamer.cluster.recording_player import RecordingPlayer, WriteError, import_ahead

    import_ahead()
    player = RecordingPlayer(tell)
    while True:
        order = lines.get()
        if "load" in order:
            try:
                tell(News(What.READY, models=player.load(order["load"])))
            except StreamerError as error:
                tell(News(What.UNFIT, reason=str(error), code=type(error).__name__))
                return 0
            continue
        job = Job.of_json(order["play"])
        try:
            tell(player.play(job))
        except ModelError as error:
            tell(News(What.FAILED, job.number, reason=str(error), code=type(error).__name__))
            return MODEL_FAILED
        except WriteError as error:
            tell(News(What.UNFIT, reason=str(error), code="WriteError"))
            return 0


if __name__ == "__main__":
    main()
