"""paho's client, without the habits that would silence a line or leave sockets open."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge.publishers.received_packet import cut, packet_number

_UNSPECIFIED = 0x80
_REASON_AT = 2  # in a PUBACK, behind the packet's number
_NAMES = {0x95: "Packet too large"}  # mosquitto's answer to more than message_size_limit


class PahoClient(Client):
    """One connection's client: MQTT 5, exceptions in callbacks held back, served by one thread only.

    paho raises on a reason code that the standard does not list for a PUBACK. That ends a connection whose broker has
    only refused a message. Here such a code reaches `on_publish` as unspecified, and `reason_of` tells the true one.

    Messages of others are cut before paho reads them: `keeps` bytes of the payload and one more, and the first
    properties. A message is acknowledged and not read at all while `has_room` says no.
    """

    def __init__(self, client_id: str, keeps: int = 0, has_room: Callable[[], bool] = lambda: True) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        # An exception in a callback would leave paho's own book-keeping half done.
        self.suppress_exceptions = True
        # else publish() would write to the socket from its caller's thread, beside the one that serves the network
        self.on_socket_register_write = lambda *_: None
        self._unlisted: dict[int, int] = {}
        self._keeps = keeps
        self._has_room = has_room

    def reason_of(self, packet: int, reason: ReasonCode) -> tuple[int, str]:
        """Return the broker's answer to a packet, and its name."""
        code = self._unlisted.pop(packet, None)
        return (reason.value, str(reason)) if code is None else (code, _NAMES.get(code, "a code of its own"))

    def wake(self) -> None:
        """Have the thread that serves the network look up from its wait. Of any thread."""
        waker = self._sockpairW
        with suppress(OSError):  # it is full, or has just been closed
            if waker is not None:
                waker.send(b"\0")

    def close(self) -> None:
        """Close the sockets, whatever state the connection is in."""
        self._reset_sockets()

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """Shake hands; close the socket where that fails, which paho leaves to the garbage collector.

        The context checks the broker's name. Raises OSError (ssl.SSLError, TimeoutError), ValueError for no name.
        """
        context = self._ssl_context
        assert context is not None  # noqa: S101 - asked where the settings name TLS
        made: socket.socket = tcp_sock
        try:
            made = wrapped = context.wrap_socket(tcp_sock, server_hostname=self._host, do_handshake_on_connect=False)
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            made.close()
            raise
        return wrapped

    def _handle_publish(self) -> MQTTErrorCode:
        qos = (self._in_packet["command"] & 0x06) >> 1
        packet: Any = self._in_packet["packet"]
        if qos <= 1 and not self._has_room():  # of QoS 2 nothing is asked for
            return self._send_puback(packet_number(packet)) if qos else MQTTErrorCode.MQTT_ERR_SUCCESS
        self._in_packet["packet"] = bytearray(cut(packet, qos, self._keeps))
        return super()._handle_publish()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet: Any = self._in_packet["packet"]
        if cmd == "PUBACK" and len(packet) > _REASON_AT and not _listed(packet[_REASON_AT]):
            code = int(packet[_REASON_AT])
            self._unlisted[int.from_bytes(packet[:_REASON_AT], "big")] = code
            # below 0x80 it is an acknowledgement, whatever else it is to say
            known = _UNSPECIFIED if code >= _UNSPECIFIED else 0
            self._in_packet["packet"] = bytearray([*packet[:_REASON_AT], known])
        return super()._handle_pubackcomp(cmd)


def _listed(code: int) -> bool:
    try:
        ReasonCode(PacketTypes.PUBACK).unpack(bytes([code]))
    except Exception:  # noqa: BLE001 - paho asserts, or finds no key, as its version has it
        return False
    return True
