from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundle import load_bundle, write_manifest
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, StoreError
from tests.bright_bundle import write_bright_bundle
from trainer.bundling.shipping import ship


def converted(folder: Path) -> Path:
    """Write a converted bundle with what a workstation keeps in one."""
    bundle = write_bright_bundle(folder)
    (folder / "model.keras").write_bytes(b"weights")
    (folder / "training").mkdir()
    (folder / "training" / "checkpoint.npz").write_bytes(b"state")
    (folder / "engines").mkdir()
    (folder / "engines" / "a.plan").write_bytes(b"plan")
    (folder / "golden").mkdir()
    (folder / "golden" / "a.png").write_bytes(b"picture")
    return write_manifest(folder, bundle.manifest).path


def files(folder: Path) -> set[str]:
    """List a folder."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_shipped_bundle_holds_what_a_device_needs_and_runs(tmp_path: Path) -> None:
    """Model, manifest and golden frames are there, verified by hash; Keras model, checkpoints and plans are not."""
    source = converted(tmp_path / "source")
    shipped = ship(source, tmp_path / "shipped")
    assert files(shipped.path) == {"manifest.json", "model.onnx", "golden/a.png"}
    assert set(shipped.manifest.files) == {"model.onnx", "golden/a.png"}
    with OnnxRuntimeEngine(shipped.onnx_path, shipped.contract(1)) as engine:
        assert engine.contract.classes == ("scratch",)
    assert (source / "model.keras").is_file()


def test_an_older_bundle_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the older one stays, and nothing temporary either."""
    old = write_bright_bundle(tmp_path / "shipped").path
    (old / "left-over.txt").write_text("old", encoding="utf-8")
    ship(converted(tmp_path / "source"), tmp_path / "shipped")
    assert files(tmp_path / "shipped") == {"manifest.json", "model.onnx", "golden/a.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shipped"}


def test_nothing_but_a_bundle_is_replaced(tmp_path: Path) -> None:
    """A folder with other things, a file, or the bundle itself is refused and left as it was."""
    source = converted(tmp_path / "source")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("dear", encoding="utf-8")
    (tmp_path / "file").write_text("dear", encoding="utf-8")
    for target in (tmp_path / "mine", tmp_path / "file", source):
        before = files(tmp_path)
        with pytest.raises(StoreError):
            ship(source, target)
        assert files(tmp_path) == before


def test_a_bundle_that_is_not_converted_is_not_shipped(tmp_path: Path) -> None:
    """It is told to be converted first, and the target is not touched."""
    source = converted(tmp_path / "source")
    (source / "model.onnx").unlink()
    write_manifest(source, load_bundle(write_bright_bundle(tmp_path / "like it").path).manifest)
    with pytest.raises(BundleError, match="--to onnxruntime"):
        ship(source, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()
    assert load_bundle(ship(converted(tmp_path / "other"), tmp_path / "shipped").path).model_sha256
