"""Bundles that somebody else wrote: one table of what is wrong with each, and of the words that refuse it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from converters.__main__ import app as convert
from converters.file_facts import facts
from edge.bundle import Bundle, HashedFile, load_bundle, read_manifest, write_manifest
from edge.engines.engine_files import read_sidecar
from edge.errors import BundleError, EngineError
from tests.bright_bundle import write_bright_bundle

Harm = Callable[[Path], object]


def text_change(old: str, new: str) -> Harm:
    """Change the manifest's text, which no JSON writer would write so."""

    def harm(bundle: Path) -> None:
        manifest = bundle / "manifest.json"
        text = manifest.read_text()
        assert old in text
        manifest.write_text(text.replace(old, new, 1))

    return harm


def key_change(**keys: object) -> Harm:
    """Change keys of the manifest."""

    def harm(bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        (bundle / "manifest.json").write_text(json.dumps(manifest | keys))

    return harm


def golden(image: str, expected_map: str) -> Harm:
    """Let the manifest name a golden frame."""
    return key_change(golden=[{"image": image, "prepared_sha256": "0" * 64, "expected_map": expected_map}])


def outside_by_link(bundle: Path) -> None:
    """Let a listed file be a link to one elsewhere, of the right content."""
    model = bundle / "model.onnx"
    shutil.move(model, bundle.parent / "elsewhere.onnx")
    model.symlink_to(bundle.parent / "elsewhere.onnx")


def pipe(bundle: Path) -> None:
    """Put a pipe in the place of a file, which an ordinary read would wait for without end."""
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")


def linked_folder(bundle: Path) -> None:
    """Link a folder from elsewhere into the bundle."""
    (bundle.parent / "pictures").mkdir()
    (bundle / "golden").symlink_to(bundle.parent / "pictures")


def manifest_elsewhere(bundle: Path) -> None:
    """Let the manifest be a link to one that lies elsewhere."""
    shutil.move(bundle / "manifest.json", bundle.parent / "elsewhere.json")
    (bundle / "manifest.json").symlink_to(bundle.parent / "elsewhere.json")


def in_the_place_of_the_model(make: Harm) -> Harm:
    """Put something in the place of the model."""

    def harm(bundle: Path) -> None:
        (bundle / "model.onnx").unlink()
        make(bundle / "model.onnx")

    return harm


HOSTILE: dict[str, tuple[Harm, str]] = {
    "area infinite": (text_change('"min_area_px": 4.0', '"min_area_px": Infinity'), "received Infinity"),
    "area as 1e999": (text_change('"min_area_px": 4.0', '"min_area_px": 1e999'), "received 1e999"),
    "area larger than any tile": (text_change('"min_area_px": 4.0', '"min_area_px": 1e300'), "min_area_px"),
    "area as text": (text_change('"min_area_px": 4.0', '"min_area_px": "4"'), "number without quotes"),
    "threshold not a number": (text_change('"threshold": 0.5', '"threshold": NaN'), "received NaN"),
    "minus infinity in free facts": (text_change('"training": {}', '"training": {"loss": -Infinity}'), "-Infinity"),
    "key twice": (text_change('"threshold": 0.5', '"threshold": 0.9, "threshold": 0.5'), "'threshold' is given twice"),
    "key twice deep inside": (text_change('"training": {}', '"training": {"a": [{"b": 1, "b": 2}]}'), "given twice"),
    "arrays 100,000 deep": (text_change('"training": {}', f'"training": {"[" * 100_000}'), "levels of nesting"),
    "objects 100,000 deep": (text_change('"training": {}', '"training": ' + '{"a":' * 100_000), "levels of nesting"),
    "arrays 200 deep and closed": (
        text_change('"training": {}', f'"training": {{"a": {"[" * 200}{"]" * 200}}}'),
        "nest",
    ),
    "a lone surrogate": (text_change('"training": {}', '"training": {"a": "\\ud800"}'), "surrogates not allowed"),
    "a very long number": (text_change('"training": {}', f'"training": {{"a": {"9" * 5000}}}'), "as JSON"),
    "not UTF-8": (lambda bundle: (bundle / "manifest.json").write_bytes(b'{"schema": "\xff"}'), "as JSON"),
    "a manifest of 40 MB": (lambda bundle: (bundle / "manifest.json").write_bytes(b" " * 40_000_000), "at most"),
    "a threshold that 32 bits make 1": (text_change('"threshold": 0.5', '"threshold": 0.99999999'), "32 bits"),
    "a threshold that 32 bits make 0": (text_change('"threshold": 0.5', '"threshold": 1e-46'), "32 bits"),
    "a threshold that is true": (text_change('"threshold": 0.5', '"threshold": true'), "expected a number"),
    "an area of 400 digits": (text_change('"min_area_px": 4.0', f'"min_area_px": {"9" * 400}'), "min_area_px"),
    "a stride that divides no tile": (key_change(stride=7), "divides the tile"),
    "a stride beyond the tile": (key_change(stride=10**9), "divides the tile"),
    "frames without end": (key_change(frames=10**9), "key frames"),
    "a colour that is none": (text_change("255", "300"), "colour"),
    "a version of other digits": (key_change(version="\u0661.\u0662.\u0663"), "key version"),
    "a version without end": (key_change(version="1" * 100_000 + ".0.0"), "key version"),
    "with a byte order mark": (
        lambda bundle: (bundle / "manifest.json").write_bytes(
            b"\xef\xbb\xbf" + (bundle / "manifest.json").read_bytes()
        ),
        "as JSON",
    ),
    "in UTF-16": (
        lambda bundle: (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text(), "utf-16"),
        "as JSON",
    ),
    "a manifest elsewhere": (manifest_elsewhere, "outside the bundle"),
    "a folder as the model": (in_the_place_of_the_model(lambda model: model.mkdir()), "is no file"),
    "a link to itself": (in_the_place_of_the_model(lambda model: model.symlink_to("model.onnx")), "model.onnx"),
    "a device as the model": (in_the_place_of_the_model(lambda model: model.symlink_to("/dev/zero")), "outside"),
    "engines by a link": (lambda bundle: (bundle / "engines").symlink_to("/etc"), "'engines'"),
    "a file that looks unfinished": (lambda bundle: (bundle / "weights.tmp").write_bytes(b"x"), "'weights.tmp'"),
    "an unlisted file": (lambda bundle: (bundle / "libcustom.so").write_bytes(b"\x7fELF"), "'libcustom.so'"),
    "an unlisted file deep inside": (
        lambda bundle: [(bundle / "a").mkdir(), (bundle / "a" / "weights.bin").write_bytes(b"x")],
        "'a/weights.bin'",
    ),
    "an unlisted link": (lambda bundle: (bundle / "passwd").symlink_to("/etc/passwd"), "'passwd'"),
    "a linked folder": (linked_folder, "'golden'"),
    "a listed file elsewhere": (key_change(files={"/etc/passwd": "0" * 64}), "outside the bundle"),
    "a listed file above": (key_change(files={"../x": "0" * 64}), "outside the bundle"),
    "a listed file by a detour": (key_change(files={"golden/../model.onnx": "0" * 64}), "outside the bundle"),
    "a listed file by a link": (outside_by_link, "outside the bundle"),
    "a hash that is none": (key_change(files={"model.onnx": "abc"}), "files.model.onnx"),
    "a pipe": (pipe, "is no file"),
    "a golden frame without a hash": (golden("golden/a.png", "golden/a.map.png"), "states no hash of it"),
    "a golden frame elsewhere": (golden("/etc/passwd", "model.onnx"), "outside the bundle"),
    "a golden frame above": (golden("../../a.png", "model.onnx"), "outside the bundle"),
    "a golden map elsewhere": (golden("model.onnx", "/proc/self/environ"), "outside the bundle"),
    "a folder for everybody": (lambda bundle: bundle.chmod(0o777), "chmod -R o-w"),
    "a model for everybody": (lambda bundle: (bundle / "model.onnx").chmod(0o666), "chmod -R o-w"),
    "a manifest for everybody": (lambda bundle: (bundle / "manifest.json").chmod(0o646), "chmod -R o-w"),
    "an inner folder for everybody": (
        lambda bundle: [(bundle / "golden").mkdir(), (bundle / "golden").chmod(0o777)],
        "chmod -R o-w",
    ),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Write a bundle that is well."""
    return write_bright_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused(bundle: Bundle, name: str) -> None:
    """Each is refused by the runtime and by `convert inspect`, in our own words and with exit code 4."""
    load_bundle(bundle.path)
    harm, says = HOSTILE[name]
    harm(bundle.path)
    with pytest.raises(BundleError) as refused:
        load_bundle(bundle.path)
    assert says in str(refused.value)
    for needs in (True, False):
        with pytest.raises(BundleError):
            load_bundle(bundle.path, need_onnx=needs)
    told = CliRunner().invoke(convert, ["inspect", str(bundle.path)])
    assert isinstance(told.exception, BundleError), told.output


def test_what_was_hashed_is_what_is_read(bundle: Bundle) -> None:
    """A file that is changed after the bundle was verified is refused by whoever reads it, with both hashes."""
    file = bundle.file("model.onnx")
    assert file.read() == bundle.onnx_path.read_bytes()
    bundle.onnx_path.write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"altered: expected sha256 [0-9a-f]{64}, found"):
        file.read()
    with pytest.raises(BundleError, match=r"states no hash of 'golden/x\.png'"):
        bundle.file("golden/x.png")


def test_a_file_without_a_stated_hash_is_still_a_plain_file(tmp_path: Path) -> None:
    """A pipe, a folder or a file for everybody is refused where no hash is known."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "open").write_bytes(b"x")
    (tmp_path / "open").chmod(0o666)
    for name in ("pipe", "open", "absent", "."):
        with pytest.raises(BundleError):
            HashedFile(tmp_path / name).read()


def test_group_writable_bundles_are_used(bundle: Bundle) -> None:
    """A checkout under umask 002, which most distributions set, is no attack."""
    bundle.path.chmod(0o775)
    bundle.onnx_path.chmod(0o664)
    assert load_bundle(bundle.path).manifest.name == "bright"


def test_a_figure_that_could_not_be_had_is_null(bundle: Bundle) -> None:
    """What the trainer could not compute (NaN) is written so that the strict reader takes it."""
    manifest = bundle.manifest.model_copy(update={"validation": {"recall": float("nan"), "of": [float("inf"), 1.0]}})
    write_manifest(bundle.path, manifest)
    assert read_manifest(bundle.path).validation == {"recall": None, "of": [None, 1.0]}


@pytest.mark.parametrize(
    "text", ['{"layers": 1, "layers": 2}', "[" * 100_000, '{"half_share": NaN}', "\ufeff{}", '{"layers": 1e999}']
)
def test_a_hostile_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    """What stands beside a plan is read as strictly as a manifest."""
    (tmp_path / "fp32.json").write_text(text)
    with pytest.raises(EngineError, match="to describe the plan"):
        read_sidecar(tmp_path / "fp32.plan")


@pytest.mark.parametrize("name", ["model.keras", "model.onnx", "x.plan", "fifo"])
def test_inspect_refuses_what_is_no_model(tmp_path: Path, name: str) -> None:
    """Rubbish under any name is an error of ours, never a traceback, and a pipe is not waited for."""
    path = tmp_path / name
    os.mkfifo(path) if name == "fifo" else path.write_bytes(b"PK\x03\x04" + b"rubbish" * 40)
    with pytest.raises(BundleError):
        facts(path)
