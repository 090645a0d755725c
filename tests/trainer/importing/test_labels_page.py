"""Every command of docs/labels.md is run here, in its order, in a folder that has what the page speaks of."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.opencv import cv2
from edge.pictures import SUFFIXES
from edge.pictures.decoding import pixels_at_most
from tests.conftest import ROOT
from tests.trainer.importing.exports_of_tools import WRITERS, write_kolektor, write_labelme, write_side_by_side
from tests.trainer.importing.pictures import rectangle, save, surface, truths
from tests.trainer.importing.test_evidence import keep_and_export
from tests.trainer.importing.test_voc_boxes import annotation, box
from tests.trainer.pages import page_commands
from tests.trainer.painted import write_painted
from trainer.__main__ import app
from trainer.importing.command import export_app, import_app
from trainer.importing.drawn_shapes import ARC, ARROW
from trainer.importing.red_marker import (
    ANOTHER_PHOTO,
    NEARLY,
    NO_DRAWING,
    NO_PHOTO,
    NOTHING_DRAWN,
    OPEN,
    OTHER_COLOUR,
    OTHER_SIZE,
    SECOND,
    SHIFTED,
)

SIZE = (60, 80)
PICTURES = ("1_front.png", "1_back.png", "2_front.png")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the folders that the page's commands read."""
    folder = tmp_path_factory.mktemp("labels")
    keep_and_export(folder, "evidence.zip")
    for seed, name in enumerate(PICTURES):
        photo = surface(seed, SIZE)
        stem = name.removesuffix(".png")
        mask = rectangle(SIZE, 10 + 10 * seed, 20, 8, 30)
        stain = rectangle(SIZE, 45, 5, 9, 9)
        for where in ("photos", "pictures", "shots"):
            save(folder / where / name, photo)
        drawn, stained = photo.copy(), photo.copy()
        cv2.line(drawn, (10, 10), (60, 40), (0, 0, 255), 5, cv2.LINE_AA)
        cv2.circle(stained, (40, 30), 12, (0, 0, 255), 3, cv2.LINE_AA)
        if seed < 2:
            save(folder / "drawings" / f"{stem}.jpg", photo if seed == 1 else drawn)
            save(folder / "masks" / f"{stem}_mask.png", mask)
        save(folder / "shots" / f"{stem}_red.jpg", drawn)
        save(folder / "stain-drawings" / f"{stem}.png", stained)
        save(folder / "masks-by-class" / "scratch" / f"{stem}.png", mask)
        save(folder / "masks-by-class" / "stain" / f"{stem}.png", stain)
        save(folder / "masks-of-ids" / f"{stem}.png", mask // 255 + stain // 255 * 2)
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{stem}.xml").write_text(annotation(box("Deep Scratch", 3, 4, 9, 9), size=SIZE))
        for kind in ("crazing", "ok"):
            save(folder / "sorted" / kind / name, surface(10 * seed + len(kind), SIZE))
    (folder / "train.csv").write_text("ImageId,ClassId,EncodedPixels\n1_front.png,1,1 60 121 60\n1_front.png,2,70 9\n")
    write_painted(folder / "glass", pictures=9)
    for verb, write in WRITERS.items():
        write(folder / ("bottle" if verb == "mvtec" else verb))
    write_labelme(folder / "exported")
    shutil.make_archive(str(folder / "exported"), "zip", folder / "exported")
    write_side_by_side(folder / "tiles")
    write_kolektor(folder / "pieces")
    for seed, day in enumerate(("day1", "day2")):
        for kind in ("good", "scratch"):
            save(folder / "days" / day / kind / "001.png", surface(100 + 10 * seed + len(kind), SIZE))
    return folder


@pytest.mark.parametrize("command", page_commands("labels.md"))
def test_every_command_of_the_page_works(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the page's order each command ends with 0 and writes a whole dataset, or the table that it names."""
    monkeypatch.chdir(workplace)
    program, *arguments = shlex.split(command)
    assert program == "linewatch-train"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    if arguments[0] == "export":
        target = workplace / arguments[3]
        starts = {"rle": "ImageId", "coco": '{"images"'}
        assert target.is_dir() or target.read_text().startswith(starts[arguments[1]])
        return
    out = workplace / arguments[arguments.index("--out") + 1]
    assert np.asarray(cv2.imread(str(out / "preview.png"))).size
    assert truths(out)


def test_the_page_s_datasets_are_what_it_says(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands above made the page's datasets: drawings left out or clean, classes joined, renamed, grouped."""
    monkeypatch.chdir(workplace)
    for command in page_commands("labels.md"):  # all of it is there where the test above has run
        arguments = shlex.split(command)[1:]
        if arguments[0] == "import" and not Path(arguments[arguments.index("--out") + 1]).exists():
            assert CliRunner().invoke(app, arguments).exit_code == 0, command
    assert list(truths(workplace / "scratches")) == ["1_front.png"]
    report = (workplace / "scratches" / "report.csv").read_text()
    assert "1_back.png,1_back.jpg,nothing drawn" in report
    assert "2_front.png,,no drawing" in report
    assert {name: kinds for name, (kinds, _) in truths(workplace / "scratches-and-clean").items()} == {
        "1_front.png": ("scratch",),
        "1_back.png": (),
        "2_front.png": (),
    }
    assert truths(workplace / "both")["1_front.png"][0] == ("scratch", "stain")
    assert (workplace / "by-both" / "manifest.csv").read_text().splitlines()[:3] == [
        "image,mask,class,group,annotator",
        "images/1_front.png,masks/scratch/1_front.png,scratch,1_front,ann",
        "images/1_front.png,masks/stain/1_front.png,stain,1_front,bob",
    ]
    assert truths(workplace / "boxes")["1_front.png"][0] == ("scratch",)
    assert {kind for kinds, _ in truths(workplace / "glass-checked").values() for kind in kinds} == {"scratch", "smear"}
    assert len(truths(workplace / "steel")) == 2  # of two pictures without runs one was kept
    rows = (workplace / "classes-by-piece" / "manifest.csv").read_text().splitlines()[1:]
    assert {row.rpartition(",")[2] for row in rows} == {"1", "2"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("import masks pictures masks --class a --names 1=a --out x", 2, "received --class and --names"),
        ("import masks pictures masks --names 1:a --out x", 2, "expected NUMBER=NAME"),
        ("import masks pictures masks --names 1=a,1=b --out x", 2, "named twice"),
        ("import rle train.csv --images pictures --empty 1.5 --out x", 2, "expected keep, drop or a share"),
        ("import rle train.csv --images pictures --empty some --out x", 2, "expected keep, drop or a share"),
        ("import class-folders sorted --group-from '(' --out x", 2, "is no regular expression"),
        ("import class-folders sorted --rename a --out x", 2, "expected OLD=NEW"),
        ("import voc pictures annotations --out x --first-pixel 2", 2, "first-pixel"),
        ("import voc pictures annotations --out x", 10, "--rename 'Deep Scratch=Deep-Scratch'"),
        ("import class-folders sorted --out glass", 8, "nothing is overwritten"),
        ("import class-folders nowhere --out glass", 8, "nothing is overwritten"),
        ("import red-marker photos drawings --class 'a b' --out x", 10, "expected a class of letters"),
        (
            "import red-marker photos drawings --class Clean --out x",
            10,
            "--rename Clean=ok where",
        ),
        ("import manifest nowhere --out x", 10, "No dataset at nowhere"),
    ],
)
def test_a_wrong_command_says_what_was_expected(
    arguments: str, code: int, says: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code and message, never a traceback; and nothing is written."""
    from edge.errors import LinewatchError

    monkeypatch.chdir(workplace)
    result = CliRunner().invoke(app, shlex.split(arguments))
    found = result.exception.exit_code if isinstance(result.exception, LinewatchError) else result.exit_code
    told = str(result.exception) if isinstance(result.exception, LinewatchError) else result.output
    assert found == code
    assert says in re.sub(r"[\s│]+", " ", told)
    assert not (workplace / "x").exists()


def test_drawings_none_of_which_fit_are_shown_before_the_error(workplace: Path, tmp_path: Path) -> None:
    """The table of reasons comes first, the report is written where it was asked for, and there is no dataset."""
    drawings = tmp_path / "drawings"
    save(drawings / "1_front.png", surface(99, SIZE))
    report = tmp_path / "report.json"
    arguments = ["import", "red-marker", str(workplace / "photos"), str(drawings), "--class", "scratch"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--report", str(report)])
    assert "another photo" in result.output
    assert "another photo" in report.read_text()
    assert "No picture is left to import" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_every_import_is_on_the_page_and_has_an_example() -> None:
    """No command is hidden from those who read the page or --help."""
    commands = page_commands("labels.md")
    for group, typer_app in (("import", import_app), ("export", export_app)):
        for registered in typer_app.registered_commands:
            assert any(command.startswith(f"linewatch-train {group} {registered.name} ") for command in commands)
            assert str(registered.epilog).startswith(f"Example: `linewatch-train {group} {registered.name} ")


def test_the_page_has_a_table_of_the_eleven_kinds() -> None:
    """The table has all that is read, its meaning, and all refusals, with the code's suffixes, sizes and reasons."""
    text = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    table = text.partition("## How files are understood")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == [
        *("kind", "Depth", "Masks", "Pairing", "Orientation", "Damage", "Folders"),
        *("Black, white, flat", "Names, sizes", "Classes, tables", "Memory", "Drawings"),
    ]
    assert {len(row) for row in rows} == {4}
    assert " ".join(SUFFIXES) in table
    assert f"{pixels_at_most():,} px" in table
    for reason in (NO_PHOTO, NO_DRAWING, OTHER_SIZE, SHIFTED, ANOTHER_PHOTO, OTHER_COLOUR, NOTHING_DRAWN, SECOND):
        assert f"`{reason}`" in text
    for reason in (NEARLY, OPEN, ARC, ARROW):
        assert f"`{reason}`" in text
