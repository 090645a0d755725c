"""The product's place: drawn where it is known, and on real phones."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ProductNotFoundError
from edge.opencv import cv2
from edge.preparing import CropCircle, CropRectangle, prepare
from edge.preparing.locating import find_circle
from edge.records import Float64, UInt8

HEIGHT, WIDTH = 540, 960
GLASS = (431.3, 262.8, 171.6)  # x, y, radius


def disc(x: float, y: float, radius: float) -> Float64:
    """Return how much of each pixel of a 960 x 540 picture a disc covers, 0-1."""
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    return np.clip(0.5 - (np.hypot(xs - x, ys - y) - radius), 0, 1)


def noisy(levels: Float64, deviation: float = 4) -> UInt8:
    """Add noise and round to grey levels."""
    noise = np.random.default_rng(3).normal(0, deviation, levels.shape)
    return np.clip(levels + noise, 0, 255).round().astype(np.uint8)


def scratched() -> UInt8:
    """Draw twelve bright scratches across the whole picture of a glass."""
    pixels = noisy(50 + 80 * disc(*GLASS))
    ends = np.random.default_rng(4).integers(0, [[WIDTH, HEIGHT]] * 2, (12, 2, 2))
    for start, end in ends.tolist():
        cv2.line(pixels, start, end, 230, 2)
    return pixels


def hidden() -> UInt8:
    """Draw a glass of which something hides all that lies left of half a radius from its middle: a third of the rim."""
    levels = 40 + 110 * disc(*GLASS)
    levels[:, : int(GLASS[0] - GLASS[2] / 2)] = 40
    return noisy(levels)


GLASSES = {
    "bright": noisy(40 + 130 * disc(*GLASS)),
    "dark": noisy(120 - 70 * disc(*GLASS)),
    "faint": noisy(60 + 14 * disc(*GLASS), 3),
    "a thin ring": noisy(60 + 140 * disc(*GLASS) - 140 * disc(GLASS[0], GLASS[1], GLASS[2] - 5)),
    "with a bezel inside": noisy(30 + 120 * disc(*GLASS) - 90 * disc(GLASS[0], GLASS[1], GLASS[2] * 0.85)),
    "scratched": scratched(),
    "a third of it hidden": hidden(),
}


@pytest.mark.parametrize("name", GLASSES)
def test_a_round_glass_is_cropped_to_its_rim(name: str) -> None:
    """The square around a glass has its middle and twice its radius times the margin, always to 0.5 px."""
    crop, to_frame = prepare(GLASSES[name], (CropCircle(margin=1.1),), 1)
    side = crop.shape[0]
    assert crop.shape == (side, side, 1)
    assert side == pytest.approx(2.2 * GLASS[2], abs=1.5)
    middle = to_frame.apply(np.array([[side / 2, side / 2]]))[0]
    np.testing.assert_allclose(middle, GLASS[:2], atol=0.8)  # the corner is a whole pixel: half a pixel more
    circle = find_circle(GLASSES[name], (80, 320), 8)
    assert circle is not None
    np.testing.assert_allclose((circle.x, circle.y, circle.radius), GLASS, atol=0.3)
    # pixels are those of the frame, not resampled
    x, y = to_frame.matrix[:, 2].astype(int)
    np.testing.assert_array_equal(crop[:, :, 0], GLASSES[name][y : y + side, x : x + side])


def test_a_glass_that_reaches_beyond_the_frame_is_filled_up() -> None:
    """The part of the square that the frame lacks is fill, and outside the circle too, if asked for."""
    pixels = noisy(40 + 130 * disc(250.0, 150.0, 180.0))
    crop, to_frame = prepare(pixels, (CropCircle(margin=1.0, fill=77, outside="fill"),), 1)
    assert crop.shape[0] == pytest.approx(360, abs=1)
    assert to_frame.matrix[1, 2] == pytest.approx(-30, abs=1)
    assert (crop[:29] == 77).all()
    ys, xs = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] - crop.shape[0] / 2 + 0.5
    assert (crop[np.hypot(xs, ys) > 183] == 77).all()
    inside = (np.hypot(xs, ys) < 176) & (ys > -148)
    assert crop[inside].mean() == pytest.approx(170, abs=1)


def plain(level: int = 90) -> UInt8:
    """Return a picture of one grey level."""
    return np.full((HEIGHT, WIDTH), level, np.uint8)


def boxed() -> UInt8:
    """Draw a bright square."""
    pixels = plain(60)
    pixels[100:440, 300:640] = 170
    return pixels


def oval() -> UInt8:
    """Draw an ellipse of 4 to 3."""
    return cv2.ellipse(plain(60), (480, 270), (240, 180), 0, 0, 360, 170, -1)


@pytest.mark.parametrize(
    "pixels",
    [plain(), noisy(plain().astype(float), 25), boxed(), oval(), np.zeros((1, 1), np.uint8)],
    ids=["plain", "noise", "square", "ellipse", "one pixel"],
)
def test_what_shows_no_circle_has_no_product(pixels: UInt8) -> None:
    """Nothing round enough: the step says what it expected, and crops nothing."""
    with pytest.raises(ProductNotFoundError, match="expected a circular rim"):
        prepare(pixels, (CropCircle(),), 1)


def device(angle: float, size: tuple[float, float], middle: tuple[float, float]) -> UInt8:
    """Draw a dark device with a bright screen border on a grey bench, turned by an angle in degrees, smoothed."""
    scale = 4  # drawn four times as large and averaged: the border lies where it is said to
    canvas = np.full((HEIGHT * scale, WIDTH * scale), 110, np.uint8)
    for share, level in ((1.0, 30), (0.85, 200), (0.8, 45)):
        box = ((middle[0] * scale, middle[1] * scale), (size[0] * share * scale, size[1] * share * scale), angle)
        # from corners (px) to OpenCV's centres
        corners = cv2.boxPoints(box) - 0.5
        cv2.fillConvexPoly(canvas, np.round(corners * 16).astype(np.int32), level, cv2.LINE_8, 4)
    return noisy(cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float64), 3)


@pytest.mark.parametrize("angle", [-30.0, -7.3, 0.0, 0.02, 4.4, 38.0])
def test_a_device_is_turned_upright(angle: float) -> None:
    """Its sides and middle are right to half a pixel, its angle to 0.1 degrees.

    The crop shows it upright.
    """
    size, middle = (520.0, 260.0), (471.5, 273.25)
    pixels = device(angle, size, middle)
    crop, to_frame = prepare(pixels, (CropRectangle(),), 1)
    height, width = crop.shape[:2]
    assert (width, height) == pytest.approx(size, abs=1.2)
    centre = to_frame.apply(np.array([[width / 2, height / 2]]))[0]
    np.testing.assert_allclose(centre, middle, atol=0.7)
    (a, b, _), (c, d, _) = to_frame.matrix
    assert math.degrees(math.atan2(c, a)) == pytest.approx(angle, abs=0.1)
    assert a * d - b * c == pytest.approx(1)  # pixels keep their size
    # upright: 8 px inside each side all is the device's dark border
    inner = crop[8:-8, 8:-8]
    border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]]).astype(float)
    assert border.max() < 60
    assert crop[height // 2, width // 2] < 70


@pytest.mark.parametrize(("orientation", "lies"), [("landscape", True), ("portrait", False)])
@pytest.mark.parametrize("angle", [-80.0, -20.0, 15.0, 70.0])
def test_a_device_lies_or_stands_as_asked(orientation: str, lies: bool, angle: float) -> None:
    """A device's longer side ends where it is wanted, whichever way it was put on the bench. It is not mirrored."""
    pixels = device(angle, (420.0, 220.0), (480.0, 270.0))
    crop, to_frame = prepare(pixels, (CropRectangle(orientation=orientation),), 1)
    assert (crop.shape[1] > crop.shape[0]) is lies
    assert max(crop.shape) == pytest.approx(420, abs=1.2)
    assert np.linalg.det(to_frame.matrix[:, :2]) == pytest.approx(1)


@pytest.mark.parametrize(
    "pixels",
    [
        plain(),
        noisy(plain().astype(float), 25),
        noisy(60 + 100 * disc(*GLASS)),
        device(10, (900, 600), (480, 270)),
        device(0, (90, 60), (480, 270)),
        np.zeros((1, 1), np.uint8),
    ],
    ids=["plain", "noise", "disc", "larger than the frame", "too small", "one pixel"],
)
def test_what_shows_no_rectangle_has_no_product(pixels: UInt8) -> None:
    """Nothing rectangular, or not all of it: the step says what it expected, and crops nothing."""
    with pytest.raises(ProductNotFoundError, match="expected a rectangle"):
        prepare(pixels, (CropRectangle(),), 1)


def test_real_phones_are_found_and_kept_whole(real_data: Path) -> None:
    """All 70 phones are found. Each is about as large as its kind, and hardly a marked defect is cut off.

    They are of four or five makes, all about 2.1 times as long as wide. They are never turned by more than 5 degrees.
    """
    folder = real_data / "phone_msd"
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    marked = kept = 0
    for row in rows:
        pixels = cv2.imread(str(folder / row["image"]))
        crop, to_frame = prepare(pixels, (CropRectangle(margin=1.01),), 1)
        assert 1.9 < crop.shape[1] / crop.shape[0] < 2.3, row["image"]
        assert 1690 < crop.shape[1] < 1880, row["image"]
        assert abs(math.degrees(math.atan2(to_frame.matrix[1, 0], to_frame.matrix[0, 0]))) < 5
        mask = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE) > 127
        ys, xs = np.nonzero(mask)
        back = np.linalg.inv(np.vstack([to_frame.matrix, [0, 0, 1]]))
        inside = back[:2] @ np.stack([xs + 0.5, ys + 0.5, np.ones(len(xs))])
        marked += len(xs)
        kept += int(((inside >= 0) & (inside < np.array([[crop.shape[1]], [crop.shape[0]]]))).all(axis=0).sum())
    assert kept > 0.98 * marked


def test_real_surfaces_without_a_rim_are_not_taken_for_glasses(real_data: Path) -> None:
    """Neither phones nor tiles show a circle that is large enough."""
    for name, every in (("phone_msd", 7), ("magnetic_tile", 40)):
        with (real_data / name / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))[::every]
        for row in rows:
            with pytest.raises(ProductNotFoundError):
                prepare(cv2.imread(str(real_data / name / row["image"])), (CropCircle(),), 1)
