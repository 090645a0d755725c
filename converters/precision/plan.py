"""The layers that stay in FP32: decided once, on the CPU, and read by every build, on the device too.

A plan belongs to one `model.onnx` by its hash and speaks of nodes by their names there. TensorRT 8.6 is given the pins
as layer precisions. For TensorRT 10 and later they are already Casts in the typed graph beside the plan:

    precision.json       the plan of model.fp16.onnx
    precision.int8.json  the plan of model.int8.onnx: its pins are the nodes that were not quantised
    precision.int8.openvino.json  that of model.int8.openvino.onnx: OpenVINO rounds otherwise, so it is judged apart

This module needs neither onnx nor TensorFlow.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edge.bundle import FP16_MODEL, INT8_MODEL, INT8_OPENVINO_MODEL, ONNX_MODEL, PRECISION_PLANS, Bundle
from edge.errors import BundleError
from edge.files import write_bytes
from edge.strict_json import read_json

SCHEMA = "linewatch/precision/1"
Precision = Literal["fp32", "fp16", "int8"]
# The graph of each precision and its plan, by their names within a bundle. INT8 is one for each that rounds otherwise.
INT8_OPENVINO = "int8-openvino"
GRAPHS: dict[str, str] = {
    "fp32": ONNX_MODEL,
    "fp16": FP16_MODEL,
    "int8": INT8_MODEL,
    INT8_OPENVINO: INT8_OPENVINO_MODEL,
}
PLANS: dict[str, str] = dict(zip(("fp16", "int8", INT8_OPENVINO), PRECISION_PLANS, strict=True))
_SHA256 = re.compile(r"[0-9a-f]{64}")


def variant_of(precision: Precision, backend: str) -> str:
    """Return the key of GRAPHS and PLANS for a precision on a backend."""
    return INT8_OPENVINO if (precision, backend) == ("int8", "openvino") else precision


@dataclass(frozen=True)
class Pin:
    """One node of `model.onnx` that stays in FP32, and why, in words for people."""

    node: str
    reason: str


@dataclass(frozen=True)
class PrecisionPlan:
    """The precision of a build, and the nodes of the `model.onnx` of this hash that are excepted from it."""

    precision: Precision
    onnx_sha256: str
    pinned: tuple[Pin, ...] = ()

    @property
    def pinned_nodes(self) -> frozenset[str]:
        """The names of the pinned nodes."""
        return frozenset(pin.node for pin in self.pinned)

    def serialised(self) -> bytes:
        """Return what stands in the plan's file."""
        return (json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False) + "\n").encode()


def plan_path(bundle: Bundle, precision: Precision) -> Path:
    """Return where the plan of a precision lies in a bundle. There is none for fp32: KeyError."""
    return bundle.path / PLANS[precision]


def graph_path(bundle: Bundle, precision: Precision) -> Path:
    """Return where the graph of a precision lies in a bundle."""
    return bundle.path / GRAPHS[precision]


def write_plan(path: Path, plan: PrecisionPlan) -> None:
    """Write a plan to a file, all of it or nothing. Raises StoreError."""
    write_bytes(path, plan.serialised())


def read_plan(path: Path) -> PrecisionPlan:
    """Read a plan. Raises BundleError where there is none, or where the file is no plan."""
    try:
        raw = read_json(path)
        return _plan_of(raw)
    except FileNotFoundError as error:
        raise BundleError(
            f"No precision plan at {path}: this bundle was not prepared for that precision. "
            "Run on a workstation: convert BUNDLE --to onnxruntime --precision fp16"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} is no precision plan: {error!r}. Make it again: convert BUNDLE --to onnxruntime --precision fp16"
        ) from error


def _plan_of(raw: Any) -> PrecisionPlan:
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise ValueError(f"expected the schema {SCHEMA}")
    precision, digest = raw["precision"], raw["onnx_sha256"]
    if precision not in get_args(Precision):
        raise ValueError(f"expected precision fp32, fp16 or int8, received {precision!r}")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"expected onnx_sha256 as 64 hexadecimal digits, received {digest!r}")
    pins = tuple(Pin(str(pin["node"]), str(pin["reason"])) for pin in raw["pinned"])
    return PrecisionPlan(precision, digest, pins)
