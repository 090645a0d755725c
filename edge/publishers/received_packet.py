"""A packet that somebody published, cut to what is looked at, before paho reads it. Pure.

paho copies the whole rest of a packet for each property. So one message of a megabyte with 100,000 user properties
would hold the network's thread for half a minute. Anybody may publish one.
"""

from __future__ import annotations

PROPERTIES_AT_MOST = 1_000  # of a message are looked at, in their order …
USER_PROPERTIES_AT_MOST = 32  # … and so many of them that are the user's
_FEW_BYTES = 1_024  # so short they are left alone
_USER = 38
# MQTT 5, 2.2.2.2: the properties of a PUBLISH by their number; bytes of the value, or how it states its own length
_BYTES = {1: 1, 2: 4, 35: 2}
_TEXT = frozenset({3, 8, 9})  # two bytes of length, then so many; a user property is two of them
_VARIABLE = 11


def cut(packet: bytes | bytearray, qos: int, keeps: int) -> bytes | bytearray:
    """Return a PUBLISH, what follows its fixed header, with no more than `keeps` + 1 bytes of payload.

    Of many properties only the first are left. An unreadable one is returned as it is.
    """
    try:
        begins = 2 + _number(packet, 0) + 2 * (qos > 0)
        length, begins_at = _variable(packet, begins)
    except IndexError:
        return packet
    ends = begins_at + length
    if length <= _FEW_BYTES and len(packet) - ends <= keeps + 1:
        return packet
    payload = packet[ends : ends + keeps + 1]
    if length <= _FEW_BYTES:
        return packet[:ends] + payload
    try:
        kept = _kept(packet, begins_at, ends)
    except (IndexError, KeyError):
        return packet
    return packet[:begins] + _as_variable(len(kept)) + kept + payload


def packet_number(packet: bytes | bytearray) -> int:
    """Return the number by which a PUBLISH of QoS 1 is acknowledged. Raises IndexError for one without."""
    return _number(packet, 2 + _number(packet, 0))


def _kept(packet: bytes | bytearray, at: int, ends: int) -> bytes:
    kept, users = bytearray(), 0
    for _ in range(PROPERTIES_AT_MOST):
        if at >= ends:
            break
        number, began = packet[at], at
        at = _end_of(packet, number, at + 1)
        users += number == _USER
        if number != _USER or users <= USER_PROPERTIES_AT_MOST:
            kept += packet[began:at]
    return bytes(kept)


def _end_of(packet: bytes | bytearray, number: int, at: int) -> int:
    """Return where the value of a property ends that begins at `at`. Raises KeyError for an unknown one, IndexError."""
    if number == _USER:
        at += 2 + _number(packet, at)
        return at + 2 + _number(packet, at)
    if number in _TEXT:
        return at + 2 + _number(packet, at)
    if number == _VARIABLE:
        return _variable(packet, at)[1]
    return at + _BYTES[number]


def _number(packet: bytes | bytearray, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]


def _variable(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return a variable byte integer, and where it ends."""
    value = shift = 0
    while True:
        value |= (packet[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if packet[at - 1] < 0x80:
            return value, at


def _as_variable(value: int) -> bytes:
    told = bytearray()
    while True:
        value, low = divmod(value, 128)
        told.append(low | (0x80 if value else 0))
        if not value:
            return bytes(told)
