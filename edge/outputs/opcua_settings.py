"""The settings of OPC UA."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.yaml_settings import StrictModel


class OpcUaSettings(StrictModel):
    """One peer. `role`: client = the station asks the server at `url`; server = the station is one, and listens there.

    `security`: sign_and_encrypt (Basic256Sha256) needs `certificate` and `private_key`, the station's own, and
    `peer_certificate`, the only peer that is trusted; files in PEM or DER. `timeout_ms`: for an answer; `retry_ms`:
    between two tries to reach the server; `poll_ms`: between two readings of the inputs. `silent_ms`: a server without
    any client for longer takes the machine for lost.
    """

    role: Literal["client", "server"] = "client"
    url: Annotated[str, Field(max_length=300, pattern=r"^opc\.tcp://[^\s/@]+(/[^\s@]*)?$")]
    security: Literal["sign_and_encrypt", "none"] = "sign_and_encrypt"
    certificate: Path | None = None
    private_key: Path | None = None
    peer_certificate: Path | None = None
    timeout_ms: Annotated[int, Field(ge=50, le=60_000)] = 2000
    retry_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    poll_ms: Annotated[int, Field(ge=2, le=1000)] = 20
    silent_ms: Annotated[int, Field(ge=100, le=60_000)] = 3000

    @model_validator(mode="after")
    def _encryption_has_its_files(self) -> OpcUaSettings:
        files = {name: getattr(self, name) for name in ("certificate", "private_key", "peer_certificate")}
        if self.security == "none" and any(files.values()):
            raise ValueError("expected no certificates for the security none")
        if self.security != "none" and (missing := [name for name, path in files.items() if path is None]):
            raise ValueError(f"expected {missing[0]} for the security sign_and_encrypt, received none")
        return self
