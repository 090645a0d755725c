"""Clips around alarms: the frames of the seconds before and after, no others, in bounded memory."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bundle import Bundle
from edge.evidence.clips import ClipJob, Clips, as_avi
from edge.evidence.index import EvidenceIndex, Sought
from edge.evidence.reading import EvidenceReader
from edge.evidence.settings import ClipSettings
from edge.opencv import cv2
from edge.records import AlarmEvent, Frame, FrameResult, Judgement, Verdict
from edge.records.decided import Decided
from tests.bright_bundle import part, write_bright_bundle
from tests.edge.evidence.test_evidence_station import ran, settings_of
from tests.edge.station.test_station import ListedCamera

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
NS = 1_000_000_000


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("clips") / "bundle")


def decided(at_s: float, *, raises: bool = False, size: int = 64) -> Decided:
    """Return a frame at a moment, whose grey level tells it, and the alarm that it raises."""
    at_ns = round(at_s * NS)
    pixels = np.full((8, size), round(at_s * 10) % 256, np.uint8)
    result = FrameResult("top", 0, "", NOW, at_ns, 1.0, Judgement(Verdict.OK, None), None)
    event = AlarmEvent("scratched", "raised", "active", f"o{at_ns}", "high", at_ns, 1.0, 0.5, "Look")
    return Decided(result, {}, Frame("top", 0, pixels, at_ns, NOW), None, (event,) if raises else ())


def seconds(job: ClipJob) -> list[float]:
    """Return when the frames of a clip were captured."""
    return [frame.captured_ns / NS for frame in job.frames["top"]]


def test_a_clip_has_the_seconds_before_and_after() -> None:
    """Of 20 s at 10 frames/s with an alarm at 10 s: from 8 s to 13 s, at 5 frames/s; a second alarm has its own."""
    jobs: list[ClipJob] = []
    clips = Clips(ClipSettings(pre_s=2, post_s=3, fps=5), lambda job: jobs.append(job) is None, None)
    for step in range(200):
        clips.offer(decided(step / 10, raises=step in {100, 110}))
    first, second = map(seconds, jobs)
    assert first == pytest.approx(np.arange(8.0, 13.01, 0.2))
    assert second == pytest.approx(np.arange(9.0, 14.01, 0.2))
    assert jobs[0].name != jobs[1].name
    assert (jobs[0].row["kind"], jobs[0].row["reason"]) == ("clip", "Look")


@given(st.lists(st.tuples(st.floats(0.01, 2), st.booleans(), st.integers(1, 60_000)), max_size=60))
def test_memory_is_bounded_and_each_alarm_has_its_clip_or_is_counted(steps: list[tuple[float, bool, int]]) -> None:
    """Memory stays within its bytes, or one frame, whatever comes. Every alarm has a clip, or is counted."""
    jobs: list[ClipJob] = []
    clips = Clips(ClipSettings(pre_s=5, post_s=1, fps=60, memory_mb=1), lambda job: jobs.append(job) is None, "e")
    at_s, raised = 0.0, 0
    for step, raises, size in steps:
        at_s += step
        clips.offer(decided(at_s, raises=raises, size=size))
        raised += raises
        assert clips._bytes <= 1_000_000 or sum(map(len, clips._recent.values())) == 1
    clips.close()
    assert len(jobs) + clips.lost == raised
    for job in jobs:
        assert seconds(job) == sorted(seconds(job))
        assert sum(frame.pixels.nbytes for frame in job.frames["top"]) <= 1_000_000 + 8 * 60_000


def test_a_station_keeps_a_clip_of_its_alarm(bright: Bundle, tmp_path: Path) -> None:
    """Through the whole station: the alarm of the one bad frame leaves a clip whose frames play as they were seen."""
    good, bad = part(64, 64), part(64, 64, (10, 10, 20, 20))
    settings = settings_of(
        bright,
        tmp_path / "kept",
        cameras={"top": {}},
        parts={"trigger": "every_frame"},
        alarms=[{"id": "reject", "measure": "ng", "text": "Take it out"}],
        evidence={"clip": {"pre_s": 0.5, "post_s": 0.5, "fps": 10}},
    )
    frames = [(100 * place, bad if place == 20 else good) for place in range(40)]
    ran(settings, bright, tmp_path, {"top": ListedCamera("top", frames)}, None)
    with EvidenceIndex(tmp_path / "kept", writes=False) as index:
        (row,) = index.find(Sought(kinds=("clip",)), 10)
    place = tmp_path / "kept" / row["place"]
    film = cv2.VideoCapture(str(place / "top.avi"))
    levels = []
    while (read := film.read())[0]:
        levels.append(int(read[1][20, 20].max()))
    film.release()
    assert [level > 128 for level in levels] == [False] * 5 + [True] + [False] * 5
    with EvidenceReader(tmp_path / "kept") as reader:
        record, files, wrong = reader.files(row["name"])
        assert (record["body"]["alarm"], list(files), wrong) == ("reject", ["top.avi"], [])


def test_frames_of_another_size_are_left_out(tmp_path: Path) -> None:
    """A camera that changes its resolution within a clip leaves the frames of the first one."""
    frames = [Frame("top", k, np.full((16, 16 + 16 * (k == 2)), 50, np.uint8), k, NOW) for k in range(4)]
    (tmp_path / "clip.avi").write_bytes(as_avi(frames, 5))
    film = cv2.VideoCapture(str(tmp_path / "clip.avi"))
    count = 0
    while film.read()[0]:
        count += 1
    film.release()
    assert count == 3
