"""`linewatch reinspect`: each kept picture has one row, which says what `inspect` says of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.errors import StoreError
from edge.opencv import cv2
from edge.reinspecting.folder import ResultFolder, StopOfTurn, Turn, TurnOverError
from edge.reinspecting.listing import per_shard
from edge.reinspecting.shards import row_schema, shards_in
from edge.reinspecting.working import map_name
from tests.bright_bundle import part
from tests.conftest import ROOT
from tests.edge.reinspecting.archive import (
    COLUMNS,
    but_seconds,
    reinspect,
    rows,
    run_json,
    write_archive,
    write_bundles,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive and two bundles."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "archive")
    write_bundles(folder)
    return folder


@pytest.fixture(scope="module")
def out(place: Path) -> Path:
    """Judge the archive once, with maps."""
    code, told = reinspect(place / "archive", "--bundle", place / "bright", "--out", place / "out", "--maps")
    assert code == 5, told
    assert "13 pictures: 4 OK, 8 NG, 1 NO_READ; 13 judged now, 0 before" in told
    return place / "out"


def test_a_row_says_what_inspect_says(place: Path, out: Path, tmp_path: Path) -> None:
    """Verdict, reason, coverage, sizes and boxes are those of `linewatch inspect --json`."""
    table = tmp_path / "inspected.json"
    words = ["inspect", str(place / "archive"), "--bundle", str(place / "bright"), "--json", str(table)]
    CliRunner().invoke(app, words, standalone_mode=False)
    inspected = {
        os.path.relpath(row["picture"], place / "archive"): row
        for row in json.loads(table.read_text(encoding="utf-8"))["pictures"]
    }
    found = rows(out)
    assert found.keys() == inspected.keys()
    for picture, row in found.items():
        other = inspected[picture]
        assert (row["verdict"], row["coverage"]) == (other["verdict"], other["coverage"])
        assert row["reason"] == (other["reason"] and other["reason"].replace(f"{place / 'archive'}/", ""))
        boxes = row["defects"] and [[*defect["box_px"].values()] for defect in row["defects"]]
        assert boxes == (other["defects"] and [defect["bbox"] for defect in other["defects"]])
        assert [*row] == COLUMNS
        assert row["sha256"] == hashlib.sha256((place / "archive" / picture).read_bytes()).hexdigest()


def test_what_cannot_be_read_is_a_row_with_its_reason(out: Path) -> None:
    """NO_READ, never OK, and named in run.json."""
    row = rows(out)["torn.png"]
    assert row["verdict"] == "NO_READ"
    assert row["reason"].startswith("torn.png is no picture that can be read")
    assert row["defects"] is None
    told = run_json(out)
    assert told["failures"] == [{"picture": "torn.png", "reason": row["reason"]}]
    assert told["counts"] == {"pictures": 13, "OK": 4, "NG": 8, "NO_READ": 1}
    assert told["defects"] == {"scratch": 8}
    assert told["complete"] is True
    assert {"linewatch", "python", "onnxruntime", "pyarrow"} <= told["versions"].keys()


def test_a_defect_map_shows_what_was_found(out: Path) -> None:
    """Its pixels are class ids; an unread picture has none."""
    found = cv2.imread(str(out / "maps" / "below" / "0001.png.png"), cv2.IMREAD_UNCHANGED)
    assert (found > 0).sum() == 20 * 6
    assert not (out / "maps" / "torn.png.png").exists()
    assert map_name("/data/../a b/ü.png") == "%2F/data/%2E%2E/a b/%C3%BC.png.png"


def test_maps_are_no_pictures_and_their_names_fit_on_a_disk(place: Path, tmp_path: Path) -> None:
    """Results below the source are not judged by the next start. A long name in Chinese has a map of its own."""
    archive = write_archive(tmp_path / "archive", 3, unreadable=False)
    for name in ("划" * 80 + "a", "划" * 80 + "b"):
        cv2.imwrite(str(archive / f"{name}.png"), part(64, 64))
    words = (archive, "--bundle", place / "bright", "--out", archive / "out", "--maps")
    for told in ("5 judged now, 0 before", "0 judged now, 5 before"):
        code, said = reinspect(*words)
        assert code == 0, said
        assert told in said
    assert len(list((archive / "out" / "maps").rglob("*.png"))) == 5
    code, said = reinspect(f"file://{archive}", *words[1:3], "--out", archive / "of-address")
    assert "10 judged now" in said  # the maps of other results are pictures like any other
    assert "10 before" in reinspect(f"file://{archive}", *words[1:3], "--out", archive / "of-address")[1]


def test_a_source_is_no_place_for_results(place: Path, tmp_path: Path) -> None:
    """DIR that is SOURCE, and a disk that cannot be written to: an error, and nothing is written."""
    archive = write_archive(tmp_path / "archive", 3)
    before = sorted(archive.rglob("*"))
    code, said = reinspect(archive, "--bundle", place / "bright", "--out", archive)
    assert code == 3
    assert "holds something else than results" in said
    assert sorted(archive.rglob("*")) == before
    assert reinspect(archive, "--bundle", place / "bright", "--out", "/proc/results")[0] == 8


def test_the_same_command_again_adds_what_is_new_alone(place: Path, out: Path, tmp_path: Path) -> None:
    """Rows that are there stay as they are; a picture that came since has a row too."""
    shutil.copytree(place / "archive", tmp_path / "archive")
    words = (tmp_path / "archive", "--bundle", place / "bright", "--out", tmp_path / "out")
    reinspect(*words)
    before = rows(tmp_path / "out")
    assert but_seconds(before.values()) == but_seconds(rows(out).values())
    cv2.imwrite(str(tmp_path / "archive" / "new.png"), part(64, 64))
    code, told = reinspect(*words)
    assert code == 5
    assert "1 judged now, 13 before" in told
    after = rows(tmp_path / "out")
    assert after.pop("new.png")["verdict"] == "OK"
    assert after == before


def test_a_killed_start_goes_on_where_it_stopped(place: Path, tmp_path: Path) -> None:
    """A kill -9 half-way and the same command again: each picture once, the first rows untouched."""
    write_archive(tmp_path / "archive", 100)
    words = [str(tmp_path / "archive"), "--bundle", str(place / "bright"), "--out", str(tmp_path / "out")]
    results = tmp_path / "out" / "results"
    with subprocess.Popen([sys.executable, "-m", "edge", "reinspect", *words], cwd=ROOT) as started:
        while not (results.is_dir() and shards_in(results)) and started.poll() is None:
            time.sleep(0.01)  # asking all the time takes time from the run
        started.send_signal(signal.SIGKILL)
    (tmp_path / "out" / "results" / ".0001-000077.parquet.1-2.tmp").write_bytes(b"half a shard")
    before = rows(tmp_path / "out")
    assert before
    code, _ = reinspect(*words)
    assert code == 5
    after = rows(tmp_path / "out")
    assert len(after) == 101
    assert {picture: after[picture] for picture in before} == before
    assert run_json(tmp_path / "out")["complete"] is True
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_good_rows_and_goes_on_later(times: int, place: Path, tmp_path: Path) -> None:
    """The first Ctrl-C ends with 130 after the picture that is judged, the second at once. No picture has two rows."""
    write_archive(tmp_path / "archive", 200)
    words = [str(tmp_path / "archive"), "--bundle", str(place / "bright"), "--out", str(tmp_path / "out")]
    results = tmp_path / "out" / "results"
    with subprocess.Popen([sys.executable, "-m", "edge", "reinspect", *words], cwd=ROOT) as started:
        while not (results.is_dir() and shards_in(results)) and started.poll() is None:
            time.sleep(0.01)  # asking all the time takes time from the run
        for _ in range(times):
            started.send_signal(signal.SIGINT)
        assert started.wait(500) in {130, 5}  # 5: it was done before it heard of it
    assert rows(tmp_path / "out")
    assert reinspect(*words)[0] == 5
    assert len(rows(tmp_path / "out")) == 201


def test_a_worker_that_outlives_its_turn_adds_nothing(tmp_path: Path) -> None:
    """A picture judged by an earlier start after a new one began would be a second row; it is refused."""
    with ResultFolder(tmp_path, {"a": 1}) as folder:
        earlier = folder.turn
        assert not StopOfTurn(earlier).is_set()
    with ResultFolder(tmp_path, {"a": 1}) as folder:
        with pytest.raises(TurnOverError):
            earlier.write(0, [{"picture": "a"}], row_schema())
        assert StopOfTurn(earlier).is_set()
        assert folder.turn == Turn(tmp_path, 2)
        assert not shards_in(tmp_path / "results")
        with pytest.raises(StoreError, match="is written by another start"), ResultFolder(tmp_path, {"a": 1}):
            pass
        folder.turn.stop()
        assert StopOfTurn(folder.turn).is_set()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--bundle", "blind", "--maps"], "something else. bundle: there {'camera': '"),
        (["--bundle", "bright", "--maps", "--mm-per-px", "0.1"], "something else. settings: there"),
        (["--bundle", "bright"], "something else. maps: there True, here False"),
    ],
)
def test_results_of_something_else_are_left_alone(
    words: list[str], told: str, place: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bundle, other settings: their rows would be mixed."""
    monkeypatch.chdir(place)
    before = rows(out)
    code, said = reinspect("archive", "--out", "out", *words)
    assert code == 3
    assert told in said
    assert rows(out) == before


def test_an_address_is_no_place_for_results(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and not made a folder of this machine."""
    monkeypatch.chdir(tmp_path)
    code, told = reinspect(place / "archive", "--bundle", place / "bright", "--out", "s3://bucket/out")
    assert code == 3
    assert "looks like an address" in told
    assert not list(tmp_path.iterdir())


def test_a_mistyped_source_does_not_claim_the_folder(place: Path, tmp_path: Path) -> None:
    """The folder is anybody's while there is no row; with the first one it is not."""
    words = ("--bundle", place / "bright", "--out", tmp_path / "out")
    assert reinspect(place / "archive-", *words)[0] == 5
    assert reinspect(place / "archive", "--bundle", place / "blind", "--out", tmp_path / "out", "--maps")[0] == 5
    assert run_json(tmp_path / "out")["identity"]["source"] == str(place / "archive")
    assert reinspect(place / "archive", *words)[0] == 3
    assert len(rows(tmp_path / "out")) == 13


def test_folders_that_hold_no_results_of_ours_are_refused(place: Path, tmp_path: Path) -> None:
    """Somebody's folder, an altered or older run.json, a file: nothing is written there."""
    words = (place / "archive", "--bundle", place / "bright", "--out")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").touch()
    (tmp_path / "file").touch()
    for name, content in (("old", '{"schema": "linewatch/reinspection/0", "identity": {}, "turns": 1}'), ("torn", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    before = sorted(tmp_path.rglob("*"))
    for name, code, told in (
        ("theirs", 3, "holds something else than results"),
        ("old", 3, "results of another version of Linewatch"),
        ("torn", 3, "cannot be read"),
        ("file", 8, "is no folder"),
    ):
        found = reinspect(*words, tmp_path / name)
        assert found[0] == code, found
        assert told in found[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_good_rows_and_no_half_shard(place: Path, tmp_path: Path) -> None:
    """Exit code 8 with the reason; the same command goes on once there is room."""
    write_archive(tmp_path / "archive", 300)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    # the maps need more than the disk holds, what is listed first needs less
    words = (tmp_path / "archive", "--bundle", place / "bright", "--out", disk / "out", "--maps")
    try:
        code, told = reinspect(*words)
        assert code == 8, told
        assert "No space left on device" in told
        before = rows(disk / "out")
        assert 0 < len(before) < 301
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert reinspect(*words)[0] == 5
        after = rows(disk / "out")
        assert len(after) == 301
        assert {picture: after[picture] for picture in before} == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_shard_is_small_enough_for_a_kill_and_large_enough_for_two_million() -> None:
    """At most 500 pictures; few pictures make several shards for each engine."""
    assert per_shard(2_000_000, 40) == 500
    assert per_shard(1600, 2) == 50
    assert per_shard(3, 1) == 8


def test_a_damaged_shard_is_named(place: Path, tmp_path: Path) -> None:
    """Rows that cannot be read are no rows that can be skipped."""
    words = (place / "archive", "--bundle", place / "bright", "--out", tmp_path / "out")
    reinspect(*words)
    shard = shards_in(tmp_path / "out" / "results")[0]
    shard.write_bytes(shard.read_bytes()[:-20])
    code, told = reinspect(*words)
    assert code == 8
    assert f"{shard} cannot be read" in told
    shard.unlink()
    assert reinspect(*words)[0] == 5
    assert len(rows(tmp_path / "out")) == 13


def test_rows_that_were_copied_in_are_told(place: Path, tmp_path: Path) -> None:
    """A picture with two rows is an error, and not one of them is believed."""
    words = (place / "archive", "--bundle", place / "bright", "--out", tmp_path / "out")
    reinspect(*words)
    shard = shards_in(tmp_path / "out" / "results")[0]
    shutil.copy(shard, shard.with_name("0009-000000.parquet"))
    code, told = reinspect(*words)
    assert code == 8
    assert "has two rows" in told
