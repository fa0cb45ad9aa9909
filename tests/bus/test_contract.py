"""The contract is written once: what is made of it says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.bus import contract, contract_tables, wire
from streamer.bus.messages import PredictionMessage, parse
from streamer.types import LabelScore
from tests.helpers.bus_parts import prediction

# Each round imports the contract anew; six threads then take its first message at once.
FIRST_MESSAGES = """
import importlib, sys, threading
from streamer.bus import contract, messages, wire
from tests.helpers.bus_parts import event
sys.setswitchinterval(1e-6)
body = wire.stamp(wire.event_body(event()), "s", 1, 1.0)
for _ in range(30):
    importlib.reload(contract)
    together, taken = threading.Barrier(6), []
    def take():
        together.wait()
        taken.append(messages.parse(dict(body)))
    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 6
"""

PAGE = Path(__file__).parents[2] / "docs" / "bus.md"


def test_the_page_has_the_tables_of_the_contract() -> None:
    """Else: python -m streamer.bus.contract_tables docs/bus.md"""
    page = PAGE.read_text("utf-8")
    assert page == contract_tables.with_tables(page)
    for kind in ("message", *contract.MESSAGES):
        assert f"<!-- keys of {kind} -->" in page


def test_the_command_prints_the_schema_and_writes_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- keys of preview -->\nold\n<!-- end of keys -->\nb\n")
    assert contract_tables.main([str(page)]) == 0
    assert "| `jpeg` |" in page.read_text()
    assert page.read_text().startswith("a\n<!--")
    assert contract_tables.main([]) == 0
    assert '"$schema"' in capsys.readouterr().out


def test_keys_of_the_second_version_are_optional_and_known() -> None:
    body = wire.stamp(wire.prediction_body(prediction(), LabelScore("waving", 0.5), 2), "s", 1, 1.0)
    for more in ({}, {"track": None}, {"track": {"id": 3, "box": [0.1, 0.2, 0.3, 0.4]}, "worker": "attic"}):
        assert isinstance(parse({**body, **more}), PredictionMessage)
    with pytest.raises(ValueError, match="track"):
        parse({**body, "track": {"id": 3, "box": [0.1, 0.2, 0.3]}})


@pytest.mark.realtime
def test_first_messages_that_come_on_many_threads_at_once() -> None:
    """In a process of its own: it was ended by a segmentation fault inside msgspec."""
    done = subprocess.run([sys.executable, "-c", FIRST_MESSAGES], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done
