"""`linewatch-train import …` for what labelling tools write, for sets that are published as folders, and for `auto`."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.errors import DatasetError
from edge.files import scratch_folder
from edge.wording import command, counted
from trainer.importing.options import (
    Common,
    DataArgument,
    DefectIsOption,
    LabelImagesOption,
    NamesOption,
    ObjectsOption,
    class_names,
    console,
    export_app,
    import_app,
    mask_choices,
    read_labels,
    with_label_options,
    with_options,
    write_labels,
)

if TYPE_CHECKING:
    from trainer.importing.exporting import Exported

# Options that errors name; those of `auto` are the ones that all imports of labels share.
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_OPTIONS_OF_AUTO = frozenset({
    *("--missing-is-clean", "--labels-lie", "--line-width", "--rename", "--empty", "--annotator"),
    *("--group-from", "--group-from-path"),
})  # fmt: skip


class Inner(str, Enum):
    """The meaning of a polygon within another of the same annotation."""

    HOLE = "hole"
    FILLED = "filled"


class Crowd(str, Enum):
    """The meaning of COCO's crowds."""

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

    A region labelled `__ignore__` is neither learned from nor judged.
    """
    from trainer.importing.labelme import read_labelme

    with scratch_folder("linewatch-labelme-") as scratch:
        read = read_labels(read_labelme, source, images, common.choices, scratch)
        write_labels(read, common.out, common.settings)


class WhichAnnotation(str, Enum):
    """The annotation that is taken where one picture has several."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"


@import_app.command(name="cvat", epilog="Example: `linewatch-train import cvat annotations.xml --out parts`")
@with_label_options
def cvat(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="XML|FOLDER", help="annotations.xml, or an unpacked export")],
    images: LabelImagesOption = None,
) -> None:
    """CVAT's exports "CVAT for images 1.1" (XML) and "Segmentation mask 1.1" (labelmap.txt and masks)."""
    from trainer.importing.cvat import read_cvat

    write_labels(read_labels(read_cvat, source, images, common.choices), common.out, common.settings)


@import_app.command(
    name="label-studio",
    epilog="Example: `linewatch-train import label-studio export.json --out parts`",
)
@with_label_options
def label_studio(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="JSON|FOLDER", help="what Label Studio exports as JSON")],
    images: LabelImagesOption = None,
    annotation: Annotated[
        WhichAnnotation | None,
        typer.Option("--annotation", help="of pictures that several people annotated: first, last or all annotations"),
    ] = None,
) -> None:
    """Label Studio's JSON: brushes, polygons, rectangles, ellipses, key points, choices."""
    from trainer.importing.label_studio import read_label_studio

    which = annotation.value if annotation else ""
    write_labels(read_labels(read_label_studio, source, images, common.choices, which), common.out, common.settings)


@import_app.command(name="datumaro", epilog="Example: `linewatch-train import datumaro exported --out parts`")
@with_label_options
def datumaro(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="JSON|FOLDER", help="the folder with annotations/ and images/")],
    images: LabelImagesOption = None,
) -> None:
    """Datumaro's JSON, as CVAT and Geti write it too: masks, polygons, boxes, ellipses, labels."""
    from trainer.importing.datumaro import read_datumaro

    write_labels(read_labels(read_datumaro, source, images, common.choices), common.out, common.settings)


@import_app.command(name="lookout", epilog="Example: `linewatch-train import lookout train.manifest --out parts`")
@with_label_options
def lookout(
    common: Common,
    manifest: Annotated[Path, typer.Argument(help="the manifest: a line of JSON for each picture")],
    images: LabelImagesOption = None,
) -> None:
    """Amazon Lookout for Vision's manifest: normal or anomaly, and coloured masks whose colours it names."""
    from trainer.importing.lookout import read_lookout

    write_labels(read_labels(read_lookout, manifest, images, common.choices), common.out, common.settings)


@import_app.command(name="mvtec", epilog="Example: `linewatch-train import mvtec bottle --out bottles`")
@with_options("empty", "labels_lie")
def mvtec(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="the folder with train/good, test/ and ground_truth/")],
    objects: ObjectsOption = False,
    defect_is: DefectIsOption = None,
) -> None:
    """MVTec's folders: train/good, test/CLASS, and masks in ground_truth/CLASS/NAME_mask.png."""
    from trainer.importing.picture_folders import read_mvtec

    write_labels(
        read_labels(read_mvtec, folder, mask_choices(objects, defect_is), common.choices.labels_lie),
        common.out,
        common.settings,
    )


@import_app.command(
    name="side-by-side",
    epilog="Example: `linewatch-train import side-by-side tiles --rename MT_Free=ok --out magnetic-tiles`",
)
@with_options("empty", "labels_lie")
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

    source = read_labels(
        read_side_by_side, folder, class_name, mask_choices(objects, defect_is), common.choices.labels_lie
    )
    write_labels(source, common.out, common.settings)


@import_app.command(name="auto", epilog="Example: `linewatch-train import auto whatever --out parts`")
@with_label_options
def auto(
    common: Common,
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER|ZIP", help="a folder, or a zip, with labels in any form that can be imported"),
    ],
) -> None:
    """Look what lies in a folder or a zip, say what it is, and import it. An ambiguous one is refused.

    Options of one format alone are given to its own command, which is named.
    """
    from trainer.importing.unpacking import is_zip, unpack

    with scratch_folder("linewatch-import-") as scratch:
        if not is_zip(folder):
            _auto(common, folder, scratch)
            return
        unpacked, rest = scratch / folder.stem, scratch / "rest"
        for each in (unpacked, rest):
            each.mkdir()
        read_labels(unpack, folder, unpacked, zips=True)
        try:
            _auto(common, unpacked, rest, shown=(str(unpacked), str(folder)))
        except DatasetError as error:
            lines = str(error).replace(str(unpacked), str(folder)).split("\n")
            raise DatasetError(*lines, *(["Unpack it for this"] if "linewatch-train" in str(error) else [])) from error


def _auto(common: Common, folder: Path, scratch: Path, shown: tuple[str, str] = ("", "")) -> None:
    """Import a folder. `shown`: of what is said, a text that is replaced by another."""
    from trainer.importing.recognising import recognised

    found = read_labels(recognised, folder)
    for line in (f"{found.folder}: {found.words}", *(f"  {each}" for each in found.beside)):
        console.print(line.replace(*shown))
    try:
        source = read_labels(found.read, common.choices, scratch)
        write_labels(source, common.out, common.settings, shown)
    except DatasetError as error:
        asked = set(_OPTION.findall(str(error))) - _OPTIONS_OF_AUTO
        if not asked:
            raise
        by_itself = command("linewatch-train", "import", found.verb)
        told = f"{', '.join(sorted(asked))}: an option of {by_itself}, not of auto. Type {found.typed()} with it"
        raise DatasetError(*str(error).split("\n"), told) from error


def _tell(exported: Exported, target: Path, *, ignored: str) -> None:
    numbers = ",".join(f"{number}={name}" for number, name in exported.ids.items())
    defects, pictures = counted(exported.defects, "defect"), counted(exported.pictures, "picture")
    console.print(f"{target}: {defects} on {pictures}; --names {numbers}")
    if exported.ignored:
        console.print(f"  on {counted(exported.ignored, 'picture')} pixels are ignored: {ignored}")


@export_app.command(name="coco", epilog="Example: `linewatch-train export coco parts parts.json`")
def export_coco(
    data: DataArgument,
    target: Annotated[Path, typer.Argument(metavar="JSON", help="the file to write; it must not exist")],
    polygons: Annotated[
        bool, typer.Option("--polygons", help="outlines in place of run-length encoded masks, for tools without them")
    ] = False,
) -> None:
    """Write COCO's JSON, whose pictures are named by their paths below the dataset."""
    from trainer.importing.exporting import write_coco

    exported = write_coco(data, target, polygons=polygons, console=console)
    _tell(exported, target, ignored="annotations with ignore and iscrowd 1")


@export_app.command(name="yolo", epilog="Example: `linewatch-train export yolo parts parts-yolo`")
def export_yolo(
    data: DataArgument,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="the folder to write: empty or absent")],
) -> None:
    """Write YOLO's folders: images/, labels/ with an outline of each defect, data.yaml (val is train: split it)."""
    from trainer.importing.exporting import write_yolo

    _tell(write_yolo(data, out, console), out, ignored="YOLO has no word for it, so they are left out")


@export_app.command(name="masks", epilog="Example: `linewatch-train export masks parts parts-masks`")
def export_masks(
    data: DataArgument,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="the folder to write: empty or absent")],
) -> None:
    """Write one mask per picture whose values are class ids; 255 is what is ignored."""
    from trainer.importing.exporting import write_id_masks

    _tell(write_id_masks(data, out, console), out, ignored="the value 255 (--ignore 255)")
