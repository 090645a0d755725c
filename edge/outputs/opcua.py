"""Certificates, kinds of values and asyncua for both ends of OPC UA; asyncua may not be installed."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.errors import DependencyError, SettingsError
from edge.installing import how_to_install
from edge.outputs.link_settings import OpcUaSettings
from edge.records.outputs import Level

NAMESPACE = "urn:linewatch:machine"


def vendor(module: str = "") -> Any:
    """Return asyncua or a module of it, whose own log is silenced, for it is told here. Raises DependencyError."""
    try:
        found = importlib.import_module(f"asyncua.{module}" if module else "asyncua")
    except ImportError as error:
        raise DependencyError(
            f"OPC UA needs the package asyncua, which is not installed. {how_to_install('asyncua', extra='opcua')}"
        ) from error
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    return found


@dataclass(frozen=True)
class Certificate:
    """A certificate: its bytes in DER, from when to when it holds, and the application that it names."""

    path: Path
    der: bytes
    begins: datetime
    ends: datetime
    uri: str

    def require_valid(self) -> None:
        """Raise ValueError where it does not hold now."""
        now = datetime.now(timezone.utc)
        if not self.begins <= now <= self.ends:
            when = (
                f"expired on {self.ends:%Y-%m-%d %H:%M}" if now > self.ends else f"holds from {self.begins:%Y-%m-%d} on"
            )
            raise ValueError(f"{self.path}: expected a certificate that holds now, received one that {when} (UTC)")


def read_certificate(path: Path, key: str) -> Certificate:
    """Read a certificate in PEM or DER. Raises SettingsError with the key of the settings."""
    x509 = importlib.import_module("cryptography.x509")
    try:
        data = path.read_bytes()
        read = x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except (OSError, ValueError) as error:
        raise SettingsError(f"key machine.opcua.{key}: expected a certificate at {path}, received: {error}") from error
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    encoding = importlib.import_module("cryptography.hazmat.primitives.serialization").Encoding
    return Certificate(
        path, read.public_bytes(encoding.DER), read.not_valid_before_utc, read.not_valid_after_utc, next(iter(uris), "")
    )


@dataclass(frozen=True)
class Identity:
    """The station's identity, and whom it trusts; nobody where nothing is encrypted."""

    own: Certificate | None
    peer: Certificate | None

    @property
    def uri(self) -> str:
        """The name of the application."""
        return self.own.uri if self.own is not None else NAMESPACE

    def require_valid(self) -> None:
        """Raise ValueError where a certificate does not hold now."""
        for one in (self.own, self.peer):
            if one is not None:
                one.require_valid()


def identity_of(settings: OpcUaSettings) -> Identity:
    """Read the certificates of the settings. Raises SettingsError for what cannot be read, or names no application."""
    if settings.certificate is None or settings.peer_certificate is None:
        return Identity(None, None)
    own = read_certificate(settings.certificate, "certificate")
    if not own.uri:
        raise SettingsError(
            f"key machine.opcua.certificate: expected a certificate with a URI among its alternative names, "
            f"such as urn:acme:linewatch, received {own.path} without one"
        )
    return Identity(own, read_certificate(settings.peer_certificate, "peer_certificate"))


def private_key(settings: OpcUaSettings) -> tuple[bytes, str]:
    """Return the station's private key and its form, `pem` or `der`. Raises OSError."""
    assert settings.private_key is not None  # noqa: S101 - asked where something is encrypted
    data = settings.private_key.read_bytes()
    return data, "pem" if b"-----BEGIN" in data else "der"


# Objects below VisionSystem, named after OPC 40100-1 (7.1 VisionSystemType, 9.1 ResultType) where it has them.
_RESULT = ("ResultManagement", "Results", "LastResult")
_OF_RESULTS = frozenset(
    {"ok", "ng", "no_read", "coverage", "length_mm", "grade", "result_counter", "part_id", "recipe"}
)


def folder_of(rule: str, *, output: bool) -> tuple[str, ...]:
    """Return below which objects of VisionSystem a signal of a rule stands."""
    if not output:
        return ("RecipeManagement",) if rule == "recipe" else ("Signals",)
    if rule == "state":
        return ("VisionStateMachine",)
    return _RESULT if rule in _OF_RESULTS else ("Signals",)


def kind_of(rule: str) -> str:
    """Return the name of the OPC UA type that a signal of a rule has."""
    if rule in {"part_id", "recipe", "state"}:
        return "String"
    if rule in {"coverage", "length_mm", "grade", "result_counter", "heartbeat", "product", "part_count", "encoder"}:
        return "UInt32"
    return "Boolean"


def as_kind(kind: str, level: Level) -> Any:
    """Return a level as a value of a type. Raises ValueError where it cannot be one."""
    if kind == "Boolean":
        return bool(int(level) % 2)
    if kind == "String":
        return str(level)
    return float(level) if kind in {"Float", "Double"} else int(level)
