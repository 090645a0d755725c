"""An engine's layers by its inspector: the share in half precision or less, and the tensors at its edges.

TensorRT fuses layers, and of a fused one only what enters and leaves it is told: the share is a lower bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

# The inspector names formats such as "Row major linear FP16 format" and types such as "Half".
_LOWER = ("fp16", "half", "bf16", "bfloat16", "int8", "fp8")


@dataclass(frozen=True)
class EngineInformation:
    """`layers` of an engine, `lower` of which work in FP16, BF16, FP8 or INT8; `tensors`: its inputs and outputs.

    `told`: what the inspector says of each layer.
    """

    layers: int
    lower: int
    tensors: tuple[str, ...]
    told: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, repr=False)

    @property
    def half_share(self) -> float:
        """The part of the layers that are seen to work in lower precision, 0-1."""
        return self.lower / self.layers if self.layers else 0.0


def disobeyed_pins(information: EngineInformation, pinned: AbstractSet[str]) -> tuple[list[str], list[str]]:
    """Return the pinned nodes that are seen to answer in lower precision, and those that no layer names.

    A layer that was fused of several nodes names them all. Of its inside only the answer is told.
    """
    lower, unseen = [], []
    for node in sorted(pinned):
        whole = re.compile(rf"(?<![\w./-]){re.escape(node)}(?![\w./-])")
        own = [layer for layer in information.told if whole.search(f"{layer.get('Name')} {layer.get('Metadata')}")]
        if any(_works_lower({"Outputs": layer.get("Outputs")}) for layer in own):
            lower.append(node)
        if not own:
            unseen.append(node)
    return lower, unseen


def read_information(text: str) -> EngineInformation | None:
    """Read the inspector's text; None where it is not the JSON that detailed verbosity gives.

    TensorRT 8.6 and 10 list the edges as `Bindings`, 11 as `I/O Tensors`. They stand there by their names, or as
    records with a `Name`.
    """
    try:
        told = json.loads(text)
    except ValueError:
        return None
    layers = told.get("Layers") if isinstance(told, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return None
    edges = told.get("I/O Tensors", told.get("Bindings", []))
    tensors = tuple(str(edge.get("Name")) if isinstance(edge, dict) else str(edge) for edge in edges)
    return EngineInformation(len(layers), sum(_works_lower(layer) for layer in layers), tensors, tuple(layers))


def _works_lower(layer: dict[str, Any]) -> bool:
    """Tell whether a layer's answers, or the weights that it holds, are in lower precision."""
    outputs = layer.get("Outputs")
    told = [output for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []
    if isinstance(layer.get("Weights"), dict):
        told.append(layer["Weights"])
    words = " ".join(
        str(value) for one in told for key, value in one.items() if "format" in key.lower() or "type" in key.lower()
    ).lower()
    return any(name in words for name in _LOWER)
