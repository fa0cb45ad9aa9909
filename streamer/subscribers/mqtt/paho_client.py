"""paho-mqtt's client, whose thread survives what a broker may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

MOST_PACKET = 256 * 1024  # bytes that we take in one packet; what we ask brokers for is a word or two


class _PacketTooLongError(Exception):
    """A broker announces a packet of more than `MOST_PACKET` bytes."""


class PahoClient(Client):
    """`on_fault` hears why, on paho's thread, where bytes come that paho can make nothing of, or a packet
    that is too long; the thread ends then.

    Reconnects never by itself.
    """

    def __init__(self, client_id: str, *, five: bool, on_fault: Callable[[str], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self._on_fault = on_fault

    def connect_anew(self, host: str, port: int, keepalive: int) -> None:
        """Connect, with a session of its own: nothing of an earlier connection is kept or sent by the broker.

        Raises OSError, ValueError.
        """
        if self.protocol != MQTTProtocolVersion.MQTTv5:
            self.connect(host, port, keepalive)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MOST_PACKET
        self.connect(host, port, keepalive, clean_start=True, properties=properties)

    def loop_forever(self, *args: Any, **more: Any) -> MQTTErrorCode:
        """What paho's thread runs."""
        try:
            return super().loop_forever(*args, **more)
        except _PacketTooLongError as error:
            self._on_fault(str(error))
        except Exception as error:  # noqa: BLE001 - paho raises whatever foreign bytes lead it to
            self._on_fault(f"it sent what is no MQTT: {type(error).__name__}")
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _sock_recv(self, bufsize: int) -> bytes:
        """paho asks for the rest of a packet, up to 256 MB, and would keep all of it."""
        if bufsize > MOST_PACKET:
            raise _PacketTooLongError(f"it announced a packet of {bufsize:,} bytes; we take {MOST_PACKET:,}")
        data: bytes = super()._sock_recv(bufsize)
        return data
