"""python -m tests.helpers.faults_table [--quick]: every fault at default settings, as a Markdown table."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from streamer.config import CaptureConfig
from tests.helpers import faults
from tests.helpers.cameras import QUICK
from tests.helpers.servers import gst


def main(arguments: list[str]) -> int:
    capture = QUICK if "--quick" in arguments else CaptureConfig()
    missing = gst.missing()
    if missing:
        print(missing, file=sys.stderr)
    print("| fault | server | detected after | recovered after | of it back-off | frames lost elsewhere |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = faults.Clips.make(folder)
        for fault in faults.FAULTS:
            for server in fault.servers:
                if server == "gst" and missing:
                    continue
                outcome, _ = faults.run(fault, server, clips, folder, capture, spell=5.0)
                cells = [_seconds(outcome.detected), _seconds(outcome.recovered), _seconds(outcome.waited)]
                if outcome.detected is None:
                    cells = ["no fault shown", "-", "-"]
                print(
                    f"| {fault.name} | {server} | {' | '.join(cells)} | {outcome.lost_elsewhere} |",
                    flush=True,
                )
    return 0


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
