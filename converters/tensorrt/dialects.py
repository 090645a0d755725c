"""Differences between the versions of TensorRT that a build must know; all else is called alike in every version."""

from __future__ import annotations

from dataclasses import dataclass

from edge.engines.device import parse_version
from edge.errors import DependencyError


@dataclass(frozen=True)
class Dialect:
    """The way in which one version is spoken to.

    `network_flag`: the only flag of `create_network`, None = 0. `typed`: precision stands in the graph's own types, and
    flags for it are gone or deprecated. Otherwise it is a builder flag, and pins are layer precisions. `monitored`: the
    builder tells its progress and can be stopped.
    """

    version: tuple[int, ...]
    network_flag: str | None
    typed: bool
    monitored: bool


# NVIDIA's release notes of 11: before this, TensorRT 11 does not support Jetson.
_ON_JETSON_FROM = (11, 4, 1)


def dialect_of(version: str, *, jetson: bool = False) -> Dialect:
    """Return how to speak to this version. Raises DependencyError for one that nobody has checked.

    `jetson`: the device is one, where the first versions of TensorRT 11 are not supported.
    """
    numbers = parse_version(version)
    if jetson and (11,) <= numbers < _ON_JETSON_FROM:
        raise DependencyError(
            f"TensorRT {version} does not support Jetson: expected 11.4.1 or later, or TensorRT 10 as JetPack 6 and 7 "
            "bring it. Remove it and install JetPack's own: sudo apt-get install python3-libnvinfer"
        )
    if numbers[0] == 8 and numbers >= (8, 6):
        return Dialect(numbers, "EXPLICIT_BATCH", typed=False, monitored=False)
    # strongly typed networks are there from 10.0 on; a type cannot be passed over in them as a pin can
    if numbers[0] == 10:
        return Dialect(numbers, "STRONGLY_TYPED", typed=True, monitored=True)
    if numbers[0] == 11:
        return Dialect(numbers, None, typed=True, monitored=True)
    raise DependencyError(
        f"TensorRT {version} is none that engines are built with: expected 8.6, 10 or 11, as JetPack 6 and 7 bring them"
    )
