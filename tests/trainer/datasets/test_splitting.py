"""Splits: whole groups, shares by class, near-duplicates on one side, and little change when a dataset grows."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from edge.errors import BundleError, DatasetError, SettingsError
from edge.opencv import cv2
from edge.yaml_settings import load_yaml
from tests.trainer.painted import RECIPE, write_painted
from trainer.__main__ import app
from trainer.datasets.dataset import Entry, read_manifest
from trainer.datasets.split_manifest import changed_since, read_split, write_split
from trainer.datasets.splitting import PARTS, fold_of_each, leaks, split, split_dataset, split_rest
from trainer.recipe.settings import SplitSettings, TrainSettings

Kinds = tuple[str, ...]


def entry(image: str, group: str, kinds: Kinds) -> Entry:
    """Make an entry that need not exist on disk."""
    return Entry(image, Path(image), tuple((kind, Path("m")) for kind in kinds), group, frozenset(kinds))


KINDS = st.sets(st.sampled_from(["scratch", "stain", "oil"]), max_size=3).map(lambda names: tuple(sorted(names)))
DATASETS = st.lists(st.tuples(st.integers(0, 25), KINDS), min_size=1, max_size=70).map(
    lambda rows: [entry(f"{n}.png", f"g{group}", kinds) for n, (group, kinds) in enumerate(rows)]
)


def parts_of_groups(entries: list[Entry], parts: dict[str, str]) -> dict[str, set[str]]:
    """Return the parts that each group is in."""
    found: dict[str, set[str]] = {}
    for e in entries:
        found.setdefault(e.group, set()).add(parts[e.image])
    return found


@given(DATASETS, st.integers(0, 3), st.floats(0, 0.5), st.floats(0.1, 0.5))
def test_a_group_is_in_one_part_and_every_class_is_learned_and_validated(
    entries: list[Entry], seed: int, test: float, validation: float
) -> None:
    """This holds whatever the classes of the pictures, their groups and the shares; or the split is refused."""
    try:
        parts = split(entries, test, validation, seed)
    except DatasetError:
        return
    assert all(len(found) == 1 for found in parts_of_groups(entries, parts).values())
    for name in {name for e in entries for name in e.classes}:
        shown = {parts[e.image] for e in entries if name in e.classes}
        assert {"train", "validation"} <= shown
    assert test or "test" not in parts.values()


@given(DATASETS, st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_split_in_any_order(entries: list[Entry], random: object) -> None:
    """The order of the manifest's rows has no say."""
    shuffled = list(entries)
    random.shuffle(shuffled)
    try:
        parts = split(entries, 0.3, 0.2, 5)
    except DatasetError:
        with pytest.raises(DatasetError):
            split(shuffled, 0.3, 0.2, 5)
        return
    assert split(shuffled, 0.3, 0.2, 5) == parts


@given(DATASETS, st.integers(2, 5))
def test_folds_hold_each_picture_out_once(entries: list[Entry], folds: int) -> None:
    """Over all folds the test parts partition the data; no group is cut by any."""
    try:
        every = [split(entries, 0.3, 0.2, 1, folds=folds, fold=fold) for fold in range(folds)]
    except DatasetError:
        return
    held_out = Counter(image for parts in every for image, part in parts.items() if part == "test")
    assert held_out == Counter({e.image: 1 for e in entries})
    for parts in every:
        assert all(len(found) == 1 for found in parts_of_groups(entries, parts).values())


@given(DATASETS, st.integers(2, 4))
def test_folds_of_the_rest_leave_what_is_held_out_to_all(entries: list[Entry], folds: int) -> None:
    """Every fold holds out what the recipe does without folds. Of the others each picture is in one fold, and whole."""
    settings = SplitSettings(test=0.3, validation=0.2, near_duplicates="ignore")
    try:
        found = fold_of_each(entries, settings, 1, folds)
    except DatasetError:
        return
    shared = {image for image, part in split(entries, 0.3, 0.2, 1).items() if part == "test"}
    assert {image for image, fold in found.items() if fold is None} == shared
    for fold in range(folds):
        parts = split_rest(entries, 0.3, 0.2, 1, folds=folds, fold=fold)
        own = {image for image, number in found.items() if number == fold}
        assert {image for image, part in parts.items() if part == "test"} == shared | own
        assert all(len(places) == 1 for places in parts_of_groups(entries, parts).values())


@given(DATASETS, st.lists(st.lists(st.integers(0, 69), max_size=4), max_size=5))
def test_pictures_that_must_not_be_parted_are_not(entries: list[Entry], sets: list[list[int]]) -> None:
    """Near-duplicates of different groups, and by them their groups, are in one part."""
    together = [[f"{n}.png" for n in numbers] for numbers in sets]
    try:
        parts = split(entries, 0.3, 0.2, 1, together=together)
    except DatasetError:
        return
    assert all(len(found) == 1 for found in parts_of_groups(entries, parts).values())
    for images in together:
        assert len({parts[image] for image in images if image in parts}) <= 1


@pytest.mark.parametrize("seed", range(12))
def test_a_class_with_three_groups_is_learned_validated_and_tested(seed: int) -> None:
    """Beside 40 groups of another class; a class with two is learned from and validated."""
    entries = [entry(f"{n}", f"{n}", ("stain",)) for n in range(40)]
    entries += [entry(f"r{n}", f"r{n}", ("rare",)) for n in range(3)]
    entries += [entry(f"t{n}", f"t{n}", ("two",)) for n in range(2)]
    parts = split(entries, 0.2, 0.15, seed)
    assert sorted(parts[f"r{n}"] for n in range(3)) == ["test", "train", "validation"]
    assert sorted(parts[f"t{n}"] for n in range(2)) == ["train", "validation"]


@pytest.mark.parametrize("seed", range(6))
def test_many_small_combinations_still_make_the_shares(seed: int) -> None:
    """Thirty combinations of one or two groups each: every class has its share of groups within one, and the whole."""
    generator = np.random.default_rng(seed)
    names = ["a", "b", "c", "d", "e"]
    kinds = [tuple(n for n in names if generator.random() < 0.4) for _ in range(60)]
    entries = [entry(f"{n}", f"{n}", kind) for n, kind in enumerate(kinds)]
    parts = split(entries, 0.3, 0.2, seed)
    for name in names:
        own = [parts[e.image] for e in entries if name in e.classes]
        assert abs(own.count("test") - 0.3 * len(own)) <= 1
        assert abs(own.count("validation") - 0.14 * len(own)) <= 1
    assert abs(list(parts.values()).count("test") - 18) <= 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folds", [None, 4])
def test_every_combination_of_classes_has_its_share(seed: int, folds: int | None) -> None:
    """A quarter of each is held out, within one: 24 groups each with a, with b, with both, with neither.

    By classes alone all that show both could be learned from: half of the others would make up the shares.
    """
    kinds: list[Kinds] = [("a",), ("b",), ("a", "b"), ()]
    entries = [entry(f"{'+'.join(kind)}{n}", f"{'+'.join(kind)}{n}", kind) for kind in kinds for n in range(24)]
    parts = split(entries, 0.25, 0.25, seed, folds=folds)
    for kind in kinds:
        own = [parts[e.image] for e in entries if e.classes == kind]
        assert abs(own.count("test") - 6) <= 1, kind
        assert abs(own.count("validation") - 4.5) <= 1, kind


def test_groups_of_very_different_size_share_pictures_out() -> None:
    """Of 10 groups with 20 pictures and 50 with one, a third of 250 pictures is held out.

    It is so within a large group.
    """
    entries = [entry(f"{g}-{n}", f"{g}", ("a",)) for g in range(10) for n in range(20)]
    entries += [entry(f"s{g}", f"s{g}", ("a",)) for g in range(50)]
    for seed in range(8):
        held_out = list(split(entries, 0.3333, 0.2, seed).values()).count("test")
        assert abs(held_out - 250 / 3) <= 20


def test_a_grown_dataset_keeps_its_split() -> None:
    """Five groups more than 200: a few of the old ones change their part, where a new draw would change 90."""
    entries = [entry(f"{n}", f"{n}", (("a",), ("b",), ())[n % 3]) for n in range(200)]
    more = [entry(f"new{n}", f"new{n}", (("a",), ("b",))[n % 2]) for n in range(5)]
    for seed in range(5):
        before, after = split(entries, 0.3, 0.2, seed), split(entries + more, 0.3, 0.2, seed)
        assert sum(before[image] != after[image] for image in before) <= 6


def test_what_cannot_be_split_is_named_with_its_counts() -> None:
    """Too few groups, too many folds, and pieces that near-duplicates make one."""
    stains = [entry(f"s{n}", f"s{n}", ("stain",)) for n in range(9)]
    one = [entry("0", "g", ("scratch",)), entry("1", "g", ("scratch",))]
    with pytest.raises(DatasetError, match="scratch has 1 group with 2 pictures"):
        split(stains + one, 0.3, 0.2, 0)
    with pytest.raises(DatasetError, match=r"stain has 2 groups .*beside each of 5 folds"):
        split(stains[:2], 0.3, 0.2, 0, folds=5)
    with pytest.raises(DatasetError, match=r"expected split.fold from 0 to 2, received 3"):
        split(stains, 0.3, 0.2, 0, folds=3, fold=3)
    with pytest.raises(DatasetError, match=r"stain has 1 group \(of 9, joined by near-duplicates\) with 9 pictures"):
        split(stains, 0.3, 0.2, 0, together=[[e.image for e in stains]])


def test_test_pictures_that_nearly_show_what_is_learned_are_named() -> None:
    """A held-out picture leaks when its near-duplicate is in another part, not when that is held out too."""
    parts = dict(zip("abcd", ("train", "test", "test", "test"), strict=True))
    assert leaks(parts, [("a", "b"), ("c", "d")]) == ["b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fold: 1", "expected split.folds beside split.fold"),
        ("folds: 3\n  fold: 3", "expected split.fold from 0 to 2"),
        ("folds_of: rest", "expected split.folds beside split.folds_of"),
    ],
)
def test_a_fold_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """The recipe's keys fold and folds must fit."""
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("{test: 0.25, validation: 0.25}", f"\n  {text}"))
    with pytest.raises(SettingsError, match=says):
        load_yaml(tmp_path / "recipe.yaml", TrainSettings)


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """Write the painted dataset."""
    return write_painted(tmp_path / "painted")


def test_the_split_manifest_hashes_pictures_and_masks(painted: Path, tmp_path: Path) -> None:
    """It reads back as written, its hashes are those of the files, and a changed file is told of."""
    entries = read_manifest(painted)
    parts = split(entries, 0.25, 0.25, 4)
    write_split(tmp_path / "split.csv", entries, parts)
    rows = read_split(tmp_path / "split.csv")
    assert {row.image: row.part for row in rows} == parts
    for row in rows:
        assert row.sha256 == hashlib.sha256((painted / row.image).read_bytes()).hexdigest()
        mask = painted / row.image.replace("images", "masks")
        hashed = {(name, hashlib.sha256(mask.read_bytes()).hexdigest()) for name in row.classes}
        assert set(row.masks or ()) == hashed
    assert changed_since(rows, entries) == {}
    cv2.imwrite(str(painted / "masks" / "0.png"), np.zeros((96, 128), np.uint8))
    cv2.imwrite(str(painted / "images" / "2.png"), np.zeros((96, 128), np.uint8))
    assert changed_since(rows, entries[:-1]) == {
        "images/0.png": "has other masks now",
        "images/2.png": "is another picture now",
        "images/23.png": "is no longer in the dataset",
    }


def test_a_split_without_hashes_of_masks_is_read(tmp_path: Path) -> None:
    """Older bundles have none; a table that is none is named with its row."""
    path = tmp_path / "split.csv"
    path.write_text("image,class,group,split,sha256\na.png,clean,g,test,ff\n")
    (row,) = read_split(path)
    assert (row.masks, row.classes, row.part) == (None, (), "test")
    path.write_text("image,class,group,split,sha256\na.png,clean,g,tset,ff\n")
    with pytest.raises(BundleError, match=r"split.csv, row 2: expected an image, one of train"):
        read_split(path)
    path.write_text("image,split\n")
    with pytest.raises(BundleError, match="missing class, group, sha256"):
        read_split(path)


def test_near_duplicates_of_other_groups_are_held_together_by_a_recipe(painted: Path) -> None:
    """A copy of each picture, turned and in another group, is in its original's part. Else a warning tells."""
    with (painted / "manifest.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for index in range(24):
        pixels = cv2.imread(str(painted / "images" / f"{index}.png"))
        cv2.imwrite(str(painted / "images" / f"copy{index}.png"), np.rot90(pixels, 2))
    copies = [[f"images/copy{n}.png", row[1], row[2], f"copy{n}"] for n, row in enumerate(rows[1:])]
    with (painted / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerows(copies)
    entries = read_manifest(painted)
    console = Console(record=True, width=400)
    parts = split_dataset(entries, SplitSettings(test=0.25, validation=0.25), 4, console)
    assert all(parts[f"images/{n}.png"] == parts[f"images/copy{n}.png"] for n in range(24))
    assert "48 pictures of different groups are near-duplicates" in console.export_text()
    split_dataset(entries, SplitSettings(test=0.25, validation=0.25, near_duplicates="warn"), 4, console)
    assert "show nearly what is learned from" in console.export_text()


def test_the_split_command_prints_counts_and_writes_them(painted: Path, tmp_path: Path) -> None:
    """Without training: pictures and groups per class and part."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = ["split", str(painted), "--config", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "s.csv")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    counts = Counter((kind, row.part) for row in read_split(tmp_path / "s.csv") for kind in row.classes)
    for name in ("scratch", "stain"):
        line = next(line for line in done.output.splitlines() if name in line)
        cells = [cell.split("(")[0].strip() for cell in line.split("│")[2:5]]
        assert [int(cell) for cell in cells] == [counts[name, part] for part in PARTS]


def test_pictures_that_cannot_be_read_are_told_by_the_split(painted: Path, tmp_path: Path) -> None:
    """A split of names and classes can be made, but the picture that training would stop at is named."""
    data = tmp_path / "data"
    shutil.copytree(painted, data)
    (data / "images" / "5.png").write_bytes(b"no picture")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = CliRunner().invoke(app, ["split", str(data), "--config", str(tmp_path / "recipe.yaml")])
    assert done.exit_code == 0, done.output
    assert "warning: cannot be read, and training would refuse: images/5.png" in done.output


def test_kolektor_and_magnetic_tiles_split_in_shares(real_data: Path) -> None:
    """A third of each class's pictures comes within 6 points. Most groups have both classes, or few pictures."""
    for name in ("kolektor", "magnetic_tile"):
        entries = read_manifest(real_data / name)
        parts = split(entries, 0.3333, 0.2, 7)
        for kind in {k for e in entries for k in e.classes} - {"Crack"}:  # a third of Crack's is one piece
            own = [parts[e.image] for e in entries if kind in e.classes]
            assert abs(own.count("test") / len(own) - 0.3333) < 0.06
