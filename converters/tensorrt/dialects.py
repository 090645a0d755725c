"""What differs between the versions of TensorRT that a build must know; all else is called alike in every version."""

from __future__ import annotations

from dataclasses import dataclass

from edge.engines.device import parse_version
from edge.errors import DependencyError


@dataclass(frozen=True)
class Dialect:
    """How one version is spoken to.

    `network_flag`: the only flag of `create_network`, None = 0. `typed`: precision stands in the graph's own types, and
    flags for it are gone or deprecated; otherwise it is a builder flag, and pins are layer precisions. `monitored`:
    the builder tells its progress and can be stopped.
    """

    version: tuple[int, ...]
    network_flag: str | None
    typed: bool
    monitored: bool


def dialect_of(version: str) -> Dialect:
    """Return how to speak to this version. Raises DependencyError for one that nobody has checked."""
    numbers = parse_version(version)
    if numbers[0] == 8 and numbers >= (8, 6):
        return Dialect(numbers, "EXPLICIT_BATCH", typed=False, monitored=False)
    # strongly typed networks are there from 10.0 on, and in them a type cannot be passed over as a pin can
    if numbers[0] == 10:
        return Dialect(numbers, "STRONGLY_TYPED", typed=True, monitored=True)
    if numbers[0] == 11:
        return Dialect(numbers, None, typed=True, monitored=True)
    raise DependencyError(
        f"TensorRT {version} is none that engines are built with: expected 8.6, 10 or 11, as JetPack 6 and 7 bring them"
    )
