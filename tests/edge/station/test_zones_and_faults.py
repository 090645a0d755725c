"""Zones of the frame, grades and faults of the camera, from pictures to alarms, through the line itself."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from edge.app import RunResult, run_line
from edge.bundle import Bundle
from edge.cameras.images import ImagesCamera
from edge.opencv import cv2
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraFault, UInt8
from edge.records.decided import Decided
from edge.settings import Settings
from tests.bright_bundle import part, write_bright_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("b") / "bundle")


def replayed(
    bundle: Bundle, folder: Path, pictures: list[UInt8], **settings: Any
) -> tuple[RunResult, list[Decided], MemoryPublisher]:
    """Take pictures, one per second of their own time, through a line with these settings."""
    (folder / "parts").mkdir()
    for index, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / "parts" / f"{index:03d}.png"), pixels)
    decided: list[Decided] = []
    publisher = MemoryPublisher()
    result = run_line(
        Settings.model_validate_json(json.dumps(settings)),
        bundle,
        threading.Event(),
        store=folder / "o.db",
        live=False,
        camera=ImagesCamera("eye", folder / "parts"),
        publisher=publisher,
        watchers=[decided.append],
    )
    return result, decided, publisher


ZONES = {"left": {"rectangle": [0, 0, 75, 100]}, "right": {"polygon": [[75, 0], [150, 0], [150, 100], [75, 100]]}}


def test_a_zone_is_measured_as_if_it_were_all_that_is_inspected(bundle: Bundle, tmp_path: Path) -> None:
    """A scratch of 40 x 4 px lies across the border. Of it 15 x 4 px are left and 25 x 4 right, of 7,500 px each."""
    across = part(100, 150, (60, 10, 40, 4))
    _, (one, clean), _ = replayed(
        bundle, tmp_path, [across, part()], inspect={"mm_per_px": 0.5, "zones": ZONES, "limits": {"scratch": {}}}
    )
    left, right = one.inspection.zones["left"], one.inspection.zones["right"]
    assert (left.coverage, right.coverage) == pytest.approx((60 / 7500, 100 / 7500))
    assert [zone.classes["scratch"].count for zone in (left, right)] == [1, 1]
    assert [zone.defects[0].area_mm2 for zone in (left, right)] == pytest.approx([15, 25])
    whole = one.inspection.measurement
    assert whole is not None
    assert (whole.coverage, len(whole.defects)) == (pytest.approx(160 / 15000), 1)
    assert {zone.coverage for zone in clean.inspection.zones.values()} == {0}


def test_a_zone_lies_within_the_inspected_region(bundle: Bundle, tmp_path: Path) -> None:
    """An area outside the region is in no zone: 15 of the left zone's 75 columns are left, which the scratch fills."""
    inspect = {"region": {"rectangle": [60, 0, 90, 100]}, "zones": ZONES, "limits": {"scratch": {}}}
    _, (one,), _ = replayed(bundle, tmp_path, [part(100, 150, (10, 10, 65, 4))], inspect=inspect)
    assert one.inspection.zones["left"].coverage == pytest.approx(15 * 4 / (15 * 100))


@pytest.mark.parametrize(
    ("inspect", "reason"),
    [
        ({"zones": {"rim": {"rectangle": [140, 0, 20, 20]}}}, "the zone rim does not lie within the frame"),
        (
            {"zones": ZONES, "region": {"rectangle": [0, 0, 50, 100]}},
            "the zone right holds no inspected pixel",
        ),
    ],
)  # fmt: skip
def test_a_zone_that_cannot_be_seen_is_no_read(
    bundle: Bundle, tmp_path: Path, inspect: dict[str, Any], reason: str
) -> None:
    """An alarm about it could never be raised, so nothing there is OK."""
    _, (one,), _ = replayed(bundle, tmp_path, [part()], inspect=inspect)
    assert one.body["verdict"] == "NO_READ"
    assert reason in one.body["reason"]


def test_an_alarm_watches_its_zone(bundle: Bundle, tmp_path: Path) -> None:
    """A scratch on the right raises the right one's alarm only; both are raised by one across."""
    rules = [
        {"id": name, "measure": "coverage", "class": "scratch", "zone": name, "raise_at": 0.001, "text": "look"}
        for name in ZONES
    ]
    pictures = [part(), part(100, 150, (100, 10, 20, 4)), part(), part(100, 150, (60, 10, 40, 4))]
    _, decided, _ = replayed(bundle, tmp_path, pictures, inspect={"zones": ZONES}, alarms=rules)
    raised = [[event.alarm for event in one.alarms if event.transition == "raised"] for one in decided]
    assert raised == [[], ["right"], [], ["left", "right"]]


def test_a_recording_is_watched_only_if_the_settings_say_how(bundle: Bundle, tmp_path: Path) -> None:
    """Black and frozen pictures are inspected by default; with limits they are NO_READ, with a fault of the camera."""
    pictures = [part(), part(), part(), part() * 0, part()]
    (tmp_path / "plain").mkdir()
    _, decided, _ = replayed(bundle, tmp_path / "plain", pictures)
    assert [one.body["verdict"] for one in decided] == ["OK"] * 5
    (tmp_path / "watched").mkdir()
    watch = {"frozen_ms": 2000, "frozen_frames": 2, "contrast_below": 0}
    result, decided, publisher = replayed(bundle, tmp_path / "watched", pictures, camera={"watch": watch})
    faults = [one.inspection.camera_fault for one in decided]
    assert faults == [None, None, CameraFault.FROZEN, CameraFault.BLIND, None]
    assert [one.body["verdict"] for one in decided] == ["OK", "OK", "NO_READ", "NO_READ", "OK"]
    assert decided[3].body["reason"].startswith("the camera is blind: it is dark, grey level 0.0 of 255 on average")
    assert {one.body["coverage"] for one in decided[2:4]} == {None}
    shown = [[event.alarm for event in one.alarms if event.shown] for one in decided]
    # the blind camera follows on the frozen one, whose alarm then waits to be acknowledged
    assert shown == [[], [], ["camera-frozen"], ["camera-frozen", "camera-blind"], ["camera-blind"]]
    assert result.counts.alarms_raised == 3  # and no-read, once, suppressed by them
    left = [topic.rsplit("/", 1)[1] for topic, message in publisher.retained.items() if message.payload]
    assert {"camera-frozen", "camera-blind"} <= set(left)
    assert "no-read" not in left


def test_frames_are_graded_counted_and_told(bundle: Bundle, tmp_path: Path) -> None:
    """The grade and its factor are in the result; NO_READ has none and is not counted in the mean."""
    grades = [
        {"name": "A", "value_factor": 1, "limits": {}},
        {"name": "B", "value_factor": 0.5, "max_coverage": 0.006},
        {"name": "scrap", "value_factor": 0},
    ]
    pictures = [part(), part(100, 150, (10, 10, 20, 4)), part(100, 150, (10, 10, 40, 4)), part(200, 10)]
    inspect = {"grades": grades, "region": {"rectangle": [0, 0, 100, 100]}}
    result, decided, _ = replayed(bundle, tmp_path, pictures, inspect=inspect)
    # 80 and 160 px of 10,000
    assert [one.body["grade"] and one.body["grade"]["name"] for one in decided] == ["A", "scrap", "scrap", None]
    assert (result.counts.grades.counts, result.counts.grades.value_factor_mean) == (
        {"A": 1, "scrap": 2},
        pytest.approx(1 / 3),
    )
