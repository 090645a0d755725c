"""Good frames pass; each of five flaws is found, and called by its own name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import SettingsError
from edge.opencv import cv2
from edge.quality.gate import QualityGate, Reference
from edge.quality.learning import learn_quality, open_gate, read_quality, write_quality
from edge.quality.measures import edges, exposure, sample
from edge.quality.settings import CHECKS, QualitySettings
from edge.records import UInt8
from tests.edge.quality.scenes import BAD, moved, scene, streaked, with_glare


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Learn from twelve good frames."""
    return learn_quality([scene(seed) for seed in range(12)])


@pytest.fixture(scope="module")
def gate(reference: Reference) -> QualityGate:
    """Return the gate of these frames."""
    return QualityGate(reference)


def test_other_good_frames_pass(gate: QualityGate) -> None:
    """None of twenty that were not learned is refused, nor one with a little more or less light."""
    assert [flaw for seed in range(50, 70) if (flaw := gate.look(scene(seed)))] == []
    for gain in (0.95, 1.05):
        assert gate.look(np.clip(scene(80) * gain, 0, 255).astype(np.uint8)) is None


@pytest.mark.parametrize("name", BAD)
def test_each_flaw_is_called_by_its_name(gate: QualityGate, name: str) -> None:
    """On three frames, grey or colour, and with a reason in numbers."""
    fault, spoil = BAD[name]
    for seed in (90, 91, 92):
        spoilt = spoil(scene(seed))
        for pixels in (spoilt, np.ascontiguousarray(spoilt[..., 0])):
            flaw = gate.look(pixels)
            assert flaw is not None, seed
            assert flaw.fault.value == fault, flaw.reason
    assert "expected" in flaw.reason or "nothing of it" in flaw.reason


def test_what_was_moved_is_told_in_px_and_degrees(gate: QualityGate) -> None:
    """To a px and a fifth of a degree; a px is no move."""
    flaw = gate.look(moved(scene(90), 8, -6))
    assert flaw is not None
    assert "lies 10 px and 0." in flaw.reason
    flaw = gate.look(moved(scene(90), 0, 0, 1.5))
    assert flaw is not None
    assert "and 1.5 degrees from" in flaw.reason
    assert gate.look(moved(scene(90), 1, 0)) is None


def test_a_part_is_no_move_and_a_hand_neither(gate: QualityGate) -> None:
    """A part lies elsewhere in each frame and stands nowhere; a hand over a fifth of the machine moves nothing."""
    assert QualityGate(gate._reference, ("camera_moved",)).look(scene(95)) is None
    hidden = scene(95)
    hidden[200:330, 0:90] = 120
    assert QualityGate(gate._reference, ("camera_moved",)).look(hidden) is None


@given(radius=st.floats(0.0, 3.0), more=st.floats(1.3, 2.0))
@settings(max_examples=25, deadline=None)
def test_more_blur_is_never_better(radius: float, more: float) -> None:
    """The blur that is measured grows with the one that was added, up to where no edge is left."""

    def blurred(sigma: float) -> UInt8:
        pixels = np.zeros((160, 240), np.uint8)
        for x in range(0, 240, 60):
            pixels[:, x : x + 30] = 200
        pixels[40:60] = pixels[100:120] = 90
        return pixels if sigma < 0.1 else cv2.GaussianBlur(pixels, (0, 0), sigma)

    less, worse = edges(blurred(radius)), edges(blurred(more * max(radius, 0.5)))
    assert less.blur is not None
    if worse.blur is not None:
        assert worse.blur > less.blur


@pytest.mark.parametrize("sigma", [1.5, 3.0, 5.0])
def test_the_blur_is_that_of_the_edge(sigma: float) -> None:
    """A blurred step's figure is the deviation of Gaussian and smoothing together, in px, to 5 %."""
    step = np.zeros((64, 400), np.uint8)
    step[:, 200:] = 200
    seen = edges(cv2.GaussianBlur(step, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
    across = seen.blur_px[0]
    assert across is not None
    assert across == pytest.approx(np.hypot(sigma, 0.7), rel=0.05)


@given(length=st.integers(9, 15), seed=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_a_streak_is_told_from_a_blur(length: int, seed: int) -> None:
    """Motion blurs along one direction alone: its streak is greater than that of the same frame out of focus."""
    frame = scene(seed)
    alone = edges(streaked(frame, length)).streak
    assert alone > 1.5 * edges(frame).streak
    assert alone > 1.5 * edges(cv2.GaussianBlur(frame, (0, 0), 2)).streak


@given(st.integers(0, 255), st.integers(0, 255), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_exposure_counts_every_pixel_once(dark: int, bright: int, share: float) -> None:
    """Of two levels the shares are those that were drawn, and none is both glare and clipped."""
    pixels = np.full((200, 200), dark, np.uint8)
    pixels[: round(200 * share)] = bright
    sampled = sample(pixels)
    seen = exposure(sampled, np.full(sampled.shape, 255, np.uint8))
    assert seen.clipped + seen.glare == pytest.approx((sampled >= 250).mean())
    assert seen.black == pytest.approx((sampled <= 5).mean())
    assert seen.median == pytest.approx(np.percentile(sampled, 50, method="inverted_cdf"), abs=1)


def test_glare_beside_the_part_is_none(gate: QualityGate) -> None:
    """Glare counts within the part alone where one is found. The part is looked for only where there is glare."""
    asked = []

    def part(pixels: UInt8) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        asked.append(pixels)
        return np.array([[150.0, 60], [330, 60], [330, 300], [150, 300]])

    def look(pixels: UInt8) -> object:
        return QualityGate(gate._reference, ("glare",)).look(pixels, part)

    assert look(scene(3)) is None
    assert asked == []
    assert look(with_glare(scene(3), 60, 170)) is None
    assert look(with_glare(scene(3), 240, 170)) is not None
    assert len(asked) == 2


def test_a_lamp_that_is_always_there_is_no_glare() -> None:
    """Glare that good frames show is usual."""
    learned = QualityGate(learn_quality([with_glare(scene(seed), 30, 30, 20) for seed in range(8)]))
    assert learned.look(with_glare(scene(20), 30, 30, 20)) is None
    worse = learned.look(with_glare(with_glare(scene(20), 30, 30, 20), 240, 170))
    assert worse is not None
    assert worse.fault.value == "glare"


def test_what_was_learned_is_read_as_it_was_written(reference: Reference, tmp_path: Path) -> None:
    """Every table and limit; and limits of one's own stand before the learned ones."""
    write_quality(tmp_path / "q.npz", reference)
    read = read_quality(tmp_path / "q.npz")
    assert (read.size_px, read.region, read.limits) == (reference.size_px, reference.region, reference.limits)
    for name in ("picture", "still", "bright"):
        assert np.array_equal(getattr(read, name), getattr(reference, name))
    assert open_gate(None) is None
    own = open_gate(QualitySettings(learned=tmp_path / "q.npz", checks=("focus",), blur_px=0.3))
    assert own is not None
    flaw = own.look(scene(1))
    assert flaw is not None
    assert "at most 0.30 expected" in flaw.reason
    assert own.look(np.full((360, 480), 90, np.uint8)) is not None  # no edge at all
    assert own.misfit(scene(1)) == ""
    assert "the frame has 240 x 360 px, and its quality was learned in 480 x 360" in own.misfit(scene(1)[:, :240])


@pytest.mark.parametrize("spoil", ["absent", "text", "cut", "another", "shapes"])
def test_a_file_that_holds_none_is_refused(reference: Reference, spoil: str, tmp_path: Path) -> None:
    """With what would make it."""
    path = tmp_path / "q.npz"
    write_quality(path, reference)
    whole = path.read_bytes()
    if spoil == "absent":
        path.unlink()
    elif spoil == "text":
        path.write_text("no")
    elif spoil == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        with np.load(path) as kept:
            tables = dict(kept)
        tables |= {"schema": np.array("x/1")} if spoil == "another" else {"still": tables["still"][:5]}
        np.savez(path, **tables)
    with pytest.raises(SettingsError, match=r"holds no learned quality: .*linewatch learn-quality CONFIG CAMERA"):
        read_quality(path)


def test_too_few_frames_or_of_two_sizes_teach_nothing() -> None:
    """Each is said."""
    with pytest.raises(SettingsError, match="at least 5 good frames, received 4"):
        learn_quality([scene(seed) for seed in range(4)])
    with pytest.raises(SettingsError, match="frames of one size"):
        learn_quality([*(scene(seed) for seed in range(5)), scene(1)[:100]])
    with pytest.raises(SettingsError, match=r"the region \[400, 0, 100, 100\] does not lie in 480 x 360 px"):
        learn_quality([scene(1)] * 5, (400, 0, 100, 100))
    with pytest.raises(ValueError, match="median as"):
        QualitySettings.model_validate({"learned": "q.npz", "median": [9, 3]})
    assert set(CHECKS) == {"exposure", "glare", "camera_moved", "motion_blur", "focus"}
