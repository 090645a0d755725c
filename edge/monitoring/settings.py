"""Settings of the address that serves a station's metrics, its health and its live pictures."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field

from edge.yaml_settings import StrictModel

PORT = 9464


class MonitoringSettings(StrictModel):
    """The station's own HTTP server, which anybody who reaches it may read.

    `listen`: the address; other machines reach one that is not loopback. `viewers`: of live pictures at a time, of all
    cameras together; `pictures_per_s`: that each of them gets at most.
    """

    listen: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = PORT
    viewers: Annotated[int, Field(ge=0, le=32)] = 4
    pictures_per_s: Annotated[float, Field(gt=0, le=30)] = 5.0

    @property
    def address_here(self) -> str:
        """Tell where a program on this device reaches it."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address that is looked for
        host = self.listen.strip("[]")
        host = anywhere.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def open_warning(self) -> str | None:
        """A warning that other machines can read what is served; None where only this device can."""
        if is_loopback(self.listen):
            return None
        return (
            f"monitoring.listen: every machine that reaches {self.listen} reads metrics, health and live pictures, "
            "without a password. Set it to 127.0.0.1, or let a firewall name who may"
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this device reaches what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
