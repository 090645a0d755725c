"""The answer of a broker to who connects: whether it lets a line in, and what to do where it does not."""

from __future__ import annotations

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

RETAIN_LACKS, QOS_LACKS = 0x9A, 0x9B
_KEEP_ALIVE = 0x8D
_ADVICE = {
    0x84: "It does not speak MQTT 5, which mosquitto does from 1.6 on",
    0x85: "Check broker.client_id",
    0x86: "Check broker.username and its password",
    0x87: "Check broker.username and its password, and what the broker allows this device",
    0x88: "Wait until it serves again",
    0x89: "Wait until it has time",
    0x8A: "Ask who keeps the broker why this device is banned",
    0x8C: "Check broker.username: it wants another way to log in",
    0x95: "Allow larger packets at the broker",
    0x97: "Raise the broker's limit of connections or messages, or wait",
    0x9A: "Allow retained messages at the broker (mosquitto: retain_available true)",
    0x9B: "Allow QoS 1 at the broker (mosquitto: max_qos 1)",
    0x9C: "Set broker.host to the broker that is to be used",
    0x9D: "Set broker.host to the place to which it moved",
    0x9F: "Wait, or allow more connections a second at the broker",
}


def refusal(reason: ReasonCode) -> str:
    """Return why a broker does not let a client in, and what to do."""
    return f"{reason} (0x{reason.value:02X}). {_ADVICE.get(reason.value, 'See the log of the broker')}"


def unanswered(reason: ReasonCode) -> str:
    """Return what became of a connection that ended before the broker had said whether it lets a client in."""
    if str(reason) == "Protocol error":
        return "it sent what is no answer of MQTT 5. Check broker.host and broker.port, and whether it speaks MQTT 5"
    if reason.value == _KEEP_ALIVE:
        return "it took the connection and said nothing. Check broker.host, broker.port and broker.tls"
    return f"it ended the connection without an answer ({reason}). Check broker.port and broker.tls"


def lacking(properties: Properties | None, *, retains: bool) -> tuple[int, str] | None:
    """Return the reason code and the words for a line's needs that a broker lacks; None without any.

    A broker that allows no QoS 1, or nothing retained, ends the connection over each message of that kind.
    """
    if getattr(properties, "MaximumQoS", 1) == 0:
        return QOS_LACKS, f"takes messages of QoS 0 only, and none would be safe. {_ADVICE[QOS_LACKS]}"
    if retains and getattr(properties, "RetainAvailable", 1) == 0:
        return RETAIN_LACKS, f"keeps no retained messages, such as the line's status. {_ADVICE[RETAIN_LACKS]}"
    return None
