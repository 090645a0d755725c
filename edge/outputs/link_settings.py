"""The settings of the links to a machine: Modbus TCP, OPC UA and GPIO."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.yaml_settings import StrictModel

_PollMs = Annotated[int, Field(ge=1, le=1000)]


class LinkSettings(StrictModel):
    """Any link. `poll_ms`: between two readings of the inputs; `retry_ms`: between two tries to reach the machine."""

    poll_ms: _PollMs = 10
    retry_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000


class PeerSettings(LinkSettings):
    """A machine with an address. `role`: client = the station asks it; server = it asks the station.

    `timeout_ms`: for an answer. `silent_ms`: a server that nobody has asked for longer takes the machine for lost.
    """

    role: Literal["client", "server"] = "client"
    timeout_ms: Annotated[int, Field(ge=20, le=60_000)] = 500
    silent_ms: Annotated[int, Field(ge=100, le=60_000)] = 3000


class ModbusSettings(PeerSettings):
    """One PLC at `host` and `port`; of a server the address that it listens at. `unit`: the device's number there."""

    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1


class OpcUaSettings(PeerSettings):
    """One peer at `url`; of a server the address that it listens at.

    `security`: sign_and_encrypt (Basic256Sha256) needs `certificate` and `private_key`, the station's own. It needs
    `peer_certificate`, the only peer that is trusted. Files are PEM or DER.
    """

    url: Annotated[str, Field(max_length=300, pattern=r"^opc\.tcp://[^\s/@]+(/[^\s@]*)?$")]
    security: Literal["sign_and_encrypt", "none"] = "sign_and_encrypt"
    certificate: Path | None = None
    private_key: Path | None = None
    peer_certificate: Path | None = None
    timeout_ms: Annotated[int, Field(ge=50, le=60_000)] = 2000
    poll_ms: _PollMs = 20

    @model_validator(mode="after")
    def _encryption_has_its_files(self) -> OpcUaSettings:
        files = {name: getattr(self, name) for name in ("certificate", "private_key", "peer_certificate")}
        if self.security == "none" and any(files.values()):
            raise ValueError("expected no certificates for the security none")
        if self.security != "none" and (missing := [name for name, path in files.items() if path is None]):
            raise ValueError(f"expected {missing[0]} for the security sign_and_encrypt, received none")
        return self


class GpioSettings(LinkSettings):
    """One chip of lines, a device file."""

    chip: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^/dev/[\w./-]+$")] = "/dev/gpiochip0"
    poll_ms: _PollMs = 2
