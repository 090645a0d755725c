from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import SourceError, StoreError
from edge.opencv import cv2
from edge.records import CameraCondition, CameraState, Frame, UInt8
from edge.simulation.camera import SimulatedCamera, write_video
from edge.simulation.dataset import write_dataset
from edge.simulation.defects import CHIP, CLASS_NAMES, SCRATCH, STAIN
from edge.simulation.glass import make_part
from edge.simulation.products import PRODUCT_NAMES
from edge.simulation.rendering import (
    RenderedLine,
    SimulatedLineSettings,
    straight_picture,
    varied_edge,
    varied_picture,
)
from edge.simulation.scenes import USUAL, SimulatedPart, compose, make_scene
from trainer.datasets.dataset import load_picture, read_manifest

SMALL = SimulatedLineSettings(width=160, height=120, fps=0, seed=3)
MS = 1_000_000


def part(defects: dict[int, int], seed: int) -> SimulatedPart:
    """Draw one part of the usual look."""
    return make_part(480, USUAL, defects, np.random.default_rng(seed))


def truths(line: SimulatedLineSettings, count: int) -> list[UInt8]:
    """Draw the first frames' truth."""
    rendered = RenderedLine(line)
    return [rendered.frame(index)[1] for index in range(count)]


def test_a_frame_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    """Pixels and truth depend on settings and index alone; another seed is another line."""
    forwards, backwards = RenderedLine(SMALL), RenderedLine(SMALL)
    indices = [0, 5, 33, 40, 71, 100]
    drawn = {index: forwards.frame(index) for index in indices}
    for index in reversed(indices):
        pixels, truth = backwards.frame(index)
        np.testing.assert_array_equal(pixels, drawn[index][0])
        np.testing.assert_array_equal(truth, drawn[index][1])
    other = RenderedLine(SMALL.model_copy(update={"seed": 4})).frame(40)[0]
    assert (other != drawn[40][0]).any()


def test_no_frame_repeats_another_s_noise() -> None:
    """Two pictures of one scene that stands still differ, as a sensor's do."""
    scene = make_scene(64, 64, USUAL, np.random.default_rng(0))
    drawn = [compose(scene, [], 0, number)[0] for number in range(12)]
    assert all((a != b).any() for a, b in itertools.combinations(drawn, 2))


@pytest.mark.parametrize("seed", range(8))
def test_the_truth_of_a_scratch_is_where_it_is_drawn(seed: int) -> None:
    """Against the same part without it: nothing else changes, and the truth is where it changes by 35 % of the peak.

    A scratch is drawn before anything that comes later draws random numbers, so both parts share all the rest.
    """
    clean, scratched = part({}, seed), part({SCRATCH: 1}, seed)
    change = scratched.pixels - clean.pixels
    true = scratched.truth == SCRATCH
    assert true.sum() >= 20
    assert not clean.truth.any()
    assert change[true].min() > change[~true].max()
    # at least 0.35 of the faintest scratch (45 levels): 5 times the sensor's noise of 3 levels
    assert change[true].min() >= 0.35 * 45 - 0.1


@pytest.mark.parametrize("seed", range(8))
def test_defects_lie_on_the_glass_and_chips_at_its_edge(seed: int) -> None:
    """No truth where the belt shows; a chip comes within 2 px of where the glass ends."""
    drawn = part({SCRATCH: 1, STAIN: 1, CHIP: 1}, seed)
    assert (drawn.glass[drawn.truth > 0] > 0.3).all()
    belt = np.pad(drawn.glass < 0.5, 1, constant_values=True).astype(np.uint8)
    near = cv2.dilate(belt, np.ones((5, 5), np.uint8))[1:-1, 1:-1] > 0
    assert (near & (drawn.truth == CHIP)).any()
    assert (drawn.pixels != part({}, seed).pixels)[drawn.truth > 0].all()


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_glints_of_a_drop_are_part_of_the_drop(seed: int) -> None:
    """Stains change a varied part on a stain of the truth or 5 px beside it.

    A change is one of 25 grey levels or more, against the same part without any. Its face is drawn first, from the
    same numbers.
    """
    clean, stained = (
        make_part(240, USUAL, defects, np.random.default_rng(seed), varied=True) for defects in ({}, {STAIN: 3})
    )
    changed = np.abs(stained.pixels - clean.pixels) >= 25
    near = cv2.dilate((stained.truth == STAIN).astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
    assert (stained.truth > 0).any()
    assert not (changed & ~near).any()


def test_the_truth_travels_with_the_part() -> None:
    """From frame to frame the whole true map moves right by one fixed step; nothing else happens."""
    maps = truths(SMALL.model_copy(update={"defective_share": 1.0}), 60)
    assert any(truth.any() for truth in maps)
    steps = [
        step
        for step in range(1, 40)
        if all(np.array_equal(after[:, step:], before[:, :-step]) for before, after in itertools.pairwise(maps))
    ]
    assert len(steps) == 1


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 10), (0.5, 20), (1.0, 40)])
def test_the_share_of_defective_parts_is_kept(share: float, expected: int) -> None:
    """Of 40 parts exactly the share is defective. It is seen in the truth with the part alone in the middle."""
    line = RenderedLine(SMALL.model_copy(update={"defective_share": share, "frames_per_part": 30}))
    # 21 frames after a part began to enter, all of it is in sight and no other is
    found = sum(bool(line.frame(30 * number + 21)[1].any()) for number in range(40))
    assert found == expected


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_line_shows_good_and_bad_within_120_frames(seed: int) -> None:
    """Bad frames begin, end and begin again, so that alarms raise and clear on any seed."""
    bad = [bool(truth.any()) for truth in truths(SMALL.model_copy(update={"seed": seed}), 120)]
    changes = sum(a != b for a, b in itertools.pairwise(bad))
    assert not bad[0]
    assert changes >= 3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.sampled_from([64, 120, 240]), width=st.sampled_from([64, 160, 320]))
def test_a_varied_picture_is_of_the_size_asked_for(seed: int, height: int, width: int) -> None:
    """uint8 [H, W] each, with no class id that does not exist: of any product, from above and from the side."""
    for draw in (varied_picture, varied_edge):
        for product in PRODUCT_NAMES:
            pixels, truth = draw(height, width, np.random.default_rng(seed), product)
            assert pixels.shape == truth.shape == (height, width)
            assert pixels.dtype == truth.dtype == np.uint8
            assert truth.max() <= len(CLASS_NAMES)


@pytest.mark.parametrize(("height", "width"), [(64, 160), (240, 64), (240, 320)])
def test_straight_scratches_lie_on_some_pictures_and_drops_on_others(height: int, width: int) -> None:
    """Of 24 pictures 8 to 18 show scratches, 6 to 16 drops, none a chip. Each is as large as was asked for."""
    drawn = [straight_picture(height, width, np.random.default_rng([k, 1])) for k in range(24)]
    assert all(pixels.shape == truth.shape == (height, width) for pixels, truth in drawn)
    assert {int(i) for _, truth in drawn for i in np.unique(truth)} == {0, SCRATCH, STAIN}
    assert 8 <= sum(bool((truth == SCRATCH).any()) for _, truth in drawn) <= 18
    assert 6 <= sum(bool((truth == STAIN).any()) for _, truth in drawn) <= 16


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        """Tell the time."""
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)


def camera(fps: float, frames: int = 0) -> tuple[SimulatedCamera, Clock]:
    """Open a simulated camera on a clock of its own."""
    clock = Clock()
    line = SMALL.model_copy(update={"fps": fps, "frames": frames})
    return SimulatedCamera("c", line, monotonic_ns=clock.monotonic_ns, sleep_s=clock.sleep), clock


def test_frames_come_at_the_set_rate() -> None:
    """At 20 frames/s they are stamped 50 ms apart; before one is due the answer is NO_FRAME_YET, after the timeout."""
    with camera(20)[0] as eye:
        stamps = [frame.captured_ns for frame in (eye.read(1.0) for _ in range(4)) if isinstance(frame, Frame)]
        assert stamps == [0, 50 * MS, 100 * MS, 150 * MS]
        assert eye.read(0.02) == CameraState("c", CameraCondition.NO_FRAME_YET)
        later = eye.read(0.04)
        assert isinstance(later, Frame)
        assert (later.index, later.captured_ns) == (4, 200 * MS)


def test_a_late_reader_gets_no_burst() -> None:
    """After a second's pause the next frames are again 50 ms apart: a slow reader slows the belt."""
    eye, clock = camera(20)
    with eye:
        eye.read(1.0)
        clock.sleep(1.0)
        stamps = [frame.captured_ns for frame in (eye.read(1.0) for _ in range(3)) if isinstance(frame, Frame)]
    assert stamps == [1000 * MS, 1050 * MS, 1100 * MS]


def test_the_camera_remembers_the_truth_of_256_frames() -> None:
    """An older frame's truth is a clear error; a remembered one is what the line draws."""
    line = SMALL.model_copy(update={"width": 64, "height": 64})
    with SimulatedCamera("c", line) as eye:
        for _ in range(300):
            eye.read(0.0)
        np.testing.assert_array_equal(eye.truth(44), RenderedLine(line).frame(44)[1])
        with pytest.raises(SourceError, match="truth of frame 43 is gone"):
            eye.truth(43)


def test_a_recording_shows_its_truth(tmp_path: Path) -> None:
    """The mp4 has the line's frames, the PNGs its truth, the table its pixels per class."""
    line = SMALL.model_copy(update={"defective_share": 1.0})
    write_video(tmp_path / "line.mp4", line, 20)
    rendered = RenderedLine(line)
    video = cv2.VideoCapture(str(tmp_path / "line.mp4"))
    with (tmp_path / "line-truth.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 20
    assert any(int(row["scratch_px"]) + int(row["stain_px"]) + int(row["chip_px"]) for row in table)
    for index, row in enumerate(table):
        pixels, truth = rendered.frame(index)
        read, decoded = video.read()
        assert read
        assert np.abs(decoded.astype(int) - pixels).mean() < 6  # grey levels, what mp4v loses
        png = cv2.imread(str(tmp_path / "line-truth" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(png, truth)
        counted = {int(row["frame"]): [int(row[f"{name}_px"]) for name in CLASS_NAMES]}
        assert counted == {index: [int((truth == i).sum()) for i in (SCRATCH, STAIN, CHIP)]}
    assert not video.read()[0]


def test_the_trainer_reads_a_dataset(tmp_path: Path) -> None:
    """The trainer's own reader takes it: masks agree with the classes named, each picture is its own group."""
    write_dataset(tmp_path / "glass", 24, seed=2, size=(120, 160))
    entries = read_manifest(tmp_path / "glass")
    assert len(entries) == len({entry.group for entry in entries}) == 24
    shown = set()
    for entry in entries:
        picture = load_picture(entry, CLASS_NAMES, (), 1)
        assert picture.truth.shape in {(120, 160), (90, 160)}  # some are wide
        in_masks = {CLASS_NAMES[i - 1] for i in np.unique(picture.truth) if i}
        assert in_masks == set(entry.classes)
        shown |= in_masks or {"clean"}
    assert shown == {*CLASS_NAMES, "clean"}


def test_a_dataset_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Byte for byte; another seed gives other pictures."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_dataset(tmp_path / name, 5, seed=seed, size=(64, 96))

    def content(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}

    assert content("a") == content("b")
    assert content("a") != content("c")
    write_dataset(tmp_path / "d", 5, seed=5, size=(64, 96), straight=1.0)
    rows = (tmp_path / "d" / "manifest.csv").read_text(encoding="utf-8")
    assert "scratch" in rows
    assert "chip" not in rows


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file in the way of a folder is a StoreError with the path, whose exit code is 8."""
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="taken"):
        write_dataset(tmp_path / "taken", 1, 1, (64, 64))
    with pytest.raises(StoreError, match=r"line\.mp4") as raised:
        write_video(tmp_path / "taken" / "line.mp4", SMALL, 1)
    assert raised.value.exit_code == 8
    with pytest.raises(StoreError, match="takes names in UTF-8 only"):  # of which it would die
        write_video(tmp_path / "caf\udce9.mp4", SMALL, 1)
    with pytest.raises(StoreError, match="it is a folder"):
        write_video(Path(), SMALL, 1)
    (tmp_path / "caf\udce9").mkdir()
    with pytest.raises(StoreError, match="takes names in UTF-8 only"):
        write_video(tmp_path / "caf\udce9" / "line.mp4", SMALL, 1)
