from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edge.opencv import cv2
from edge.preparing import Edges, FlatField, Grey, LevelLight, Levels, PreparingStep, Resize, Smooth, prepare, stages
from edge.preparing.level_light import means_of
from edge.records import Float64, UInt8


def test_grey_is_bt601_luminance() -> None:
    """Y = 0.114 B + 0.587 G + 0.299 R: pure blue, green and red of 200 become 23, 117 and 60."""
    pixels = np.diag([200, 200, 200]).astype(np.uint8)[None]  # one row of three pixels: blue, green, red
    grey, _ = prepare(pixels, (Grey(),), 1)
    assert grey.shape == (1, 3, 1)
    expected = [0.114 * 200, 0.587 * 200, 0.299 * 200]
    np.testing.assert_allclose(grey[0, :, 0], expected, atol=1)


def test_levelled_light_no_longer_shows_the_lamp() -> None:
    """A plain surface under light that falls off by half becomes even; a scratch on it keeps its relative contrast."""
    surface = np.tile(np.linspace(160, 80, 640), (480, 1))
    surface[200:203, 100:500] *= 1.4
    level, to_frame = prepare(np.round(surface).astype(np.uint8), (Grey(), LevelLight(target=100)), 1)
    plain = np.delete(level[:, :, 0].astype(float), np.s_[190:213], axis=0)
    assert np.ptp(surface[0]) > 75
    assert np.ptp(plain) < 0.12 * plain.mean()  # from 2 : 1 before
    scratch = level[201, 110:490, 0].astype(float)
    assert scratch.mean() / plain.mean() == pytest.approx(1.4, abs=0.08)
    np.testing.assert_array_equal(to_frame.matrix, [[1, 0, 0], [0, 1, 0]])


def test_darkness_is_not_amplified_into_noise() -> None:
    """Below the floor the gain stops growing: 4 becomes 4 * 96 / 24 = 16, not 96."""
    level, _ = prepare(np.full((64, 64), 4, np.uint8), (LevelLight(target=96, floor=24),), 1)
    assert set(level.ravel().tolist()) == {16}


@pytest.mark.parametrize("size", [(70, 96, 1), (108, 192, 1), (90, 64, 3), (96, 64, 1), (50, 72, 1)])
def test_the_means_of_cells_are_those_of_opencv(size: tuple[int, int, int]) -> None:
    """Cells of 32 px have the means that OpenCV's INTER_AREA gives, whatever is left over; rounding may differ."""
    pixels: UInt8 = np.random.default_rng(size[0]).integers(0, 256, size, np.uint8)
    cells = (-(-size[1] // 32), -(-size[0] // 32))
    expected = cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA).reshape(cells[1], cells[0], size[2])
    np.testing.assert_allclose(means_of(pixels, cells).astype(int), expected, atol=1)


def test_levels_make_a_short_exposure_look_like_a_long_one() -> None:
    """A ramp of 10 to 60 and its double, 20 to 120, both become 0 to 255. Only the shares at their ends differ."""
    ramp = np.tile(np.linspace(10, 60, 500), (20, 1))
    short, long = (prepared(np.rint(factor * ramp).astype(np.uint8), Levels()) for factor in (1, 2))
    assert (short.min(), short.max(), long.min(), long.max()) == (0, 255, 0, 255)
    # half a level of the coarser ramp, a level of the finer one within the end shares, and rounding
    assert np.abs(short.astype(int) - long).max() <= 0.5 * 255 / 50 + 255 / 100 + 1
    # a level of the short ramp is 2 % of its pixels, its end 1 %: 35 becomes 255 * (35 - 10) / (60 - 10)
    assert short[0, 250] == pytest.approx(127.5, abs=3)


def test_levels_do_not_stretch_nothing_into_noise() -> None:
    """Grey levels of 8 to 12 are stretched as if they were 24 apart. From end to end that is 4 * 255 / 24 = 42.5."""
    noise = np.random.default_rng(0).integers(8, 13, (64, 64)).astype(np.uint8)
    assert int(np.ptp(prepared(noise, Levels(least_range=24)))) in (42, 43)


def test_levels_keep_the_hue() -> None:
    """All channels are stretched alike: where blue was half of red above the dark end it stays half of it."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = (50, 0, 100)
    stretched, _ = prepare(pixels, (Levels(),), 3)
    np.testing.assert_allclose(stretched[0, 0], [127.5, 0, 255], atol=0.5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colours", [1, 3])
def test_any_camera_serves_any_model(channels: int, colours: int) -> None:
    """Grey and colour cameras both give what a one- or three-channel model expects."""
    pixels = np.full((8, 9, 3) if colours == 3 else (8, 9), 7, np.uint8)
    prepared, _ = prepare(pixels, (), channels)
    assert prepared.shape == (8, 9, channels)
    assert (prepared == 7).all()


def test_a_picture_smaller_than_a_levelling_cell_is_levelled_too() -> None:
    """Any frame size works, also one pixel."""
    level, _ = prepare(np.full((1, 1), 50, np.uint8), (LevelLight(),), 1)
    assert level.shape == (1, 1, 1)


def prepared(pixels: UInt8, *steps: PreparingStep) -> UInt8:
    """Take grey pixels through steps and return [H, W]."""
    return prepare(pixels, steps, 1)[0][:, :, 0]


def lamp(height: int, width: int) -> Float64:
    """Light that falls off from the upper left as a parabola, from 200 to about 80."""
    ys, xs = np.mgrid[0:height, 0:width]
    return 200 - 90 * (xs / width) ** 2 - 40 * (ys / height) ** 2


def test_flat_field_takes_the_lamp_out_and_leaves_the_defects() -> None:
    """Under a parabolic lamp, with a tenth of the picture defective, the surface becomes even; defects keep 1 : 1.4."""
    noise = np.random.default_rng(0).normal(0, 2, (300, 400))
    light = lamp(300, 400)
    defective = np.zeros((300, 400), bool)
    defective[40:160, 60:160] = True  # 10 %
    pixels = np.clip(np.where(defective, 1.4 * light, light) / 1.4 + noise, 0, 255).round().astype(np.uint8)
    level = prepared(pixels, FlatField(target=100)).astype(float)
    plain = cv2.blur(level, (15, 15))[~cv2.dilate(defective.astype(np.uint8), np.ones((31, 31))).astype(bool)]
    assert np.ptp(light) > 0.8 * light.mean() - 20
    assert plain.min() > 98
    assert plain.max() < 102
    assert level[defective].mean() == pytest.approx(140, abs=2)


def test_flat_field_is_not_bent_by_a_bright_frame() -> None:
    """A white frame that covers a quarter of a picture is an outlier. The dark screen in it stays as even as it was."""
    pixels = np.full((240, 320), 230, np.uint8)
    pixels[:, 40:280] = 25
    pixels[100:120, 150:170] = 60
    level = prepared(pixels, FlatField(order=4))
    assert np.ptp(level[:90, 50:270].astype(int)) <= 1
    # the surface is the screen's own level, which is also the target: nothing changes
    assert level[5, 160] == 25
    assert level[110, 160] == 60


def test_flat_field_subtracts_light_that_is_added() -> None:
    """Haze of up to 60 grey levels on a surface of 50 goes; a defect keeps its 30."""
    haze = np.linspace(0, 60, 320)[None, :].repeat(200, axis=0)
    pixels = (50 + haze).round().astype(np.uint8)
    pixels[90:100, 250:260] += 30
    level = prepared(pixels, FlatField(how="subtract", order=1, target=50)).astype(int)
    assert np.abs(np.delete(level, np.s_[90:100], axis=0) - 50).max() <= 1
    assert np.abs(level[90:100, 250:260] - 80).max() <= 1


def test_flat_field_keeps_colours() -> None:
    """All channels are divided by the same surface: 1 : 2 : 3 stays 1 : 2 : 3."""
    light = lamp(120, 160)[:, :, None] / 200
    pixels = (light * [40, 80, 120]).round().astype(np.uint8)
    level, _ = prepare(pixels, (FlatField(),), 3)
    assert np.ptp(level[:, :, 2].astype(int)) < 6
    np.testing.assert_allclose(level[:, :, 2] / level[:, :, 0], 3, rtol=0.06)


def test_smoothing_is_what_its_name_says() -> None:
    """Mean and median of 3 x 3 agree with numpy's; a Gaussian spreads a point as exp(-d² / 2 s²); within rounding."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50)).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3)).reshape(38, 48, 9)
    inner = np.s_[1:-1, 1:-1]
    assert np.abs(prepared(pixels, Smooth(kind="mean"))[inner] - windows.mean(axis=2)).max() <= 0.5
    np.testing.assert_array_equal(prepared(pixels, Smooth(kind="median"))[inner], np.median(windows, axis=2))
    point = np.zeros((41, 41), np.uint8)
    point[20, 20] = 255
    spread = prepared(point, Smooth(kind="gaussian", sigma_px=1.5)).astype(float)
    d = np.hypot(*(np.mgrid[0:41, 0:41] - 20))
    ideal = np.exp(-(d**2) / (2 * 1.5**2))
    np.testing.assert_allclose(spread, 255 * ideal / ideal.sum(), atol=1)


def test_bilateral_smoothing_keeps_a_border_that_a_gaussian_blurs() -> None:
    """Noise of 5 grey levels at least halves on either side of a border of 100.

    The border moves by no pixel.
    """
    step = np.where(np.arange(60) < 30, 60.0, 160.0)[None, :].repeat(60, axis=0)
    pixels = np.clip(step + np.random.default_rng(2).normal(0, 5, step.shape), 0, 255).astype(np.uint8)
    smooth = prepared(pixels, Smooth(kind="bilateral", size_px=9, sigma_px=3)).astype(float)
    assert smooth[:, :30].std() < 2.5
    assert smooth[:, 30:].std() < 2.5
    assert (smooth[:, 30] - smooth[:, 29]).min() > 80
    blurred = prepared(pixels, Smooth(kind="gaussian", sigma_px=3)).astype(float)
    assert (blurred[:, 30] - blurred[:, 29]).max() < 30


@pytest.mark.parametrize("size_px", [3, 5])
def test_edges_have_the_height_of_what_they_are_edges_of(size_px: int) -> None:
    """A border of 50 gives a gradient of 50, upright, flat or slanting. A lone pixel of 70 a Laplacian of 70."""
    border = np.where(np.arange(30) < 15, 40, 90).astype(np.uint8)[None, :].repeat(30, axis=0)
    for pixels in (border, border.T):
        shown = prepared(np.ascontiguousarray(pixels), Edges(kind="sobel", size_px=size_px))
        assert shown.max() == 50
        assert shown[:5, :5].max() == 0
    ys, xs = np.mgrid[0:30, 0:30]
    slanting = prepared(np.where(xs + ys < 30, 40, 90).astype(np.uint8), Edges(kind="sobel"))
    assert slanting[2:-2, 2:-2].max() == pytest.approx(
        50 * 2**0.5 * 3 / 4, abs=1
    )  # Sobel's 3 x 3 at 45 degrees: (3 h, 3 h) / 4
    lone = np.full((21, 21), 100, np.uint8)
    lone[10, 10] = 170
    assert prepared(lone, Edges(kind="laplacian", size_px=size_px))[10, 10] == 70
    assert prepared(lone, Edges(kind="laplacian", size_px=size_px, gain=0.5))[10, 10] == 35


def test_unsharp_adds_what_the_surroundings_lack() -> None:
    """It is pixel + amount (pixel - mean around). A lone 100 on black becomes 100 (1 + 1.5 (1 - its own weight))."""
    lone = np.zeros((31, 31), np.uint8)
    lone[15, 15] = 100
    ideal = np.exp(-(np.hypot(*(np.mgrid[0:31, 0:31] - 15)) ** 2) / (2 * 2.0**2))
    weight = float((ideal / ideal.sum())[15, 15])
    shown = prepared(lone, Edges(kind="unsharp", sigma_px=2, amount=1.5))
    assert shown[15, 15] == pytest.approx(100 * (1 + 1.5 * (1 - weight)), abs=2)
    plain = np.full((9, 9), 77, np.uint8)
    np.testing.assert_array_equal(prepared(plain, Edges(kind="unsharp")), plain)


EVERY_STEP: tuple[PreparingStep, ...] = (
    Grey(),
    LevelLight(),
    LevelLight(strength=0.5),
    FlatField(),
    FlatField(how="subtract", order=4),
    Resize(width=13, height=7),
    Resize(width=5, height=21, fit="stretch", interpolation="cubic"),
    *(Smooth(kind=kind) for kind in ("mean", "gaussian", "median", "bilateral")),
    *(Edges(kind=kind) for kind in ("sobel", "laplacian", "unsharp")),
)


@given(
    st.sampled_from(EVERY_STEP),
    st.sampled_from(EVERY_STEP),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    st.integers(0, 2**31),
)
def test_any_steps_take_any_picture(
    first: PreparingStep, then: PreparingStep, shape: tuple[int, int, int], seed: int
) -> None:
    """From one pixel on, grey or colour, cut out of a larger picture or not: uint8 comes out, the picture stays."""
    whole = np.random.default_rng(seed).integers(0, 256, (shape[0] + 2, shape[1] + 2, shape[2])).astype(np.uint8)
    pixels = whole[1:-1, 1:-1]
    before = pixels.copy()
    for made, transform in stages(pixels, (first, then)):
        assert made.dtype == np.uint8
        assert made.ndim == 3
        assert made.shape[2] in {1, shape[2]}
        assert transform.matrix.shape == (2, 3)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_manifest_gives_back_the_step_that_it_was_given(step: PreparingStep) -> None:
    """The device does as the recipe said: every step survives JSON."""
    adapter: TypeAdapter[PreparingStep] = TypeAdapter(PreparingStep)
    assert adapter.validate_python(json.loads(step.model_dump_json())) == step


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"step": "smooth", "kind": "median", "sigma_grey": 3.0}, "expected only size_px"),
        ({"step": "smooth", "kind": "mean", "size_px": 4}, "odd"),
        ({"step": "edges", "kind": "unsharp", "gain": 2.0}, "expected only amount and sigma_px"),
        ({"step": "resize", "width": True, "height": 3}, "integer"),
        ({"step": "resize", "width": "640", "height": 480}, "integer"),
        ({"step": "crop_circle", "min_radius": 0.7}, "min_radius below max_radius"),
        ({"step": "gray"}, "grey"),
        ({"step": "flat_field", "degree": 2}, "Extra inputs"),
    ],
)
def test_what_a_step_does_not_take_is_an_error_that_names_it(given: dict[str, object], expected: str) -> None:
    """A misspelt step, a parameter of another kind, a number that is none: each is told, none is ignored."""
    with pytest.raises(ValidationError, match=expected):
        TypeAdapter(PreparingStep).validate_python(given)
