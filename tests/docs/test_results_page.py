import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from benchmarks.results import folds, page, worst
from benchmarks.results.running import Ran, digest
from benchmarks.results.sets import SETS, named
from tests.trainer.painted import write_painted

REPORT: dict[str, Any] = {
    "miou": 0.85,
    "missed_pictures": {"all": 0.04},
    "false_pictures": {"all": 0.08},
    "intervals": {"miou": [0.8, 0.9], "missed_pictures": {"all": [0.01, 0.12]}},
}
STEEL, KOLEKTOR = named(["steel", "kolektor"])


def test_a_target_reads_the_figure_that_it_is_about() -> None:
    """The mIoU is read as it stands; pictures found are 1 less those missed, and their interval turns round."""
    (miou,) = STEEL.targets
    assert miou.value(REPORT) == 0.85
    assert miou.interval(REPORT) == (0.8, 0.9)
    assert (miou.reached(0.85, miou.must), miou.reached(0.85, miou.aim)) == (True, False)
    found, flagged = KOLEKTOR.targets
    assert found.value(REPORT) == pytest.approx(0.96)
    assert found.interval(REPORT) == pytest.approx((0.88, 0.99))
    assert found.words(0.96) == "96.0%"
    assert found.limit(found.must) == "≥ 94 %"
    assert flagged.value(REPORT) == 0.08
    assert flagged.interval(REPORT) is None
    assert not flagged.reached(0.08, flagged.must)


def test_what_is_not_reached_is_named(tmp_path: Path) -> None:
    """The page says whether each figure is reached and each set was run, and lists the misses."""
    figures = [
        {"title": "defective pictures found", "value": 0.96, "interval": [0.88, 0.99], "empty": 0.0},
        {"title": "clean pictures flagged", "value": 0.08, "interval": None, "empty": 0.0},
    ]
    one = {
        "date": "2026-01-02",
        "minutes": 24.0,
        "epochs": 30,
        "cores": 2,
        "pictures": {"train": 40, "validation": 10, "test": 16},
        "finish_minutes": 9.6,
        "model": "edge-unet",
        "conversion": {"lost": 0, "gained": 0, "defects": 9, "changed_share": 0.0},
        "figures": figures,
        "classes": [
            {"name": "defect", "iou": 0.5, "dice": None, "missed": 1, "shown": 9, "false": 1, "others": 7},
        ],
        "passed": {"share": 1 / 9, "interval": [0.02, 0.4], "defective": 9},
        "tables": {"Replayed:": "| a |\n|---|"},
    }
    page.keep(tmp_path, "kolektor", one)
    page.write(tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| [Commutators](#commutators) | defective pictures found | **96.0%** | 88.0% to 99.0% | 0.0% |" in text
    assert "≤ 7 % **missed**" in text
    assert "| Hot-rolled steel | not run yet |" in text
    learned = "were learned from as well in the last 9.6 minutes"
    assert f"10 chose thresholds and smallest areas, and {learned}. 16 were held out" in " ".join(text.split())
    (other := tmp_path / "other").mkdir()
    page.keep(other, "kolektor", one | {"presumed": True})
    page.write(other)
    presumed = f"10 told how the first part went and {learned}. Thresholds and smallest areas are presumed. 16 were"
    assert presumed in " ".join((other / "results.md").read_text(encoding="utf-8").split())
    assert "| defect | 0.500 |  | 1 of 9 | 1 of 7 |" in text
    assert "nothing at all being answered: 1 of 9 defective pictures, 11.1% (95 %: 2.0% to 40.0%)." in text
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    kept["shipped"] = {"found": 0.6, "false": 0.4}
    assert [told for told in page.missed(kept) if "not run yet" not in told] == [
        "kolektor: clean pictures flagged 8.0%, expected ≤ 7 %",
        "shipped model: others given a scratch 40.0%, expected ≤ 30 %",
    ]
    assert "steel: not run yet" in page.missed(kept)


WORST: dict[str, list[dict[str, Any]]] = {
    "misses": [
        {"image": f"images/{k}.png", "class": "defect", "wrong_px": 1200 - k, "of_px": 1200, "whole_picture": k == 0}
        for k in range(5)
    ],
    "false_alarms": [
        {"image": "images/9.png", "class": "defect", "wrong_px": None, "of_px": None, "whole_picture": True},
    ],
}


def test_worst_cases_are_named_in_the_document_and_shown_beside_the_bundles(tmp_path: Path) -> None:
    """The committed table names the three worst of each kind; the page that is not committed holds their pictures."""
    named_ones = worst.worst_of({"worst": WORST})
    assert worst.told(named_ones).splitlines()[2:] == [
        "| `images/0.png` | defect | 1,200 of 1,200 true px missed | picture missed |",
        "| `images/1.png` | defect | 1,199 of 1,200 true px missed | a part |",
        "| `images/2.png` | defect | 1,198 of 1,200 true px missed | a part |",
        "| `images/9.png` | defect | false | picture flagged |",
    ]
    assert worst.write(tmp_path, {"kolektor": {"folder": "kolektor-1", "worst": named_ones}}) is None
    pictures = tmp_path / "kolektor-1" / "report-pictures"
    pictures.mkdir(parents=True)
    (tmp_path / "kolektor-1" / "report.html").touch()
    for name, level in (("worst-misses", 40), ("worst-false-alarms", 200)):
        cv2.imwrite(str(pictures / f"{name}.png"), np.full((20, 30, 3), level, np.uint8))
    shown = worst.write(tmp_path, {"kolektor": {"folder": "kolektor-1", "worst": named_ones}, "steel": {}})
    assert shown == tmp_path / "worst.html"
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown.read_text(encoding="utf-8"))
    levels = [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR).mean() for one in found]
    assert levels == pytest.approx([40, 200], abs=2)


def test_a_set_without_a_wrong_picture_says_so() -> None:
    """Nothing wrong is said in words, not by an empty table."""
    assert worst.told({"misses": [], "false_alarms": []}) == "Worst cases: none, no picture was answered wrongly."


def test_a_set_is_known_by_what_its_recipe_says_and_its_pictures_show(tmp_path: Path) -> None:
    """A comment begins nothing anew; another value, another mask and another picture do."""
    data = write_painted(tmp_path / "data", 6)
    written = tmp_path / "recipe.yaml"
    written.write_text("name: a\nepochs: 3\n")
    first = digest(written, data)
    written.write_text("# as it was\nname: a\nepochs: 3   # so many\n")
    assert digest(written, data) == first
    written.write_text("name: a\nepochs: 4\n")
    found = {first, digest(written, data)}
    for path in (data / "masks" / "0.png", data / "images" / "2.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path), 0))
        found.add(digest(written, data))
    assert len(found) == 4


def test_a_set_has_the_date_of_its_training(tmp_path: Path) -> None:
    """A set has the date of its training, however much later the page is written."""
    shutil.copytree(page.DOCS.parent / "edge" / "bundles" / "simulated-glass", tmp_path / "bundle")
    trained = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["provenance"][0]["at"]
    assert trained.startswith(Ran(STEEL, tmp_path, {}, {}).date)
    assert len(Ran(STEEL, tmp_path, {}, {}).date) == len("2026-01-02")


def test_each_set_has_its_recipe() -> None:
    """A set without a recipe in config/ could not be run."""
    assert all((page.ROOT / one.recipe).is_file() for one in SETS)
    assert all((page.ROOT / "config" / f"train.{one.name}.yaml").is_file() for one in folds.SETS)


def write_run(comparison: Path, seed: int, fold: int, *, missed: float, false: float, epochs: int) -> None:
    """Write what the page reads of a run: ten defective pictures and ten clean ones of one class."""
    run = comparison / f"commutators-{seed}-fold{fold}"
    (run / "bundle").mkdir(parents=True)
    recipe = yaml.safe_load((page.ROOT / "config" / "train.kolektor.yaml").read_text())
    recipe |= {"seed": seed, "epochs": epochs}
    recipe["split"] |= {"folds": 3, "fold": fold, "folds_of": "rest", "seed": 7}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run / "bundle" / "manifest.json").write_text(json.dumps({"training": {"seconds": 360.0}}))
    report = {
        "pictures": 20,
        "missed_pictures": {"all": missed},
        "passed_pictures": {"all": missed},
        "false_pictures": {"all": false},
        "counts": {"defective": 10, "clean": 10, "shown": {"defect": 10}},
        "confusion": {"pixels": None},
    }
    (run / "figures.json").write_text(json.dumps(report | {"held_out": report | {"missed_pictures": {"all": 0.3}}}))


def test_figures_over_folds_say_by_how_much_they_fall_short(tmp_path: Path) -> None:
    """Folds of a seed are one set, the worst seed counts, and folds and steps that are lacking are told."""
    for seed, missed, false in ((7, (0.0, 0.1), (0.0, 0.0)), (8, (0.0, 0.0), (0.2, 0.0))):
        for fold in range(2):
            write_run(tmp_path / "kolektor", seed, fold, missed=missed[fold], false=false[fold], epochs=10)
    measured = folds.measured(tmp_path)
    assert list(measured) == ["kolektor"]
    assert [figure["value"] for figure in measured["kolektor"]["figures"]] == pytest.approx([0.95, 0.1])
    rows = [line for line in folds.section(measured).splitlines() if line.startswith("|")]
    found, flagged = (next(row for row in rows if of in row) for of in ("| found, worst", "| clean flagged, worst"))
    assert "| **95.0%** | 5.0% | 90.0% | 70.0% | ≥ 93 % reached so far | ≥ 100 %, short by 5.0 points so far |" in found
    assert "| **10.0%** | 10.0% | 20.0% | 5.0% | ≤ 6 %, short by 4.0 points so far |" in flagged
    assert found.endswith("| 2 of 3 folds, 2 seeds, 40 pictures | 600 of 2,340 |")
    assert any(row.startswith("| Nuclei | IoU | no figure yet |") for row in rows)
    assert len({row.count("|") for row in rows}) == 1
    (told,) = folds.missed(measured)
    assert told == "kolektor by folds: clean flagged, worst of the runs of one recipe 10.0%, ≤ 6 %, short by 4.0 points"
