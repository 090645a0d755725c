"""A camera that is frozen or blind is noticed. A line that stands still, a dim part and real recordings are not."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.camera_watch import CameraWatch, Distrust, WatchSettings
from edge.opencv import cv2
from edge.records import CameraFault, Frame, UInt8
from edge.settings import CameraSettings
from tests.conftest import ROOT

DEFAULTS = WatchSettings()
NOW = datetime.now(timezone.utc)


def looked(settings: WatchSettings | None, pictures: list[UInt8], step_ms: int = 1000) -> list[Distrust | None]:
    """Look at pictures that come at intervals."""
    watch = CameraWatch(settings)
    return [watch.look(Frame("top", i, pixels, i * step_ms * 1_000_000, NOW)) for i, pixels in enumerate(pictures)]


def surface(seed: int = 0, mean: float = 100, deviation: float = 8) -> UInt8:
    """Draw a surface with grain."""
    grain = np.random.default_rng(seed).normal(mean, deviation, (120, 160, 3))
    return grain.clip(0, 255).astype(np.uint8)


def test_the_same_pixels_for_long_enough_are_a_frozen_camera() -> None:
    """Ten seconds and ten frames; a frame that differs in one pixel ends it, and it begins anew."""
    still, other = surface(), surface()
    other[7, 9] += 1  # not one of every fourth pixels, which are looked at first
    found = looked(DEFAULTS, [still.copy() for _ in range(12)] + [other] + [other.copy() for _ in range(9)])
    assert [index for index, distrust in enumerate(found) if distrust] == [10, 11]
    assert found[11] == Distrust(CameraFault.FROZEN, "the camera is frozen: the same picture for 11.0 s")


def test_few_frames_or_a_short_time_do_not_say_that_it_is_frozen() -> None:
    """Three pictures in a minute may be alike, and so may a hundred within a second."""
    assert not any(looked(DEFAULTS, [surface()] * 9, step_ms=20_000))
    assert not any(looked(DEFAULTS, [surface()] * 100, step_ms=10))


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((120, 160, 3), np.uint8), "it is dark, grey level 0.0 of 255"),
        (surface(mean=3, deviation=2), "it is dark"),
        (np.full((120, 160), 255, np.uint8), "it is saturated, 100% of the pixels"),
        (np.full((120, 160, 3), 128, np.uint8), "nothing is to be seen, a contrast of 0.00"),
        (np.full((120, 160, 1), 128, np.uint8), "nothing is to be seen"),
    ],
)
def test_a_picture_that_shows_nothing_is_a_blind_camera(pixels: UInt8, says: str) -> None:
    """Dark, saturated or without contrast, in grey and in colour."""
    (found,) = looked(DEFAULTS, [pixels])
    assert found is not None
    assert found.fault is CameraFault.BLIND
    assert says in found.reason


@given(st.floats(8, 240), st.floats(2.5, 40), st.integers(0, 9))
def test_a_surface_with_grain_is_seen(mean: float, deviation: float, seed: int) -> None:
    """Dim or bright, smooth or rough: what has the grain of a sensor is no blind camera."""
    assert looked(DEFAULTS, [surface(seed, mean, deviation)]) == [None]


def test_checks_can_be_switched_off_one_by_one() -> None:
    """With 0, or 1 for the saturated share, a check is not made; without settings nothing is looked at."""
    black, white, grey = (np.full((120, 160, 3), level, np.uint8) for level in (0, 255, 128))
    lenient = WatchSettings(frozen_ms=0, dark_below=0, saturated_share=1, contrast_below=0)
    for settings in (lenient, None):
        assert not any(looked(settings, [black] * 20 + [white] * 20 + [grey] * 20))


def test_live_cameras_are_watched_and_recordings_are_not() -> None:
    """By default; with limits of its own anything is watched, and `off` switches it off."""
    watched = {
        source: CameraSettings(source=source).watched(live=True) is not None
        for source in ("/dev/video0", "rtsp://h/1", "v4l2src ! appsink", "line.mp4", "simulated", str(ROOT))
    }
    assert list(watched.values()) == [True, True, True, False, False, False]
    assert CameraSettings(source="0").watched(live=False) is None
    assert CameraSettings(source="0", watch="off").watched(live=True) is None
    assert CameraSettings(source="line.mp4", watch=DEFAULTS).watched(live=False) is DEFAULTS


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bolts", "car-detection", "conveyor_mjz001", "phone_line"])
def test_the_defaults_trust_real_recordings(real_data: Path, name: str) -> None:
    """No frame of a recording of a real line or belt looks frozen or blind."""
    video = cv2.VideoCapture(str(real_data / "video" / f"{name}.mp4"))
    watch, frames = CameraWatch(DEFAULTS), 0
    while True:
        read, pixels = video.read()
        if not read:
            break
        assert watch.look(Frame("top", frames, pixels, frames * 40_000_000, NOW)) is None, frames
        frames += 1
    assert frames >= 37
