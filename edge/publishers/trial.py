"""A trial of the settings' broker: one connection that leaves nothing behind."""

from __future__ import annotations

import uuid
from queue import Empty, SimpleQueue

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import PublishError
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.lets_in import lacking, refusal, unanswered
from edge.publishers.paho_client import PahoClient


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
    client = PahoClient(own_id)
    client.connect_timeout = timeout_s
    client.on_connect = lambda _client, _data, _flags, reason, properties: answers.put(_refusal(reason, properties))
    client.on_disconnect = lambda _client, _data, _flags, reason, _properties: answers.put(
        f"does not let this device in: {unanswered(reason)}"
    )
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
        refused = answers.get(timeout=timeout_s)
    except Empty:
        raise PublishError(f"{where} took the connection and said nothing for {timeout_s:g} s. Is it MQTT 5?") from None
    finally:
        client.disconnect()
        client.loop_stop()
        client.close()
    if refused:
        raise PublishError(f"{where} {refused}")


def _refusal(reason: ReasonCode, properties: Properties | None) -> str:
    """Return why the broker is none for a line; nothing where it is one."""
    if reason.is_failure:
        return f"refuses this device: {refusal(reason)}"
    lacks = lacking(properties, retains=True)
    return lacks[1] if lacks else ""
