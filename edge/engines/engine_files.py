"""The engines of a bundle: `engines/PRECISION.plan`, its sidecar `.json`, and every reason to refuse them.

A plan is code that TensorRT runs. So only such plans are read as this device built itself: they lie in a folder that
belongs to this user alone, and their hash is written beside them. A file that differs is refused before the GPU is
touched. The order of the checks is that of `refusals`. Each says what was expected, what was found, and how to rebuild.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.bundle import Bundle
from edge.engines.device import Machine, parse_version
from edge.errors import EngineError
from edge.strict_json import read_json
from edge.wording import command, counted

ENGINES = "engines"
PLAN_SUFFIX = ".plan"
SIDECAR_SUFFIX = ".json"
FOLDER_MODE = 0o700

_MAGIC = 0x74727466
_HEADER_BYTES = 28
_VERSION_AT = 24
# The facts that decide whether a plan runs: a plan belongs to one TensorRT on one kind of GPU. Not the multiprocessors:
# the power mode switches some of them off.
_BINDING_FACTS = ("tensorrt", "compute_capability", "gpu", "l4t")
_WORDS = {
    "tensorrt": "TensorRT",
    "compute_capability": "compute capability",
    "gpu": "GPU",
    "l4t": "L4T",
}

Precision = Literal["fp32", "fp16", "int8"]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MissingEngineError(EngineError):
    """There is no engine for this bundle and precision yet; the message says how to build it."""


class RefusedPlanError(EngineError):
    """There is an engine that must not be used here; the message says why. Building it again mends it."""


class Sidecar(BaseModel):
    """The record beside a plan: what it is, what it was built from, and where.

    `onnx_sha256`: of the bundle's model.onnx; `graph_sha256`: of the graph that was built, the same file or its typed
    form. `batch`: fewest, usual and most tiles at once. `half_share`: of the layers that are seen to work in FP16
    or INT8, 0-1; None where TensorRT did not tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Annotated[Literal["linewatch/engine/1"], Field(alias="schema")] = "linewatch/engine/1"
    plan_sha256: _Digest
    onnx_sha256: _Digest
    graph_sha256: _Digest
    precision: Precision
    batch: tuple[int, int, int]
    tensorrt: str
    cuda: str
    gpu: str
    compute_capability: str
    sm_count: int
    l4t: str | None
    power_mode: str | None
    workspace_mb: int
    builder_level: int
    layers: int | None = None
    half_share: float | None = None
    built_at: str = ""

    def serialised(self) -> bytes:
        """Return the file's content."""
        return (json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class PlanHeader:
    """The first bytes of a plan: `tensorrt` is the version that wrote it, four numbers."""

    tensorrt: tuple[int, int, int, int]


def plan_path(bundle: Path, precision: str) -> Path:
    """Return where the plan of a precision lies in a bundle."""
    return bundle / ENGINES / f"{precision}{PLAN_SUFFIX}"


def sidecar_path(plan: Path) -> Path:
    """Return where a plan's sidecar lies."""
    return plan.with_suffix(SIDECAR_SUFFIX)


def rebuild_command(bundle: Path, precision: str, batch: int | tuple[int, int, int]) -> str:
    """Return the command that builds a bundle's engine on this device."""
    fewest, usual, most = (1, batch, batch) if isinstance(batch, int) else batch
    return command(
        "convert", bundle, "--to", "tensorrt", "--precision", precision, "--batch", f"{fewest},{usual},{most}"
    )


def read_header(plan: bytes) -> PlanHeader:
    """Read a plan's first 28 bytes without loading it. Raises EngineError for what is no plan of TensorRT's."""
    if len(plan) < _HEADER_BYTES:
        raise EngineError(f"expected a plan of at least {_HEADER_BYTES} bytes, received {len(plan)}: it is cut off")
    magic, second = struct.unpack_from("<II", plan)
    if (magic, second) != (_MAGIC, 0):
        raise EngineError(
            f"expected a TensorRT plan, which begins with {_MAGIC:08x} 00000000, received {magic:08x} {second:08x}"
        )
    major, minor, patch, build = plan[_VERSION_AT : _VERSION_AT + 4]
    return PlanHeader((major, minor, patch, build))


def read_sidecar(plan: Path) -> Sidecar:
    """Read what stands beside a plan. Raises EngineError where it is missing or unreadable."""
    path = sidecar_path(plan)
    try:
        return Sidecar.model_validate_json(json.dumps(read_json(path)))
    except OSError as error:
        raise EngineError(f"expected the description of {plan.name} at {path}, received: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise EngineError(f"expected {path} to describe the plan, received at {where}: {first['msg']}") from error
    except ValueError as error:
        raise EngineError(f"expected {path} to describe the plan, received at the whole file: {error}") from error


def verified_plan(bundle: Bundle, precision: str, max_batch: int, machine: Machine) -> bytes:
    """Return the bytes of the bundle's plan, once nothing speaks against it on this machine.

    Takes no memory of the GPU. Raises MissingEngineError where none was built yet, RefusedPlanError where it
    is refused, EngineError where its folder is open to others.
    """
    path = plan_path(bundle.path, precision)
    again = f"Build it again on this device: {rebuild_command(bundle.path, precision, max_batch)}"
    if not path.exists() and not sidecar_path(path).exists():
        raise MissingEngineError(
            f"There is no TensorRT engine at {path}. Build it on this device: "
            f"{rebuild_command(bundle.path, precision, max_batch)}"
        )
    try:
        _check_folder(path.parent, os.geteuid())
    except (OSError, EngineError) as error:  # for a person to look at, not to build over
        raise EngineError(f"{path} is refused: {error}. {again}") from error
    try:
        plan = path.read_bytes()
        sidecar = read_sidecar(path)
        refusals(plan, sidecar, machine, bundle=bundle, precision=precision, max_batch=max_batch)
    except OSError as error:
        raise RefusedPlanError(f"{path} cannot be read: {error}. {again}") from error
    except EngineError as error:
        raise RefusedPlanError(f"{path} is refused: {error}. {again}") from error
    return plan


def refusals(
    plan: bytes, sidecar: Sidecar, machine: Machine, *, bundle: Bundle, precision: str, max_batch: int
) -> None:
    """Raise EngineError at the first thing that speaks against a plan: its hash, its header, its sidecar, in order."""
    found = hashlib.sha256(plan).hexdigest()
    if found != sidecar.plan_sha256:
        raise EngineError(
            f"it was altered or cut off since it was built: expected sha256 {sidecar.plan_sha256}, found {found}"
        )
    written_by, running = read_header(plan).tensorrt[:3], parse_version(machine.tensorrt)[:3]
    if written_by != running:
        raise EngineError(
            f"expected a plan of TensorRT {_dotted(running)}, found one of TensorRT {_dotted(written_by)} in its header"
        )
    facts = machine.as_dict()
    for name in _BINDING_FACTS:
        if getattr(sidecar, name) != facts[name]:
            raise EngineError(
                f"it was built elsewhere: expected {_WORDS[name]} {_shown(facts[name])}, which this device has, found "
                f"{_shown(getattr(sidecar, name))}"
            )
    if sidecar.precision != precision:
        raise EngineError(f"expected precision {precision}, found {sidecar.precision}")
    _check_graph(sidecar, bundle)
    if max_batch > sidecar.batch[2]:
        raise EngineError(
            f"expected an engine of {counted(max_batch, 'tile')} at once, found one of at most {sidecar.batch[2]}"
        )


def _check_graph(sidecar: Sidecar, bundle: Bundle) -> None:
    """Compare the hashes of what was built with the bundle's model and with its graphs of any precision."""
    if sidecar.onnx_sha256 != bundle.model_sha256:
        raise EngineError(
            f"it was built of another model: expected model.onnx with sha256 {bundle.model_sha256}, found "
            f"{sidecar.onnx_sha256}"
        )
    if sidecar.graph_sha256 not in bundle.manifest.files.values():
        raise EngineError(
            f"it was built of a graph that the bundle no longer holds: found sha256 {sidecar.graph_sha256}"
        )


def _check_folder(folder: Path, user: int) -> None:
    """Refuse a folder that others than `user` may write into: what lies there is run as code."""
    status = folder.stat()
    if status.st_uid != user:
        raise EngineError(
            f"{folder} belongs to another user (uid {status.st_uid}); expected this one ({user}), since plans are run "
            "as code"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise EngineError(
            f"{folder} is open to other users: expected mode 0700, found {stat.S_IMODE(status.st_mode):04o}. "
            f"If nobody has been in it, run: chmod 700 {folder}"
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
