"""`linewatch inspect`: figures that can be checked by hand, one HTML file that needs nothing and trusts nothing."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge.app import make_engine
from edge.bundle import load_bundle, write_manifest
from edge.errors import EngineError
from edge.inspection.inference import Inference
from edge.inspection.inspector import Inspector, inspect_pictures, pictures_at
from edge.inspection.report import (
    HtmlReport,
    OverlaysFolder,
    PictureTotals,
    bars,
    drawn,
    headline,
    histogram,
    write_inspection,
)
from edge.inspection.settings import InspectSettings
from edge.opencv import cv2
from edge.preparing import CropRectangle
from edge.records import UInt8
from edge.settings import EngineSettings
from edge.simulation.engine import SimulatedEngine
from tests.bright_bundle import part, write_bright_bundle
from tests.conftest import ROOT
from tests.verbs import linewatch

EVIL = "<img src=x onerror=alert(1)>&\"'.png"


class Page(HTMLParser):
    """Reads a report: its text, the pictures in it, and everything that could load or run something."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.pictures, self.dangers, self.open = "", [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note a tag; void ones are not closed."""
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        for name, value in attributes:
            if name == "src" and (value or "").startswith("data:image/jpeg;base64,"):
                encoded = base64.b64decode((value or "").partition(",")[2])
                self.pictures.append(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
            elif name.startswith("on") or name in {"src", "srcset", "action"} or (name == "href" and value[:1] != "#"):
                self.dangers.append((tag, name, value))
        if tag in {"script", "iframe", "object", "link", "base", "form"}:
            self.dangers.append((tag, "", ""))

    def handle_endtag(self, tag: str) -> None:
        """Tags close in the order in which they were opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect what is read."""
        self.text += data + " "


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that finds bright pixels."""
    path = tmp_path_factory.mktemp("inspect") / "bundle"
    write_bright_bundle(path)
    return path


def write(folder: Path, **pictures: UInt8) -> Path:
    """Write pictures by name, as PNG."""
    folder.mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    return folder


def test_every_output_tells_the_same_figures(bundle: Path, tmp_path: Path) -> None:
    """Two scratches of 20 x 4 and 10 x 5 px are 130 of 15,000 px.

    At 0.5 mm that is 32.5 mm², in HTML, CSV and JSON. The exit code is 12.
    """
    folder = write(tmp_path / "parts", clean=part(), two=part(100, 150, (10, 10, 20, 4), (60, 70, 10, 5)))
    report, table, figures = tmp_path / "deep" / "report.html", tmp_path / "t.csv", tmp_path / "t.json"
    options = [
        "--mm-per-px",
        "0.5",
        "--report",
        report,
        "--csv",
        table,
        "--json",
        figures,
        "--overlays",
        tmp_path / "o",
    ]
    result = linewatch("inspect", folder, "--bundle", bundle, *options)
    assert result.returncode == 12, result.stderr
    assert "2 pictures: 1 OK, 1 NG, 0 NO_READ" in result.stdout

    whole = json.loads(figures.read_text())
    clean, two = whole["pictures"]
    assert (clean["verdict"], clean["reason"], clean["coverage"], clean["defects"]) == ("OK", None, 0, [])
    assert (two["verdict"], two["coverage"]) == ("NG", pytest.approx(130 / 15000))
    assert two["coverage_mm2"] == pytest.approx(32.5)
    assert two["reason"] == "scratch: 2 defects, at most 0 allowed"
    assert [d["bbox"] for d in two["defects"]] == [[10, 10, 20, 4], [60, 70, 10, 5]]
    for defect, area_px in zip(two["defects"], (80, 50), strict=True):
        assert (defect["area_px"], defect["area_mm2"]) == pytest.approx((area_px, area_px / 4), rel=0.03)
    assert whole["totals"] | {"mean_coverage": 0} == {
        "pictures": 2,
        "ok": 1,
        "ng": 1,
        "no_read": 0,
        "inference_failed": 0,
        "defects": {"scratch": 2},
        "grades": {},
        "value_factor_mean": None,
        "mean_coverage": 0,
    }
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["verdict"], row["defects"], row["scratch_count"], row["defect"], row["x"]) for row in rows] == [
        ("OK", "0", "0", "", ""),
        ("NG", "2", "2", "1", "10"),
        ("NG", "2", "2", "2", "60"),
    ]
    assert [float(row["largest_mm2"]) for row in rows[1:]] == pytest.approx([20, 20], rel=0.03)
    for row, (length, width) in zip(rows[1:], ((10, 2), (5, 2.5)), strict=True):
        sizes = [float(row[name]) for name in ("length_mm", "width_mm", "area_mm2", "length_px")]
        assert sizes == pytest.approx([length, width, length * width, 2 * length], rel=0.03)
        assert 0 < float(row["u_mm"]) < 1
    assert rows[0]["length_mm"] == rows[0]["u_mm"] == ""
    page = Page(report)
    assert not page.open
    assert not page.dangers
    assert len(page.pictures) == 2
    for told in ("0.8667%", "32.5", "scratch: 2 defects, at most 0 allowed", "60, 70, 10, 5", "clean.png"):
        assert told in page.text
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["00000-clean.jpg", "00001-two.jpg"]


@pytest.mark.parametrize(
    ("pictures", "code"),
    [
        ({"a": part()}, 0),
        ({"a": part(), "b": part(100, 150, (10, 10, 20, 4))}, 12),
        ({"a": part(), "b": part(100, 150, (10, 10, 20, 4)), "broken": None}, 5),
    ],
    ids=["all OK", "one NG", "one unreadable"],
)
def test_the_exit_code_is_the_worst_that_happened(
    pictures: dict[str, UInt8 | None], code: int, bundle: Path, tmp_path: Path
) -> None:
    """0 all OK, 12 one NG, 5 one that cannot be read; the report is whole in every case."""
    folder = write(tmp_path / "parts", **{k: v for k, v in pictures.items() if v is not None})
    for name in (name for name, pixels in pictures.items() if pixels is None):
        (folder / f"{name}.png").write_bytes(b"no picture")
    result = linewatch("inspect", folder, "--bundle", bundle, "--report", tmp_path / "r.html")
    assert result.returncode == code, result.stderr
    page = Page(tmp_path / "r.html")
    assert f"{len(pictures)} pictures" in page.text
    assert ("Not read" in page.text) is (code == 5)
    if code == 5:
        assert "broken.png is no picture that can be read" in page.text
        assert "broken.png" in result.stderr
    assert not list(tmp_path.glob("*.tmp"))


def test_pictures_are_graded_where_the_settings_have_a_table(bundle: Path, tmp_path: Path) -> None:
    """Each has its grade and what it is worth in CSV and JSON. The report counts them, and the mean is told."""
    folder = write(tmp_path / "parts", a=part(), b=part(100, 150, (10, 10, 20, 4)), c=part(100, 150, (10, 10, 60, 40)))
    (tmp_path / "line.yaml").write_text(
        "inspect: {grades: [{name: A, value_factor: 1, limits: {}}, {name: B, value_factor: 0.5, max_coverage: 0.01}, "
        "{name: scrap, value_factor: 0}]}\n"
    )
    outputs = ["--report", tmp_path / "r.html", "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json"]
    result = linewatch("inspect", folder, "--bundle", bundle, "--config", tmp_path / "line.yaml", *outputs)
    assert "grades: A 1, B 1, scrap 1, worth 0.500 of the full price on average" in result.stdout
    with (tmp_path / "t.csv").open(newline="") as file:
        graded = [(row["grade"], row["value_factor"]) for row in csv.DictReader(file)]
    assert graded == [("A", "1.0"), ("B", "0.5"), ("scrap", "0.0")]  # 80 and 2,400 of 15,000 px
    totals = json.loads((tmp_path / "t.json").read_text())["totals"]
    assert (totals["grades"], totals["value_factor_mean"]) == ({"A": 1, "B": 1, "scrap": 1}, 0.5)
    assert "grade scrap" in Page(tmp_path / "r.html").text


def test_names_of_files_are_text_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    """A name that is HTML, or no UTF-8, is shown as it is and harmless, in every output."""
    folder = write(tmp_path / "parts", a=part(100, 150, (10, 10, 20, 4)))
    (folder / EVIL).write_bytes((folder / "a.png").read_bytes())
    Path(os.fsdecode(os.fsencode(folder) + b"/latin-\xe9.png")).write_bytes(b"no picture either")
    outputs = ["--report", tmp_path / "r.html", "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json"]
    result = linewatch("inspect", folder, "--bundle", bundle, *outputs)
    assert result.returncode == 5
    page = Page(tmp_path / "r.html")
    assert not page.dangers
    assert not page.open
    assert EVIL in page.text
    assert "latin-\\udce9.png" in page.text
    assert len(page.pictures) == 2
    names = [row["picture"] for row in json.loads((tmp_path / "t.json").read_text())["pictures"]]
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["picture"] for row in csv.DictReader(file)] == names
    assert any(name.endswith(EVIL) for name in names)


def test_a_report_reaches_for_nothing_outside(bundle: Path, tmp_path: Path) -> None:
    """The page has no address but its own anchors, and forbids the browser to load or run any."""
    folder = write(tmp_path / "parts", a=part(100, 150, (10, 10, 20, 4)))
    linewatch("inspect", folder, "--bundle", bundle, "--report", tmp_path / "r.html")
    text = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", (tmp_path / "r.html").read_text())
    assert not re.search(r"https?:|//\w|@import|url\(|javascript:", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


def test_the_settings_limits_region_and_thresholds_hold(bundle: Path, tmp_path: Path) -> None:
    """The answer is the line's: with up to one scratch allowed in the left half, the right one is not looked at."""
    (tmp_path / "line.yaml").write_text(
        "inspect: {mm_per_px: 0.5, limits: {scratch: {max_count: 1}}, region: {rectangle: [0, 0, 75, 100]}}"
    )
    folder = write(tmp_path / "parts", a=part(100, 150, (10, 10, 20, 4), (90, 70, 10, 5)))
    outputs = ["--report", tmp_path / "r.html", "--json", tmp_path / "t.json"]
    result = linewatch("inspect", folder, "--bundle", bundle, "--config", tmp_path / "line.yaml", *outputs)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((tmp_path / "t.json").read_text())["pictures"]
    assert (row["verdict"], row["coverage"]) == ("OK", pytest.approx(80 / 7500))
    assert "max_count 1" in Page(tmp_path / "r.html").text


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 5, "Nothing at nowhere"),
        (["{empty}"], 5, "No pictures under"),
        (["{parts}", "--report", "{parts}"], 8, "is a folder"),
        (["{parts}", "--mm-per-px", "0"], 2, "above 0"),
        (["{parts}", "--bundle", "nowhere"], 4, "No bundle at"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_inspected(
    arguments: list[str], code: int, told: str, bundle: Path, tmp_path: Path
) -> None:
    """A wrong path or option ends at once with its exit code and leaves no report."""
    places = {"parts": write(tmp_path / "parts", a=part()), "empty": write(tmp_path / "empty")}
    given = [argument.format(**places) for argument in arguments]
    for option, value in (("--bundle", bundle), ("--report", tmp_path / "r.html")):
        given += [] if option in given else [option, str(value)]
    result = linewatch("inspect", *given)
    assert result.returncode == code
    assert told in re.sub(r"[│\s]+", " ", result.stderr)
    assert not (tmp_path / "r.html").exists()


def test_of_a_dataset_the_pictures_are_inspected_and_not_the_masks(tmp_path: Path) -> None:
    """A folder with manifest.csv names its pictures; a picture that is given twice is inspected once."""
    folder = write(tmp_path / "data", a=part(), a_mask=part())
    (folder / "manifest.csv").write_text("image,mask,class,group\na.png,a_mask.png,scratch,1\na.png,,oil,1\n")
    assert pictures_at([folder, folder / "a.png"]) == [folder / "a.png"]
    (folder / "manifest.csv").unlink()
    assert pictures_at([folder]) == [folder / "a.png", folder / "a_mask.png"]


def inspector(request: pytest.FixtureRequest, path: Path, *steps: CropRectangle) -> Inspector:
    """Return an inspector of a bundle with an engine of its own, which the test's end closes."""
    loaded = load_bundle(path)
    if steps:
        write_manifest(path, loaded.manifest.model_copy(update={"preparing": steps}))
        loaded = load_bundle(path)
    scope = ExitStack()
    request.addfinalizer(scope.close)
    engine = scope.enter_context(make_engine(EngineSettings(), loaded))
    return Inspector(Inference(engine, [0.5], 8), loaded, InspectSettings())


def test_an_overlay_lies_on_the_defect_in_the_frame(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """On a device that is cropped and turned, red is where the picture is bright, and nowhere else."""
    write_bright_bundle(tmp_path / "bundle")
    pixels = np.full((300, 400, 3), 110, np.uint8)
    for size, level in (((240.0, 130.0), 30), ((90.0, 10.0), 250)):
        corners = cv2.boxPoints(((205.0, 148.0), size, 14.0)) - 0.5
        cv2.fillConvexPoly(pixels, np.round(corners * 16).astype(np.int32), (level,) * 3, cv2.LINE_8, 4)
    folder = write(tmp_path / "parts", a=pixels)
    eye = inspector(request, tmp_path / "bundle", CropRectangle(margin=0.97))
    (picture,) = inspect_pictures(pictures_at([folder]), eye, threading.Event())
    canvas = drawn(picture, load_bundle(tmp_path / "bundle").classes)
    assert canvas is not None
    red = canvas[:, :, 2].astype(int) > canvas[:, :, 0].astype(int) + 20
    bright = pixels[:, :, 0] == 250
    assert (red & bright).sum() / (red | bright).sum() > 0.9


def test_a_hairline_is_seen_in_a_small_picture(bundle: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A scratch 1 px wide is still drawn, all along, in an overlay of an eighth of the size."""
    folder = write(tmp_path / "parts", a=part(800, 1200, (100, 403, 1000, 1)))
    eye = inspector(request, bundle)
    (picture,) = inspect_pictures(pictures_at([folder]), eye, threading.Event())
    canvas = drawn(picture, load_bundle(bundle).classes, 150)
    assert canvas is not None
    assert canvas.shape == (100, 150, 3)
    red = canvas[:, :, 2].astype(int) > canvas[:, :, 0].astype(int) + 20
    assert red.sum(axis=1).max() == pytest.approx(1000 / 8, abs=2)


def test_what_is_stopped_is_reported_up_to_there(bundle: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """After Ctrl-C the pictures that were inspected are in the report, which says that it is not all."""
    folder = write(tmp_path / "parts", **{name: part() for name in "abcdef"})
    eye = inspector(request, bundle)
    stop, loaded = threading.Event(), load_bundle(bundle)
    inspected = []
    with HtmlReport(tmp_path / "r.html", loaded, InspectSettings(), 100) as report:
        for picture in inspect_pictures(pictures_at([folder]), eye, stop):
            report.add(picture)
            inspected.append(picture.path.stem)
            if len(inspected) == 2:
                stop.set()
        report.write("Interrupted: 3 of 6 pictures were not inspected.")
    assert inspected == ["a", "b", "c"]  # the third was begun
    assert "Interrupted: 3 of 6" in Page(tmp_path / "r.html").text


def failing_truth(_camera: str, index: int) -> UInt8:
    """Answer that all is clean, but for the second picture."""
    if index == 1:
        raise EngineError("the accelerator fell off the bus")
    return np.zeros((64, 64), np.uint8)


def test_a_failed_inference_is_no_read_and_the_worst(bundle: Path, tmp_path: Path) -> None:
    """Of three small pictures the second fails: NO_READ with the engine's words, exit code 6, the others measured."""
    folder = write(tmp_path / "parts", **{name: part(64, 64) for name in "abc"})
    loaded = load_bundle(bundle)
    engine = SimulatedEngine(loaded.contract(4), failing_truth)
    eye = Inspector(Inference(engine, [0.5], 8), loaded, InspectSettings())
    with engine, HtmlReport(tmp_path / "r.html", loaded, InspectSettings(), 0) as report:
        overlays = OverlaysFolder(tmp_path / "o", loaded.classes)
        pictures = inspect_pictures(pictures_at([folder]), eye, threading.Event())
        rows = write_inspection(pictures, report, overlays=overlays)
        report.write()
    assert [row["verdict"] for row in rows] == ["OK", "NO_READ", "OK"]
    assert rows[1]["reason"] == "inference failed: the accelerator fell off the bus"
    assert report.totals.exit_code == 6
    assert not Page(tmp_path / "r.html").pictures  # picture_px = 0
    assert len(list((tmp_path / "o").iterdir())) == 3


def test_a_report_opens_with_what_is_asked_first(bundle: Path, tmp_path: Path) -> None:
    """The counts of NG and unread pictures and of findings come first; then the worst NG picture; then all else."""
    small, large = part(100, 150, (10, 10, 20, 4)), part(100, 150, (10, 10, 60, 40))
    folder = write(tmp_path / "parts", a=part(), b=small, c=large)
    (folder / "broken.png").write_bytes(b"no picture")
    linewatch("inspect", folder, "--bundle", bundle, "--report", tmp_path / "r.html")
    text = " ".join(Page(tmp_path / "r.html").text.split())
    asked = ["2 of 4 pictures NG, 1 of 4 pictures NO_READ. Found: 2 scratch", "Look at these first", "c.png", "b.png"]
    places = [text.index(one) for one in [*asked, "Not read:", "broken.png", "How they were inspected", "Pictures"]]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("ok", "ng", "unread", "says"),
    [
        (3, 0, 0, "All 3 pictures are OK"),
        (1, 0, 0, "The one picture is OK"),
        (0, 1, 0, "1 of 1 picture NG. Found: 1 scratch"),
        (1, 0, 1, "1 of 2 pictures NO_READ"),
        (0, 0, 0, "No picture was inspected"),
    ],
)
def test_the_headline(ok: int, ng: int, unread: int, says: str) -> None:
    """Nothing reads as OK that is not."""
    assert headline(PictureTotals(ok, ng, unread, by_class={"scratch": ng})) == says


def test_without_a_bundle_the_only_one_in_the_folder_is_taken(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bundle here: it is taken. None or two: refused, and never the shipped one unless `demo` asks for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = write(tmp_path / "parts", a=part())

    def inspect(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge", "inspect", str(folder), "--report", "r.html", *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    none = inspect()
    assert none.returncode == 3
    assert "one bundle in" in none.stderr
    assert "received none" in none.stderr
    assert not Path("r.html").exists()
    shutil.copytree(bundle, tmp_path / "mine")
    assert inspect().returncode == 0
    assert "bright 1.0.0" in Page(tmp_path / "r.html").text
    shutil.copytree(bundle, tmp_path / "other")
    several = inspect()
    assert several.returncode == 3
    assert "received several: mine, other" in several.stderr
    asked = inspect("--bundle", "demo")
    assert "this is the shipped model" in asked.stderr
    assert "simulated-glass" in Page(tmp_path / "r.html").text


def test_the_report_is_opened_if_asked(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open hands the page to the browser that the user has set."""
    (browser := tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    folder = write(tmp_path / "parts", a=part())
    linewatch("inspect", folder, "--bundle", bundle, "--report", tmp_path / "my report.html", "--open")
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "my report.html").as_uri()


def test_bars_hold_every_value_once() -> None:
    """Twenty equal parts from 0 on, or from the least on a logarithmic scale; nothing falls out at either end."""
    values = [0.0, 1.0, 2.0, 2.0, 20.0]
    parts = bars(values)
    assert (parts[0][0], parts[-1][1], len(parts)) == (0, 20, 20)
    assert [count for _, _, count in parts] == [1, 1, 2, *[0] * 16, 1]
    logarithmic = bars([3.0, 30.0, 300.0, 0.0], logarithmic=True)
    assert logarithmic[0] == (0, 0, 1)
    assert (logarithmic[1][0], logarithmic[-1][1]) == (3, 300)
    assert sum(count for _, _, count in logarithmic) == 4
    assert bars([]) == []
    assert sum(count for _, _, count in bars([7.0, 7.0], logarithmic=True)) == 2
    assert "nothing to show" in histogram([], "coverage", "%", "pictures")


@pytest.mark.parametrize(
    ("bundle", "products"), [("simulated-glass", "glass"), ("simulated-station", "glass,disc,tile")]
)
def test_a_shipped_model_reports_what_it_knows(bundle: str, products: str, tmp_path: Path) -> None:
    """End to end: of simulated pictures with known truth, most defective ones are NG and most clean ones OK."""
    drawn = ["--dataset", tmp_path / "glass", "--products", products, "--frames", "12", "--seed", "5"]
    assert linewatch("simulate", *drawn).returncode == 0
    outputs = ["--report", tmp_path / "r.html", "--json", tmp_path / "t.json", "--mm-per-px", "0.25"]
    shipped = ROOT / "edge" / "bundles" / bundle
    assert linewatch("inspect", tmp_path / "glass", "--bundle", shipped, *outputs).returncode == 12
    with (tmp_path / "glass" / "manifest.csv").open(newline="") as file:
        truly = {str(tmp_path / "glass" / row["image"]): row["class"] != "ok" for row in csv.DictReader(file)}
    rows = json.loads((tmp_path / "t.json").read_text())["pictures"]
    assert len(rows) == len(truly) == 12
    right = sum((row["verdict"] == "NG") == truly[row["picture"]] for row in rows)
    assert right >= 10
    assert len(Page(tmp_path / "r.html").pictures) == 12


def test_a_table_alone_is_enough_and_nothing_is_refused(bundle: Path, tmp_path: Path) -> None:
    """With --csv no report is needed. Without any output, or a report to open that is not written, it is refused."""
    folder = write(tmp_path / "parts", a=part(100, 150, (10, 10, 20, 4)))
    result = linewatch("inspect", folder, "--bundle", bundle, "--csv", tmp_path / "t.csv")
    assert result.returncode == 12, result.stderr
    assert result.stdout.strip() == "1 picture: 0 OK, 1 NG, 0 NO_READ"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "t.csv"]
    for options, told in (
        ((), "expected --report, --csv"),
        (("--json", tmp_path / "j", "--open"), "expected --report"),
    ):
        refused = linewatch("inspect", folder, "--bundle", bundle, *options)
        assert refused.returncode == 2
        assert told in " ".join(refused.stderr.replace("│", " ").split())
