"""docs/preparing.md and docs/datasets.md: their commands are run, and their defaults are those of the code."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.opencv import cv2
from edge.preparing import PreparingStep
from edge.records import UInt8
from tests.conftest import ROOT
from tests.trainer.pages import code_blocks, page_commands, read_page
from tests.trainer.painted import write_painted
from trainer.__main__ import app
from trainer.recipe.settings import AugmentationSettings, SplitSettings

PANEL = (3200, 3520)


def panel() -> tuple[UInt8, UInt8]:
    """Draw a dark device on a rough bench, 3520 x 3200 px, with a scratch, and the scratch's mask."""
    rough = np.random.default_rng(0).integers(90, 130, (400, 440)).astype(np.uint8)
    pixels = cv2.resize(rough, PANEL[::-1], interpolation=cv2.INTER_LINEAR)
    mask = np.zeros(PANEL, np.uint8)
    pixels[900:2300, 400:3100] = 30
    cv2.line(mask, (700, 1200), (1500, 1500), 255, 9)
    pixels[mask > 0] = 220
    return pixels, mask


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the pages' commands read: recipes, a bundle, pictures, datasets."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copytree(ROOT / "edge" / "bundles" / "simulated-glass", folder / "phone-bundle")
    (recipe,) = code_blocks("preparing.md", "yaml")
    (folder / "recipe.yaml").write_text(recipe)
    manifest = write_painted(folder / "phones", pictures=24) / "manifest.csv"
    # every second stain is oil, a class of its own in the recipe for phones
    oil = re.sub(r"(masks/(?:4|10|16|22)\.png),stain", r"\1,oil", manifest.read_text())
    manifest.write_text(oil)
    pixels, mask = panel()
    (folder / "panels").mkdir()
    cv2.imwrite(str(folder / "picture.jpg"), cv2.resize(pixels, (704, 640), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "panels" / "p.png"), pixels)
    cv2.imwrite(str(folder / "panels" / "m.png"), mask)
    (folder / "panels" / "manifest.csv").write_text("image,mask,class,group\np.png,m.png,scratch,7\n")
    return folder


@pytest.fixture(scope="module")
def outputs(workplace: Path) -> dict[str, str]:
    """Run every command of both pages in their order, as they stand; return what each printed."""
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        for command in (*page_commands("preparing.md"), *page_commands("datasets.md")):
            program, *arguments = shlex.split(command)
            assert program == "linewatch-train"
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (command, result.output, result.exception)
            printed[command] = result.output
    return printed


def test_every_command_of_the_pages_works_and_writes_what_it_names(outputs: dict[str, str], workplace: Path) -> None:
    """Each ends with 0; every file or folder behind --out, --report and --json is there. None of five is left out."""
    assert {command.split()[1] for command in outputs} == {"preparing", "tiles", "audit", "split", "augmentations"}
    for command in outputs:
        words = shlex.split(command)
        for option in {"--out", "--report", "--json"} & set(words):
            assert (workplace / words[words.index(option) + 1]).exists(), command


def test_preparing_shows_every_step_of_the_recipe_on_the_page(outputs: dict[str, str], workplace: Path) -> None:
    """The page's recipe has four steps; the sheet shows them and the picture, three to a row."""
    printed = outputs["linewatch-train preparing recipe.yaml picture.jpg --out sheet.png"]
    for step in ("picture", "1 crop_rectangle", "2 resize", "3 grey", "4 level_light"):
        assert step in printed
    assert re.search(r"2 resize +│ 1792x896", printed)
    sheet = np.asarray(cv2.imread(str(workplace / "sheet-of-the-bundle.png")))
    assert sheet.size


def test_a_picture_of_3520_x_3200_becomes_11_x_10_tiles_exactly(outputs: dict[str, str], workplace: Path) -> None:
    """Side by side the 110 tiles of 320 px are the picture again, and their masks the mask. No tile is left over."""
    assert any("1 picture cut into 110 tiles of 320 px" in printed for printed in outputs.values())
    pixels, mask = panel()
    rebuilt, rebuilt_mask = np.zeros_like(pixels), np.zeros_like(mask)
    with (workplace / "panel-tiles" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((workplace / "panel-tiles" / "images").iterdir())) == 11 * 10
    assert {row["group"] for row in rows} == {"7"}
    for row in rows:
        down, across = (int(number) * 320 for number in re.findall(r"[rc](\d\d)", row["image"])[-2:])
        window = np.s_[down : down + 320, across : across + 320]
        rebuilt[window] = cv2.imread(str(workplace / "panel-tiles" / row["image"]), cv2.IMREAD_GRAYSCALE)
        if row["mask"]:
            rebuilt_mask[window] = cv2.imread(str(workplace / "panel-tiles" / row["mask"]), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(rebuilt, pixels)
    np.testing.assert_array_equal(rebuilt_mask, mask)
    with (workplace / "prepared-tiles" / "manifest.csv").open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"scratch"}  # --defective-only


def test_audit_and_split_print_and_write_the_same_dataset(outputs: dict[str, str], workplace: Path) -> None:
    """24 pictures, 8 of each kind: in the JSON, in the split's table and in its file."""
    audited = json.loads((workplace / "audit.json").read_text())
    assert audited["pictures"] == 24
    assert {line["name"]: line["pictures"] for line in audited["classes"]} == {"scratch": 8, "stain": 4, "oil": 4}
    assert audited["clean"] == {"pictures": 8, "groups": 4}
    with (workplace / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert all(len(row["sha256"]) == 64 for row in rows)
    assert all(bool(row["masks_sha256"]) == (row["class"] != "clean") for row in rows)
    assert "pictures (groups)" in outputs[page_commands("datasets.md")[1]]


def test_every_step_stands_on_the_page_with_its_parameters_and_defaults() -> None:
    """The table of steps names each parameter of each step; each default that it gives is the code's."""
    table = read_page("preparing.md").split("## Steps")[1].split("**")[0]
    of_step: dict[str, str] = {}
    step_name = ""
    for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE):  # a row that names no step goes on with the last
        if begun := re.match(r"`(\w+)`", row):
            step_name = begun.group(1)
        of_step[step_name] = of_step.get(step_name, "") + row
    for step in get_args(get_args(PreparingStep)[0]):
        fields = {name: field for name, field in step.model_fields.items() if name != "step"}
        text = of_step[step.model_fields["step"].default]
        told = dict(re.findall(r"`(\w+)` (-?[\w.]+)", text))
        for name, field in fields.items():
            assert f"`{name}`" in text, (step, name)
            if field.default is not None and not field.is_required():
                assert told[name] == (f"{field.default:g}" if told[name].isdecimal() else str(field.default)), name


def test_the_defaults_of_splits_and_augmentation_are_those_on_the_page() -> None:
    """`test` 0.3 and so on; and what a recipe that names nothing does to crops."""
    page = read_page("datasets.md")
    told = dict(re.findall(r"^\| `(test|validation|near_duplicates)` \| `?([\w.]+)`? \|", page, re.MULTILINE))
    own = SplitSettings()
    assert told == {"test": str(own.test), "validation": str(own.validation), "near_duplicates": own.near_duplicates}
    (listed,) = re.findall(r"On by default: (.*?)\. All else is off", page, re.DOTALL)
    assert listed.replace("\n", " ") == (
        "flips, quarter turns, 15°, shift 0.35, zoom 1.3, shear 0.1, contrast 1.5, brightness 15 and noise 5"
    )
    assert AugmentationSettings().model_dump() == AugmentationSettings(
        flips=True, quarter_turns=True, rotation_degrees=15, shift_share=0.35, zoom=1.3, shear=0.1, contrast=1.5,
        brightness=15, noise=5, gamma=1, light_gradient=0, defocus_px=0, motion_px=0, cut_outs=0, paste_share=0,
        only_classes=(), class_strength={},
    ).model_dump()  # fmt: skip
