"""The input of `convert`: a bundle, or a bare model with what its manifest would have held; worked on where it may be.

Work on a copy (--out, and always for a bare model) happens in a folder beside the target. That folder takes the
target's name at the end. An interrupted conversion leaves nothing that looks like a bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.comparison.real_tiles import pictures_of
from converters.foreign.expectations import (
    Expectations,
    ModelFlags,
    expectations_from,
    expectations_of,
    preparing_of,
    with_yaml_beside,
)
from converters.foreign.nets import OnnxNet, open_net
from converters.foreign.understanding import Asked, understand
from converters.locking import locked
from edge.bundle import (
    GOLDEN,
    ORIGINAL_KERAS,
    ORIGINAL_ONNX,
    Bundle,
    ClassEntry,
    Manifest,
    TileEntry,
    safe_name,
    write_manifest,
)
from edge.errors import BundleError, StoreError
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.preparing import Grey
from edge.wording import counted

BARE = {".keras": ORIGINAL_KERAS, ".onnx": ORIGINAL_ONNX}
BARE_STEP = "bare"
GOLDEN_PICTURES = 4
# Files that a device built for itself, and those left by an interrupted conversion.
_NOT_COPIED = shutil.ignore_patterns("engines", "*.tmp")
_COLOURS = ((230, 25, 75), (0, 130, 200), (255, 225, 25), (60, 180, 75), (245, 130, 48), (145, 30, 180))


@dataclass(frozen=True)
class Bare:
    """A bare model understood: the manifest of its bundle, and how it was understood, in sentences."""

    manifest: Manifest
    told: tuple[str, ...]


def bare_model(source: Path, flags: ModelFlags) -> Bare:
    """Understand a bare model by flags, the YAML beside it, and what it shows itself.

    Raises BundleError or ContractError naming what is missing, SettingsError for a YAML that cannot be used.
    """
    if not source.is_file():
        raise BundleError(f"No model at {source}: expected a .keras or .onnx file, or a bundle")
    flags, beside = with_yaml_beside(source, flags)
    if flags.tile is None or not flags.classes:
        raise BundleError(
            f"{source} is a bare model: expected --tile WIDTHxHEIGHT and --classes NAME,NAME, which a bundle's "
            "manifest would hold"
        )
    told = [f"Read {beside}"] if beside else []
    draft = _manifest(source, flags, channels=flags.channels or 1, stride=flags.stride or 1, expects=None)
    net = open_net(source, flags.output)
    if isinstance(net, OnnxNet) and net.keeps_contract:
        return Bare(draft, (*told, "It keeps the graph contract already and is taken as it is"))
    expects = expectations_of(flags, source)
    asked = Asked(flags.tile, len(flags.classes), flags.frames or 1, flags.channels, flags.stride)
    reading = understand(net, expects, asked)
    manifest = _manifest(source, flags, channels=reading.channels, stride=reading.stride, expects=expects)
    return Bare(manifest, (*told, *reading.told()))


def _manifest(source: Path, flags: ModelFlags, *, channels: int, stride: int, expects: Expectations | None) -> Manifest:
    assert flags.tile is not None  # noqa: S101 - `bare_model` asked for both
    assert flags.classes is not None  # noqa: S101 - read before
    count, given = len(flags.classes), flags.thresholds or (0.5,)
    thresholds = given * count if len(given) == 1 else given
    if len(thresholds) != count:
        raise BundleError(
            f"--thresholds: expected one, or one for each of the {counted(count, 'class', 'classes')}, received "
            f"{len(thresholds)}"
        )
    steps = preparing_of(flags)
    if steps is None:
        steps = (Grey(),) if channels == 1 else ()
    bare: dict[str, Any] = {"step": BARE_STEP, "file": source.name}
    if expects is not None:
        bare["expects"] = expects.as_dict()
    try:
        return Manifest(
            name=safe_name(flags.name or source.stem),
            version="1.0.0",
            classes=tuple(
                ClassEntry(
                    id=i + 1,
                    name=name,
                    colour=_COLOURS[i % len(_COLOURS)],
                    threshold=thresholds[i],
                    min_area_px=flags.min_area or 0.0,
                )
                for i, name in enumerate(flags.classes)
            ),
            tile=TileEntry(height=flags.tile[0], width=flags.tile[1], overlap_px=flags.overlap or 0),
            stride=stride,
            channels=3 if channels == 3 else 1,
            frames=flags.frames or 1,
            preparing=steps,
            provenance=(bare,),
        )
    except ValueError as error:
        raise BundleError(f"What was given with {source} makes no manifest: {error}") from error


def original_of(bundle: Bundle) -> Path | None:
    """Return the original in a bundle of a model that somebody else trained; None in one of the trainer."""
    return next((bundle.path / name for name in BARE.values() if name in bundle.manifest.files), None)


def expectations_in(bundle: Bundle) -> Expectations | None:
    """Return what the bundle's original expects and gives; None where it keeps the contract itself."""
    step = next((each for each in bundle.manifest.provenance if each.get("step") == BARE_STEP), {})
    raw = step.get("expects")
    return expectations_from(raw) if isinstance(raw, dict) else None


def is_bare(source: Path) -> bool:
    """Tell whether `source` is a model file rather than a bundle."""
    return source.suffix.lower() in BARE and not source.is_dir()


@contextmanager
def working_folder(
    source: Path, out: Path | None, bare: Bare | None, pictures: Sequence[Path | None]
) -> Iterator[tuple[Path, Path]]:
    """Yield (the folder to convert in, the bundle that it will be), locked against another conversion.

    Without `out` a bundle is converted where it lies; a `bare` model becomes the bundle NAME-VERSION beside it.
    `pictures`: folders that a bare model's golden pictures are taken from. Raises BundleError, StoreError.
    """
    if bare is None and out is None:
        with locked(source):
            yield source, source
        return
    if out is None:
        assert bare is not None  # noqa: S101 - a bundle without --out was handled above
        out = source.parent / f"{bare.manifest.name}-{bare.manifest.version}"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} already exists and is not empty. Name another folder with --out, or remove it")
    beside = out.with_name(f"{out.name}.tmp")
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{beside} cannot be made: {error}. Name another folder with --out") from error
    with locked(beside):
        try:
            _empty(beside)
            if bare is not None:
                _wrap(source, bare.manifest, beside, pictures)
            else:
                shutil.copytree(source, beside, ignore=_NOT_COPIED, dirs_exist_ok=True)
            yield beside, out
            if out.exists():
                out.rmdir()
            beside.rename(out)
        except OSError as error:
            raise StoreError(f"{out} cannot be written: {error}. Nothing was kept") from error
        finally:
            if beside.exists():
                shutil.rmtree(beside, ignore_errors=True)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def chosen_as_golden(folders: Sequence[Path | None]) -> list[Path]:
    """Return the few pictures of the folders, spread over all, that become a bare model's golden ones."""
    return spread_over([picture for folder in folders if folder is not None for picture in pictures_of(folder)])


def spread_over(pictures: Sequence[Path]) -> list[Path]:
    """Return as many of the pictures as become golden ones, spread over all."""
    places = sorted({int(place) for place in np.linspace(0, len(pictures) - 1, GOLDEN_PICTURES)} if pictures else ())
    return [pictures[place] for place in places]


def _wrap(model: Path, manifest: Manifest, folder: Path, data: Sequence[Path | None]) -> None:
    """Write a bundle around a bare model, with a few of the given pictures as golden ones."""
    shutil.copyfile(model, folder / BARE[model.suffix.lower()])
    (folder / GOLDEN).mkdir()
    for number, picture in enumerate(chosen_as_golden(data)):
        name = f"{number}-{safe_name(picture.stem)}.png"
        # not by cv2.imwrite, which ends the process at a folder whose name is no UTF-8
        (folder / GOLDEN / name).write_bytes(cv2.imencode(".png", read_picture(picture))[1].tobytes())
    write_manifest(folder, manifest)
