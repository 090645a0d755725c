"""The audit: what is broken is found where it is and ends with 10; what is sound ends with 0. The page holds."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.yaml_settings import load_yaml
from tests.trainer.painted import RECIPE, write_painted
from trainer.__main__ import app
from trainer.auditing.audit import KINDS, Audit, GroupBalance, audit
from trainer.auditing.audit_page import audit_page
from trainer.datasets.dataset import check_classes, class_names, load_picture, read_manifest
from trainer.datasets.split_manifest import write_split
from trainer.datasets.splitting import split
from trainer.recipe.settings import TrainSettings

CONSOLE = Console(quiet=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a sound dataset."""
    return write_painted(tmp_path / "painted")


def rows_of(folder: Path) -> list[list[str]]:
    """Read the manifest's rows without its head."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def write_rows(folder: Path, rows: list[list[str]], head: str = "image,mask,class,group") -> None:
    """Write a manifest."""
    with (folder / "manifest.csv").open("w", newline="") as file:
        file.write(head + "\n")
        csv.writer(file).writerows(rows)


def kinds(found: Audit) -> dict[str, list[str]]:
    """Return the texts of each kind."""
    texts: dict[str, list[str]] = {}
    for finding in found.findings:
        texts.setdefault(finding.kind, []).append(finding.text)
    return texts


def test_a_sound_dataset_has_nothing_that_is_refused_and_its_counts_are_right(folder: Path) -> None:
    """Of 24 painted pictures 8 show a scratch in 4 groups; the pixels are those of the masks."""
    found = audit(folder, CONSOLE)
    assert found.count("refused") == 0
    scratch = found.balance[0]
    assert (scratch.name, scratch.pictures, scratch.groups, scratch.defects) == ("scratch", 8, 4, 8)
    pixels = sum(int((cv2.imread(str(folder / "masks" / f"{k}.png"), 0) > 127).sum()) for k in range(0, 24, 3))
    assert scratch.pixels == pixels
    assert scratch.pixel_share == pytest.approx(pixels / (24 * 96 * 128))
    assert found.clean == (8, 4)
    assert len(found.groups) == 12
    assert found.groups[0] == GroupBalance("piece0-0", {"scratch": 2})
    assert found.report()["groups"]["piece0-2"] == {"clean": 2}


def broken(folder: Path) -> dict[str, str]:
    """Break a sound dataset in every way that training refuses; return what the audit must say of each."""
    rows = rows_of(folder)
    (folder / "images" / "0.png").unlink()
    (folder / "images" / "1.png").write_bytes(b"no picture")
    (folder / "masks" / "3.png").unlink()
    (folder / "masks" / "4.png").write_bytes(b"no mask")
    cv2.imwrite(str(folder / "masks" / "6.png"), np.zeros((50, 128), np.uint8))
    rows[7][1] = ""
    rows[9][2] = "scr atch"
    rows[10][3] = ""
    rows.append(["images/12.png", "masks/12.png", "scratch", "another"])
    rows.append(["images/13.png", "masks/13.png", "lonely", rows[13][3]])
    write_rows(folder, rows)
    return {
        "missing-picture": "row 2: images/0.png is missing",
        "unreadable-picture": "1.png is no picture",
        "missing-mask": "row 5: masks/3.png is missing",
        "unreadable-mask": "4.png is no picture",
        "mask-size": "row 8: masks/6.png is 128 x 50 px, images/6.png 128 x 96",
        "no-mask": "row 9: images/7.png shows stain and has no mask",
        "class-name": "row 11: 'scr atch'",
        "incomplete-row": "row 12: no group",
        "two-groups": "row 26: images/12.png is in group 'another', and in 'piece2-0' in row 14",
        "no-split": "lonely has 1 group with 1 picture",
    }


def test_every_way_to_break_a_dataset_is_found_at_once(folder: Path) -> None:
    """Training would stop at the first; the audit names each with its row."""
    expected = broken(folder)
    texts = kinds(audit(folder, CONSOLE))
    for kind, says in expected.items():
        assert KINDS[kind].severity == "refused"
        assert any(says in text for text in texts[kind]), (kind, texts.get(kind))
    assert {kind for kind in texts if KINDS[kind].severity == "refused"} == set(expected)


def test_a_class_without_a_pixel_is_refused_as_training_refuses_it(folder: Path) -> None:
    """All masks of stains are empty: training cannot learn them, and the audit says so before."""
    for entry in read_manifest(folder):
        for name, path in entry.masks:
            if name == "stain":
                cv2.imwrite(str(path), np.zeros((96, 128), np.uint8))
    entries = read_manifest(folder)
    pictures = [load_picture(entry, class_names(entries), (), 1) for entry in entries]
    with pytest.raises(DatasetError, match="The class stain cannot be learned"):
        check_classes(pictures, class_names(entries))
    texts = kinds(audit(folder, CONSOLE))
    assert KINDS["empty-class"].severity == "refused"
    assert texts["empty-class"] == ["stain: the masks of all 8 pictures are empty, so that it cannot be learned"]


def test_several_classes_without_masks_are_refused_as_training_refuses_them(folder: Path) -> None:
    """Without masks a picture has one class: two rows do not say which pixel is what; a second mask does."""
    rows = [[image, "", name, group] for image, _, name, group in rows_of(folder)]
    write_rows(folder, [*rows, ["images/0.png", "", "stain", rows[0][3]]])
    both = next(entry for entry in read_manifest(folder, need_masks=False) if entry.image == "images/0.png")
    with pytest.raises(DatasetError, match="can have one class only"):
        load_picture(both, ("scratch", "stain"), (), 1)
    texts = kinds(audit(folder, CONSOLE))
    assert KINDS["several-labels"].severity == "refused"
    assert texts["several-labels"] == ["images/0.png is scratch and stain; expected one class, or masks"]
    write_rows(folder, rows)
    assert "several-labels" not in kinds(audit(folder, CONSOLE))


def test_a_split_that_cannot_be_made_is_told_once(folder: Path, tmp_path: Path) -> None:
    """By the recipe, where there is one, else by the number of groups."""
    rows = [[image, mask, name, "one" if name == "stain" else group] for image, mask, name, group in rows_of(folder)]
    write_rows(folder, rows)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = load_yaml(tmp_path / "recipe.yaml", TrainSettings)
    (of_recipe,) = kinds(audit(folder, CONSOLE, settings=recipe))["no-split"]
    assert of_recipe.startswith("The split cannot be made: no group of stain would be left to validation")
    (alone,) = kinds(audit(folder, CONSOLE))["no-split"]
    assert alone.startswith("stain has 1 group with 8 pictures")


def test_doubtful_masks_are_told_apart(folder: Path) -> None:
    """Empty, blurred, inverted, overlapping, speckled, cut off, and a mask on a clean picture."""
    rows, shape = rows_of(folder), (96, 128)
    blob = np.zeros(shape, np.uint8)
    blob[30:60, 30:60] = 255
    speckled = blob.copy()
    speckled[5:8, 5:8] = speckled[80:83, 100:105] = 255
    edge = blob.copy()
    edge[:, :4] = 255
    for name, mask in {
        "0": np.zeros(shape, np.uint8),
        "1": blob // 255,
        "3": cv2.GaussianBlur(blob, (0, 0), 2),
        "4": np.full(shape, 255, np.uint8),
        "6": speckled,
        "7": edge,
        "9": blob,
    }.items():
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    cv2.imwrite(str(folder / "masks" / "clean.png"), blob)
    rows[2][1] = "masks/clean.png"
    rows.append(["images/9.png", "masks/9.png", "stain", rows[9][3]])
    write_rows(folder, rows)
    texts = kinds(audit(folder, CONSOLE))
    for kind, says in {
        "empty-mask": "row 2: masks/0.png is empty, but the row says scratch",
        "not-binary": "row 5: masks/3.png has soft edges",
        "nearly-full-mask": "row 6: masks/4.png covers 100%",
        "specks": "row 8: masks/6.png has 2 of 3 defects below 16 px",
        "touches-border": "row 9: masks/7.png",
        "overlapping-masks": "row 26: masks/9.png shares 900 px",
        "mask-on-clean": "row 4: masks/clean.png has 900 px of a defect, but the row says ok",
    }.items():
        assert any(says in text for text in texts[kind]), (kind, texts.get(kind))


def test_copies_are_found_and_contradictions_named(folder: Path) -> None:
    """An identical file with another mask, and a turned one under another class and group."""
    rows = rows_of(folder)
    (folder / "images" / "twin.png").write_bytes((folder / "images" / "0.png").read_bytes())
    mask = np.zeros((96, 128), np.uint8)
    mask[:20] = 255
    cv2.imwrite(str(folder / "masks" / "twin.png"), mask)
    cv2.imwrite(str(folder / "images" / "turned.png"), np.rot90(cv2.imread(str(folder / "images" / "1.png"))))
    rows += [["images/twin.png", "masks/twin.png", "scratch", "piece0-0"], ["images/turned.png", "", "ok", "other"]]
    write_rows(folder, rows)
    texts = kinds(audit(folder, CONSOLE))
    assert texts["duplicate"] == ["images/0.png = images/twin.png, in the group piece0-0"]
    assert any("images/0.png = images/twin.png, but their masks agree by" in text for text in texts["other-labels"])
    assert any("labelled clean, stain: images/1.png, images/turned.png" in text for text in texts["other-labels"])
    assert any("images/1.png, images/turned.png" in text for text in texts["near-duplicate"])


def test_what_a_split_leaks_is_told(folder: Path, tmp_path: Path) -> None:
    """A held-out picture whose copy was learned from, and a file that changed after training."""
    entries = read_manifest(folder)
    parts = split(entries, 0.25, 0.25, 4)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    held_out = next(image for image, part in parts.items() if part == "test")
    learned = next(image for image, part in parts.items() if part == "train")
    (folder / learned).write_bytes((folder / held_out).read_bytes())
    write_split(bundle / "split.csv", entries, parts)
    changed, redrawn = [e.image for e in entries if parts[e.image] == "validation" and e.masks][:2]
    cv2.imwrite(str(folder / changed), np.zeros((96, 128), np.uint8))
    cv2.imwrite(str(folder / redrawn.replace("images", "masks")), np.full((96, 128), 255, np.uint8))
    texts = kinds(audit(folder, CONSOLE, bundle=bundle))
    assert any(text.startswith(f"{held_out} is held out; nearly the same as") for text in texts["leak"])
    assert f"{changed} (validation) is another picture now" in texts["changed"]
    assert f"{redrawn} (validation) has other masks now" in texts["changed"]
    assert len(texts["changed"]) == 2


def drawn_by_two(folder: Path, thick: int) -> None:
    """Write 24 lines on a surface, of 5 px; every other one, by bob, is masked `thick` px wide."""
    (folder / "i").mkdir(parents=True)
    rows = []
    for k in range(24):
        generator = np.random.default_rng(k)
        pixels, mask = generator.normal(60, 3, (120, 160)).clip(0, 255).astype(np.uint8), np.zeros((120, 160), np.uint8)
        ends = (20, int(generator.integers(20, 100))), (140, int(generator.integers(20, 100)))
        line = np.zeros_like(mask)
        cv2.line(line, *ends, 255, 5)
        pixels[line > 0] = 200
        cv2.line(mask, *ends, 255, 5 if k % 2 else thick)
        cv2.imwrite(str(folder / f"i/{k}.png"), pixels)
        cv2.imwrite(str(folder / f"i/m{k}.png"), mask)
        rows.append([f"i/{k}.png", f"i/m{k}.png", "scratch", f"g{k}", "ann" if k % 2 else "bob"])
    write_rows(folder, rows, "image,mask,class,group,annotator")


def test_an_annotator_who_draws_thicker_is_named_with_numbers(tmp_path: Path) -> None:
    """Bob's lines are drawn 8 px wider than Ann's, 4 px outside of the edge. Nobody is named when they agree."""
    drawn_by_two(tmp_path / "two", thick=13)
    found = audit(tmp_path / "two", CONSOLE)
    texts = kinds(found)["style"]
    assert any(text.startswith("bob: thickness of scratch 1") for text in texts)
    bob = {style.measure: style for style in found.styles if style.annotator == "bob"}
    assert bob["thickness_px"].own - bob["thickness_px"].others == pytest.approx(8, abs=1)
    assert bob["dilation_px"].own - bob["dilation_px"].others == pytest.approx(4, abs=1)
    assert "dilated" not in kinds(found)  # half of the masks are right
    shown = next(finding.images for finding in found.findings if finding.text.startswith("bob: thickness"))
    assert shown[:4] == ("i/0.png", "i/2.png", "i/1.png", "i/3.png")  # two of bob's, and two of ann's beside them
    page = audit_page(found)
    assert "i/0.png: scratch, group g0, drawn by bob" in page
    assert "i/1.png: scratch, group g1, drawn by ann" in page
    drawn_by_two(tmp_path / "same", thick=5)
    assert "style" not in kinds(audit(tmp_path / "same", CONSOLE))


class _Page(HTMLParser):
    """Collects the tags, what they load, and whether they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key in {"src", "href"}]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the last open tag is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


def test_the_page_is_whole_escaped_and_loads_nothing(folder: Path) -> None:
    """A group and an annotator named like a script are text; pictures are data; every tag is closed."""
    rows = rows_of(folder)
    evil = "<script>alert('x')</script>&"
    for row in rows[::6]:
        row[3] = evil
    for row in rows:
        row.append("<b>ann</b>")
    write_rows(folder, rows, "image,mask,class,group,annotator")
    cv2.imwrite(str(folder / "masks" / "0.png"), np.zeros((96, 128), np.uint8))
    page = _Page()
    html = audit_page(audit(folder, CONSOLE))
    page.feed(html)
    assert page.open == []
    assert "Pictures of each class in 13 groups" in page.text  # the twelve, and the evil one
    assert "script" not in page.tags
    assert evil in page.text
    assert "img" in page.tags
    assert all(load.startswith(("data:image/jpeg;base64,", "#")) for load in page.loads)
    assert "http" not in html.replace("http-equiv", "")


def test_a_class_that_the_recipe_names_and_the_dataset_lacks_is_found(folder: Path, tmp_path: Path) -> None:
    """`audit` and `split` refuse it as `fit` does, and name the file, the key and what is meant."""
    own = tmp_path / "recipe.yaml"
    own.write_text(RECIPE + "classes: {scrach: {}}\nloss: {terms: [{kind: dice, class_weights: {dent: 2}}]}\n")
    audited = CliRunner().invoke(app, ["audit", str(folder), "--config", str(own)])
    assert getattr(audited.exception, "exit_code", None) == 10
    split = CliRunner().invoke(app, ["split", str(folder), "--config", str(own)])
    assert getattr(split.exception, "exit_code", None) == 10
    shows = f"expected a class that {folder} shows (scratch, stain)"
    assert f"{own}: key classes.scrach: {shows}, received scrach; did you mean scratch?" in str(audited.exception)
    for key, name in (("classes.scrach", "scrach"), ("loss.terms.0.class_weights.dent", "dent")):
        assert f"{own}: key {key}: {shows}, received {name}" in str(split.exception)


def test_how_a_deep_or_a_turned_picture_is_understood_is_told(folder: Path) -> None:
    """12 bits without a word would be learned from as black: refused, unless the recipe has their depth; then noted."""
    grey = cv2.imread(str(folder / "images" / "0.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "images" / "0.png"), grey.astype(np.uint16) << 4)
    exif = Image.Exif()
    exif[274] = 2
    Image.open(folder / "images" / "1.png").save(folder / "images" / "1.png", exif=exif)
    texts = kinds(audit(folder, CONSOLE))
    assert "depth, bits: 12" in texts["depth"][0]
    assert KINDS["depth"].severity == "refused"
    assert texts["turned"] == ["images/1.png is turned by its orientation; its masks are laid on it as shown"]
    recipe = folder / "r.yaml"
    recipe.write_text(RECIPE.replace("{step: grey}", "{step: depth, bits: 12}, {step: grey}"))
    texts = kinds(audit(folder, CONSOLE, settings=load_yaml(recipe, TrainSettings)))
    assert "depth" not in texts
    assert "16 neighbouring levels become one" in texts["levels-lost"][0]


def test_the_command_ends_with_10_only_where_training_would_refuse(folder: Path, tmp_path: Path) -> None:
    """0 with doubts, 10 with broken labels; the page and the JSON are written either way."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = [
        "audit", str(folder), "--config", str(tmp_path / "recipe.yaml"),
        "--report", str(tmp_path / "audit.html"), "--json", str(tmp_path / "audit.json"),
    ]  # fmt: skip
    cv2.imwrite(str(folder / "masks" / "0.png"), np.zeros((96, 128), np.uint8))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["refused"] == 0
    assert "empty-mask" in {finding["kind"] for finding in report["findings"]}
    broken(folder)
    done = CliRunner().invoke(app, arguments)
    assert getattr(done.exception, "exit_code", None) == 10
    assert "training would refuse" in str(done.exception)
    assert json.loads((tmp_path / "audit.json").read_text())["refused"] >= 10
    assert (tmp_path / "audit.html").read_text().startswith("<!DOCTYPE html>")


def test_the_real_sets_have_nothing_that_training_refuses(real_data: Path) -> None:
    """Their known flaws are found: empty masks of magnetic tiles, identical files of kolektor across groups."""
    tiles = kinds(audit(real_data / "magnetic_tile", CONSOLE))
    empty = sum(
        not (cv2.imread(str(mask), 0) > 127).any()
        for entry in read_manifest(real_data / "magnetic_tile")
        for _, mask in entry.masks
    )
    assert len(tiles["empty-mask"]) == empty >= 3
    # the masks of phone_msd are known to be wider than what they mark; those of the tiles are not
    wide = kinds(audit(real_data / "phone_msd", CONSOLE))["dilated"]
    assert [text.split(":")[0] for text in wide] == ["oil", "scratch", "stain"]
    assert "dilated" not in tiles
    kolektor = audit(real_data / "kolektor", CONSOLE)
    assert kolektor.count("refused") == 0
    assert len(kinds(kolektor)["duplicate"]) == 2
