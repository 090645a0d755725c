from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import ClassEntry, Manifest, TileEntry, load_bundle, safe_name, write_manifest
from edge.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Write a small valid bundle."""
    path = tmp_path / "bundle"
    (path / "golden").mkdir(parents=True)
    (path / "model.onnx").write_bytes(b"any bytes: loading does not open the model")
    (path / "golden" / "a.png").write_bytes(b"picture")
    (path / "engines").mkdir()
    (path / "engines" / "device.plan").write_bytes(b"built here")
    scratch = ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=0.5, min_area_px=10)
    tile = TileEntry(height=64, width=64, overlap_px=8)
    write_manifest(path, Manifest(name="b", version="1.0.0", classes=(scratch,), tile=tile))
    return path


def test_a_written_bundle_is_read_back(bundle: Path) -> None:
    """A written bundle is what is read; the device's own engines are not part of it."""
    loaded = load_bundle(bundle)
    assert loaded.classes[0].name == "scratch"
    assert sorted(loaded.manifest.files) == ["golden/a.png", "model.onnx"]
    assert loaded.contract(4).classes == ("scratch",)


def test_an_altered_file_is_named_with_both_hashes(bundle: Path) -> None:
    """One changed byte in any file is found before the model is used."""
    (bundle / "golden" / "a.png").write_bytes(b"Picture")
    with pytest.raises(BundleError, match=r"a\.png is corrupt or was altered: expected sha256 [0-9a-f]{64}, found"):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    """A bundle copied by half says which file is missing."""
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        load_bundle(bundle)


def change(bundle: Path, **keys: Any) -> None:
    """Overwrite keys of the manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | keys))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"schema": "linewatch/bundle/9"}, "expected schema 'linewatch/bundle/1', received 'linewatch/bundle/9'"),
        ({"stride": 0}, "key stride: .*greater than or equal to 1"),
        ({"spelt": 1}, "key spelt"),
        ({"files": {"../secret": "0" * 64}}, "lies outside the bundle"),
        ({"files": {}}, "holds no model.onnx. Run: convert"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(bundle: Path, keys: dict[str, Any], says: str) -> None:
    """Each wrong manifest is refused with the key and the remedy."""
    change(bundle, **keys)
    with pytest.raises(BundleError, match=says):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_a_manifest_that_is_no_json_object_is_refused(bundle: Path, text: str) -> None:
    """A truncated or foreign manifest is an error of ours, never a traceback."""
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        load_bundle(bundle)


def test_no_bundle_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    """An absent folder and an empty one are told apart."""
    with pytest.raises(BundleError, match=r"No bundle at .*linewatch-train fit"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, match="is no bundle"):
        load_bundle(tmp_path)


def test_any_text_becomes_a_safe_name() -> None:
    """No name reaches a path or a topic unescaped."""
    assert safe_name("../Ä b/c#") == "b-c"
    assert safe_name("…") == "unnamed"
