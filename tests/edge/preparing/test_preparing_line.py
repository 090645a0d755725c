"""Steps that move pixels or find the product, through a whole line: boxes, areas, coverage, and NO_READ."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge.app import RunResult, make_engine, run_line
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.cameras.images import ImagesCamera
from edge.inspection.inference import FrameJob, Inference
from edge.inspection.inspector import Inspector
from edge.inspection.measuring import measure, region
from edge.inspection.settings import InspectSettings
from edge.opencv import cv2
from edge.preparing import CropCircle, CropRectangle, PreparingStep, Resize
from edge.publishers.memory import MemoryPublisher
from edge.records import DefectClass, DefectMap, Frame, Transform, UInt8
from edge.records.decided import Decided
from edge.settings import EngineSettings, Settings
from tests.bright_bundle import part, write_bright_bundle

BENCH, DEVICE, SCRATCH = 110, 40, 250


def bundle_with(path: Path, *steps: PreparingStep) -> Bundle:
    """Write the bundle that finds bright pixels, with preparing steps before it."""
    plain = write_bright_bundle(path)
    write_manifest(path, plain.manifest.model_copy(update={"preparing": steps}))
    return load_bundle(path)


def decide(bundle: Bundle, folder: Path, *pictures: UInt8, settings: str = "{}") -> tuple[RunResult, list[Decided]]:
    """Replay pictures through a line and return what it decided."""
    (folder / "parts").mkdir()
    for index, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / "parts" / f"{index}.png"), pixels)
    decided: list[Decided] = []
    result = run_line(
        Settings.model_validate_json(settings),
        bundle,
        threading.Event(),
        store=folder / "o.db",
        live=False,
        camera=ImagesCamera("eye", folder / "parts"),
        publisher=MemoryPublisher(),
        watchers=[decided.append],
    )
    return result, decided


def bench(width: int = 200, turned: float = 0.0, x: float = 200.0) -> UInt8:
    """Draw a device of `width` x 120 px with a scratch across it, at x, on a bench.

    The scratch has 60 x 8 px, the bench 400 x 300.
    """
    pixels = np.full((300, 400, 3), BENCH, np.uint8)
    for size, level in (((width, 120), DEVICE), ((60, 8), SCRATCH)):
        corners = cv2.boxPoints(((x, 150.0), (float(size[0]), float(size[1])), turned)) - 0.5
        cv2.fillConvexPoly(pixels, np.round(corners * 16).astype(np.int32), (level,) * 3, cv2.LINE_8, 4)
    return pixels


def test_a_frame_without_its_product_is_no_read(tmp_path: Path) -> None:
    """An empty bench between two devices is NO_READ with its reason and no figures, in its turn; the alarm stands."""
    bundle = bundle_with(tmp_path / "bundle", CropRectangle())
    empty = np.full((300, 400, 3), BENCH, np.uint8)
    result, decided = decide(bundle, tmp_path, bench(), empty, bench())
    assert [one.body["frame"] for one in decided] == [0, 1, 2]
    assert [one.body["verdict"] for one in decided] == ["NG", "NO_READ", "NG"]
    missing = decided[1]
    assert missing.body["reason"].startswith("the product was not found: expected a rectangle")
    assert {missing.body[key] for key in ("coverage", "coverage_mm2", "classes", "defects")} == {None}
    assert missing.defect_map is None
    assert missing.frame is not None  # the picture itself can be looked at
    assert [event.alarm for event in missing.alarms] == ["no-read"]
    assert (result.counts.no_read, result.counts.alarms_raised, result.counts.alarms_cleared) == (1, 1, 1)


def test_an_empty_frame_alone_is_no_read(tmp_path: Path) -> None:
    """Also the first and only frame: never 0 % and OK."""
    bundle = bundle_with(tmp_path / "bundle", CropCircle())
    _, (one,) = decide(bundle, tmp_path, part(300, 400))
    assert one.body["verdict"] == "NO_READ"
    assert "expected a circular rim" in one.body["reason"]


@pytest.mark.parametrize("turned", [0.0, 12.0])
def test_what_is_found_on_a_turned_device_lies_where_the_frame_shows_it(turned: float, tmp_path: Path) -> None:
    """Cropped and turned upright, the scratch keeps its box in the frame, its area and its length of 60 px."""
    bundle = bundle_with(tmp_path / "bundle", CropRectangle(margin=0.96))
    pixels = bench(turned=turned)
    _, (one,) = decide(bundle, tmp_path, pixels)
    (defect,) = one.body["defects"]
    ys, xs = np.nonzero(pixels[:, :, 0] == SCRATCH)
    box = (xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    assert defect["bbox"] == pytest.approx(box, abs=2)
    assert defect["area_px"] == pytest.approx(len(xs), rel=0.05)
    assert one.inspection.measurement is not None
    assert one.inspection.measurement.defects[0].length_px == pytest.approx(61, abs=2)
    # coverage is of the crop, 0.96² of the device
    assert one.body["coverage"] == pytest.approx(len(xs) / (0.96**2 * (pixels[:, :, 0] != BENCH).sum()), rel=0.05)


def test_devices_of_many_sizes_are_inspected_one_after_another(tmp_path: Path) -> None:
    """Each frame is cropped to its own size, tiled and measured by its own region."""
    bundle = bundle_with(tmp_path / "bundle", CropRectangle(margin=0.96))
    widths = (150, 300, 180, 260, 150)
    pictures = [bench(width) for width in widths]
    _, decided = decide(bundle, tmp_path, *pictures)
    for one, pixels in zip(decided, pictures, strict=True):
        scratched, device = ((pixels[:, :, 0] == SCRATCH).sum(), (pixels[:, :, 0] != BENCH).sum())
        assert one.body["coverage"] == pytest.approx(scratched / (0.96**2 * device), rel=0.02)
        assert one.body["defects"][0]["bbox"] == pytest.approx([170, 146, 60, 8], abs=1)


def test_what_a_letterbox_adds_is_not_inspected(tmp_path: Path) -> None:
    """Even fill as bright as a scratch is none, and coverage is of the frame: 40 x 20 of 300 x 100 px."""
    bundle = bundle_with(tmp_path / "bundle", Resize(width=600, height=600, fill=SCRATCH, interpolation="nearest"))
    _, (one, clean) = decide(bundle, tmp_path, part(100, 300, (50, 60, 40, 20)), part(100, 300))
    assert one.body["coverage"] == pytest.approx(40 * 20 / (300 * 100))
    assert one.body["defects"][0]["bbox"] == [50, 60, 40, 20]
    assert one.body["defects"][0]["area_px"] == 800
    assert (clean.body["verdict"], clean.body["coverage"]) == ("OK", 0)
    assert clean.inspection.measurement is not None
    assert clean.inspection.measurement.region_px == pytest.approx(300 * 100)


def test_a_region_stays_where_it_is_in_the_frame(tmp_path: Path) -> None:
    """A region given in the frame's pixels is the same part of the surface when the picture is halved."""
    bundle = bundle_with(tmp_path / "bundle", Resize(width=150, height=50, fit="stretch"))
    settings = '{"inspect": {"region": {"rectangle": [100, 0, 200, 100]}}}'
    _, (one,) = decide(bundle, tmp_path, part(100, 300, (20, 20, 40, 20), (140, 40, 40, 20)), settings=settings)
    assert [defect["bbox"] for defect in one.body["defects"]] == [[140, 40, 40, 20]]
    assert one.body["coverage"] == pytest.approx(40 * 20 / (200 * 100))


def test_a_region_stays_in_the_frame_while_the_device_moves(tmp_path: Path) -> None:
    """Crops of one size from different places are not inspected by one another's region, the right half."""
    bundle = bundle_with(tmp_path / "bundle", CropRectangle())
    settings = '{"inspect": {"region": {"rectangle": [200, 0, 200, 300]}}}'
    _, decided = decide(bundle, tmp_path, *(bench(160, x=x) for x in (200.0, 260.0, 140.0)), settings=settings)
    areas = [sum(defect["area_px"] for defect in one.body["defects"]) for one in decided]
    assert areas == pytest.approx([31 * 9, 61 * 9, 0], abs=20)
    assert [one.defect_map.classes.shape for one in decided if one.defect_map] == [
        decided[0].defect_map.classes.shape
    ] * 3


def test_memory_does_not_grow_with_the_sizes_that_were_seen(tmp_path: Path) -> None:
    """After 100 frames of 100 sizes only the last few tilings and regions are remembered."""
    bundle = bundle_with(tmp_path / "bundle", Resize(width=80, height=90))
    with make_engine(EngineSettings(), bundle) as engine:
        varying = Inference(engine, [0.5], 8)
        inspector = Inspector(varying, bundle, InspectSettings())
        for index in range(100):
            varying.plan_for(10 + index, 20)
            job = inspector.begin(frame(part(20, 30 + index)))
            assert isinstance(job, FrameJob)
            inspector.finish(job)
        assert len(varying._plans) <= 64
        assert len(inspector._zoning._regions) <= 8


def frame(pixels: UInt8) -> Frame:
    """Return pixels as a frame."""
    return Frame("eye", 0, pixels, 0, datetime.now(timezone.utc))


def test_the_smallest_area_is_of_what_the_model_sees() -> None:
    """A defect of 20 prepared pixels, 80 px of the frame, stays at a smallest area of 20, not 21."""
    to_frame = Transform(np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    classes = np.zeros((20, 20), np.uint8)
    classes[5:7, 3:13] = 1
    for smallest, stays in ((20, True), (21, False)):
        known = (DefectClass(1, "scratch", "major", (255, 0, 0), 0.5, smallest),)
        whole = region((20, 20), None, to_frame)
        seen, kept = measure(DefectMap(classes, classes * 100), known, whole, to_frame, None)
        assert bool(seen.defects) is bool(kept.classes.any()) is stays


@pytest.mark.parametrize("degrees", [0.0, 5.0, 45.0, -70.0])
def test_a_box_is_tight_also_when_the_frame_was_turned(degrees: float) -> None:
    """The box around a slanting line holds its own pixels' corners in the frame, not a box's corners."""
    classes = np.zeros((80, 80), np.uint8)
    cv2.line(classes, (10, 12), (60, 70), 1, 1)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    to_frame = Transform(np.array([[cos, -sin, 100.0], [sin, cos, 90.0]]))
    known = (DefectClass(1, "scratch", "major", (255, 0, 0), 0.5, 0),)
    seen, _ = measure(DefectMap(classes, classes), known, region((80, 80), None, to_frame), to_frame, None)
    ys, xs = np.nonzero(classes)
    corners = np.concatenate([np.column_stack([xs + dx, ys + dy]) for dx in (0, 1) for dy in (0, 1)]).astype(float)
    placed = to_frame.apply(corners)
    low, high = np.floor(placed.min(axis=0) + 1e-6), np.ceil(placed.max(axis=0) - 1e-6)
    assert seen.defects[0].bbox == (*low.astype(int), *(high - low).astype(int))
