"""Coverage is of the part; zones follow it; zones have limits of their own; ignored pixels are not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge.app import make_engine
from edge.bundle import Bundle
from edge.errors import SettingsError
from edge.inspection.inference import FrameJob, Inference
from edge.inspection.inspector import Inspected, Inspector
from edge.opencv import cv2
from edge.protocols import Engine
from edge.records import Frame, UInt8, Verdict
from edge.settings import EngineSettings, load_settings
from tests.bright_bundle import write_bright_bundle

BELT, DEVICE, DEFECT = 100, 30, 250


def shown(x: float = 200, y: float = 150, degrees: float = 0, defects: tuple[tuple[float, ...], ...] = ()) -> UInt8:
    """Draw a device of 200 x 100 px on a belt of 400 x 300 px.

    Its bright defects are x, y, w, h in its own pixels.
    """
    flat = np.full((100, 200), DEVICE, np.uint8)
    for left, top, w, h in defects:
        flat[int(top) : int(top + h), int(left) : int(left + w)] = DEFECT
    to_frame = cv2.getRotationMatrix2D((99.5, 49.5), -degrees, 1) + np.array([[0, 0, x - 100], [0, 0, y - 50]])
    pixels = cv2.warpAffine(
        flat, to_frame, (400, 300), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=BELT
    )
    coloured: UInt8 = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return coloured


@dataclass
class Line:
    """A folder with settings, and the engine of a bundle that finds bright pixels."""

    folder: Path
    bundle: Bundle
    engine: Engine

    def inspect(self, inspect: str, *pictures: UInt8) -> list[Inspected]:
        """Inspect pictures by this section `inspect`, as the line does."""
        config = self.folder / "line.yaml"
        config.write_text(f"inspect: {inspect}\n")
        inference = Inference(self.engine, (0.5,), self.bundle.manifest.tile.overlap_px)
        inspector = Inspector(inference, self.bundle, load_settings(config).inspect)
        outcomes = []
        for index, pixels in enumerate(pictures):
            job = inspector.begin(Frame("eye", index, pixels, index, datetime.now(timezone.utc)))
            outcomes.append(inspector.finish(job) if isinstance(job, FrameJob) else Inspected(job))
        return outcomes


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bundle, Engine]]:
    """Return a bundle that finds bright pixels, and its engine."""
    bundle = write_bright_bundle(tmp_path_factory.mktemp("b") / "bundle")
    with make_engine(EngineSettings(threads=1), bundle) as engine:
        yield bundle, engine


@pytest.fixture
def line(opened: tuple[Bundle, Engine], tmp_path: Path) -> Line:
    """Return a line whose settings lie in a folder of their own."""
    return Line(tmp_path, *opened)


def coverage_of(outcome: Inspected) -> float:
    """Return what share of the inspected area is defective."""
    assert outcome.measurement is not None
    return outcome.measurement.coverage


PART = "part: {find: rectangle}"
# a patch of 40 x 20 px, at a tenth from the left and half from above
PATCH = (20.0, 50.0, 40.0, 20.0)


@pytest.mark.parametrize("place", [(200, 150, 0), (230, 140, 14), (170, 170, -20)])
def test_coverage_is_of_the_part_wherever_it_lies(line: Line, place: tuple[float, float, float]) -> None:
    """40 x 20 of 200 x 100 px are 4 %; of the frame it would be 0.7 %."""
    (one,) = line.inspect(f"{{{PART}}}", shown(*place, (PATCH,)))
    seen = one.measurement
    assert seen is not None
    assert seen.coverage == pytest.approx(0.04, rel=0.05)
    assert seen.region_px == pytest.approx(200 * 100, rel=0.02)


def test_a_frame_without_its_part_is_no_read(line: Line) -> None:
    """Never OK, and with its reason."""
    (one,) = line.inspect(f"{{{PART}}}", np.full((300, 400, 3), BELT, np.uint8))
    assert one.judgement.verdict is Verdict.NO_READ
    assert str(one.judgement.reason).startswith("the part was not found: expected a rectangle")


@pytest.mark.parametrize("place", [(200, 150, 0), (230, 140, 14), (170, 170, -20)])
@pytest.mark.parametrize("on", ["on: part, rectangle: [0, 0.4, 0.5, 0.4]", "on: part_mm, rectangle: [0, 20, 50, 20]"])
def test_a_zone_on_the_part_follows_it(line: Line, place: tuple[float, float, float], on: str) -> None:
    """It holds the patch wherever the part lies, and never one on the other half; it is 100 x 40 px large."""
    other = (120.0, 50.0, 40.0, 20.0)
    inspect = f"{{{PART}, mm_per_px: 0.5, zones: {{left: {{{on}}}}}}}"
    first, second = line.inspect(inspect, shown(*place, (PATCH,)), shown(*place, (other,)))
    zone = first.zones["left"]
    assert zone.region_px == pytest.approx(100 * 40, rel=0.03)
    assert zone.coverage == pytest.approx(800 / 4000, rel=0.06)
    assert second.zones["left"].coverage == 0


def test_a_zone_in_mm_beyond_the_part_is_no_read(line: Line) -> None:
    """The part is 100 x 50 mm; a zone of 60 mm height lies beyond it."""
    inspect = f"{{{PART}, mm_per_px: 0.5, zones: {{tall: {{on: part_mm, rectangle: [0, 0, 10, 60]}}}}}}"
    (one,) = line.inspect(inspect, shown())
    assert "the zone tall does not lie within the part of 100.0 x 50.0 mm" in str(one.judgement.reason)


LIMITS = "limits: {scratch: {max_count: 0}}"
LEFT = "left: {on: part, rectangle: [0, 0, 0.5, 1], limits: {scratch: {max_count: 1, max_length_mm: 30}}}"


@pytest.mark.parametrize(
    ("defects", "verdict", "reason"),
    [
        ((), "OK", None),
        ((PATCH,), "OK", None),  # one is good on the left
        ((PATCH, (20, 10, 10, 10)), "NG", "zone left: scratch: 2 defects, at most 1 allowed"),
        (((120, 50, 40, 20),), "NG", "scratch: 1 defect, at most 0 allowed"),  # and none elsewhere
        # 20 mm on either side: the zone sees the whole 40 mm, and the rest sees a defect
        (((60, 50, 80, 4),), "NG", "scratch: 1 defect, at most 0 allowed; zone left: scratch: 40."),
        # one px across the border is seen on both sides, though it is smaller than a speck
        (((60, 50, 41, 4),), "NG", "scratch: 1 defect, at most 0 allowed"),
    ],
)
def test_each_zone_is_judged_by_its_own_limits(
    line: Line, defects: tuple[tuple[float, ...], ...], verdict: str, reason: str | None
) -> None:
    """A place in no such zone is judged by the view's. A defect across the border counts whole on both sides."""
    inspect = f"{{{PART}, mm_per_px: 0.5, {LIMITS}, zones: {{{LEFT}}}}}"
    (one,) = line.inspect(inspect, shown(defects=defects))
    assert one.judgement.verdict.value == verdict, one.judgement.reason
    assert one.judgement.reason == reason or str(one.judgement.reason).startswith(str(reason))


def test_the_worst_grade_of_the_zones_and_the_rest_is_the_frames(line: Line) -> None:
    """A patch on the left is a B there, and the rest is an A."""
    table = "[{name: A, value_factor: 1, limits: {}}, {name: B, value_factor: 0.5}]"
    inspect = f"{{{PART}, grades: {table}, zones: {{left: {{on: part, rectangle: [0, 0, 0.5, 1], grades: {table}}}}}}}"
    decided = line.inspect(inspect, shown(), shown(defects=(PATCH,)), shown(defects=((150, 9, 9, 9),)))
    assert [one.grade.name for one in decided if one.grade] == ["A", "B", "B"]


def test_what_is_ignored_is_neither_judged_nor_counted(line: Line) -> None:
    """A patch that a zone or a mask ignores, on the frame or on the part, is none. The area is less by it."""
    mask = np.zeros((100, 200), np.uint8)
    mask[40:80, 0:100] = 255
    cv2.imwrite(str(line.folder / "part.png"), mask)
    frame = np.zeros((300, 400), np.uint8)
    frame[140:180, 100:200] = 255
    cv2.imwrite(str(line.folder / "frame.png"), frame)
    for ignore in (
        "zones: {logo: {on: part, rectangle: [0, 0.4, 0.5, 0.4], ignore: true}}",
        "ignore: frame.png",
        "ignore: {mask: part.png, on: part}",
    ):
        decided = line.inspect(f"{{{PART}, {ignore}}}", shown(defects=(PATCH,)), shown(defects=((20, 10, 20, 20),)))
        assert [one.judgement.verdict.value for one in decided] == ["OK", "NG"], ignore
        assert coverage_of(decided[1]) == pytest.approx(400 / (20000 - 4000), rel=0.02), ignore


def test_a_mask_of_another_size_than_the_frame_is_no_read(line: Line) -> None:
    """Stretched it would ignore something else."""
    mask = np.zeros((150, 200), np.uint8)
    mask[:10] = 255
    cv2.imwrite(str(line.folder / "m.png"), mask)
    (one,) = line.inspect("{ignore: m.png}", shown())
    assert one.judgement.reason == "the ignore mask of 200 x 150 px does not fit the frame of 400 x 300 px"


def test_zones_come_from_svg_and_from_a_sheet(line: Line) -> None:
    """The same zone, with its limits from the settings, judges alike; alarms may name it."""
    (line.folder / "z.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="10 20 200 100"><rect id="left" x="10" y="20" width="100" '
        'height="100"/></svg>'
    )
    (line.folder / "z.yaml").write_text("zones: {left: {on: part, rectangle: [0, 0, 0.5, 1]}}\n")
    alarm = "alarms: [{id: a, measure: count, zone: left, raise_at: 1, text: look}]\n"
    for zones in ("svg: z.svg, on: part", "file: z.yaml"):
        inspect = f"{{{PART}, {LIMITS}, zones: {{{zones}, limits: {{left: {{scratch: {{max_count: 1}}}}}}}}}}"
        decided = line.inspect(f"{inspect}\n{alarm}", shown(defects=(PATCH,)), shown(defects=((150, 9, 9, 9),)))
        assert [one.judgement.verdict.value for one in decided] == ["OK", "NG"]
        assert decided[0].zones["left"].region_px == pytest.approx(10_000, rel=0.03)


@pytest.mark.parametrize(
    ("inspect", "told"),
    [
        ("{zones: {rim: {on: part, rectangle: [0, 0, 1, 1]}}}", "key inspect: expected the key part.*zones.rim.on"),
        (f"{{{PART}, zones: {{rim: {{on: part_mm, rectangle: [0, 0, 1, 1]}}}}}}", "expected mm_per_px"),
        ("{zones: {rim: {polygon: [[0, 0], [9, 9], [9, 0], [0, 9]]}}}", "key inspect.zones.rim: .*cross itself"),
        ("{zones: {rim: {rectangle: [0, 0, 1, 1]}, rim: {rectangle: [0, 0, 2, 2]}}}", "'rim' is given twice"),
        ("{zones: {rim: {rectangle: [0, 0, .nan, 1]}}}", "key inspect.zones.rim.rectangle.2: "),
        ("{zones: {rim: {rectangle: [0, 0, 1, 1], ignore: true, limits: {}}}}", "no limits or grades for a zone with"),
        ("{zones: {svg: none.svg}}", "key inspect.zones: .*none.svg cannot be read: No such file"),
        ("{zones: {svg: bad.svg}}", "key inspect.zones: .*bad.svg: expected no document type"),
        ("{zones: {svg: crossed.svg}}", "key inspect.zones: .*crossed.svg, the zone a: .*cross itself"),
        ("{zones: {svg: outside.svg}}", "the zone a: expected a shape within the frame, from 0 on"),
        ("{zones: {svg: names.svg}}", "expected ids of letters, digits"),
        ("{zones: {svg: good.svg, on: part}}", "key inspect: expected the key part"),
        ("{zones: {svg: good.svg, limits: {b: {}}}}", r"key inspect.zones.limits: expected zones of the file \(a\)"),
        ("{zones: {svg: good.svg, file: z.yaml}}", "either svg or file"),
        ("{zones: {file: line.yaml}}", "no such key"),
        ("{ignore: grey.png}", "key inspect.ignore: .*two levels, .*received 3: 0, 100, 255"),
        ("{ignore: none.png}", "key inspect.ignore: .*none.png"),
        ("{ignore: black.png}", "received 1: 0"),
        (f"{{ignore: {{mask: good.png, sha256: {'0' * 64}}}}}", "expected the mask with sha256 000"),
        ("{ignore: {mask: good.png, on: part}}", "expected the key part, how the part is found, for ignore.on"),
    ],
)
def test_zones_that_cannot_be_are_refused_with_their_key(tmp_path: Path, inspect: str, told: str) -> None:
    """At the start, and not on the first frame."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    for name, inside in {
        "good": '<rect id="a" width="9" height="9"/>',
        "crossed": '<polygon id="a" points="0,0 9,9 9,0 0,9"/>',
        "outside": '<rect id="a" x="-5" width="9" height="9"/>',
        "names": '<rect id="a b" width="9" height="9"/>',
    }.items():
        (tmp_path / f"{name}.svg").write_text(f"{head}{inside}</svg>")
    (tmp_path / "bad.svg").write_text(f'<!DOCTYPE svg [<!ENTITY a "b">]>{head}</svg>')
    (tmp_path / "z.yaml").write_text("zones: {}\n")
    levels = np.zeros((20, 20), np.uint8)
    cv2.imwrite(str(tmp_path / "black.png"), levels)
    levels[5:, 5:] = 255
    cv2.imwrite(str(tmp_path / "good.png"), levels)
    levels[0, 0] = 100
    cv2.imwrite(str(tmp_path / "grey.png"), levels)
    (tmp_path / "line.yaml").write_text(f"inspect: {inspect}\n")
    with pytest.raises(SettingsError, match=told):
        load_settings(tmp_path / "line.yaml")


def test_a_zone_outside_the_cameras_picture_is_refused_with_its_key(tmp_path: Path) -> None:
    """A zone outside is refused where the picture's size is known; else the frame is NO_READ."""
    (tmp_path / "line.yaml").write_text(
        "camera: {source: simulated, size_px: [400, 300]}\ninspect: {zones: {rim: {rectangle: [390, 0, 20, 20]}}}\n"
    )
    with pytest.raises(SettingsError, match=r"key inspect\.zones\.rim: expected it within the picture of 400 x 300 px"):
        load_settings(tmp_path / "line.yaml")
