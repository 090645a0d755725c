"""The identity of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelIdentity:
    """The model that judged: the bundle's name and version, and the sha256 of its `model.onnx`."""

    name: str
    version: str
    sha256: str | None
