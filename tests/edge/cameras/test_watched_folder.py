"""A folder into which a camera drops files: only finished ones are taken, and a half of one is never a picture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.app import make_camera
from edge.cameras.capture import CapturedCamera
from edge.records import CameraCondition, CameraState, Frame
from edge.settings import CameraSettings
from edge.station.watchdog import Heartbeats
from tests.edge.cameras.clips import first_frame, state_with
from tests.edge.cameras.mjpeg_server import jpeg

PICTURE = jpeg(1)


@contextmanager
def watching(folder: Path, **files: object) -> Iterator[CapturedCamera]:
    """Watch a folder by the settings, as a line does, once it has been looked into."""
    settings = {
        "kind": "watched_folder",
        "source": str(folder),
        "triggered": True,
        "max_age_ms": 60_000,
        "files": {"settled_ms": 30, "unfinished_s": 600, **files},
    }
    camera = make_camera(CameraSettings.model_validate(settings), Heartbeats())
    assert isinstance(camera, CapturedCamera)
    with camera:
        if folder.exists():
            state_with(camera, CameraCondition.NO_FRAME_YET, 60)
        yield camera


def named(camera: CapturedCamera, count: int) -> list[str]:
    """Return the names of the next frames."""
    return [first_frame(camera, 60).name for _ in range(count)]


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_that_grows_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    """Half of a JPEG that has not changed for long is no picture yet. With its other half it is one frame."""
    with watching(tmp_path) as camera, (tmp_path / "a.jpg").open("wb", buffering=0) as file:
        file.write(PICTURE[: len(PICTURE) // 2])
        source = camera._source
        until(lambda: any(each.tried for each in source._waiting.values()))  # type: ignore[attr-defined]
        assert isinstance(camera.read(0), CameraState)
        file.write(PICTURE[len(PICTURE) // 2 :])
        assert named(camera, 1) == ["a.jpg"]
    assert camera.facts.unreadable == 0


@pytest.mark.parametrize("content", [PICTURE[: len(PICTURE) // 2], b"", b"no picture"])
def test_a_file_that_is_never_finished_is_no_read_with_its_name(tmp_path: Path, content: bytes) -> None:
    """After its time it is told, once; the next picture is a frame again. It is left where it is."""
    with watching(tmp_path, after="delete", unfinished_s=0.5) as camera:
        (tmp_path / "half.jpg").write_bytes(content)
        told = state_with(camera, CameraCondition.UNREADABLE, 60)
        assert told.name == "half.jpg"
        assert "half.jpg was not finished: unchanged for" in told.detail
        (tmp_path / "next.tmp").write_bytes(PICTURE)
        (tmp_path / "next.tmp").rename(tmp_path / "next.jpg")
        assert named(camera, 1) == ["next.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["half.jpg"]
    assert camera.facts.unreadable == 1


def test_a_file_of_3_gb_is_no_read_and_is_not_taken_into_memory(tmp_path: Path) -> None:
    """A file that is far too large for a picture is told by its size, as every command tells it."""
    with watching(tmp_path, unfinished_s=0.5) as camera:
        with (tmp_path / "big.tmp").open("wb") as file:
            file.truncate(3_000_000_000)
        (tmp_path / "big.tmp").rename(tmp_path / "big.jpg")
        assert "has 3.0 GB; expected a picture" in state_with(camera, CameraCondition.UNREADABLE, 60).detail


def test_a_file_under_another_name_is_taken_once_it_is_renamed(tmp_path: Path) -> None:
    """Names that are no picture's, and hidden ones, are left alone until they are renamed into place."""
    with watching(tmp_path) as camera:
        for name in ("a.jpg.part", ".b.jpg", "notes.txt"):
            (tmp_path / name).write_bytes(PICTURE)
        (tmp_path / "c.jpg").write_bytes(PICTURE)
        assert named(camera, 1) == ["c.jpg"]
        (tmp_path / "a.jpg.part").rename(tmp_path / "a.jpg")
        assert named(camera, 1) == ["a.jpg"]


@pytest.mark.parametrize(("order", "expected"), [("name", ["p2.jpg", "p10.jpg"]), ("time", ["p10.jpg", "p2.jpg"])])
def test_files_that_are_finished_at_once_come_in_order(tmp_path: Path, order: str, expected: list[str]) -> None:
    """By name, where 2 comes before 10; or by when they were last written."""
    (tmp_path / "drop").mkdir()
    (tmp_path / "made").mkdir()
    now = time.time()
    for age_s, name in enumerate(("p2.jpg", "p10.jpg")):
        (tmp_path / "made" / name).write_bytes(PICTURE)
        os.utime(tmp_path / "made" / name, (now - age_s, now - age_s))
    with watching(tmp_path / "drop", order=order) as camera:
        (tmp_path / "made").rename(tmp_path / "drop" / "today")  # both are there at once
        assert named(camera, 2) == [f"today/{name}" for name in expected]


@pytest.mark.parametrize(
    ("after", "left"),
    [("keep", ["1/a.jpg", "a.jpg"]), ("delete", []), ("move", ["taken/1/a-2.jpg", "taken/1/a.jpg", "taken/a.jpg"])],
)
def test_taken_files_stay_or_are_deleted_or_moved(tmp_path: Path, after: str, left: list[str]) -> None:
    """None is taken twice; one that is written anew under its old name is another picture; moving loses none."""
    (tmp_path / "1").mkdir()
    with watching(tmp_path, after=after) as camera:
        (tmp_path / "a.jpg").write_bytes(PICTURE)
        assert named(camera, 1) == ["a.jpg"]
        for number in (1, 2):
            (tmp_path / "1" / "a.jpg").write_bytes(jpeg(number, b"x" * number))
            assert named(camera, 1) == ["1/a.jpg"]
        if after == "delete":
            until(lambda: not (tmp_path / "1" / "a.jpg").exists())
        assert camera.facts.unreadable == 0
        assert camera._index == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg")) == left


def test_what_lay_there_before_is_left_alone_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pictures of parts that are long gone are not judged as if they were new."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(PICTURE)
    with watching(tmp_path) as camera:
        (tmp_path / "c.jpg").write_bytes(PICTURE)
        assert named(camera, 1) == ["c.jpg"]
    assert "2 pictures lay there before and are left alone" in caplog.text


def test_a_folder_that_disappears_is_a_lost_camera_until_it_is_back(tmp_path: Path) -> None:
    """Nothing that was taken before is taken again; later files are."""
    folder, away = tmp_path / "drop", tmp_path / "away"
    with watching(folder) as camera:
        assert "the folder cannot be read" in state_with(camera, CameraCondition.LOST, 60).detail
        folder.mkdir()
        state_with(camera, CameraCondition.NO_FRAME_YET, 60)
        (folder / "a.jpg").write_bytes(PICTURE)
        assert named(camera, 1) == ["a.jpg"]
        folder.rename(away)
        lost = state_with(camera, CameraCondition.LOST, 60)
        assert "the folder is gone" in lost.detail or "the folder cannot be read" in lost.detail
        (away / "b.jpg").write_bytes(PICTURE)
        away.rename(folder)
        assert named(camera, 1) == ["b.jpg"]


def test_files_wait_in_the_folder_while_nobody_reads(tmp_path: Path) -> None:
    """A burst of more files than may wait in memory is not thinned out: each is a frame, in order."""
    with watching(tmp_path, after="delete") as camera:
        for number in range(80):
            (tmp_path / f"{number}.tmp").write_bytes(PICTURE)
            (tmp_path / f"{number}.tmp").rename(tmp_path / f"{number:03}.jpg")
        until(lambda: len(camera._items) == 64)
        assert sorted(named(camera, 80)) == [f"{number:03}.jpg" for number in range(80)]
    assert camera.dropped == 0


def test_a_picture_is_as_old_as_its_file(tmp_path: Path) -> None:
    """One that was written a minute ago and comes now is too old; with a camera's wrong clock, none is."""
    for clocks, condition in ((True, CameraCondition.UNREADABLE), (False, None)):
        settings = CameraSettings.model_validate(
            {
                "kind": "watched_folder",
                "source": str(tmp_path),
                "triggered": True,
                "max_age_ms": 30_000,
                "compare_clocks": clocks,
                "files": {"settled_ms": 30},
            }
        )
        with make_camera(settings, Heartbeats()) as camera:
            state_with(camera, CameraCondition.NO_FRAME_YET, 60)
            made = tmp_path / f"{clocks}.tmp"
            made.write_bytes(PICTURE)
            os.utime(made, (time.time() - 60, time.time() - 60))
            made.rename(made.with_suffix(".jpg"))
            if condition is None:
                assert isinstance(first_frame(camera, 60), Frame)
            else:
                assert "at most 30000 ms allowed" in state_with(camera, condition, 60).detail
