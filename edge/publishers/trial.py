"""A trial of the settings' broker: one connection that leaves nothing behind."""

from __future__ import annotations

import uuid
from queue import Empty, SimpleQueue
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.errors import PublishError
from edge.publishers.broker_settings import BrokerSettings


def try_broker(settings: BrokerSettings, timeout_s: float = 10.0) -> None:
    """Connect once with the settings' address, account and certificates, and leave.

    The client id is one of its own, or a running line would be thrown out. Nothing is published, nothing heard, and no
    session stays. Raises PublishError where the broker is not reached or refuses. Raises SettingsError for files that
    cannot be used.
    """
    host, port = settings.address
    where = f"the broker at {host}:{port}"
    answers: SimpleQueue[str] = SimpleQueue()
    own_id = f"linewatch-check-{uuid.uuid4().hex[:8]}"
    client = Client(CallbackAPIVersion.VERSION2, own_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect_timeout = timeout_s
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(_refusal(reason))
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.read_password())
    if settings.tls is not None:
        client.tls_set_context(settings.tls.context())
    try:
        client.connect(host, port, settings.keepalive_s, clean_start=True)
    except (OSError, ValueError) as error:
        told = f"{where} cannot be reached: {error}. Check broker.host, broker.port and broker.tls"
        raise PublishError(told) from error
    client.loop_start()
    try:
        refusal = answers.get(timeout=timeout_s)
    except Empty:
        raise PublishError(f"{where} took the connection and said nothing for {timeout_s:g} s. Is it MQTT 5?") from None
    finally:
        client.disconnect()
        client.loop_stop()
    if refusal:
        raise PublishError(f"{where} refuses this device: {refusal}. Check broker.username and its password")


def _refusal(reason: Any) -> str:
    return str(reason) if reason.is_failure else ""
