"""The files of a replay: each result is on disk before the next frame, or the replay ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import StoreError
from edge.observers.replay_files import EventsFile, MapsFolder, ReplayFiles
from edge.opencv import cv2
from edge.records import DefectMap, Frame
from edge.records.decided import Decided
from tests.edge.observers.test_queued import NOW, decided, part


def with_map(index: int, fill: int) -> Decided:
    """Return a decided frame whose map is of one class."""
    one, pixels = decided(index), np.zeros((4, 6), np.uint8)
    classes = np.full((4, 6), fill, np.uint8)
    frame = Frame("top", index, pixels, index, NOW)
    return Decided(one.inspection, one.body, frame, DefectMap(classes, classes), ())


def test_each_result_is_on_disk_when_offer_returns(tmp_path: Path) -> None:
    """After each offer the file holds every body so far, and the map is the class ids of that frame."""
    with EventsFile(tmp_path / "events.jsonl") as events:
        files = ReplayFiles(events, MapsFolder(tmp_path / "maps"))
        for index in range(3):
            files.offer(with_map(index, index + 1))
            lines = (tmp_path / "events.jsonl").read_text().splitlines()
            assert [json.loads(line)["frame"] for line in lines] == list(range(index + 1))
            assert (cv2.imread(str(tmp_path / f"maps/{index:06d}.png"), cv2.IMREAD_GRAYSCALE) == index + 1).all()


@pytest.mark.parametrize(("parts", "key"), [(False, "frame"), (True, "part")])
def test_a_line_is_a_result_of_the_station(parts: bool, key: str, tmp_path: Path) -> None:
    """There is a line per part and none per frame where results are parts; else the other way about."""
    with EventsFile(tmp_path / "events.jsonl") as events:
        files = ReplayFiles(events)
        files.offer(replace(decided(7), body=None) if parts else decided(7))
        if parts:
            files.offer(part(7))
    assert json.loads((tmp_path / "events.jsonl").read_text()) == {key: 7}


def test_cameras_have_folders_of_their_own(tmp_path: Path) -> None:
    """Two cameras count their frames alike; neither's map takes the place of the other's."""
    maps = MapsFolder(tmp_path, ["top", "side"])
    for camera, fill in (("top", 1), ("side", 2)):
        maps.write(5, np.full((2, 2), fill, np.uint8), camera)
    assert cv2.imread(str(tmp_path / "top/000005.png"), cv2.IMREAD_GRAYSCALE)[0, 0] == 1
    assert cv2.imread(str(tmp_path / "side/000005.png"), cv2.IMREAD_GRAYSCALE)[0, 0] == 2


def test_a_full_disk_ends_the_replay() -> None:
    """A failed write raises StoreError where the result was offered: nothing goes on without its file."""
    with pytest.raises(StoreError, match="cannot be written"), EventsFile(Path("/dev/full")) as events:
        ReplayFiles(events).offer(decided(0))
