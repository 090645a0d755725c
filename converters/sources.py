"""What `convert` is given: a bundle, or a bare model with what its manifest would have held; worked on where it may be.

Work on a copy (--out, and always for a bare model) happens in a folder beside the target, which takes its name at the
end: an interrupted conversion leaves nothing that looks like a bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.comparison.real_tiles import pictures_of
from converters.locking import locked
from edge.bundle import (
    GOLDEN,
    KERAS_MODEL,
    ONNX_MODEL,
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

BARE = {".keras": KERAS_MODEL, ".onnx": ONNX_MODEL}
GOLDEN_PICTURES = 4
# What a device built for itself, and what was left by an interrupted conversion.
_NOT_COPIED = shutil.ignore_patterns("engines", "*.tmp")
_COLOURS = ((230, 25, 75), (0, 130, 200), (255, 225, 25), (60, 180, 75), (245, 130, 48), (145, 30, 180))


@dataclass(frozen=True)
class ManifestFlags:
    """What the manifest of a bare model would have held. `tile`: (height, width) px; `thresholds`: one, or K.

    `stride`: pixels per answered cell. A model of one channel is shown grey pictures.
    """

    tile: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = (0.5,)
    overlap_px: int = 0
    channels: int = 1
    frames: int = 1
    stride: int = 1
    min_area_px: float = 0.0
    name: str | None = None
    version: str = "1.0.0"

    def manifest(self, model: Path) -> Manifest:
        """Return the manifest of a bundle around `model`. Raises BundleError for what cannot be."""
        if self.tile is None or not self.classes:
            raise BundleError(
                f"{model} is a bare model: expected --tile WIDTHxHEIGHT and --classes NAME,NAME, which a bundle's "
                "manifest would hold"
            )
        count = len(self.classes)
        thresholds = self.thresholds * count if len(self.thresholds) == 1 else self.thresholds
        if len(thresholds) != count:
            raise BundleError(
                f"--thresholds: expected one, or one for each of the {count} classes, received {len(thresholds)}"
            )
        try:
            return Manifest(
                name=safe_name(self.name or model.stem),
                version=self.version,
                classes=tuple(
                    ClassEntry(
                        id=i + 1,
                        name=name,
                        colour=_COLOURS[i % len(_COLOURS)],
                        threshold=thresholds[i],
                        min_area_px=self.min_area_px,
                    )
                    for i, name in enumerate(self.classes)
                ),
                tile=TileEntry(height=self.tile[0], width=self.tile[1], overlap_px=self.overlap_px),
                stride=self.stride,
                channels=3 if self.channels == 3 else 1,
                frames=self.frames,
                preparing=(Grey(),) if self.channels == 1 else (),
                provenance=({"step": "bare", "file": model.name},),
            )
        except ValueError as error:
            raise BundleError(f"What was given with {model} makes no manifest: {error}") from error


def is_bare(source: Path) -> bool:
    """Tell whether `source` is a model file rather than a bundle."""
    return source.suffix.lower() in BARE and not source.is_dir()


@contextmanager
def working_folder(
    source: Path, out: Path | None, flags: ManifestFlags, pictures: Sequence[Path | None]
) -> Iterator[tuple[Path, Path]]:
    """Yield (the folder to convert in, the bundle that it will be), locked against another conversion.

    Without `out` a bundle is converted where it lies; a bare model becomes the bundle NAME-VERSION beside it.
    `pictures`: folders that a bare model's golden pictures are taken from. Raises BundleError, StoreError.
    """
    bare = is_bare(source)
    if bare and not source.is_file():
        raise BundleError(f"No model at {source}: expected a .keras or .onnx file, or a bundle")
    if not bare and out is None:
        with locked(source):
            yield source, source
        return
    manifest = flags.manifest(source) if bare else None
    if out is None:
        assert manifest is not None  # noqa: S101 - a bundle without --out was handled above
        out = source.parent / f"{manifest.name}-{manifest.version}"
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
            if manifest is not None:
                _wrap(source, manifest, beside, [each for each in pictures if each is not None])
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


def _wrap(model: Path, manifest: Manifest, folder: Path, data: list[Path]) -> None:
    """Write a bundle around a bare model, with a few of the given pictures as golden ones."""
    shutil.copyfile(model, folder / BARE[model.suffix.lower()])
    (folder / GOLDEN).mkdir()
    pictures = [picture for each in data for picture in pictures_of(each)]
    chosen = sorted({int(place) for place in np.linspace(0, len(pictures) - 1, GOLDEN_PICTURES)} if pictures else ())
    for number, place in enumerate(chosen):
        picture = pictures[place]
        name = f"{number}-{safe_name(picture.stem)}.png"
        cv2.imwrite(str(folder / GOLDEN / name), read_picture(picture))
    write_manifest(folder, manifest)
