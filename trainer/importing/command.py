"""`linewatch-train import …` and `linewatch-train export …`: labels in pictures, masks and tables, in and out again.

The formats of labelling tools are in `tool_commands.py`.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.terminal import warn
from edge.wording import counted
from trainer.importing import tool_commands
from trainer.importing.options import (
    AnnotatorOption,
    Common,
    DataArgument,
    DefectIsOption,
    EmptyOption,
    GroupOption,
    GroupPathOption,
    IgnoreOption,
    ImagesArgument,
    MissingOption,
    NamesOption,
    ObjectsOption,
    OutOption,
    PreviewOption,
    SeedOption,
    SuffixOption,
    class_names,
    console,
    export_app,
    import_app,
    mask_choices,
    read_labels,
    with_options,
    write_labels,
    writing_settings,
)

__all__ = ["export_app", "import_app", "tool_commands"]  # its commands are of the same app


class Outlines(str, Enum):
    """The meaning of closed strokes."""

    FILL = "fill"
    KEEP = "keep"


class ClassFolder(str, Enum):
    """The folder of a picture that is its class."""

    FIRST = "first"
    LAST = "last"


class Form(str, Enum):
    """The columns of a CSV of runs."""

    SEPARATE = "separate"
    JOINED = "joined"


def _ignored_ids(text: str, names: str) -> tuple[int, ...]:
    """Read the class ids that --ignore gives. Raises typer.BadParameter."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if wrong := [word for word in words if not (word.isascii() and word.isdecimal()) or not 1 <= int(word[:4]) <= 255]:
        raise typer.BadParameter(f"--ignore: expected class ids from 1 to 255, such as 255, received {wrong[0]!r}")
    ids = tuple(map(int, words))
    if ids and not names:
        raise typer.BadParameter("--ignore: expected --names beside it, for it names values of masks of class ids")
    if twice := sorted(set(ids) & set(class_names(names))):
        raise typer.BadParameter(f"--ignore: {twice[0]} is a class by --names; expected one of both")
    return ids


@import_app.command(
    name="red-marker",
    epilog="Example: `linewatch-train import red-marker photos drawings --class scratch --out scratches`",
)
def red_marker(
    photos: Annotated[Path, typer.Argument(help="the folder with the photos as they were taken")],
    drawings: Annotated[Path, typer.Argument(help="the folder with the same photos, defects painted red")],
    class_name: Annotated[str, typer.Option("--class", help="what is painted: the class of all drawings")],
    out: OutOption,
    suffix: Annotated[
        str, typer.Option("--suffix", help="what a drawing's name has behind its photo's, such as _red")
    ] = "",
    hue: Annotated[
        float, typer.Option("--hue", min=0, max=360, help="the paint's hue in degrees: 0 red, 120 green, 240 blue")
    ] = 0.0,
    hue_tolerance: Annotated[
        float, typer.Option("--hue-tolerance", min=1, max=60, help="degrees to either side that are the same paint")
    ] = 20.0,
    min_saturation: Annotated[
        float, typer.Option("--min-saturation", min=0.1, max=1, help="how pure paint is at least; 0 grey, 1 pure")
    ] = 0.5,
    outlines: Annotated[
        Outlines, typer.Option("--outlines", help="fill what a closed stroke goes round, or keep strokes as drawn")
    ] = Outlines.FILL,
    gap_px: Annotated[
        int, typer.Option("--gap", min=0, max=50, help="an outline whose ends are so many px apart is closed")
    ] = 4,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="what did not fit, as .csv or .json; default: report.csv in the dataset"),
    ] = None,
    missing_is_clean: MissingOption = False,
    empty: EmptyOption = "drop",
    group_from: GroupOption = None,
    group_from_path: GroupPathOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Photos, and the same photos with defects painted red in any drawing program.

    A drawing that is not of its photo (another size, shifted, another photo) is left out and told of. So is a photo on
    which nothing is drawn, since it may have been forgotten. `--empty keep` says that it is clean.
    """
    from edge.errors import DatasetError
    from trainer.importing.red_marker import Mismatch, RedMarkerSettings, mismatch_table, read_red_marker, write_report
    from trainer.importing.red_paint import Paint
    from trainer.importing.writing import REPORT

    paint = Paint(hue, hue_tolerance, min_saturation, outlines.value, gap_px)
    mismatches: list[Mismatch] = []
    settings = writing_settings(
        out,
        empty,
        (group_from, group_from_path),
        [f"{class_name}={class_name}"] if class_name.isidentifier() else None,
        preview,
        seed,
        annotator,
    )
    source = read_labels(
        read_red_marker, photos, drawings, RedMarkerSettings(class_name, paint, suffix, missing_is_clean), mismatches
    )
    try:
        write_labels(source, out, settings)
    except DatasetError:
        if mismatches:  # they are most likely why
            console.print(mismatch_table(mismatches))
        if report is not None:
            write_report(report, mismatches)
        raise
    write_report(report or out / REPORT, mismatches)
    if mismatches:
        console.print(mismatch_table(mismatches))
        warn(
            console,
            f"{counted(len(mismatches), 'photo')} or drawings do not fit or are to be looked at; see "
            f"{report or out / REPORT}",
        )


@import_app.command(
    name="rle", epilog="Example: `linewatch-train import rle train.csv --images train_images --out steel`"
)
@with_options("empty", "labels_lie")
def rle(
    common: Common,
    table: Annotated[Path, typer.Argument(metavar="CSV", help="columns ImageId, ClassId, EncodedPixels")],
    images: Annotated[Path, typer.Option("--images", help="the folder with the pictures, subfolders included")],
    names: NamesOption = "",
) -> None:
    """Run-length encoded masks in a CSV, as the Severstal steel competition has them.

    The older form with the columns ImageId_ClassId, EncodedPixels is read too. Pictures without runs have empty masks.
    Classes without `--names` are called class-1 and so on.
    """
    from trainer.importing.rle_csv import read_rle

    source = read_labels(read_rle, table, images, class_names(names), common.choices.labels_lie)
    write_labels(source, common.out, common.settings)


@import_app.command(
    name="masks", epilog="Example: `linewatch-train import masks pictures masks --names 1=scratch,2=stain --out parts`"
)
@with_options("empty", "missing_is_clean", "labels_lie")
def masks(
    common: Common,
    images: ImagesArgument,
    masks_folder: Annotated[Path, typer.Argument(metavar="MASKS", help="the folder with the masks")],
    class_name: Annotated[
        str, typer.Option("--class", help="one black and white mask per picture, all of this class")
    ] = "",
    names: Annotated[
        str,
        typer.Option(
            "--names", metavar="1=NAME,2=NAME", help="one mask per picture whose values are class ids; 0 is clean"
        ),
    ] = "",
    colours: Annotated[
        str,
        typer.Option("--colours", metavar="RRGGBB=NAME,…", help="one mask per picture whose colours are classes"),
    ] = "",
    ignore: IgnoreOption = "",
    objects: ObjectsOption = False,
    defect_is: DefectIsOption = None,
    suffix: SuffixOption = "",
) -> None:
    """Masks of the same names as the pictures: a folder for each class, or one mask per picture.

    Without `--class`, `--names` and `--colours`, MASKS has a folder of black and white masks for each class.
    """
    from trainer.datasets.class_naming import colours_by_name
    from trainer.importing.mask_folders import read_masks, read_masks_by_class

    flags = {"--class": class_name, "--names": names, "--colours": colours}
    given = [flag for flag, value in flags.items() if value]
    if len(given) > 1:
        raise typer.BadParameter(f"expected one of --class, --names and --colours, received {' and '.join(given)}")
    try:
        named_colours = colours_by_name(colours)
    except ValueError as error:
        raise typer.BadParameter(f"--colours: {error}") from error
    choices = mask_choices(objects, defect_is)
    lie = common.choices.labels_lie
    if not given:
        source = read_labels(read_masks_by_class, images, masks_folder, suffix, choices=choices, labels_lie=lie)
    else:
        source = read_labels(
            read_masks,
            images,
            masks_folder,
            suffix,
            class_name=class_name,
            ids=class_names(names),
            ignored_ids=_ignored_ids(ignore, names),
            colours=named_colours,
            choices=choices,
            labels_lie=lie,
            missing_is_clean=common.choices.missing_is_clean,
        )
    write_labels(source, common.out, common.settings)


@import_app.command(name="voc", epilog="Example: `linewatch-train import voc JPEGImages Annotations --out boxes`")
@with_options("empty", "missing_is_clean", "labels_lie")
def voc(
    common: Common,
    images: ImagesArgument,
    annotations: Annotated[Path, typer.Argument(help="the folder with an XML file per picture")],
    first_pixel: Annotated[
        int, typer.Option("--first-pixel", min=0, max=1, help="what the first column and row are called; VOC says 1")
    ] = 1,
) -> None:
    """Boxes in Pascal VOC's XML. Their masks are filled rectangles; a picture without objects has an empty mask."""
    from trainer.importing.voc_boxes import read_voc

    source = read_labels(
        read_voc,
        images,
        annotations,
        first_pixel=first_pixel,
        missing_is_clean=common.choices.missing_is_clean,
        labels_lie=common.choices.labels_lie,
    )
    write_labels(source, common.out, common.settings)


@import_app.command(
    name="class-folders",
    epilog="Example: `linewatch-train import class-folders steel --at-most 300 --out steel-classes`",
)
@with_options()
def class_folders(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="a folder with a folder of pictures for each class")],
    at_most: Annotated[
        int | None, typer.Option("--at-most", min=1, help="of each class at most so many pictures, chosen by --seed")
    ] = None,
    class_folder: Annotated[
        ClassFolder, typer.Option("--class-folder", help="which of a picture's folders is its class, as in day1/good")
    ] = ClassFolder.FIRST,
) -> None:
    """One folder of pictures per class, without masks, for classification. Free, ok and good are clean."""
    from trainer.importing.class_folders import read_class_folders

    source = read_labels(
        read_class_folders, folder, at_most=at_most, seed=common.settings.seed, level=class_folder.value
    )
    write_labels(source, common.out, common.settings)


@import_app.command(name="manifest", epilog="Example: `linewatch-train import manifest scratches stains --out both`")
@with_options("empty")
def manifest(
    common: Common,
    folders: Annotated[list[Path], typer.Argument(help="dataset folders with manifest.csv")],
) -> None:
    """Dataset folders that have a manifest.csv: checked, made uniform, and joined if there are several.

    Folders may label the same pictures with different classes. Groups stay unless --group-from is given.
    """
    from trainer.importing.manifest_csv import read_manifests

    write_labels(read_labels(read_manifests, folders), common.out, common.settings)


@import_app.command(name="evidence", epilog="Example: `linewatch-train import evidence evidence.zip --out looked-at`")
@with_options("empty")
def evidence(
    common: Common,
    source: Annotated[
        Path, typer.Argument(metavar="ZIP|FOLDER", help="what `linewatch evidence export` wrote, or a station's folder")
    ],
) -> None:
    """Pictures that a station kept, with what people said of them.

    A reject that was right has the masks that the model drew, in the class that was named. A false reject is clean. A
    missed defect is a label of its class without a mask. Unsure judgements, and results that nobody judged, are left
    out and told of.
    """
    from edge.files import scratch_folder
    from trainer.importing.evidence import read_evidence

    with scratch_folder("linewatch-evidence-") as scratch:
        write_labels(read_labels(read_evidence, source, scratch, zips=True), common.out, common.settings)


@export_app.command(name="rle", epilog="Example: `linewatch-train export rle steel steel.csv`")
def export_rle(
    data: DataArgument,
    table: Annotated[Path, typer.Argument(metavar="CSV", help="the file to write; it must not exist")],
    names: NamesOption = "",
    form: Annotated[
        Form, typer.Option("--form", help="ImageId and ClassId in columns of their own, or joined as they once were")
    ] = Form.SEPARATE,
) -> None:
    """Write a CSV of run-length encoded masks, as the Severstal steel competition has them."""
    from trainer.importing.rle_csv import write_rle

    exported = write_rle(data, table, class_names(names), form.value, console)
    numbers = ",".join(f"{number}={name}" for number, name in exported.ids.items())
    console.print(
        f"{table}: {counted(exported.rows, 'row')} for {counted(exported.pictures, 'picture')}; --names {numbers}"
    )
