"""What tests of bridges share: a real mosquitto, somebody who listens there, and a bus with one camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.bus import Publisher
from tests.helpers.bus_parts import publisher, status
from tests.helpers.mosquitto import Broker, MqttListener


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path).start()
    yield made
    made.kill()


@pytest.fixture
def listener(broker: Broker) -> Iterator[MqttListener]:
    made = MqttListener(broker.port)
    yield made
    made.close()


@pytest.fixture
def bus() -> Iterator[Publisher]:
    with publisher() as made:
        made.status(status(fps=25.0, width=640, height=480))
        yield made
