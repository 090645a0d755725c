from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.preparing import Grey, LevelLight
from edge.preparing import PreparingStep as Step
from tests.conftest import ROOT
from tests.trainer.painted import write_painted
from trainer.datasets.dataset import Entry, Picture, class_names, load_picture, read_manifest
from trainer.datasets.dataset_cache import default_cache_folder, load_cached

NAMES = ("scratch", "stain")
STEPS: tuple[Step, ...] = (Grey(), LevelLight(cell_px=8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write a painted dataset whose files are an hour old, as they are in a second training."""
    folder = write_painted(tmp_path / "data", pictures=6)
    for path in folder.rglob("*.png"):
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Name a cache that is absent."""
    return tmp_path / "cache"


def load_all(
    data: Path, cache: Path, names: Sequence[str] = NAMES, steps: tuple[Step, ...] = STEPS, channels: int = 1
) -> list[Picture]:
    """Load a dataset through the cache."""
    return [load_cached(entry, names, steps, channels, cache) for entry in read_manifest(data)]


def assert_same(
    found: Sequence[Picture], entries: Sequence[Entry], steps: tuple[Step, ...] = STEPS, channels: int = 1
) -> None:
    """Compare with what is loaded without a cache: shapes, types and every byte."""
    for picture, entry in zip(found, entries, strict=True):
        plain = load_picture(entry, NAMES, steps, channels)
        assert picture.entry == entry
        for cached, loaded in ((picture.pixels, plain.pixels), (picture.truth, plain.truth)):
            assert (cached.shape, cached.dtype) == (loaded.shape, loaded.dtype)
            assert cached.flags.c_contiguous
            assert cached.flags.writeable
            assert cached.tobytes() == loaded.tobytes()


def entries_of(cache: Path) -> dict[str, int]:
    """Return when each entry of a cache was written, in ns."""
    return {path.name: path.stat().st_mtime_ns for path in (cache / "pictures").rglob("*.npy")}


def is_mapped(picture: Picture) -> bool:
    """Tell whether a picture's pixels lie in a file and not in memory."""
    base: object = picture.pixels
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


@pytest.mark.parametrize(("steps", "channels"), [(STEPS, 1), ((), 3), ((Grey(),), 3)])
def test_a_cached_picture_is_the_loaded_one(data: Path, cache: Path, steps: tuple[Step, ...], channels: int) -> None:
    """First, when it is made, and again, when it is read: the same bytes as without a cache; then memory-mapped."""
    entries = read_manifest(data)
    assert_same(load_all(data, cache, steps=steps, channels=channels), entries, steps, channels)
    written = entries_of(cache)
    again = load_all(data, cache, steps=steps, channels=channels)
    assert_same(again, entries, steps, channels)
    assert all(is_mapped(picture) for picture in again)
    assert entries_of(cache) == written
    assert len(written) == 6


def test_writing_into_a_cached_picture_does_not_change_the_cache(data: Path, cache: Path) -> None:
    """Arrays are copied where they are written to."""
    load_all(data, cache)
    for picture in load_all(data, cache):
        picture.pixels[:] = 7
        picture.truth[:] = 7
    assert_same(load_all(data, cache), read_manifest(data))


def test_exactly_what_changed_is_made_anew(data: Path, cache: Path) -> None:
    """A changed picture or mask is read again, alone; a touched or moved one is not. Other steps are other entries."""
    load_all(data, cache)
    before = entries_of(cache)
    cv2.imwrite(str(data / "images" / "0.png"), np.full((96, 128), 99, np.uint8))
    mask = np.asarray(cv2.imread(str(data / "masks" / "1.png"), cv2.IMREAD_GRAYSCALE))
    cv2.imwrite(str(data / "masks" / "1.png"), np.flipud(mask))
    assert_same(load_all(data, cache), read_manifest(data))
    after = entries_of(cache)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    os.utime(data / "images" / "2.png")
    shutil.copytree(data, data.parent / "moved")
    load_all(data, cache)
    load_all(data.parent / "moved", cache)
    assert entries_of(cache) == after
    for change in ({"steps": (Grey(),)}, {"channels": 3}, {"names": (*NAMES, "third")}, {"names": NAMES[::-1]}):
        count = len(entries_of(cache))
        load_all(data, cache, **change)
        assert len(entries_of(cache)) == count + 6


def test_a_change_that_keeps_size_and_second_is_seen(data: Path, cache: Path) -> None:
    """A file that was young when hashed is hashed again: it may have changed within its clock's tick."""
    path = data / "images" / "0.png"
    pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    status = path.stat()
    load_all(data, cache)
    cv2.imwrite(str(path), 255 - pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert_same(load_all(data, cache), read_manifest(data))


def test_a_label_without_a_mask_is_cached_too(data: Path, cache: Path) -> None:
    """Classification's class maps are cached by their labels."""
    for label, class_id in (("scratch", 1), ("stain", 2), ("scratch", 1)):
        (data / "manifest.csv").write_text(f"image,mask,class,group\nimages/2.png,,{label},p\n")
        (entry,) = read_manifest(data, need_masks=False)
        assert (load_cached(entry, NAMES, STEPS, 1, cache).truth == class_id).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: content[:0],
        lambda content: b"PK\x03\x04" + content[4:],
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content[:-1] + bytes([content[-1] ^ 255]),
        lambda content: content.replace(b"u1", b"i8", 1),
        lambda content: content.replace(b"False", b"Fal((", 1),
    ],
    ids=["cut", "empty", "zip", "one bit", "last byte", "other type", "header"],
)
def test_a_damaged_entry_is_made_anew(data: Path, cache: Path, damage: object) -> None:
    """Cut off, overwritten or with one bit turned: it is noticed, the picture is right, and so is the next one."""
    load_all(data, cache)
    for path in (cache / "pictures").rglob("*.npy"):
        path.write_bytes(damage(path.read_bytes()))
    entries = read_manifest(data)
    assert_same(load_all(data, cache), entries)
    again = load_all(data, cache)
    assert_same(again, entries)
    assert all(is_mapped(picture) for picture in again)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"{}", b'{"pixels": [1], "truth": "x", "crc32": 0}', b"\xff"])
def test_damaged_notes_are_made_anew(data: Path, cache: Path, note: bytes) -> None:
    """Shapes, checksums, times and hashes that cannot be read are worth nothing and harm nothing."""
    load_all(data, cache)
    for path in cache.rglob("*.json"):
        path.write_bytes(note)
    entries = read_manifest(data)
    assert_same(load_all(data, cache), entries)
    assert all(is_mapped(picture) for picture in load_all(data, cache))


def test_an_entry_without_its_note_is_not_used(data: Path, cache: Path) -> None:
    """The note is written last: a process that was killed between the two left no entry."""
    load_all(data, cache)
    for path in (cache / "pictures").rglob("*.json"):
        path.unlink()
    for path in (cache / "pictures").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:150])
    assert_same(load_all(data, cache), read_manifest(data))


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk, only here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_warning(data: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training goes on without the cache, warned once and not for each picture; no piece of a file is left."""
    with files_at_most(2000):
        found = load_all(data, cache)
    assert_same(found, read_manifest(data))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{cache} cannot be written: File too large. Going on without" in record.getMessage()
    assert entries_of(cache) == {}
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".json"]


def test_a_cache_that_cannot_be_there_is_a_warning(data: Path, tmp_path: Path) -> None:
    """A file in the folder's place, as a read-only one, leaves loading as it is without a cache."""
    (tmp_path / "file").write_text("")
    assert_same(load_all(data, tmp_path / "file" / "cache"), read_manifest(data))


def test_errors_are_the_loaders_own(data: Path, cache: Path) -> None:
    """A wrong mask and a missing picture are DatasetErrors that name the file, cached before or not."""
    entries = read_manifest(data)
    load_all(data, cache)
    cv2.imwrite(str(data / "masks" / "0.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"0\.png: expected 128 x 96 px"):
        load_cached(entries[0], NAMES, STEPS, 1, cache)
    (data / "images" / "1.png").unlink()
    with pytest.raises(DatasetError, match=r"1\.png cannot be read: No such file"):
        load_cached(entries[1], NAMES, STEPS, 1, cache)


def test_more_pictures_than_open_files_are_allowed(data: Path, cache: Path) -> None:
    """Each mapped picture keeps a file open: where those are few, others are read into memory and some stay free."""
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (280, 300))
from pathlib import Path
from tests.trainer.datasets.test_dataset_cache import NAMES, STEPS, is_mapped, load_all
data, cache = Path({str(data)!r}), Path({str(cache)!r})
load_all(data, cache)
kept = [picture for _ in range(60) for picture in load_all(data, cache)]
free = [open("/dev/null") for _ in range(200)]
print(len(kept), sum(map(is_mapped, kept)), len({{picture.pixels.tobytes() for picture in kept}}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept, mapped, different = map(int, done.stdout.split())
    assert (kept, different) == (360, 6)
    assert 10 <= mapped <= 44  # of 300 files 256 are left free


def test_the_cache_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$XDG_CACHE_HOME/linewatch, or ~/.cache/linewatch; a relative $XDG_CACHE_HOME is ignored, as is specified."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in (
        ("/x", Path("/x/linewatch")),
        ("", tmp_path / ".cache/linewatch"),
        ("y", tmp_path / ".cache/linewatch"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_folder().is_relative_to(expected)


def test_a_note_tells_what_it_notes(data: Path, cache: Path) -> None:
    """Shapes are those of the arrays: 96 x 128 px, 1 channel."""
    load_all(data, cache)
    for path in (cache / "pictures").rglob("*.json"):
        note = json.loads(path.read_text())
        assert (note["pixels"], note["truth"]) == ([96, 128, 1], [96, 128])
        assert path.with_suffix(".npy").stat().st_size == 128 + 96 * 128 * 2  # .npy's header, pixels, class map


def test_real_steel_is_the_same_from_the_cache(real_data: Path, cache: Path) -> None:
    """Sixty real pictures with masks: what comes from the cache is what is loaded, byte for byte."""
    entries = read_manifest(real_data / "steel_sd900")[::10]
    names = class_names(entries)
    for _ in range(2):
        for entry in entries:
            cached, plain = load_cached(entry, names, STEPS, 1, cache), load_picture(entry, names, STEPS, 1)
            assert cached.pixels.tobytes() == plain.pixels.tobytes()
            assert cached.truth.tobytes() == plain.truth.tobytes()
