from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.errors import DatasetError, StoreError
from edge.opencv import cv2
from tests.conftest import ROOT
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from trainer.datasets.dataset import read_manifest
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource
from trainer.importing.writing import WritingSettings, Written, summary_lines

SIZE = (20, 30)
MASK = rectangle(SIZE, 5, 5, 4, 6)
BARE = np.zeros(SIZE, np.uint8)


def labelled(folder: Path, name: str, *findings: ClassMask, **more: object) -> LabelledPicture:
    """Write a picture and label it."""
    path = save(folder / "in" / name, surface(1, SIZE))
    return LabelledPicture(name, path, SIZE, findings, f"labels of {name}", **more)


def source(*pictures: LabelledPicture) -> LabelSource:
    """Offer pictures."""
    return LabelSource(len(pictures), iter(pictures))


def test_a_dataset_has_all_its_parts(tmp_path: Path) -> None:
    """images/ byte for byte, masks/ of 0 and 255, manifest.csv with all four columns, preview.png."""
    one = labelled(tmp_path, "sub/a.jpg", ClassMask("scratch", MASK // 255), ClassMask("dust", None))
    two = labelled(tmp_path, "b.png", declared_clean=True)
    written = imported(source(one, two), tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["images", "manifest.csv", "masks", "preview.png"]
    assert (out / "images" / "sub" / "a.jpg").read_bytes() == one.path.read_bytes()
    np.testing.assert_array_equal(cv2.imread(str(out / "masks/scratch/sub/a.png"), cv2.IMREAD_UNCHANGED), MASK)
    assert (out / "manifest.csv").read_text() == (
        "image,mask,class,group\nimages/sub/a.jpg,masks/scratch/sub/a.png,scratch,a\n"
        "images/sub/a.jpg,,dust,a\nimages/b.png,,ok,b\n"
    )
    assert written == Written(2, 2, {"dust": 1, "scratch": 1}, 1, (), (), ())


def test_who_drew_is_noted_where_it_is_known(tmp_path: Path) -> None:
    """By the labels, else by the setting; clean pictures have nobody, and one mask of two hands has both."""
    one = labelled(tmp_path, "a.png", ClassMask("scratch", MASK, annotator="ann"), ClassMask("dent", MASK))
    both = labelled(
        tmp_path,
        "b.png",
        ClassMask("scratch", MASK, annotator="cy"),
        ClassMask("scratches", MASK, annotator="ann"),
    )
    clean = labelled(tmp_path, "c.png", declared_clean=True)
    imported(source(one, both, clean), tmp_path / "out", annotator="bob", rename={"scratches": "scratch"})
    assert (tmp_path / "out" / "manifest.csv").read_text() == (
        "image,mask,class,group,annotator\n"
        "images/a.png,masks/scratch/a.png,scratch,a,ann\nimages/a.png,masks/dent/a.png,dent,a,bob\n"
        "images/b.png,masks/scratch/b.png,scratch,b,ann+cy\nimages/c.png,,ok,c,\n"
    )


def empty_ones(tmp_path: Path) -> LabelSource:
    """Offer ten pictures with empty masks among two that have pixels, and a clean one."""
    empty = [labelled(tmp_path, f"{number}.png", ClassMask("scratch", BARE)) for number in range(10)]
    full = [labelled(tmp_path, f"full{number}.png", ClassMask("scratch", MASK)) for number in range(2)]
    return source(full[0], *empty, full[1], labelled(tmp_path, "clean.png", declared_clean=True))


def test_empty_masks_are_kept_dropped_or_sampled(tmp_path: Path) -> None:
    """All become clean, none is left, or the share is, chosen by the seed; declared clean ones always stay."""
    kept = imported(empty_ones(tmp_path), tmp_path / "keep", empty_share=1.0)
    assert (kept.pictures, kept.clean, len(kept.empty_kept)) == (13, 11, 10)
    names = [entry.image for entry in read_manifest(tmp_path / "keep")]
    assert names == [
        "images/full0.png",
        *(f"images/{n}.png" for n in range(10)),
        "images/full1.png",
        "images/clean.png",
    ]
    dropped = imported(empty_ones(tmp_path), tmp_path / "drop", empty_share=0.0)
    assert (dropped.pictures, dropped.clean, len(dropped.empty_dropped)) == (3, 1, 10)
    assert sorted(path.name for path in (tmp_path / "drop" / "images").iterdir()) == [
        "clean.png",
        "full0.png",
        "full1.png",
    ]
    chosen = set()
    for place, seed in enumerate((0, 0, 1, 2, 3)):
        some = imported(empty_ones(tmp_path), tmp_path / f"some{place}", empty_share=0.3, seed=seed)
        assert (some.pictures, len(some.empty_kept), len(some.empty_dropped)) == (6, 3, 7)
        if place == 1:
            assert some.empty_kept in chosen
        chosen.add(some.empty_kept)
    assert len(chosen) >= 2


def test_an_empty_mask_beside_a_full_one_is_left_out(tmp_path: Path) -> None:
    """A picture has rows only for the classes that it shows."""
    one = labelled(tmp_path, "a.png", ClassMask("stain", BARE), ClassMask("scratch", MASK))
    written = imported(source(one, labelled(tmp_path, "b.png", ClassMask("stain", MASK))), tmp_path / "out")
    assert (written.by_class, written.empty_kept) == ({"scratch": 1, "stain": 1}, ())
    assert [entry.classes for entry in read_manifest(tmp_path / "out")] == [("scratch",), ("stain",)]


def test_a_class_that_no_picture_shows_is_an_error(tmp_path: Path) -> None:
    """Masks without a pixel, or a class that was named and is nowhere: which, where, and nothing is written."""
    one = labelled(tmp_path, "a.png", ClassMask("scratch", MASK), ClassMask("stain", BARE))
    with pytest.raises(DatasetError, match=r"The class stain is empty: .* 1 mask without a pixel: labels of a\.png"):
        imported(source(one), tmp_path / "out")
    named = LabelSource(1, iter([labelled(tmp_path, "b.png", ClassMask("scratch", MASK))]), ("scratch", "pit"))
    with pytest.raises(DatasetError, match=r"The class pit is empty: .* received no mask of it"):
        imported(named, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(("share", "clean"), [(1.0, 2), (0.0, 1)])
def test_a_class_may_be_left_out_by_calling_it_ok(tmp_path: Path, share: float, clean: int) -> None:
    """Its masks with pixels make a picture clean; its empty ones are empty masks as any other."""
    pictures = (
        labelled(tmp_path, "a.png", ClassMask("scratch", MASK)),
        labelled(tmp_path, "b.png", ClassMask("stain", BARE)),
        labelled(tmp_path, "c.png", ClassMask("stain", MASK)),
    )
    written = imported(source(*pictures), tmp_path / "out", rename={"stain": "ok"}, empty_share=share)
    assert (written.by_class, written.clean) == ({"scratch": 1}, clean)


def test_a_dataset_of_nothing_is_an_error(tmp_path: Path) -> None:
    """Nothing offered, or all of it dropped: told, with what would help, and nothing is left on the disk."""
    with pytest.raises(DatasetError, match="No picture is left to import"):
        imported(source(), tmp_path / "out")
    with pytest.raises(DatasetError, match=r"1 whose masks have no pixel\. Keep them: --empty keep"):
        imported(source(labelled(tmp_path, "a.png")), tmp_path / "out", empty_share=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("expression", "groups"),
    [
        (None, ["7_front", "7_back", "8_front"]),
        (r"^(\d+)_", ["7", "7", "8"]),
        (r"^\d+", ["7", "7", "8"]),
    ],
)
def test_groups_come_from_the_file_name(tmp_path: Path, expression: str | None, groups: list[str]) -> None:
    """By the expression's first group or all that it matches; by default each picture is a piece of its own."""
    names = ("7_front.png", "7_back.png", "8_front.png")
    pictures = [labelled(tmp_path, name, declared_clean=True) for name in names]
    compiled = re.compile(expression) if expression else None
    imported(source(*pictures), tmp_path / "out", group_from=compiled)
    assert [entry.group for entry in read_manifest(tmp_path / "out")] == groups


def test_a_format_s_own_groups_give_way_to_the_expression_alone(tmp_path: Path) -> None:
    """A manifest's groups stay, unless an expression is given; one that does not match a name is an error."""
    for out, expression, group in (("a", None, "mine"), ("b", re.compile(r"x(\d)"), "1")):
        imported(source(labelled(tmp_path, "x1.png", group="mine")), tmp_path / out, group_from=expression)
        assert read_manifest(tmp_path / out)[0].group == group
    for expression in (r"(\d\d)", r"x(\d*)1"):
        with pytest.raises(DatasetError, match=r"x1\.png: expected a group by --group-from"):
            imported(source(labelled(tmp_path, "x1.png")), tmp_path / "c", group_from=re.compile(expression))


def test_pictures_that_differ_in_their_suffix_do_not_share_a_mask(tmp_path: Path) -> None:
    """a.jpg and a.png are two pictures with a mask each; a picture that comes twice is an error."""
    other = rectangle(SIZE, 0, 0, 1, 1)
    pictures = [
        labelled(tmp_path, "a.jpg", ClassMask("pit", MASK)),
        labelled(tmp_path, "a.png", ClassMask("pit", other)),
    ]
    imported(source(*pictures), tmp_path / "out")
    found = truths(tmp_path / "out")
    np.testing.assert_array_equal(found["a.jpg"][1], MASK // 255)
    np.testing.assert_array_equal(found["a.png"][1], other // 255)
    with pytest.raises(DatasetError, match=r"labels of a\.jpg: the picture a\.jpg comes twice"):
        imported(source(pictures[0], pictures[0]), tmp_path / "twice")


def test_overlapping_classes_are_told_of(tmp_path: Path) -> None:
    """The last class counts where two claim a pixel, and the summary says on which pictures."""
    two = (ClassMask("scratch", MASK), ClassMask("stain", rectangle(SIZE, 8, 10, 4, 6)))
    apart = (ClassMask("scratch", MASK), ClassMask("stain", rectangle(SIZE, 9, 11, 4, 6)))
    written = imported(source(labelled(tmp_path, "a.png", *two), labelled(tmp_path, "b.png", *apart)), tmp_path / "out")
    assert written.overlapping == ("a.png",)
    assert truths(tmp_path / "out")["a.png"][1][8, 10] == 2
    assert any("classes overlap" in line for line in summary_lines(written, tmp_path))


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    """A mask has its picture's size, whatever the format."""
    with pytest.raises(DatasetError, match=r"labels of a\.png: expected a mask of 30 x 20 px .* received 9 x 8"):
        imported(source(labelled(tmp_path, "a.png", ClassMask("pit", np.ones((8, 9), np.uint8)))), tmp_path / "out")


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with anything in it and a file are refused and stay; an empty folder is filled."""
    (tmp_path / "out").mkdir()
    imported(source(labelled(tmp_path, "a.png", declared_clean=True)), tmp_path / "out")
    before = (tmp_path / "out" / "manifest.csv").read_bytes()
    with pytest.raises(StoreError, match="is not an empty folder, and nothing is overwritten"):
        imported(source(labelled(tmp_path, "b.png", declared_clean=True)), tmp_path / "out")
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == before
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(StoreError, match=r"[Nn]ame another"):
            imported(source(labelled(tmp_path, "b.png", declared_clean=True)), target)


def test_an_import_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    """An error or Ctrl-C in the middle: no dataset, and no remains beside it."""

    def interrupted(error: BaseException) -> Iterator[LabelledPicture]:
        yield labelled(tmp_path, "a.png", ClassMask("pit", MASK))
        raise error

    for error in (KeyboardInterrupt(), DatasetError("wrong")):
        with pytest.raises(type(error)):
            imported(LabelSource(2, interrupted(error)), tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_import_that_is_killed_is_not_mistaken_for_a_whole_one(tmp_path: Path) -> None:
    """Killed in the middle, there is no dataset at its place.

    The rest beside it is hidden and no dataset.
    """
    save(tmp_path / "in" / "a.png", surface(1, SIZE))
    program = f"""
import os, signal
from pathlib import Path
import numpy as np
from rich.console import Console
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource
from trainer.importing.writing import WritingSettings, write_dataset

def pictures():
    findings = (ClassMask("pit", np.ones({SIZE}, np.uint8)),)
    yield LabelledPicture("a.png", Path({str(tmp_path / "in" / "a.png")!r}), {SIZE}, findings, "a")
    os.kill(os.getpid(), signal.SIGKILL)

write_dataset(LabelSource(2, pictures()), Path({str(tmp_path / "out")!r}), WritingSettings(), Console())
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (remains,) = [path for path in tmp_path.iterdir() if path.name != "in"]
    assert remains.name.startswith(".out.importing-")
    assert (remains / "images" / "a.png").exists()
    with pytest.raises(DatasetError, match="No dataset at"):
        read_manifest(remains)
    imported(source(labelled(tmp_path, "a.png", ClassMask("pit", MASK))), tmp_path / "out")


def test_the_preview_shows_every_class_and_its_masks(tmp_path: Path) -> None:
    """Of many scratches, one stain and one clean picture, six are shown: the stain and the clean one are among them."""
    pictures = [labelled(tmp_path, f"{number}.png", ClassMask("scratch", MASK)) for number in range(9)]
    pictures += [
        labelled(tmp_path, "s.png", ClassMask("stain", MASK)),
        labelled(tmp_path, "c.png", declared_clean=True),
    ]
    for cell in pictures:
        cv2.imwrite(str(cell.path), np.full((*SIZE, 3), 100, np.uint8))
    imported(source(*pictures), tmp_path / "out", preview=6)
    sheet = cv2.imread(str(tmp_path / "out" / "preview.png"))
    # six cells of 240 px, 4 px between them, in one row with captions of 20 px
    assert sheet.shape == (4 + 240 + 20 + 4, 4 + 6 * 244, 3)
    shown = []
    for place in range(6):
        left = 4 + place * 244
        # the picture grows 8 times to 240 x 160 in the cell's middle; its mask's middle is at (8, 7) of 30 x 20
        middle = sheet[4 + 40 + 7 * 8 + 4, left + 8 * 8 + 4]
        shown.append(tuple(int(value) for value in middle))
    # 0.7 of grey 100 and 0.3 of the class's colour: red (230, 25, 75), yellow (255, 225, 25); blue, green, red
    scratch, stain, clean = (92, 78, 139), (78, 138, 146), (100, 100, 100)
    assert [min((scratch, stain, clean), key=lambda c: np.abs(np.subtract(c, s)).sum()) for s in shown] == [
        *[scratch] * 4,
        stain,
        clean,
    ]


def test_settings_have_defaults_that_lose_nothing() -> None:
    """Empty masks are kept as clean pictures unless something else is said."""
    assert WritingSettings().empty_share == 1.0
