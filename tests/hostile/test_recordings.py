"""A recording whose bytes were altered: told, or played without them; never a traceback, never another picture."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from edge.recording.playing import load_recording, read_trigger
from edge.recording.recorder import RecordingLimits
from edge.records import CameraState, Frame
from edge.records.parts import PartClosed, PartOpened
from tests.edge.recording.test_recording import BEGAN_NS, ListedCamera, frames, played, recorded

GIVEN = frames("eye", 6)
TRIES = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a recording of two clips and its trigger."""
    folder = tmp_path_factory.mktemp("recording") / "r"
    told = iter([[PartOpened(BEGAN_NS, "a"), PartClosed(BEGAN_NS + 9, "a")]])
    limits = RecordingLimits(segment_s=0.12)
    recorded(folder, [ListedCamera("eye", GIVEN)], limits, trigger=lambda: list(next(told, [])))
    return folder


def altered(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few turned over, a piece cut out or doubled, or the end cut off."""
    place, length = chance.randrange(len(data)), chance.randrange(1, 40)
    kind = chance.randrange(4)
    if kind == 0:
        turned = bytearray(data)
        for _ in range(chance.randrange(1, 5)):
            turned[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(turned)
    if kind == 1:
        return data[:place] + data[place + length :]
    if kind == 2:
        return data[:place] + data[place : place + length] + data[place:]
    return data[:place]


def what_is_played(folder: Path) -> tuple[list[Frame | CameraState], str]:
    """Return what the recording gives, or why it is refused."""
    try:
        read_trigger(load_recording(folder))
        return played(folder, "eye"), ""
    except SourceError as error:
        return [], str(error)


def test_altered_bytes_are_refused_or_unread_and_never_another_picture(whole: Path, tmp_path: Path) -> None:
    """Each file is hurt in turn. A played frame has the pixels that were recorded under its index."""
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(files) == 6
    refused = unread = 0
    for number in range(TRIES):
        chance = random.Random(number)
        hurt = tmp_path / str(number)
        shutil.copytree(whole, hurt)
        file = hurt / files[number % len(files)]
        file.write_bytes(altered(file.read_bytes(), chance))
        back, told = what_is_played(hurt)
        shutil.rmtree(hurt)
        refused += bool(told)
        assert all(line.isprintable() for line in told.split("\n"))
        for item in back:
            if isinstance(item, Frame):
                np.testing.assert_array_equal(item.pixels, GIVEN[item.index].pixels)
                assert item.captured_ns == GIVEN[item.index].captured_ns - BEGAN_NS
            else:
                unread += 1
    assert refused > 5
    assert unread > 5
