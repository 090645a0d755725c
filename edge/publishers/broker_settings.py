"""The broker's settings: its address, and secrets that are never shown."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from edge.errors import SettingsError
from edge.secret_files import load_chain, read_secret, require_file
from edge.yaml_settings import StrictModel

PORT = 1883
TLS_PORT = 8883


class TlsSettings(StrictModel):
    """TLS to the broker. Without `ca_file` the system's authorities are trusted; certificate and key identify us."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _certificate_and_key_go_together(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, received only one of them")
        return self

    def context(self) -> ssl.SSLContext:
        """Read the files as they are now. Raises SettingsError where one cannot be used, or the key is anybody's."""
        if self.ca_file is not None:
            require_file("broker.tls.ca_file", self.ca_file)
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            if self.cert_file is not None and self.key_file is not None:
                load_chain(context, "broker.tls", self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"key broker.tls: expected readable PEM files, received ca_file {self.ca_file}, cert_file "
                f"{self.cert_file}, key_file {self.key_file}: {error}. Check their paths, rights and contents"
            ) from error
        return context


class BrokerSettings(StrictModel):
    """The MQTT 5 broker. `port` defaults to 1883, with TLS to 8883.

    `client_id` must be unique at the broker. The default is made of the line's topics, its device and its machine.
    `keepalive_s`: after twice this time of silence the broker publishes the Will of a hung device. `require_tls`:
    settings without TLS are refused.
    """

    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    username: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    password: Annotated[SecretStr, Field(max_length=10_000)] | None = None
    password_file: Path | None = None
    tls: TlsSettings | None = None
    require_tls: bool = False
    keepalive_s: Annotated[int, Field(ge=2, le=600)] = 10
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None

    @field_validator("host")
    @classmethod
    def _host_without_port(cls, host: str) -> str:
        name, _, port = host.rpartition(":")
        if name and port.isdigit() and (":" not in name or name.endswith("]")):
            raise ValueError(f"expected a name or an address without a port; write broker.port: {port}")
        if not host.isprintable():
            raise ValueError("expected a name or an address, received what cannot be printed")
        return host.removeprefix("[").removesuffix("]")

    @model_validator(mode="after")
    def _one_password_of_one_user(self) -> BrokerSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("expected password or password_file, received both")
        if self.username is None and (self.password is not None or self.password_file is not None):
            raise ValueError("expected a username beside the password, received none")
        return self

    @model_validator(mode="after")
    def _tls_where_it_is_required(self) -> BrokerSettings:
        if self.require_tls and self.tls is None:
            raise ValueError("expected the key tls, for require_tls is true; received none. Write tls: {ca_file: …}")
        return self

    @property
    def plaintext_warning(self) -> str | None:
        """A warning that others on the network can read messages and password; None where nobody can."""
        if self.tls is not None or _is_loopback(self.host):
            return None
        secret = "" if self.username is None else " and the password"
        return (
            f"broker.host: messages{secret} go to {self.host} in plain text, which others on the network can read and "
            "change. Set broker.tls, and broker.require_tls: true to be sure"
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return self.host, self.port or (TLS_PORT if self.tls else PORT)

    def read_password(self) -> str | None:
        """Return the password, from its file if it has one. Raises SettingsError without naming what it read."""
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return None
        return read_secret("broker.password_file", self.password_file)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
