"""From a converted bundle to what a device gets: no Keras model, no checkpoints, hashes made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge.bundle import KERAS_MODEL, MANIFEST, ORIGINAL_KERAS, ORIGINAL_ONNX, Bundle, load_bundle, write_manifest
from edge.errors import StoreError

# Not shipped: what only a workstation reads, and what every device builds for itself.
_LEFT_BEHIND = (KERAS_MODEL, ORIGINAL_KERAS, ORIGINAL_ONNX, "training", "engines", "manifest.sig")


def ship(source: Path, target: Path) -> Bundle:
    """Copy the converted bundle `source` to `target`, fit for a device; an older bundle there is replaced.

    Raises BundleError if `source` is not converted, StoreError if `target` is anything but a bundle or an empty folder.
    """
    bundle = load_bundle(source)
    if target.resolve() == source.resolve():
        raise StoreError(f"{target} is the bundle itself, and shipping would strip it. Name another folder")
    if target.exists() and not (target / MANIFEST).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} is no bundle and would be replaced. Name another folder, or remove it")
    beside = target.with_name(f"{target.name}.tmp")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside, ignore=lambda folder, _: _LEFT_BEHIND if Path(folder) == source else ())
        write_manifest(beside, bundle.manifest)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}. Nothing is shipped") from error
    return load_bundle(target)
