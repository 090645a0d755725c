"""Clips around alarms, on the pages: listed, played as they were taken, saved as they were kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.dashboard.clips import pictures_of, seconds_each
from edge.evidence.choosing import evidence_id
from edge.evidence.clips import ClipJob, as_avi, clip_written
from edge.evidence.folder import EvidenceFolder
from edge.opencv import cv2
from edge.records import AlarmEvent, Frame
from tests.edge.dashboard.stations import EPOCH, NOW, PLACE, Bench, alarm, bench, message
from tests.edge.dashboard.test_rejects_page import SETTINGS, WHO

NAME = evidence_id(EPOCH, 7, "scratches o1")
GREYS = (40, 90, 140, 190)
FRAMES = [Frame("top", number, np.full((48, 64), grey, np.uint8), number, NOW) for number, grey in enumerate(GREYS)]
AVI = as_avi(FRAMES, 5)


def keep_clip(kept: Path) -> None:
    """Keep a clip in a folder, as a station does."""
    event = AlarmEvent("scratches", "raised", "active", "o1", "high", 7, 1.0, 0.5, "Look <b>")
    job = ClipJob(NAME, event, {"top": FRAMES}, 5)
    with EvidenceFolder(kept, SETTINGS) as evidence:
        evidence.keep(job.row, *clip_written(job, WHO, NOW))


@contextmanager
def clipped(folder: Path) -> Iterator[Bench]:
    """Give a dashboard beside a folder with one clip."""
    kept = folder / "kept"
    keep_clip(kept)
    with bench(folder, evidence={PLACE: str(kept)}) as site:
        site.online()
        yield site


def test_a_clip_s_pictures_come_out_as_they_went_in() -> None:
    """Four greys in their order, a fifth of a second each."""
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in pictures_of(AVI)]
    assert [round(float(np.mean(picture))) for picture in pictures] == pytest.approx(GREYS, abs=3)
    assert seconds_each(AVI) == pytest.approx(0.2)


@given(st.binary(max_size=60) | st.integers(0, len(AVI)).map(lambda cut: AVI[:cut]))
@example(
    b"RIFF" + bytes(8) + b"LIST" + bytes(8) + b"avih" + (4).to_bytes(4, "little")
)  # its head ends before its value
def test_what_is_no_clip_has_no_pictures_and_ends(raw: bytes) -> None:
    """Nonsense and torn files give JPEGs or nothing, and a time that can be borne."""
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in pictures_of(raw))
    assert 0 < seconds_each(raw) <= 2


def test_an_alarm_leads_to_its_clips(tmp_path: Path) -> None:
    """Alarm card and rejects page lead to the list; that to a page which plays it, and to the file."""
    with clipped(tmp_path) as site:
        site.hear(message("alarm/scratches", alarm(), 1))
        link = f"/clips?place={PLACE}&amp;alarm=scratches"
        assert link in site.browser.get("/alarms").text
        assert f'href="/clips?place={PLACE}"' in site.browser.get("/rejects").text
        page = site.browser.get("/clips?alarm=scratches").text
        assert "Look &lt;b&gt;" in page
        assert f'href="/clips/{NAME}/top?place={PLACE}"' in page
        assert NAME not in site.browser.get("/clips?alarm=others").text
        assert f"/clips/{NAME}/top/play" in site.browser.get(f"/clips/{NAME}/top").text
        file = site.browser.get(f"/clips/{NAME}/top.avi")
        assert (file.content, file.headers["content-type"]) == (AVI, "video/x-msvideo")
        played = site.browser.get(f"/clips/{NAME}/top/play")
        assert played.content.count(b"Content-Type: image/jpeg") == len(GREYS)


def test_a_clip_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """An altered file, a path trick and an unknown name are not found; a place without evidence says why."""
    with clipped(tmp_path) as site:
        for path in (f"{NAME}/side", f"{NAME}/..%2Ftop.avi", "nobody/top", f"{NAME}/side/play"):
            assert site.browser.get(f"/clips/{path}").status_code == 404
        (avi,) = (tmp_path / "kept").glob("2*/*/top.avi")
        avi.write_bytes(AVI[:-1] + b"x")
        assert site.browser.get(f"/clips/{NAME}/top.avi").status_code == 404
    (tmp_path / "none").mkdir()
    with bench(tmp_path / "none") as site:
        site.online()
        assert "do not say where the pictures" in site.browser.get("/clips").text
