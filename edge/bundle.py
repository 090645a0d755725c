"""Reads, verifies and writes bundles: the one thing that passes between trainer, converters and edge.

A bundle is a folder with `manifest.json`, the model files, and golden frames. The manifest holds the sha256 of every
other file except `engines/`. That folder is built on the device and has sidecars of its own. A bundle decides what is
good, so nothing in it is taken on trust. A file that the manifest does not name is refused, and so is one that every
user may write. A file is read once, and the very bytes that are used are hashed (`HashedFile.read`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from edge.errors import BundleError
from edge.files import replacing
from edge.preparing import PreparingSteps
from edge.records import DefectClass, GraphContract
from edge.strict_json import BYTES_AT_MOST, parse_json
from edge.wording import command, counted
from edge.yaml_settings import NAME_PATTERN, StrictModel

SCHEMA = "linewatch/bundle/1"
MANIFEST = "manifest.json"
ONNX_MODEL = "model.onnx"
FP16_MODEL = "model.fp16.onnx"
INT8_MODEL = "model.int8.onnx"
INT8_OPENVINO_MODEL = "model.int8.openvino.onnx"
# beside them: which nodes are excepted, and why
PRECISION_PLANS = ("precision.json", "precision.int8.json", "precision.int8.openvino.json")
KERAS_MODEL = "model.keras"
# A model that somebody else trained, as it was given; model.onnx is made of it.
ORIGINAL_KERAS = "original.keras"
ORIGINAL_ONNX = "original.onnx"
SPLIT = "split.csv"
GOLDEN = "golden"
# The manifest's hashes leave these out: itself, the device's builds, and a training run's own state.
_UNHASHED = (MANIFEST, "manifest.sig", "engines", "training")

# More than this no model needs, and ONNX itself ends at twice as much.
FILE_BYTES_AT_MOST = 1 << 30
# The largest tile there may be, in pixels. A larger smallest area would call every defect a speck.
_MIN_AREA_AT_MOST_PX = 4096 * 4096

# Frames of a sequence, and of one engine's buffer; the trainer's models take at most half as many.
_FRAMES_AT_MOST = 64
# The trainer and the converters write four.
_GOLDEN_AT_MOST = 64
# A file that this program was writing when it was ended (`edge.files.replacing`), or had put aside.
_UNFINISHED = re.compile(r"\..+\.\d+-\d+\.tmp|(learned-before\.csv|.+\.onnx|.+\.map\.png|precision.*\.json)\.tmp")

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Level = Annotated[int, Field(ge=0, le=255)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _below_one_in_float32(threshold: float) -> float:
    """Refuse a threshold that a model, which computes in float32, takes for 1: hardly any pixel would reach it."""
    if not 0 < np.float32(threshold) < 1:
        raise ValueError(
            f"expected more than 0 and less than 1, also in 32 bits, which make it {np.float32(threshold)}"
        )
    return threshold


Threshold = Annotated[float, Field(gt=0, lt=1), AfterValidator(_below_one_in_float32)]


class ClassEntry(StrictModel):
    """One defect class; `threshold` and `min_area_px` are fitted on validation pictures."""

    id: Annotated[int, Field(ge=1, le=255)]
    name: Name
    severity: Literal["minor", "major", "critical"] = "major"
    colour: tuple[_Level, _Level, _Level]
    threshold: Threshold
    min_area_px: Annotated[float, Field(ge=0, le=_MIN_AREA_AT_MOST_PX)]


class TileEntry(StrictModel):
    """Tile size and the overlap of neighbours, in prepared pixels. They overlap by at most half of their size."""

    height: Annotated[int, Field(ge=8, le=4096)]
    width: Annotated[int, Field(ge=8, le=4096)]
    overlap_px: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _overlaps_by_half_at_most(self) -> TileEntry:
        if self.overlap_px * 2 > min(self.height, self.width):
            raise ValueError(f"expected an overlap of at most half the tile's size, received {self.overlap_px} px")
        return self


class GoldenEntry(StrictModel):
    """One golden frame: the raw picture, the sha256 of its prepared pixels' bytes, and its expected defect map."""

    image: str
    prepared_sha256: _Digest
    expected_map: str


class Manifest(StrictModel):
    """`manifest.json`. `provenance` lists each step that made the bundle, oldest first.

    `pod`: how small a defect was found, as `linewatch-train pod` noted it; empty before.
    """

    schema_: Annotated[Literal["linewatch/bundle/1"], Field(alias="schema")] = "linewatch/bundle/1"
    name: Name
    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
    task: Literal["segmentation"] = "segmentation"
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=1)]
    tile: TileEntry
    stride: Annotated[int, Field(ge=1)] = 1
    channels: Literal[1, 3] = 1
    frames: Annotated[int, Field(ge=1, le=_FRAMES_AT_MOST)] = 1
    preparing: PreparingSteps = ()
    training: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    pod: dict[str, Any] = Field(default_factory=dict)
    golden: Annotated[tuple[GoldenEntry, ...], Field(max_length=_GOLDEN_AT_MOST)] = ()
    files: dict[str, _Digest] = Field(default_factory=dict)
    provenance: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _ids_count_from_one(self) -> Manifest:
        ids = [entry.id for entry in self.classes]
        if ids != list(range(1, len(ids) + 1)):
            raise ValueError(f"expected class ids 1…{len(ids)} in order, received {ids}")
        names = [entry.name for entry in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"expected distinct class names, received {names}")
        if self.tile.height % self.stride or self.tile.width % self.stride:
            raise ValueError(
                f"expected a stride that divides the tile of {self.tile.width} x {self.tile.height} px, received "
                f"{self.stride} px"
            )
        return self


@dataclass(frozen=True)
class HashedFile:
    """A file and the sha256 that its content must have; None where whoever names it has just made it."""

    path: Path
    sha256: str | None = None

    def read(self) -> bytes:
        """Return the content, read once: the bytes that are returned are those that were hashed. Raises BundleError."""
        try:
            with _opened(self.path) as file:
                content = file.read(FILE_BYTES_AT_MOST + 1)
        except OSError as error:
            raise BundleError(f"{self.path} cannot be read: {error.strerror or error}. Look at its rights") from error
        if len(content) > FILE_BYTES_AT_MOST:
            raise BundleError(f"{self.path}: expected at most {FILE_BYTES_AT_MOST} bytes; it grew while it was read")
        found = hashlib.sha256(content).hexdigest()
        if self.sha256 is not None and found != self.sha256:
            raise _altered(self.path, self.sha256, found)
        return content


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been read and whose files have been verified."""

    path: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """Return the path of the CPU backends' model."""
        return self.path / ONNX_MODEL

    def file(self, name: str) -> HashedFile:
        """Return a file with the hash that the manifest states. Raises BundleError where it states none."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(f"{self.path / MANIFEST} states no hash of {name!r}; expected one. Make the bundle again")
        return HashedFile(self.path / name, expected)

    @property
    def keras_path(self) -> Path:
        """Return the path of the workstation's model; a shipped bundle has none."""
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

    @property
    def finds(self) -> tuple[str, ...]:
        """Say how small a defect this very model finds, one sentence for each class; empty where it was not measured.

        A measurement with another model.onnx, or at other thresholds, says nothing of this one.
        """
        noted = self.manifest.pod
        thresholds = {entry.name: [entry.threshold, entry.min_area_px] for entry in self.manifest.classes}
        if noted.get("model_sha256") != self.model_sha256 or noted.get("thresholds") != thresholds:
            return ()
        classes = noted.get("classes")
        told = classes.values() if isinstance(classes, dict) else ()
        return tuple(str(each["sentence"]) for each in told if isinstance(each, dict) and "sentence" in each)

    def contract(self, max_batch: int) -> GraphContract:
        """Return what an engine for this bundle must promise."""
        m = self.manifest
        return GraphContract(
            m.tile.height, m.tile.width, m.channels, m.frames, m.stride, tuple(e.name for e in m.classes), max_batch
        )


def sha256_of(path: Path) -> str:
    """Hash a file in pieces, as lower-case hexadecimal."""
    with path.open("rb") as file:
        return _digest_of(file)


def _digest_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in iter(lambda: file.read(1 << 20), b""):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file of a bundle once; the checked bytes are the read ones. Raises BundleError, OSError."""
    # without O_NONBLOCK a pipe in the place of a file would be waited for without end
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BundleError(f"{path} is no file; expected one. Copy the bundle again")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > FILE_BYTES_AT_MOST:
            raise BundleError(f"{path}: expected at most {FILE_BYTES_AT_MOST} bytes, received {status.st_size}")
        _refuse_open_to_all(path, status.st_mode)
        yield file


def _refuse_open_to_all(path: Path, mode: int) -> None:
    """Refuse what every user of this machine may write: it decides what is good."""
    if mode & stat.S_IWOTH:
        raise BundleError(
            f"{path} may be written by every user of this machine (mode {stat.S_IMODE(mode):04o}), and it decides "
            f"what is good. If nobody has changed it, run: chmod -R o-w {path if stat.S_ISDIR(mode) else path.parent}"
        )


def _altered(path: Path, expected: str, found: str) -> BundleError:
    return BundleError(
        f"{path} is corrupt or was altered: expected sha256 {expected}, found {found}. Copy the bundle again"
    )


def load_bundle(path: Path, *, need_onnx: bool = True) -> Bundle:
    """Read `path`, verify every file's hash, and return the bundle; BundleError says what is wrong with it.

    Without `need_onnx`, what `convert` makes anew (model.onnx and the golden maps) may be absent or damaged.
    """
    try:
        return _load(path, need_onnx=need_onnx)
    except (OSError, ValueError, RuntimeError) as error:  # a path that no file can have; links that go in a circle
        raise BundleError(
            f"The bundle {path} cannot be read: {error}. Look at the rights of its folder and files"
        ) from error


def _load(path: Path, *, need_onnx: bool) -> Bundle:
    if not path.is_dir():
        raise BundleError(
            f"No bundle at {path}: expected a folder with {MANIFEST}. Make one with `linewatch-train fit`"
        )
    manifest = read_manifest(path)
    maps = (entry.expected_map for entry in manifest.golden)
    graphs = {ONNX_MODEL, FP16_MODEL, INT8_MODEL, INT8_OPENVINO_MODEL}
    made_anew = set() if need_onnx else {*graphs, *PRECISION_PLANS, *maps}
    _verify(path, manifest, made_anew)
    if need_onnx and ONNX_MODEL not in manifest.files:
        raise BundleError(f"{path} holds no {ONNX_MODEL}. Run: {command('convert', path, '--to', 'onnxruntime')}")
    _check_golden_frames(path, manifest)
    _check_folders(path, {*manifest.files, *made_anew})
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest; no other file is looked at. Raises BundleError, OSError."""
    manifest_path = path / MANIFEST
    if not manifest_path.resolve().is_relative_to(path.resolve()):
        raise BundleError(f"{manifest_path} is a link to a file outside the bundle; do not use it")
    if not manifest_path.is_file():
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}. Make one with `linewatch-train fit`")
    try:
        with _opened(manifest_path) as file:
            raw = parse_json(file.read(BYTES_AT_MOST + 1))
    except ValueError as error:
        raise BundleError(f"{manifest_path} cannot be read as JSON: {error}. Copy the bundle again") from error
    if isinstance(raw, dict) and raw.get("schema") != SCHEMA:
        raise BundleError(
            f"{manifest_path}: expected schema {SCHEMA!r}, received {raw.get('schema')!r:.80}. "
            "It was made for another version of Linewatch; convert it again with this one"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        told = first["msg"].removeprefix("Value error, ")
        raise BundleError(
            f"{manifest_path}, key {where}: {told}; received {first['input']!r:.80}. Make the bundle again"
        ) from error


def _verify(path: Path, manifest: Manifest, except_for: set[str]) -> None:
    root = path.resolve()
    for name, expected in manifest.files.items():
        if not _is_plain(name) or not (path / name).resolve().is_relative_to(root):
            raise BundleError(
                f"{path / MANIFEST} names the file {name!r:.200}, which lies outside the bundle; do not use it"
            )
        file, may_differ = path / name, name in except_for
        if not file.exists():
            if may_differ:
                continue
            raise BundleError(f"{path} is incomplete: {name} is missing. Copy the bundle again")
        with _opened(file) as opened:
            found = _digest_of(opened)
        if found != expected and not may_differ:
            raise _altered(file, expected, found)


def _is_plain(name: str) -> bool:
    """Tell whether a name is that of a file below the bundle, written in the one allowed way."""
    plain = PurePosixPath(name)
    return name == str(plain) and not plain.is_absolute() and ".." not in plain.parts and "\0" not in name


def _check_golden_frames(path: Path, manifest: Manifest) -> None:
    """Refuse golden frames that lie elsewhere, or whose pixels anybody could change: no hash is stated for them."""
    for entry in manifest.golden:
        for name in (entry.image, entry.expected_map):
            if not _is_plain(name):
                raise BundleError(
                    f"{path / MANIFEST} names the golden frame {name!r:.200}, which lies outside the bundle; do not "
                    "use it"
                )
            if name not in manifest.files:
                raise BundleError(
                    f"{path / MANIFEST} names the golden frame {name!r:.200} and states no hash of it. Convert the "
                    f"bundle again: {command('convert', path, '--to', 'onnxruntime')}"
                )


def _check_folders(path: Path, named: set[str]) -> None:
    """Refuse folders that every user may write, and files that the manifest does not name."""
    _refuse_open_to_all(path, path.stat().st_mode)
    unnamed: list[str] = []
    for folder, folders, files in os.walk(path, onerror=_raise):
        here = Path(folder)
        if here == path:
            folders[:] = [name for name in folders if name not in _UNHASHED or (here / name).is_symlink()]
        for name in folders:
            _refuse_open_to_all(here / name, (here / name).lstat().st_mode & ~_of_link(here / name))
        for name in [*files, *(each for each in folders if (here / each).is_symlink())]:
            inside = (here / name).relative_to(path).as_posix()
            known = inside in named or (inside in _UNHASHED and not (here / name).is_symlink())
            if not known and inside != MANIFEST and not _UNFINISHED.fullmatch(name):
                unnamed.append(inside)
    if unnamed:
        shown = ", ".join(repr(name)[:200] for name in sorted(unnamed)[:5])
        raise BundleError(
            f"{path} holds {counted(len(unnamed), 'file')} that its {MANIFEST} does not name: {shown}. Move "
            f"them elsewhere, or "
            "copy the bundle again"
        )


def _of_link(path: Path) -> int:
    """Return the bits that say nothing of a link, whose mode is always open."""
    return stat.S_IWOTH if path.is_symlink() else 0


def _raise(error: OSError) -> None:
    raise error


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
        written = _with_numbers_only(manifest.model_dump(mode="json", by_alias=True))
        text = json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return Bundle(path, manifest)


def _with_numbers_only(value: Any) -> Any:
    """Return a value with null for each figure that could not be had (NaN): JSON has none, and readers refuse it."""
    if isinstance(value, dict):
        return {key: _with_numbers_only(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_numbers_only(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def safe_name(text: str) -> str:
    """Turn any text into a `Name`: letters, digits, `_` and `-`, at most 64 of them."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64] or "unnamed"
