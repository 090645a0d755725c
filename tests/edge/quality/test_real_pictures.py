"""Focus on real pictures: good ones pass, and more blur is never good again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.opencv import cv2
from edge.pictures import read_picture
from edge.quality.gate import QualityGate
from edge.quality.learning import learn_quality
from edge.quality.settings import Check
from edge.records import UInt8

FOCUS: tuple[Check, ...] = ("focus",)


def pictures(folder: Path, count: int) -> list[UInt8]:
    """Return pictures of one size, spread over a set."""
    files = sorted(path for path in (folder / "images").rglob("*") if path.is_file())
    chosen = [read_picture(path) for path in files[:: max(1, len(files) // count)]]
    return [pixels for pixels in chosen if pixels.shape == chosen[0].shape]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ballscrew", "castings", "cookies", "bottle"])
def test_more_blur_is_never_good_again(real_data: Path, name: str) -> None:
    """Half of the pictures teach. The others pass as they are, and from some radius on none does, up to 8 px."""
    found = pictures(real_data / name, 20)
    gate = QualityGate(learn_quality(found[::2]), FOCUS)
    for pixels in found[1::2][:4]:
        passes = [
            gate.look(pixels if not radius else cv2.GaussianBlur(pixels, (0, 0), radius)) is None
            for radius in (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8)
        ]
        assert passes[0]
        assert passes == sorted(passes, reverse=True)
        assert not any(passes[4:])


@pytest.mark.real_data
def test_few_good_pictures_are_refused(real_data: Path) -> None:
    """Of those that taught nothing at most one in twenty-five is NO_READ, by all checks together."""
    refused, seen = 0, 0
    for name in ("ballscrew", "castings", "cookies", "bottle"):
        found = pictures(real_data / name, 30)
        gate = QualityGate(learn_quality(found[::2]))
        refused += sum(gate.look(pixels) is not None for pixels in found[1::2])
        seen += len(found[1::2])
    assert seen > 50
    assert refused <= seen / 25
