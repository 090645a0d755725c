"""A camera that was moved, on real recordings: of cameras that stand still while parts pass, and of others.

A moved camera's view is a real frame shown elsewhere: turned or larger, under another light and with noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge.opencv import cv2
from edge.pictures import read_picture
from edge.quality.gate import QualityGate
from edge.quality.learning import learn_quality
from edge.quality.settings import Check
from edge.records import UInt8
from tests.edge.quality.scenes import moved

MOVED: tuple[Check, ...] = ("camera_moved",)


def frames(path: Path, places: range) -> list[UInt8]:
    """Return frames of a recording, [H, W, 3], by their places."""
    video, found = cv2.VideoCapture(str(path)), []
    for number in range(places.stop):
        assert video.grab(), number
        if number in places:
            found.append(video.retrieve()[1])
    return found


@dataclass(frozen=True)
class Light:
    """Another light: so bright, brighter to the right by a share, with noise of a standard deviation, grey levels."""

    gain: float = 1.0
    slope: float = 0.0
    noise: float = 0.0

    def on(self, pixels: UInt8, seed: int = 0) -> UInt8:
        """Return a frame under this light."""
        light = self.gain * (1 + self.slope * np.linspace(-0.5, 0.5, pixels.shape[1]))[None, :, None]
        noise = np.random.default_rng(seed).normal(0, self.noise, pixels.shape)
        return np.clip(pixels * light + noise, 0, 255).astype(np.uint8)


TOLD = re.compile(r"lies (\d+) px and ([\d.]+) degrees from where it was(?:, and is ([\d.]+)% (larger|smaller))?;")
LIGHTS = (Light(), Light(0.75, noise=3), Light(1.2, noise=3), Light(slope=0.4, noise=3))


@pytest.fixture(scope="module")
def cartons(real_data: Path) -> tuple[QualityGate, list[UInt8]]:
    """Return what 13 frames of cartons on rollers taught, and frames of other cartons of the same camera."""
    path = real_data / "video" / "conveyor_mjz001.mp4"
    learned = learn_quality(frames(path, range(0, 100, 8)))
    assert learned.tells_moves
    return QualityGate(learned, MOVED), frames(path, range(130, 240, 22))


@pytest.mark.real_data
def test_a_camera_that_stands_still_is_never_told_to_have_moved(cartons: tuple[QualityGate, list[UInt8]]) -> None:
    """Other cartons, a dimmer, brighter or uneven light and noise are no move."""
    gate, seen = cartons
    told = [flaw.reason for light in LIGHTS for pixels in seen if (flaw := gate.look(light.on(pixels)))]
    assert told == []


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("x", "y", "degrees", "larger"),
    [
        (8, 0, 0, 1.0),
        (-5, 6, 0, 1.0),
        (25, -10, 0, 1.0),
        (0, 0, 0.7, 1.0),
        (0, 0, -2, 1.0),
        (0, 0, 0, 1.01),
        (0, 0, 0, 0.98),
        (6, 0, 1, 1.02),
    ],
)
def test_a_camera_that_was_moved_is_told_in_any_light(
    cartons: tuple[QualityGate, list[UInt8]], x: float, y: float, degrees: float, larger: float
) -> None:
    """Shifted, turned or larger by a hundredth: told to 1.5 px, a fifth of a degree and 0.3 % of the size."""
    gate, seen = cartons
    for number, light in enumerate(LIGHTS):
        flaw = gate.look(light.on(moved(seen[number], x, y, degrees, larger)))
        assert flaw is not None, light
        assert flaw.fault.value == "moved"
        told = TOLD.search(flaw.reason)
        assert told, flaw.reason
        assert float(told[1]) == pytest.approx(np.hypot(x, y), abs=1.5), light
        assert float(told[2]) == pytest.approx(abs(degrees), abs=0.21), light
        size = 100 * (larger - 1)
        assert (float(told[3] or 0) * (1 if told[4] == "larger" else -1)) == pytest.approx(size, abs=0.31), light


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bottle", "castings", "car-detection"])
def test_where_nothing_stands_still_no_move_is_guessed(real_data: Path, name: str) -> None:
    """A plain table and a camera that shakes teach no move: neither the same frames nor shifted ones are refused."""
    if name == "car-detection":
        found = frames(real_data / "video" / f"{name}.mp4", range(0, 300, 25))
    else:
        files = sorted(path for path in (real_data / name / "images").rglob("*") if path.is_file())
        found = [read_picture(path) for path in files[:: len(files) // 12]]
    learned = learn_quality(found[::2])
    assert not learned.tells_moves
    gate = QualityGate(learned, MOVED)
    assert [flaw for pixels in found[1::2] if (flaw := gate.look(pixels))] == []
