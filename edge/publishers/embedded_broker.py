"""A small MQTT 5 broker on loopback, for demos and tests: iotcore, with rumqttd inside. It keeps nothing on disk."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import DependencyError, PublishError
from edge.files import scratch_folder
from edge.installing import how_to_install

HOST = "127.0.0.1"
# iotcore's own defaults listen on every interface and speak MQTT 3.1.1 only.
_CONFIG = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """A broker for as long as the context lasts. `port` 0 takes a free one; the port is known after entering."""

    def __init__(self, port: int = 0) -> None:
        self.host = HOST
        self.port = port
        self._broker: Any = None
        self._scope = ExitStack()

    def __enter__(self) -> Self:
        try:
            from iotcore import Broker
        except ImportError as error:
            raise DependencyError(
                f"The embedded broker needs iotcore, and `import iotcore` failed: {error}. "
                f"{how_to_install('iotcore', extra='demo')}"
            ) from error
        self.port = self.port or _free_port()
        config = self._scope.enter_context(scratch_folder("linewatch-broker-")) / "broker.toml"
        config.write_text(_CONFIG.format(host=self.host, port=self.port), encoding="utf-8")
        self._broker = Broker(config_path=str(config))
        try:
            self._broker.start()
        except (OSError, RuntimeError) as error:
            self._scope.close()
            raise PublishError(
                f"The embedded broker does not start on {self.host}:{self.port}: {error}. "
                "Free that port or name another"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.stop()
        self._scope.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
