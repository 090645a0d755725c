"""The settings of Modbus TCP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.yaml_settings import StrictModel


class ModbusSettings(StrictModel):
    """One PLC. `role`: client = the station asks the PLC at `host`; server = the PLC asks the station there.

    `unit`: the number of the device at that address. `timeout_ms`: for an answer of the PLC; `retry_ms`: between two
    tries to reach it; `poll_ms`: between two readings of the inputs. `silent_ms`: a server that nobody has asked for
    longer takes the PLC for lost.
    """

    role: Literal["client", "server"] = "client"
    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    timeout_ms: Annotated[int, Field(ge=20, le=10_000)] = 500
    retry_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    poll_ms: Annotated[int, Field(ge=2, le=1000)] = 10
    silent_ms: Annotated[int, Field(ge=100, le=60_000)] = 3000
