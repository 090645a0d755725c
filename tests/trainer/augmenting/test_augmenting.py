"""Augmentation: picture and mask stay together under everything, and what is off leaves the pixels as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.opencv import cv2
from tests.trainer.painted import STILL
from trainer.augmenting import CropSampler, crop_transform, disturb, warp
from trainer.augmenting.geometry import pushed_inside, resized
from trainer.augmenting.light import Light, apply_light, draw_light, motion_kernel
from trainer.augmenting.pasting import Paster
from trainer.augmenting.sampling import at_strength, cut_out
from trainer.datasets.dataset import Entry, Picture
from trainer.recipe.settings import AugmentationSettings, SamplingSettings


def still(**changed: object) -> AugmentationSettings:
    """Return settings in which only what is named happens."""
    return AugmentationSettings.model_validate(STILL.model_dump() | changed)


def picture(
    pixels: np.ndarray, truth: np.ndarray, name: str = "a.png", kinds: tuple[str, ...] = ("scratch",)
) -> Picture:
    """Make a picture that is on no disk."""
    entry = Entry(name, Path(name), tuple((kind, Path("m")) for kind in kinds), "g", frozenset(kinds))
    return Picture(entry, pixels.reshape(*pixels.shape[:2], -1), truth)


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uint8 pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 33])
def test_flips_and_turns_are_the_eight_of_numpy_to_the_pixel(side: int, channels: int) -> None:
    """Without other geometry a crop is the window around its centre under one of rot90 and flip; all eight come."""
    pixels, truth = noise(0, (50, 60, channels)), noise(1, (50, 60)) % 3
    left, top = 30 - side // 2, 25 - side // 2
    window, own = pixels[top : top + side, left : left + side], truth[top : top + side, left : left + side]
    eight = [
        (np.rot90(w, k), np.rot90(t, k)) for k in range(4) for w, t in ((window, own), (window[:, ::-1], own[:, ::-1]))
    ]
    generator, met = np.random.default_rng(2), set()
    only = still(flips=True, quarter_turns=True)
    for _ in range(80):
        crop, mask = warp(picture(pixels, truth), crop_transform((30, 25), side, only, generator), side)
        (which,) = [k for k, (w, t) in enumerate(eight) if np.array_equal(w, crop) and np.array_equal(t, mask)]
        met.add(which)
    assert met == set(range(8))


RANGES = st.fixed_dictionaries(
    {
        "flips": st.booleans(),
        "quarter_turns": st.booleans(),
        "rotation_degrees": st.floats(0, 45),
        "shift_share": st.floats(0, 0.3),
        "zoom": st.floats(1, 2),
        "shear": st.floats(0, 0.5),
        "contrast": st.floats(1, 1.3),
        "gamma": st.floats(1, 1.5),
        "defocus_px": st.floats(0, 1.5),
        "motion_px": st.floats(0, 5),
    }
)


@settings(deadline=None)
@given(RANGES, st.integers(0, 2**32 - 1))
def test_a_marker_lands_on_the_same_place_in_picture_and_mask(ranges: dict[str, object], seed: int) -> None:
    """A disc painted in both has the same middle in both to under a pixel, however cropped."""
    pixels, truth = np.zeros((220, 240), np.uint8), np.zeros((220, 240), np.uint8)
    cv2.circle(pixels, (120, 110), 9, 200, -1)
    cv2.circle(truth, (120, 110), 9, 1, -1)
    generator = np.random.default_rng(seed)
    own = still(**ranges)
    crop, mask = warp(picture(pixels, truth), crop_transform((120, 110), 128, own, generator), 128)
    seen = disturb(crop, own, generator)[:, :, 0]
    inside = mask[1:-1, 1:-1].any() and not mask[:14].any() and not mask[-14:].any()
    if not inside or mask[:, :14].any() or mask[:, -14:].any():
        return  # cut by the crop's edge, or blurred over it
    y, x = np.mgrid[:128, :128]
    middle = (np.sum(x * seen) / seen.sum(), np.sum(y * seen) / seen.sum())
    assert np.abs(np.array(middle) - (x[mask > 0].mean(), y[mask > 0].mean())).max() < 0.75


def drawn(count: int = 400, **ranges: object) -> np.ndarray:
    """Draw transforms about the middle of a crop of 101 px, [N, 2, 3], with only `ranges` on."""
    generator = np.random.default_rng(3)
    return np.stack([crop_transform((200, 150), 101, still(**ranges), generator) for _ in range(count)])


def test_each_kind_of_geometry_goes_to_both_ends_of_its_range_and_no_further() -> None:
    """Rotation in degrees, zoom in factors, shear and shift as shares: read off the matrices, one at a time."""
    turned = drawn(rotation_degrees=20)[:, :, :2]
    degrees = np.rad2deg(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 19 < degrees.max() <= 20
    assert -20 <= degrees.min() < -19
    np.testing.assert_allclose(np.linalg.det(turned), 1)
    zoomed = drawn(zoom=1.5)[:, :, :2]
    factors = 1 / zoomed[:, 0, 0]
    assert 1.45 < factors.max() <= 1.5
    assert 1 / 1.5 <= factors.min() < 1 / 1.45
    np.testing.assert_allclose(zoomed, zoomed[:, :1, :1] * np.eye(2))
    sheared = drawn(shear=0.3)[:, :, :2]
    assert 0.28 < sheared[:, 0, 1].max() <= 0.3
    assert -0.3 <= sheared[:, 0, 1].min() < -0.28
    np.testing.assert_allclose(sheared[:, [0, 1, 1], [0, 0, 1]], np.broadcast_to([1, 0, 1], (400, 3)))
    # the middle of the crop, pixel 50, would lie on (200, 150). A shift of 0.2 of 101 px is 20.2
    moved = drawn(shift_share=0.2) @ [50, 50, 1] - (200, 150)
    assert 19 < moved.max() <= 20.2
    assert -20.2 <= moved.min() < -19
    assert (np.abs(moved) > 15).all(axis=1).any()  # both ways at once


def test_each_kind_of_light_goes_to_both_ends_of_its_range_and_no_further() -> None:
    """Brightness in levels, contrast as a factor, noise and blur from nothing up: as drawn, one at a time."""
    generator = np.random.default_rng(4)

    def lights(**ranges: object) -> list[Light]:
        return [draw_light(still(**ranges), generator) for _ in range(400)]

    brightness = [light.brightness for light in lights(brightness=12)]
    assert -12 <= min(brightness) < -11.5
    assert 11.5 < max(brightness) <= 12
    contrast = [light.contrast for light in lights(contrast=1.4)]
    assert 1 / 1.4 <= min(contrast) < 1 / 1.38
    assert 1.38 < max(contrast) <= 1.4
    for name in ("noise", "defocus_px", "motion_px"):
        values = [getattr(light, name) for light in lights(**{name: 8.0})]
        assert 0 <= min(values) < 0.3
        assert 7.7 < max(values) <= 8


def test_a_defocus_is_a_gaussian_blur() -> None:
    """A lone pixel of 200 spreads as exp(-d² / 2 s²) and keeps its light, within the rounding to whole levels."""
    pixels = np.zeros((33, 33, 1), np.uint8)
    pixels[16, 16] = 200
    found = apply_light(pixels, Light(1, 0, defocus_px=1.0), np.random.default_rng(0))[:, :, 0]
    y, x = np.mgrid[-16:17, -16:17]
    weights = np.exp(-(x**2 + y**2) / 2)
    np.testing.assert_allclose(found, 200 * weights / weights.sum(), atol=1)


def test_the_truth_is_only_ever_moved() -> None:
    """No class appears in a crop that the picture has not, however ids are neighbours."""
    truth = np.zeros((90, 90), np.uint8)
    truth[20:50], truth[50:80] = 1, 7
    generator = np.random.default_rng(0)
    for _ in range(40):
        crop_settings = AugmentationSettings(rotation_degrees=45, zoom=2, shear=0.4)
        _, mask = warp(picture(truth, truth), crop_transform((45, 45), 48, crop_settings, generator), 48)
        assert set(np.unique(mask)) <= {0, 1, 7}


def test_light_is_the_formula_of_its_parts() -> None:
    """Gamma on the share of 255, contrast about black, brightness, clipped: 100 with gamma 2, contrast 1.5, +10."""
    pixels = np.full((4, 4, 1), 100, np.uint8)
    found = apply_light(pixels, Light(contrast=1.5, brightness=10, gamma=2), np.random.default_rng(0))
    np.testing.assert_allclose(found, 1.5 * 255 * (100 / 255) ** 2 + 10, rtol=1e-5)
    assert apply_light(pixels, Light(3, 0), np.random.default_rng(0)).max() == 255
    assert apply_light(pixels, Light(1, -150), np.random.default_rng(0)).min() == 0


def test_negatives_come_in_the_share_that_is_asked_for() -> None:
    """A negative of 100 is 155, before contrast and brightness: 1.5 * 155 + 10; a quarter of 400 within 4 sigma."""
    pixels = np.full((4, 4, 1), 100, np.uint8)
    light = Light(contrast=1.5, brightness=10, inverted=True)
    np.testing.assert_allclose(apply_light(pixels, light, np.random.default_rng(0)), 1.5 * 155 + 10)
    generator = np.random.default_rng(1)
    drawn = [draw_light(still(invert_share=0.25), generator).inverted for _ in range(400)]
    assert sum(drawn) == pytest.approx(100, abs=4 * np.sqrt(400 * 0.25 * 0.75))
    assert not any(draw_light(still(), generator).inverted for _ in range(50))


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, 3.9])
def test_a_light_gradient_goes_evenly_from_minus_to_plus(angle: float) -> None:
    """It reaches its grey levels in the corners that it points to, and leaves the mean."""
    pixels = np.full((65, 65, 3), 100, np.uint8)
    light = Light(1, 0, gradient=30, gradient_angle=angle)
    found = apply_light(pixels, light, np.random.default_rng(0))[:, :, 1] - 100
    assert found.max() == pytest.approx(30, abs=1e-3)
    assert found.min() == pytest.approx(-30, abs=1e-3)
    assert found.mean() == pytest.approx(0, abs=1e-3)
    assert found[32, 32] == pytest.approx(0, abs=1e-3)


def test_noise_has_its_standard_deviation() -> None:
    """Of 65,536 draws at 10 grey levels: within a tenth."""
    found = apply_light(np.full((256, 256, 1), 128, np.uint8), Light(1, 0, noise=10), np.random.default_rng(0))
    assert found.std() == pytest.approx(10, rel=0.1)


@given(st.floats(1.1, 30), st.floats(0, np.pi))
def test_a_motion_blur_keeps_light_and_place(length: float, angle: float) -> None:
    """Its weights sum to 1 and are the same seen from both ends, about as long as asked for."""
    kernel = motion_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])
    y, x = np.nonzero(kernel)
    assert np.hypot(np.ptp(y), np.ptp(x)) == pytest.approx(length, abs=2)


def textured(level: int, seed: int, size: int = 160) -> np.ndarray:
    """Draw a surface: a level with a few grey levels of noise."""
    return np.clip(np.random.default_rng(seed).normal(level, 2, (size, size)), 0, 255).astype(np.uint8)


def scratched(level: int = 60) -> Picture:
    """Draw a bright line on a dark surface."""
    pixels, truth = textured(level, 1), np.zeros((160, 160), np.uint8)
    cv2.line(truth, (50, 60), (110, 100), 1, 4)
    pixels[truth > 0] = level + 80
    return picture(pixels, truth)


def test_a_pasted_defect_shows_no_edge_around_it() -> None:
    """Laid on a surface 100 grey levels brighter it stands as far above it. Around it there is only the surface."""
    target, truth = textured(160, 2, 96)[:, :, None], np.zeros((96, 96), np.uint8)
    paster, generator = Paster([scratched()], [1]), np.random.default_rng(0)
    for _ in range(12):
        pixels, mask = paster.paste(target, truth, still(quarter_turns=True, zoom=1.3), generator)
        assert mask.any()
        assert truth.max() == 0
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
        outside = cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0
        assert pixels[inside].mean() == pytest.approx(160 + 80, abs=4)
        # six standard deviations of the noise; an unblended square would stand out by 100
        assert np.abs(pixels[outside].astype(int) - 160).max() < 6 * 2.5
        far = cv2.dilate(mask, np.ones((25, 25), np.uint8)) == 0
        np.testing.assert_array_equal(pixels[far], target[far])


def test_nothing_is_pasted_onto_a_defect() -> None:
    """Crop and truth stay as they are where everything is taken."""
    target, taken = textured(160, 2, 96)[:, :, None], np.full((96, 96), 2, np.uint8)
    pixels, mask = Paster([scratched()], [1]).paste(target, taken, STILL, np.random.default_rng(0))
    assert pixels is target
    assert mask is taken


def sampler(pictures: list[Picture], augmentation: AugmentationSettings, **sampling: object) -> CropSampler:
    """Make a sampler of 64 px crops of `scratch` and `stain`."""
    drawn = SamplingSettings.model_validate({"crop_px": 64, "batch": 8} | sampling)
    return CropSampler(pictures, [1.0, 1.0], drawn, augmentation, ("scratch", "stain"))


def test_rare_defects_are_pasted_in_the_share_that_is_asked_for() -> None:
    """Of crops of clean pictures and one scratched one, the asked share shows a scratch without any centring."""
    clean = [picture(textured(90, seed), np.zeros((160, 160), np.uint8), f"{seed}.png", ()) for seed in range(60)]
    for share, least, most in ((0.0, 0, 0.05), (0.5, 0.3, 0.6)):
        own = sampler([*clean, scratched()], still(paste_share=share, paste_classes=("scratch",)), defect_share=0.0)
        generator = np.random.default_rng(0)
        shown = np.mean([own.batch_with_names(generator).labels[:, 0].mean() for _ in range(25)])
        assert least <= shown <= most


def test_a_batch_names_its_pictures_and_is_the_same_batch() -> None:
    """`batch` and `batch_with_names` draw the same by the same generator; each crop is from the picture it names."""
    pictures = [picture(textured(20 + 60 * k, k), np.zeros((160, 160), np.uint8), f"{k}.png", ()) for k in range(4)]
    own = sampler(pictures, still(flips=True, rotation_degrees=10))
    named = own.batch_with_names(np.random.default_rng(5))
    pixels, truth = own.batch(np.random.default_rng(5))
    np.testing.assert_array_equal(named.pixels, pixels)
    np.testing.assert_array_equal(named.truth, truth)
    assert pixels.dtype == np.float32
    assert (pixels.shape, truth.shape, truth.dtype) == ((8, 64, 64, 1), (8, 64, 64), np.uint8)
    for crop, image in zip(pixels, named.images, strict=True):
        assert round((crop.mean() - 20) / 60) == int(image.split(".")[0])


def test_only_the_named_classes_are_augmented() -> None:
    """Crops that show a scratch are turned; the others are windows of their picture, to the pixel."""
    stain = np.zeros((160, 160), np.uint8)
    stain[60:90, 60:90] = 2
    pictures = [scratched(), picture(noise(3, (160, 160)), stain, "b.png", ("stain",))]
    own = sampler(pictures, AugmentationSettings(only_classes=("scratch",)), batch=60)
    batch = own.batch_with_names(np.random.default_rng(0))
    padded = cv2.copyMakeBorder(pictures[1].pixels, 40, 40, 40, 40, cv2.BORDER_REFLECT_101).astype(np.float32)
    exact = []
    for crop, image in zip(batch.pixels, batch.images, strict=True):
        found = (
            cv2.matchTemplate(padded, crop[:, :, 0], cv2.TM_SQDIFF_NORMED).min() < 1e-4 if image == "b.png" else None
        )
        exact.append((image, found))
    assert {found for image, found in exact if image == "b.png"} == {True}
    assert ("a.png", None) in exact
    everyone = sampler(pictures, AugmentationSettings(), batch=60).batch_with_names(np.random.default_rng(0))
    crops = [crop for crop, image in zip(everyone.pixels, everyone.images, strict=True) if image == "b.png"]
    assert not any(cv2.matchTemplate(padded, crop[:, :, 0], cv2.TM_SQDIFF_NORMED).min() < 1e-4 for crop in crops)


def test_a_strength_scales_every_range() -> None:
    """Half the strength is half of what is added and the root of what is multiplied. None is nothing at all."""
    half = at_strength(AugmentationSettings(gamma=1.44, light_gradient=8, motion_px=6, zoom=1.21), 0.5)
    assert (half.rotation_degrees, half.brightness, half.noise) == (7.5, 7.5, 2.5)
    assert (half.light_gradient, half.motion_px, half.shift_share) == (4, 3, 0.175)
    assert (half.gamma, half.zoom) == (pytest.approx(1.2), pytest.approx(1.1))
    assert at_strength(AugmentationSettings(cut_outs=3), 0) == STILL


def test_a_class_that_the_data_has_not_is_named() -> None:
    """Before hours are spent."""
    with pytest.raises(DatasetError, match="names scrtch, which the dataset has not; it has scratch, stain"):
        sampler([scratched()], AugmentationSettings(only_classes=("scrtch",)))


def test_cut_outs_are_flat_and_clean() -> None:
    """A blotted-out place has the crop's mean and its truth is clean; elsewhere nothing changes."""
    before, ones = noise(0, (64, 64, 1)).astype(np.float32), np.ones((64, 64), np.uint8)
    generator, shares = np.random.default_rng(1), []
    for _ in range(20):
        pixels, truth = cut_out(before, ones, still(cut_outs=3, cut_out_share=0.4), generator)
        out = truth == 0
        assert (pixels[out] == before.mean(axis=(0, 1))).all()
        np.testing.assert_array_equal(pixels[~out], before[~out])
        shares.append(out.mean())
    assert min(shares) == 0
    assert 0.05 < max(shares) <= 3 * 0.41**2
    assert ones.all()


def test_whole_pictures_are_drawn_whole_and_by_their_labels() -> None:
    """With `crop: whole` and no masks: each crop is a picture, resized; classes are those of the manifest."""

    def labelled(name: str, kinds: tuple[str, ...], seed: int) -> Picture:
        entry = Entry(f"{name}.png", Path(name), (), name, frozenset(kinds))
        return Picture(entry, noise(seed, (100, 100, 1)), np.zeros((100, 100), np.uint8))

    pictures = [
        labelled("a", ("scratch",), 0),
        labelled("b", ("stain",), 1),
        *(labelled(f"c{k}", (), 2) for k in range(30)),
    ]
    own = sampler(pictures, still(flips=True, quarter_turns=True), crop="whole", batch=64)
    batch = own.batch_with_names(np.random.default_rng(0))
    # 0.7 of the crops show one of the two pictures with a class, though 30 of 32 have none
    assert 0.5 < batch.labels.any(axis=1).mean() < 0.9
    small = {p.entry.image: cv2.resize(p.pixels, (64, 64), interpolation=cv2.INTER_AREA) for p in pictures}
    for crop, image, labels in zip(batch.pixels, batch.images, batch.labels, strict=True):
        eight = [np.rot90(s, k) for k in range(4) for s in (small[image], small[image][:, ::-1])]
        assert any(np.array_equal(crop[:, :, 0], one) for one in eight)
        assert list(labels) == [image == "a.png", image == "b.png"]


def test_a_picture_of_the_right_size_is_not_resized() -> None:
    """200 x 200 stays the same array at 200."""
    same = picture(noise(0, (200, 200)), np.zeros((200, 200), np.uint8))
    assert resized(same, 200) is same


def test_augmentation_of_older_recipes_is_unchanged() -> None:
    """Keys that a recipe does not name are off: no gamma, no gradient, no blur, no cut-outs, nothing pasted."""
    d = AugmentationSettings()
    assert (d.gamma, d.light_gradient, d.defocus_px, d.motion_px, d.cut_outs, d.paste_share) == (1, 0, 0, 0, 0, 0)
    assert (d.only_classes, d.class_strength) == ((), {})
    assert (d.rotation_degrees, d.shift_share, d.zoom, d.shear) == (15, 0.35, 1.3, 0.1)
    assert (d.contrast, d.brightness, d.noise) == (1.5, 15, 5)


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(24, 90), st.integers(24, 90)),
    st.tuples(st.integers(0, 89), st.integers(0, 89)),
)
def test_a_crop_that_is_kept_inside_shows_no_more_reflection_than_it_must(
    seed: int, shape: tuple[int, int], centre: tuple[int, int]
) -> None:
    """Along each axis the crop's box lies within the picture.

    A larger box reaches as far beyond both ends. Nothing else about it changes, and one that lay inside stays where it
    was.
    """
    ranges = still(rotation_degrees=20.0, zoom=1.5, shear=0.1, shift_share=0.4, quarter_turns=True)
    drawn = crop_transform(centre, 32, ranges, np.random.default_rng(seed))
    pushed = pushed_inside(drawn, 32, shape)
    np.testing.assert_array_equal(pushed[:, :2], drawn[:, :2])
    for axis, side in ((0, shape[1]), (1, shape[0])):
        places = [pushed[axis] @ (x, y, 1) for x in (0, 31) for y in (0, 31)]
        before, after = min(places), side - 1 - max(places)  # distance inside, negative: beyond
        if max(places) - min(places) > side - 1:
            assert before == pytest.approx(after)
        else:
            assert before >= -1e-9
            assert after >= -1e-9
        unmoved = [drawn[axis] @ (x, y, 1) for x in (0, 31) for y in (0, 31)]
        if min(unmoved) >= 0 and max(unmoved) <= side - 1:
            assert pushed[axis, 2] == pytest.approx(drawn[axis, 2])


def test_crops_are_kept_inside_where_the_recipe_says_so() -> None:
    """A picture as large as a crop is then always shown whole. Without it a crop near its edge shows a reflection."""
    pixels = noise(3, (64, 64))
    truth = np.zeros((64, 64), np.uint8)
    truth[2:6, 2:6] = 1
    shown = {}
    for inside in (False, True):
        sampling = SamplingSettings(crop_px=64, batch=4, defect_share=1.0, inside=inside)
        batch, _ = CropSampler([picture(pixels, truth)], [1.0], sampling, STILL).batch(np.random.default_rng(0))
        shown[inside] = [np.array_equal(crop[:, :, 0], pixels) for crop in batch]
    assert shown == {False: [False] * 4, True: [True] * 4}
