"""Bundles that somebody else wrote: one table of what is wrong with each, and of the words that refuse it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from converters.__main__ import app as convert
from converters.file_facts import facts
from edge.bundle import Bundle, GoldenEntry, HashedFile, TileEntry, load_bundle, read_manifest, write_manifest
from edge.engines.engine_files import read_sidecar
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import BundleError, EngineError
from edge.inspection.golden import check_golden, golden_frame, golden_tiles, require_passed
from edge.opencv import cv2
from tests.bright_bundle import add_golden, write_bright_bundle

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
    "a manifest of 200 MB": (lambda bundle: os.truncate(bundle / "manifest.json", 200_000_000), "at most"),
    "a manifest of 40 MB": (lambda bundle: (bundle / "manifest.json").write_bytes(b" " * 40_000_000), "at most"),
    "golden frames without end": (
        key_change(golden=[{"image": "a", "prepared_sha256": "0" * 64, "expected_map": "b"}] * 65),
        "key golden",
    ),
    "steps without end": (key_change(preparing=[{"step": "grey"}] * 65), "key preparing"),
    "tiles that overlap almost wholly": (text_change('"overlap_px": 8', '"overlap_px": 63'), "half the tile"),
    "a threshold that 32 bits make 1": (text_change('"threshold": 0.5', '"threshold": 0.99999999'), "32 bits"),
    "a threshold that 32 bits make 0": (text_change('"threshold": 0.5', '"threshold": 1e-46'), "32 bits"),
    "channels that are true": (key_change(channels=True), "key channels: expected a number; received True"),
    "channels in quotes": (key_change(channels="1"), "key channels: expected a number without quotes"),
    "a colour of quotes": (text_change("255", '"255"'), "expected numbers without quotes"),
    "a colour that is true": (text_change("255", "true"), "expected numbers without quotes, and no true or false"),
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
    """A figure that the trainer could not compute (NaN) is written so that the strict reader takes it."""
    manifest = bundle.manifest.model_copy(update={"validation": {"recall": float("nan"), "of": [float("inf"), 1.0]}})
    write_manifest(bundle.path, manifest)
    assert read_manifest(bundle.path).validation == {"recall": None, "of": [None, 1.0]}


@pytest.mark.parametrize(
    "text", ['{"layers": 1, "layers": 2}', "[" * 100_000, '{"half_share": NaN}', "\ufeff{}", '{"layers": 1e999}']
)
def test_a_hostile_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    """A sidecar of a plan is read as strictly as a manifest."""
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


def png(width: int, height: int, rows: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a black PNG of 8 bits that says it is so large, and holds so many of its rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packing = zlib.compressobj(9)
    data = b"".join(packing.compress(bytes(width + 1)) for _ in range(rows)) + packing.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    inner = b"".join(chunk(kind, body) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + inner + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_golden(bundle: Bundle, picture: bytes, expected_map: bytes, **changes: object) -> Bundle:
    """Give a bundle a golden frame, as its maker would: the hashes are right."""
    (bundle.path / "golden").mkdir()
    (bundle.path / "golden" / "0.png").write_bytes(picture)
    (bundle.path / "golden" / "0.map.png").write_bytes(expected_map)
    entry = GoldenEntry(image="golden/0.png", prepared_sha256="0" * 64, expected_map="golden/0.map.png")
    return write_manifest(bundle.path, bundle.manifest.model_copy(update={"golden": (entry,), **changes}))


SMALL = png(64, 64, 64)
A_PROFILE = b"bomb\0\0" + zlib.compress(bytes(200_000_000), 9)
# Golden frames that ask for more memory than there is, with right hashes: a picture, its map, and what refuses it.
BOMBS: dict[str, tuple[Callable[[], bytes], Callable[[], bytes], str]] = {
    "60,000 px a side": (lambda: png(60_000, 60_000, 10), lambda: SMALL, "3,600,000,000 px"),
    "a map of 60,000 px a side": (lambda: SMALL, lambda: png(60_000, 60_000, 10), "60000 x 60000 px"),
    "2 thousand million px a side": (lambda: png(2**31 - 1, 2**31 - 1, 0), lambda: SMALL, "px"),
    "the largest that is read": (lambda: png(11_500, 11_500, 11_500), lambda: SMALL, "expected a defect map of"),
    "cut off behind its header": (lambda: png(11_500, 11_500, 0), lambda: SMALL, "no picture that can be read"),
    "a profile that unpacks to 200 MB": (
        lambda: png(65, 65, 65, (b"iCCP", A_PROFILE)),
        lambda: SMALL,
        "expected a defect map of",
    ),
    "a text that unpacks to 200 MB": (
        lambda: png(65, 65, 65, (b"zTXt", A_PROFILE)),
        lambda: SMALL,
        "expected a defect map of",
    ),
    "no picture": (lambda: b"rubbish", lambda: SMALL, "no picture that can be read"),
}

# VmHWM, for getrusage tells the most that the test's own process had when it began this one.
_MEASURED = """
import re, sys
from pathlib import Path
from edge.cli.commands import main
sys.argv[0] = "linewatch"
try:
    main()
finally:
    most_kb = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    print(int(most_kb) // 1024, file=sys.stderr)
"""


def measured(*arguments: str) -> tuple[int, str, int]:
    """Run `linewatch` and return its exit code, what it printed, and the most memory that it took, MB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    *lines, most_mb = done.stderr.strip().splitlines()
    return done.returncode, done.stdout + "\n".join(lines), int(most_mb)


@pytest.mark.parametrize("name", BOMBS)
def test_a_golden_frame_that_is_a_bomb_is_refused_in_little_memory(bundle: Bundle, tmp_path: Path, name: str) -> None:
    """`check` ends with 4 and our own words, within the memory that the largest picture takes that is read."""
    picture, expected_map, says = BOMBS[name]
    with_golden(bundle, picture(), expected_map())
    (tmp_path / "line.yaml").write_text(f"camera: {{source: simulated}}\nbundle: {bundle.path}\n")
    code, told, most_mb = measured("check", "--offline", str(tmp_path / "line.yaml"))
    assert (code, says in " ".join(told.split()), "Traceback" in told) == (4, True, False), told
    assert most_mb < 1_300


@pytest.mark.parametrize("verb", ["check", "run", "inspect"])
def test_a_manifest_of_200_mb_is_refused_in_little_memory(bundle: Bundle, tmp_path: Path, verb: str) -> None:
    """Each verb ends with 4; no more of the file is read than a manifest may have."""
    os.truncate(bundle.path / "manifest.json", 200_000_000)
    (tmp_path / "line.yaml").write_text(f"camera: {{source: simulated}}\nbundle: {bundle.path}\n")
    given = [verb, str(tmp_path / "line.yaml")]
    if verb == "inspect":
        given = [verb, str(tmp_path), "--bundle", str(bundle.path), "--report", str(tmp_path / "report.html")]
    code, told, most_mb = measured(*given)
    assert (code, "at most" in told, "Traceback" in told) == (4, True, False), told
    assert most_mb < 300


def open_engine(kind: type[OnnxRuntimeEngine | OpenVinoEngine], bundle: Bundle) -> None:
    """Open an engine on the bundle's model."""
    with kind(bundle.file("model.onnx"), bundle.contract(4), 1):
        pass


def replay_golden(bundle: Bundle) -> None:
    """Replay the golden frames."""
    with OnnxRuntimeEngine(bundle.file("model.onnx"), bundle.contract(4), 1) as engine:
        require_passed(bundle, check_golden(bundle, engine))


def test_many_of_the_largest_golden_frames_are_refused(bundle: Bundle) -> None:
    """One such picture, named five times, does not hold up a line's start. 5 x 11,500 squared is above 2 to 29."""
    large = with_golden(bundle, png(11_500, 11_500, 0), SMALL)
    manifest = large.manifest.model_copy(update={"golden": large.manifest.golden * 5})
    large = write_manifest(large.path, manifest)
    for ask in (golden_tiles, replay_golden):
        with pytest.raises(BundleError, match="its golden frames have 661,250,000 px"):
            ask(large)


def test_a_golden_frame_of_too_many_tiles_is_refused(bundle: Bundle) -> None:
    """Tiles of 8 px that overlap by half cut 11,500 px squared into 8 million: far too many for a start."""
    tile = TileEntry(height=8, width=8, overlap_px=4)
    cut = with_golden(bundle, png(11_500, 11_500, 11_500), SMALL, tile=tile)
    with pytest.raises(BundleError, match="would be cut into 8,265,625 tiles"):
        golden_tiles(cut)


USED: dict[str, tuple[str, Callable[[Bundle], object]]] = {
    "the model, by ONNX Runtime": ("model.onnx", lambda b: open_engine(OnnxRuntimeEngine, b)),
    "the model, by OpenVINO": ("model.onnx", lambda b: open_engine(OpenVinoEngine, b)),
    "a golden frame, as a tile": ("golden/0.png", golden_tiles),
    "a golden frame, as a camera's": ("golden/0.png", golden_frame),
    "a golden frame": ("golden/0.png", replay_golden),
    "a golden map": ("golden/0.map.png", replay_golden),
}


@pytest.mark.parametrize("name", USED)
def test_a_bundle_that_changes_after_it_was_verified_is_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    """A file that changed after it was verified is refused by its loader, also if the new one is sound."""
    bundle = add_golden(bundle)
    other = add_golden(write_bright_bundle(tmp_path / "other", min_area_px=9))
    file, use = USED[name]
    use(load_bundle(bundle.path))
    verified = load_bundle(bundle.path)
    pixels = cv2.imread(str(other.path / "golden" / "0.png"))
    if file.endswith(".png"):
        cv2.imwrite(str(bundle.path / file), pixels[::-1] if file == "golden/0.png" else pixels[::-1, :, 0] // 200)
    else:
        (bundle.path / file).write_bytes(other.onnx_path.read_bytes() + b"\x00")
    with pytest.raises(BundleError, match="was altered: expected sha256"):
        use(verified)
