"""`report`: a page that stands alone, with the figures of `evaluate`, from bundles of every kind."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry, load_bundle, write_manifest
from edge.errors import DatasetError, StoreError
from edge.opencv import cv2
from edge.web.page import Card, Section, page, paragraph, table
from edge.yaml_settings import load_yaml
from tests.conftest import ROOT
from tests.trainer.evaluation.test_evaluate import flat, judged, write_films, write_flicker_bundle, write_labelled
from tests.trainer.levels_bundle import note_split, write_levels_bundle
from tests.trainer.painted import RECIPE, write_painted
from trainer.evaluation.evaluating import Wanted
from trainer.fitting import fit
from trainer.recipe.settings import TrainSettings
from trainer.reports.plotting import draw_confusion, draw_rankings, draw_training
from trainer.reports.reporting import Report, report, threshold_at_fault

LOG = "epoch,steps,seconds,loss,dice,dice_scratch,dice_stain\n" + "".join(
    f"{e},{60 * e},{9.5 * e},{0.2 + 1.5 * 0.8**e},{0.45 * (1 - 0.7**e)},{0.9 * (1 - 0.7**e)},0.0\n"
    for e in range(1, 31)
)


WILD = "images/<script>alert(1)</script>&.png"


class Reader(HTMLParser):
    """Reads a page as a browser does: which tags are left open, what is loaded, and the words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and what it loads."""
        self.tags.add(tag)
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.loaded += [value or "" for key, value in attrs if key in {"src", "href", "srcset", "action"}]

    def handle_endtag(self, tag: str) -> None:
        """Close the last open tag, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather the words."""
        self.words += data + " "


def read(path: Path) -> Reader:
    """Read a page."""
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def written(bundle: Path, data: Path | None, out: Path, wanted: Wanted | None = None) -> Report:
    """Write a report, printing to nobody."""
    return report(bundle, data, out, Console(file=io.StringIO()), wanted)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset with one mask of another place, one falsely flagged picture, and one wild name."""
    folder = write_painted(tmp_path_factory.mktemp("painted") / "data", 12)
    mask = cv2.imread(str(folder / "masks" / "1.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "masks" / "1.png"), np.roll(mask, 50, axis=1))
    clean = cv2.imread(str(folder / "images" / "2.png"), cv2.IMREAD_GRAYSCALE)
    clean[40:50, 60:80] = 220
    cv2.imwrite(str(folder / "images" / "2.png"), clean)
    (folder / WILD).parent.mkdir(parents=True, exist_ok=True)
    (folder / "images" / "2.png").rename(folder / WILD)
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("images/2.png", WILD))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, painted: Path) -> Path:
    """Write a bundle with a training behind it, in which stain was never found."""
    folder = write_levels_bundle(tmp_path_factory.mktemp("levels") / "bundle").path
    (folder / "training").mkdir()
    (folder / "training" / "log.csv").write_text(LOG)
    note_split(folder, painted, ["images/3.png", "images/4.png"])
    manifest = load_bundle(folder, need_onnx=False).manifest
    training = {
        "recipe": {"name": "levels", "guard": {"collapse_epochs": 4, "action": "stop"}, "note": "<b>bold</b>"},
        "seconds": 285.0,
        "machine": {"processor": "x86_64", "cores": 2},
    }
    validation = {"stain": {"shown": 3, "missed": 3, "false": 0}}
    write_manifest(folder, manifest.model_copy(update={"training": training, "validation": validation}))
    return folder


@pytest.fixture(scope="module")
def whole(bundle: Path, painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Write the report on it."""
    return written(bundle, painted, tmp_path_factory.mktemp("out") / "deep" / "r.html", Wanted(tolerance_px=2))


def test_the_page_stands_alone(whole: Report) -> None:
    """Every tag is closed, pictures are data, nothing is loaded or run, and names are shown as they are."""
    reader = read(whole.page)
    assert reader.loaded
    assert all(source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for source in reader.loaded)
    assert not reader.tags & {"script", "link", "iframe", "object"}
    text = whole.page.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert WILD in reader.words
    assert "<b>bold</b>" in reader.words


def test_the_page_says_what_the_figures_are(whole: Report, bundle: Path, painted: Path) -> None:
    """Figures beside the page are those of `evaluate`, and the page shows them with the empty baseline."""
    figures = json.loads(whole.figures.read_text())
    alone = judged(bundle, painted, Wanted(tolerance_px=2))
    assert figures["evaluation"] == json.loads(json.dumps(alone.report | {"per_picture": alone.pictures}))
    words = read(whole.page).words
    assert "left out, since it was learned from them: 2" in words
    assert f"{figures['evaluation']['miou']:.3f}" in words
    assert "all empty" in words
    for heading in ("Figures per class", "What is taken for what", "Other thresholds", "Training", "Split", "Bundle"):
        assert heading in words
    assert "285 (4.8 minutes)" in words
    assert figures["split"]["train"] == {"scratch": {"pictures": 1, "groups": 1}, "stain": {"pictures": 1, "groups": 1}}


def test_the_worst_pictures_are_those_that_are_wrong(whole: Report) -> None:
    """The stain whose mask lies elsewhere is the worst miss, the spot on a clean picture the worst false alarm."""
    worst = json.loads(whole.figures.read_text())["worst"]
    assert worst["misses"][0]["image"] == "images/1.png"
    assert worst["misses"][0]["whole_picture"] is True
    assert worst["misses"][0]["wrong_px"] == worst["misses"][0]["of_px"] > 0
    assert worst["false_alarms"][0] == {
        "image": WILD,
        "class": "scratch",
        "wrong_px": 200,
        "of_px": 200,
        "whole_picture": True,
    }
    assert len(worst["misses"]) == 1  # a right answer is not shown as wrong
    for path in whole.pictures:
        assert cv2.imread(str(path)) is not None
    assert {path.stem for path in whole.pictures} == {
        "confusion-pictures",
        "confusion-pixels",
        "examples",
        "ranking-by-picture",
        "ranking-by-pixel",
        "training",
        "worst-false-alarms",
        "worst-misses",
    }


def test_the_training_is_read_and_guarded(whole: Report) -> None:
    """Guard, reader and page find a class at nothing for 30 epochs, though the mean looks fine."""
    assert whole.verdict is not None
    assert whole.verdict.kind == "data_wrong"
    assert [(f.kind, f.class_name, f.since_epoch, f.action) for f in whole.findings] == [
        ("class_lost", "stain", 1, "stop")
    ]
    words = read(whole.page).words
    assert "Collapse guard: stain" in words
    assert "Something is wrong with the data" in words
    assert "stain cannot be found" in words
    assert "Few pieces" in words


def test_without_a_dataset_the_training_is_told(bundle: Path, tmp_path: Path) -> None:
    """No figure is made up; split, recipe and curves are there."""
    told = written(bundle, None, tmp_path / "r.html")
    words = read(told.page).words
    assert "nothing was judged" in words
    assert "Figures per class" not in words
    assert json.loads(told.figures.read_text())["evaluation"] is None
    assert [path.stem for path in told.pictures] == ["training"]


def test_without_a_training_the_figures_are_told(painted: Path, tmp_path: Path) -> None:
    """A shipped bundle has neither log nor split nor recipe, and that is said."""
    bundle = write_levels_bundle(tmp_path / "bundle").path
    words = read(written(bundle, painted, tmp_path / "r.html", Wanted(ranking=False)).page).words
    assert "no training/log.csv" in words
    assert "no split.csv" in words
    assert "says nothing of its training" in words
    assert "Nothing was left out" in words
    assert "Other thresholds" not in words


def test_labels_without_masks_have_a_page_too(tmp_path: Path) -> None:
    """Accuracy beside the majority's, a confusion of pictures, and the pictures that were taken for others."""
    rows = [("scratch", flat("scratch")), ("stain", flat("scratch")), ("stain", flat("clean")), ("ok", flat("clean"))]
    data = write_labelled(tmp_path / "labels", rows)
    bundle = write_levels_bundle(tmp_path / "classifier", classifier=True).path
    told = written(bundle, data, tmp_path / "r.html")
    words = read(told.page).words
    assert "Accuracy" in words
    assert "always stain: 0.500" in words
    assert "No better than a constant" in words
    figures = json.loads(told.figures.read_text())
    assert [one["image"] for one in figures["worst"]["misses"]] == ["1.png", "2.png"]
    assert [(one["image"], one["class"]) for one in figures["worst"]["false_alarms"]] == [("1.png", "scratch")]
    assert "Area" not in re.findall(r"<h3>(.*?)</h3>", told.page.read_text())


def test_a_trained_bundle_is_reported_on(tmp_path: Path) -> None:
    """The report reads what `fit` leaves behind: its log, split, recipe and seconds."""
    recipe = RECIPE.replace("epochs: 8", "epochs: 2").replace("steps_per_epoch: 15", "steps_per_epoch: 3")
    (tmp_path / "recipe.yaml").write_text(recipe)
    data = write_painted(tmp_path / "data")
    fit(load_yaml(tmp_path / "recipe.yaml", TrainSettings), data, tmp_path / "b", Console(file=io.StringIO()))
    told = written(tmp_path / "b", data, tmp_path / "r.html", Wanted(ranking=False))
    figures = json.loads(told.figures.read_text())
    assert figures["training"]["epochs_read"] == 2
    assert figures["training"]["readings"][0]["kind"] == "still_learning"
    assert set(figures["split"]) == {"train", "validation", "test"}
    assert "steps_per_epoch: 3" in told.page.read_text()
    assert re.search(r"\d+ cores", figures["training"]["hardware"])
    assert figures["training"]["hardware"] in read(told.page).words
    assert figures["training"]["only_sorts"] is False


def test_a_model_of_several_frames_says_on_its_page_how_it_was_judged(tmp_path: Path) -> None:
    """In recordings, where its recipe says so."""
    bundle = write_flicker_bundle(tmp_path / "bundle", {"recording": True})
    words = read(
        written(bundle, write_films(tmp_path / "films"), tmp_path / "r.html", Wanted(ranking=False)).page
    ).words
    assert "It was judged in recordings: the pictures of a group in their order, 2 frames at a time." in words


def test_a_classifier_that_never_saw_a_clean_picture_only_sorts(tmp_path: Path) -> None:
    """After one step it knows nothing, and still answers each picture as one of its classes; the page says so."""
    rows = [(label, flat(label) + np.uint8(k)) for k in range(8) for label in ("scratch", "stain")]
    data = write_labelled(tmp_path / "labels", rows)
    keys = {
        "name": "sorter",
        "tile": {"height": 64, "width": 64, "overlap_px": 0},
        "model": {"family": "cnn6", "widths": [4] * 6, "dense": 4},
        "sampling": {"crop": "whole", "crop_px": 64, "batch": 2, "steps_per_epoch": 1},
        "split": {"near_duplicates": "ignore"},
        "epochs": 1,
    }
    heard = io.StringIO()
    console = Console(file=heard, width=200)
    bundle = fit(TrainSettings.model_validate(keys), data, tmp_path / "b", console)
    assert "no picture is clean: the model sorts" in heard.getvalue()
    assert bundle.manifest.training["only_sorts"] is True
    told = written(bundle.path, data, tmp_path / "r.html", Wanted(ranking=False, include_training=True))
    assert "It only sorts" in read(told.page).words
    assert told.evaluation is not None
    assert told.evaluation.report["pictures"] == 16
    assert all(len(row["answered"]) == 1 for row in told.evaluation.pictures)


def figures(*, false: float, missed: float, precision: float | None) -> dict[str, Any]:
    """Make what is judged of 3 pictures with a scratch and 7 without."""
    return {
        "pictures": 10,
        "counts": {"shown": {"scratch": 3}},
        "false_pictures": {"scratch": false},
        "missed_pictures": {"scratch": missed},
        "ranking": {"by_picture": {"scratch": {"average_precision": precision}}},
    }


def test_a_threshold_is_named_where_it_alone_is_at_fault() -> None:
    """Told apart perfectly and answered on 7 of 7 others: the threshold is too low; missed on all: it is too high."""
    entry = ClassEntry(id=1, name="scratch", colour=(0, 0, 0), threshold=0.02, min_area_px=9)
    manifest = Manifest(name="b", version="1.0.0", classes=(entry,), tile=TileEntry(height=64, width=64, overlap_px=0))
    own = Bundle(Path("my bundle"), manifest)
    ((title, text),) = threshold_at_fault(figures(false=1.0, missed=0.0, precision=1.0), own)
    assert title == "scratch's threshold is too low"
    assert "average precision 1.00), yet at 0.02 it is answered on 7 of 7 pictures without it." in text
    assert "linewatch-train fit-thresholds 'my bundle' DATA" in text
    assert "inspect.thresholds.scratch" in text
    ((title, text),) = threshold_at_fault(figures(false=0.0, missed=1.0, precision=0.95), own)
    assert title == "scratch's threshold or smallest area is too high"
    assert "from 9 px on it is missed on 3 of 3 pictures" in text
    for good in (
        figures(false=0.1, missed=0.1, precision=1.0),
        figures(false=1.0, missed=0.0, precision=0.4),
        figures(false=1.0, missed=0.0, precision=None),
        figures(false=1.0, missed=0.0, precision=1.0) | {"ranking": None},
    ):
        assert threshold_at_fault(good, own) == []


def test_a_model_of_good_parts_is_taught_and_not_fitted_again() -> None:
    """`fit-thresholds` refuses such a bundle, so it is no advice."""
    entry = ClassEntry(id=1, name="scratch", colour=(0, 0, 0), threshold=0.5, min_area_px=1)
    tile = TileEntry(height=64, width=64, overlap_px=0)
    training = {"recipe": {"learn": "good-parts"}}
    manifest = Manifest(name="b", version="1.0.0", classes=(entry,), tile=tile, training=training)
    ((_, text),) = threshold_at_fault(figures(false=1.0, missed=0.0, precision=1.0), Bundle(Path("b"), manifest))
    assert "linewatch-train teach b --data DATA" in text
    assert "fit-thresholds" not in text


def test_an_earlier_report_survives_a_failure(bundle: Path, tmp_path: Path) -> None:
    """A dataset that cannot be judged, or a place that cannot be written, changes nothing."""
    out = tmp_path / "r.html"
    with pytest.raises(DatasetError):
        written(bundle, tmp_path, out)
    assert not out.exists()
    out.write_text("earlier")
    with pytest.raises(DatasetError):
        written(bundle, tmp_path, out)
    assert out.read_text() == "earlier"
    for wrong in (tmp_path / "r.txt", tmp_path):
        with pytest.raises(StoreError, match="expected an HTML file"):
            written(bundle, None, wrong)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        written(bundle, None, tmp_path / "file" / "r.html")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        written(bundle, None, tmp_path / "d.html")


def test_everything_on_a_page_is_escaped() -> None:
    """A name is shown and not obeyed, whatever it holds."""
    bad = "<img src=x onerror=alert(1)> & \"quoted\" 'too'"
    section = Section(bad, [paragraph(bad), table([bad], [[bad]])])
    reader = Reader()
    reader.feed(page(bad, bad, [Card(bad, bad, [bad])], [section]))
    assert "img" not in reader.tags
    assert reader.words.count("onerror=alert(1)") == 10  # the title stands twice, in the head and on top


def test_plots_are_drawn_of_whatever_there_is() -> None:
    """Nothing to show, one class, and figures that are missing: a PNG of some size all the same."""
    nothing = {"average_precision": None, "roc_auc": None, "chance": None}
    empty = {"recall": [], "precision": [], "false_positive_rate": [], "threshold": []}
    for drawn in (
        draw_training([], {}),
        draw_confusion([[0]], ["clean"], "Pictures"),
        draw_confusion([[0, 3], [20_000_000, 12_345]], ["clean", "a-very-long-name-of-a-defect"], "Pixels"),
        draw_rankings({}, {}, "by pixel", {}),
        draw_rankings({"oil": empty}, {"oil": nothing}, "by picture", {"oil": (255, 255, 255)}),
    ):
        decoded = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
        assert min(decoded.shape[:2]) > 200


def test_the_command_writes_a_page_and_help_needs_no_matplotlib(bundle: Path, painted: Path, tmp_path: Path) -> None:
    """`linewatch-train report` says what it found and where the page is; importing the commands draws nothing."""
    command = [sys.executable, "-m", "trainer", "report", str(bundle)]
    out = tmp_path / "r.html"
    done = subprocess.run(
        [*command, str(painted), "--out", str(out), "--no-ranking"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "stain has not been answered in 30 epochs" in done.stdout
    assert "open it in a browser" in done.stdout
    assert out.is_file()
    bad = subprocess.run([*command, "--out", "r.txt"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (bad.returncode, "Traceback" in bad.stderr) == (8, False)
    code = "import sys, trainer.__main__\nprint('matplotlib' in sys.modules or 'sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "False"
