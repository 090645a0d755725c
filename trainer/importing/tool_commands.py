"""`linewatch-train import …` for what labelling tools write, for sets that are published as folders, and for `auto`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.files import scratch_folder
from trainer.importing.options import (
    Common,
    DefectIs,
    LabelImagesOption,
    NamesOption,
    class_names,
    console,
    import_app,
    read_labels,
    with_label_options,
    with_writing_options,
    write_labels,
)

if TYPE_CHECKING:
    from trainer.importing.mask_sets import MaskChoices

ObjectsOption = Annotated[
    bool, typer.Option("--objects", help="masks number objects of one class: every level above 0 is the defect")
]
DefectIsOption = Annotated[
    DefectIs | None, typer.Option("--defect-is", help="what the defect is in black and white masks")
]


class Inner(str, Enum):
    """What a polygon within another of the same annotation is."""

    HOLE = "hole"
    FILLED = "filled"


class Crowd(str, Enum):
    """What COCO's crowds are."""

    CLASS = "class"
    IGNORE = "ignore"


InnerOption = Annotated[
    Inner | None,
    typer.Option(
        "--inner", help="a polygon within another of its annotation, where its area does not say: hole or filled"
    ),
]
CrowdOption = Annotated[
    Crowd, typer.Option("--crowd", help="annotations with iscrowd 1 are of their class, or what they cover is ignored")
]


def _masks(objects: bool, defect_is: DefectIs | None) -> MaskChoices:
    from trainer.importing.mask_sets import MaskChoices

    return MaskChoices(objects, defect_is.value if defect_is else "")


@import_app.command(
    name="coco", epilog="Example: `linewatch-train import coco annotations.json --images pictures --out parts`"
)
@with_label_options
def coco(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="JSON|FOLDER", help="a JSON file, or a folder with several")],
    images: LabelImagesOption = None,
    inner: InnerOption = None,
    crowd: CrowdOption = Crowd.CLASS,
) -> None:
    """COCO's JSON: polygons, boxes, and run-length encoded masks of both kinds.

    Pictures that it lists without annotations have empty masks; those that it does not list are left out.
    """
    from trainer.importing.coco import CocoChoices, read_coco

    how = CocoChoices(inner.value if inner else "", crowd.value)
    write_labels(read_labels(read_coco, source, images, common.choices, how), common.out, common.settings)


@import_app.command(name="yolo", epilog="Example: `linewatch-train import yolo export --out parts`")
@with_label_options
def yolo(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="the folder with data.yaml or classes.txt, images/ and labels/")],
    images: LabelImagesOption = None,
    names: NamesOption = "",
) -> None:
    """YOLO's text files, polygons or boxes, one for each picture.

    An empty text file says that a picture is clean. One without a file may have been forgotten, unless
    `--missing-is-clean` says that nothing is wrong with it.
    """
    from trainer.importing.yolo import read_yolo

    source = read_labels(read_yolo, folder, images, class_names(names), common.choices)
    write_labels(source, common.out, common.settings)


@import_app.command(name="labelme", epilog="Example: `linewatch-train import labelme drawn --out parts`")
@with_label_options
def labelme(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="JSON|FOLDER", help="a folder with a JSON file for each picture")],
    images: LabelImagesOption = None,
) -> None:
    """Labelme's JSON: polygons, rectangles, circles and masks; lines and points with `--line-width`.

    What is labelled `__ignore__` is neither learned from nor judged.
    """
    from trainer.importing.labelme import read_labelme

    with scratch_folder("linewatch-labelme-") as scratch:
        read = read_labels(read_labelme, source, images, common.choices, scratch)
        write_labels(read, common.out, common.settings)


@import_app.command(name="mvtec", epilog="Example: `linewatch-train import mvtec bottle --out bottles`")
@with_writing_options
def mvtec(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="the folder with train/good, test/ and ground_truth/")],
    objects: ObjectsOption = False,
    defect_is: DefectIsOption = None,
) -> None:
    """MVTec's folders: train/good, test/CLASS, and masks in ground_truth/CLASS/NAME_mask.png."""
    from trainer.importing.picture_folders import read_mvtec

    write_labels(
        read_labels(read_mvtec, folder, _masks(objects, defect_is), common.choices.labels_lie),
        common.out,
        common.settings,
    )


@import_app.command(
    name="side-by-side",
    epilog="Example: `linewatch-train import side-by-side tiles --rename MT_Free=ok --out magnetic-tiles`",
)
@with_writing_options
def side_by_side(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="a folder of each class; masks lie beside the pictures")],
    class_name: Annotated[str, typer.Option("--class", help="the class of all masks, where folders are none")] = "",
    objects: ObjectsOption = False,
    defect_is: DefectIsOption = None,
) -> None:
    """Pictures (JPEG) and, beside each, its mask (PNG, BMP, TIFF) of the same name; folders are classes.

    Masks whose names end otherwise than their pictures' are read by `import masks FOLDER FOLDER --suffix _label`.
    """
    from trainer.importing.picture_folders import read_side_by_side

    source = read_labels(read_side_by_side, folder, class_name, _masks(objects, defect_is), common.choices.labels_lie)
    write_labels(source, common.out, common.settings)


@import_app.command(name="auto", epilog="Example: `linewatch-train import auto whatever --out parts`")
@with_label_options
def auto(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="a folder with labels in any form that can be imported")],
) -> None:
    """Look what lies in a folder, say what it is, and import it. What could be several things is refused.

    Options of one format alone are given to its own command, which is named.
    """
    from trainer.importing.recognising import recognised

    with scratch_folder("linewatch-import-") as scratch:
        found = read_labels(recognised, folder)
        console.print(f"{folder}: {found.words}")
        for line in found.beside:
            console.print(f"  {line}")
        write_labels(read_labels(found.read, common.choices, scratch), common.out, common.settings)
