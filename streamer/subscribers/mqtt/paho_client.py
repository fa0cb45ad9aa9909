"""paho-mqtt's client, whose thread survives what a broker may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion


class PahoClient(Client):
    """`on_fault` hears, on paho's thread, of bytes that paho can make nothing of; the thread ends then.

    Reconnects never by itself.
    """

    def __init__(self, client_id: str, *, five: bool, on_fault: Callable[[Exception], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self._on_fault = on_fault

    def loop_forever(self, *args: Any, **more: Any) -> MQTTErrorCode:
        """What paho's thread runs."""
        try:
            return super().loop_forever(*args, **more)
        except Exception as error:  # noqa: BLE001 - paho raises whatever foreign bytes lead it to
            self._on_fault(error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
