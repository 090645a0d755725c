"""Reads, verifies and writes bundles: the one thing that passes between trainer, converters and edge.

A bundle is a folder with `manifest.json`, the model files, and golden frames. The manifest holds the sha256 of every
other file except `engines/`, which is built on the device and has sidecars of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.errors import BundleError
from edge.files import replacing
from edge.preparing import PreparingStep
from edge.records import DefectClass, GraphContract

SCHEMA = "linewatch/bundle/1"
MANIFEST = "manifest.json"
ONNX_MODEL = "model.onnx"
FP16_MODEL = "model.fp16.onnx"
INT8_MODEL = "model.int8.onnx"
PRECISION_PLANS = ("precision.json", "precision.int8.json")  # beside the two: which nodes are excepted, and why
KERAS_MODEL = "model.keras"
SPLIT = "split.csv"
GOLDEN = "golden"
# What the manifest's hashes leave out: itself, what the device builds, and a training run's own state.
_UNHASHED = (MANIFEST, "manifest.sig", "engines", "training")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(_Strict):
    """One defect class; `threshold` and `min_area_px` are fitted on validation pictures."""

    id: Annotated[int, Field(ge=1, le=255)]
    name: Name
    severity: Literal["minor", "major", "critical"] = "major"
    colour: tuple[int, int, int]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    min_area_px: Annotated[float, Field(ge=0)]


class TileEntry(_Strict):
    """Tile size and the overlap of neighbours, in prepared pixels."""

    height: Annotated[int, Field(ge=8, le=4096)]
    width: Annotated[int, Field(ge=8, le=4096)]
    overlap_px: Annotated[int, Field(ge=0)]


class GoldenEntry(_Strict):
    """One golden frame: the raw picture, the sha256 of its prepared pixels' bytes, and its expected defect map."""

    image: str
    prepared_sha256: str
    expected_map: str


class Manifest(_Strict):
    """`manifest.json`. `provenance` lists each step that made the bundle, oldest first."""

    schema_: Annotated[Literal["linewatch/bundle/1"], Field(alias="schema")] = "linewatch/bundle/1"
    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    task: Literal["segmentation"] = "segmentation"
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=1)]
    tile: TileEntry
    stride: Annotated[int, Field(ge=1)] = 1
    channels: Literal[1, 3] = 1
    frames: Annotated[int, Field(ge=1)] = 1
    preparing: tuple[PreparingStep, ...] = ()
    training: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    golden: tuple[GoldenEntry, ...] = ()
    files: dict[str, str] = {}
    provenance: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _ids_count_from_one(self) -> Manifest:
        ids = [entry.id for entry in self.classes]
        if ids != list(range(1, len(ids) + 1)):
            raise ValueError(f"expected class ids 1…{len(ids)} in order, received {ids}")
        names = [entry.name for entry in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"expected distinct class names, received {names}")
        if self.tile.overlap_px >= min(self.tile.height, self.tile.width):
            raise ValueError(f"expected an overlap below the tile's size, received {self.tile.overlap_px} px")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been read and whose files have been verified."""

    path: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """Where the CPU backends' model lies."""
        return self.path / ONNX_MODEL

    @property
    def keras_path(self) -> Path:
        """Where the workstation's model lies; a shipped bundle has none."""
        return self.path / KERAS_MODEL

    @property
    def classes(self) -> tuple[DefectClass, ...]:
        """The defect classes in id order."""
        return tuple(
            DefectClass(e.id, e.name, e.severity, e.colour, e.threshold, e.min_area_px) for e in self.manifest.classes
        )

    @property
    def model_sha256(self) -> str | None:
        """The hash of `model.onnx` as the manifest states it; None before conversion."""
        return self.manifest.files.get(ONNX_MODEL)

    def contract(self, max_batch: int) -> GraphContract:
        """Return what an engine for this bundle must promise."""
        m = self.manifest
        return GraphContract(
            m.tile.height, m.tile.width, m.channels, m.frames, m.stride, tuple(e.name for e in m.classes), max_batch
        )


def sha256_of(path: Path) -> str:
    """Hash a file in pieces, as lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def load_bundle(path: Path, *, need_onnx: bool = True) -> Bundle:
    """Read `path`, verify every file's hash, and return the bundle; BundleError says what is wrong with it.

    Without `need_onnx`, what `convert` makes anew (model.onnx and the golden maps) may be absent or damaged.
    """
    try:
        return _load(path, need_onnx=need_onnx)
    except OSError as error:
        raise BundleError(
            f"The bundle {path} cannot be read: {error}. Look at the rights of its folder and files"
        ) from error


def _load(path: Path, *, need_onnx: bool) -> Bundle:
    manifest_path = path / MANIFEST
    if not path.is_dir():
        raise BundleError(
            f"No bundle at {path}: expected a folder with {MANIFEST}. Make one with `linewatch-train fit`"
        )
    if not manifest_path.is_file():
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}. Make one with `linewatch-train fit`")
    try:
        raw = json.loads(manifest_path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BundleError(f"{manifest_path} cannot be read as JSON: {error}. Copy the bundle again") from error
    if isinstance(raw, dict) and raw.get("schema") != SCHEMA:
        raise BundleError(
            f"{manifest_path}: expected schema {SCHEMA!r}, received {raw.get('schema')!r}. "
            "It was made for another version of Linewatch; convert it again with this one"
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise BundleError(
            f"{manifest_path}, key {where}: {first['msg']}; received {first['input']!r:.80}. Make the bundle again"
        ) from error
    maps = (entry.expected_map for entry in manifest.golden)
    made_anew = set() if need_onnx else {ONNX_MODEL, FP16_MODEL, INT8_MODEL, *PRECISION_PLANS, *maps}
    _verify(path, manifest, made_anew)
    if need_onnx and ONNX_MODEL not in manifest.files:
        raise BundleError(f"{path} holds no {ONNX_MODEL}. Run: convert {path} --to onnxruntime")
    return Bundle(path, manifest)


def _verify(path: Path, manifest: Manifest, except_for: set[str]) -> None:
    root = path.resolve()
    for name, expected in manifest.files.items():
        if name in except_for:
            continue
        file = (path / name).resolve()
        if not file.is_relative_to(root):
            raise BundleError(
                f"{path / MANIFEST} names the file {name!r}, which lies outside the bundle; do not use it"
            )
        if not file.is_file():
            raise BundleError(f"{path} is incomplete: {name} is missing. Copy the bundle again")
        found = sha256_of(file)
        if found != expected:
            raise BundleError(
                f"{file} is corrupt or was altered: expected sha256 {expected}, found {found}. Copy the bundle again"
            )


def file_hashes(path: Path) -> dict[str, str]:
    """Hash every file of a bundle that its manifest answers for, by its path within the bundle."""
    return {
        str(file.relative_to(path)): sha256_of(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.relative_to(path).parts[0] not in _UNHASHED and not file.name.endswith(".tmp")
    }


def write_manifest(path: Path, manifest: Manifest) -> Bundle:
    """Hash what lies in the bundle and write its manifest atomically (temporary file, fsync, rename)."""
    manifest = manifest.model_copy(update={"files": file_hashes(path)})
    target = path / MANIFEST
    with replacing(target) as unfinished:
        text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return Bundle(path, manifest)


def safe_name(text: str) -> str:
    """Turn any text into a `Name`: letters, digits, `_` and `-`, at most 64 of them."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64] or "unnamed"
