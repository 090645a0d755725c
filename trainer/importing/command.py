"""`linewatch-train import …` and `linewatch-train export …`: labels of other programs in, and out again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.terminal import Terminal, warn
from edge.wording import counted

if TYPE_CHECKING:
    from trainer.importing.labelled import LabelsLie, LabelSource
    from trainer.importing.writing import WritingSettings

import_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make a dataset folder of labels in another form: images/, masks/, manifest.csv, and preview.png to look at.",
)
export_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Write a dataset folder's labels in another form."
)
console = Terminal()


class Outlines(str, Enum):
    """What closed strokes mean."""

    FILL = "fill"
    KEEP = "keep"


class DefectIs(str, Enum):
    """Which of black and white is the defect."""

    WHITE = "white"
    BLACK = "black"


class LabelsLieOn(str, Enum):
    """How labels lie on pictures that are turned by their orientation."""

    SHOWN = "shown"
    STORED = "stored"


class Form(str, Enum):
    """Which columns a CSV of runs has."""

    SEPARATE = "separate"
    JOINED = "joined"


def _share(text: str) -> float:
    words = {"keep": 1.0, "drop": 0.0}
    try:
        share = words[text] if text in words else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"expected keep, drop or a share from 0 to 1, received {text!r}")
    return share


OutOption = Annotated[Path, typer.Option("--out", help="the dataset to write: a folder that is empty or absent")]
EmptyOption = Annotated[
    str,
    typer.Option(
        "--empty",
        metavar="keep|drop|SHARE",
        help="pictures whose masks have no pixel: keep them as clean ones, drop them, or keep a share of them",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group-from",
        metavar="REGEX",
        help="finds in a file's name which physical piece it shows, by its first (...); default: each its own",
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="OLD=NEW", help="call a class otherwise; may be repeated; NEW ok = clean"),
]
PreviewOption = Annotated[int, typer.Option("--preview", min=0, max=600, help="how many pictures preview.png shows")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="another seed, another choice")]
AnnotatorOption = Annotated[
    str, typer.Option("--annotator", help="who drew the masks; `linewatch-train audit` compares annotators")
]
SuffixOption = Annotated[
    str, typer.Option("--suffix", help="what a mask's name has behind its picture's, such as _mask")
]
NamesOption = Annotated[
    str, typer.Option("--names", metavar="1=NAME,2=NAME", help="the classes' names by their numbers")
]
MissingOption = Annotated[
    bool, typer.Option("--missing-is-clean", help="nothing is wrong with pictures that have no labels")
]
LabelsLieOption = Annotated[
    LabelsLieOn | None,
    typer.Option(
        "--labels-lie",
        help="pictures that are turned by their orientation (Exif): were labels drawn on them as shown, or as stored",
    ),
]
ImagesArgument = Annotated[Path, typer.Argument(help="the folder with the pictures, subfolders included")]


def _settings(
    out: Path,
    empty: str,
    group_from: str | None,
    rename: Sequence[str] | None,
    preview: int,
    seed: int,
    annotator: str,
) -> WritingSettings:
    from trainer.datasets.class_naming import renaming
    from trainer.datasets.whole_folders import check_target
    from trainer.importing.writing import WritingSettings

    try:
        expression = re.compile(group_from) if group_from else None
    except re.error as error:
        raise typer.BadParameter(f"--group-from: {group_from!r} is no regular expression: {error}") from error
    try:
        names = renaming(rename or ())
    except ValueError as error:
        raise typer.BadParameter(f"--rename: {error}") from error
    share = _share(empty)
    check_target(out)
    return WritingSettings(
        empty_share=share, group_from=expression, rename=names, preview=preview, seed=seed, annotator=annotator
    )


def _names(text: str) -> Mapping[int, str]:
    from trainer.datasets.class_naming import names_by_number

    try:
        return names_by_number(text)
    except ValueError as error:
        raise typer.BadParameter(f"--names: {error}") from error


def _read(reader: Callable[..., LabelSource], *labels: Any, **how: Any) -> LabelSource:
    """Call a reader of labels, and show meanwhile that it works."""
    with console.status("reading the labels") if console.is_terminal else nullcontext():
        return reader(*labels, **how)


def _write(source: LabelSource, out: Path, settings: WritingSettings) -> None:
    from trainer.importing.writing import summary_lines, write_dataset

    for line in summary_lines(write_dataset(source, out, settings, console), out):
        console.print(line)


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
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Photos, and the same photos with defects painted red in any drawing program.

    A drawing that is not of its photo (another size, shifted, another photo) is left out and told of. So is a photo
    on which nothing is drawn, since it may have been forgotten, unless `--empty keep` says that it is clean.
    """
    from edge.errors import DatasetError
    from trainer.importing.red_marker import Mismatch, RedMarkerSettings, mismatch_table, read_red_marker, write_report
    from trainer.importing.red_paint import Paint
    from trainer.importing.writing import REPORT

    paint = Paint(hue, hue_tolerance, min_saturation, outlines.value, gap_px)
    mismatches: list[Mismatch] = []
    settings = _settings(
        out,
        empty,
        group_from,
        [f"{class_name}={class_name}"] if class_name.isidentifier() else None,
        preview,
        seed,
        annotator,
    )
    source = _read(
        read_red_marker, photos, drawings, RedMarkerSettings(class_name, paint, suffix, missing_is_clean), mismatches
    )
    try:
        _write(source, out, settings)
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
def rle(
    table: Annotated[Path, typer.Argument(metavar="CSV", help="columns ImageId, ClassId, EncodedPixels")],
    images: Annotated[Path, typer.Option("--images", help="the folder with the pictures, subfolders included")],
    out: OutOption,
    names: NamesOption = "",
    labels_lie: LabelsLieOption = None,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Run-length encoded masks in a CSV, as the Severstal steel competition has them.

    The older form with the columns ImageId_ClassId, EncodedPixels is read too. Pictures without runs have empty masks.
    Classes without `--names` are called class-1 and so on.
    """
    from trainer.importing.rle_csv import read_rle

    settings = _settings(out, empty, group_from, rename, preview, seed, annotator)
    _write(_read(read_rle, table, images, _names(names), labels_lie.value if labels_lie else ""), out, settings)


@import_app.command(
    name="masks", epilog="Example: `linewatch-train import masks pictures masks --names 1=scratch,2=stain --out parts`"
)
def masks(
    images: ImagesArgument,
    masks_folder: Annotated[Path, typer.Argument(metavar="MASKS", help="the folder with the masks")],
    out: OutOption,
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
    objects: Annotated[
        bool, typer.Option("--objects", help="masks number objects of one class: every level above 0 is the defect")
    ] = False,
    defect_is: Annotated[
        DefectIs | None, typer.Option("--defect-is", help="what the defect is in black and white masks")
    ] = None,
    labels_lie: LabelsLieOption = None,
    suffix: SuffixOption = "",
    missing_is_clean: MissingOption = False,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Masks of the same names as the pictures: a folder for each class, or one mask per picture.

    Without `--class`, `--names` and `--colours`, MASKS has a folder of black and white masks for each class.
    """
    from trainer.datasets.class_naming import colours_by_name
    from trainer.importing.mask_folders import read_masks, read_masks_by_class
    from trainer.importing.mask_sets import MaskChoices

    if (
        len(
            given := [
                flag for flag, value in (("--class", class_name), ("--names", names), ("--colours", colours)) if value
            ]
        )
        > 1
    ):
        raise typer.BadParameter(f"expected one of --class, --names and --colours, received {' and '.join(given)}")
    try:
        named_colours = colours_by_name(colours)
    except ValueError as error:
        raise typer.BadParameter(f"--colours: {error}") from error
    choices = MaskChoices(objects, defect_is.value if defect_is else "")
    lie: LabelsLie = labels_lie.value if labels_lie else ""
    settings = _settings(out, empty, group_from, rename, preview, seed, annotator)
    if not given:
        source = _read(read_masks_by_class, images, masks_folder, suffix, choices=choices, labels_lie=lie)
    else:
        source = _read(
            read_masks,
            images,
            masks_folder,
            suffix,
            class_name=class_name,
            ids=_names(names),
            colours=named_colours,
            choices=choices,
            labels_lie=lie,
            missing_is_clean=missing_is_clean,
        )
    _write(source, out, settings)


@import_app.command(name="voc", epilog="Example: `linewatch-train import voc JPEGImages Annotations --out boxes`")
def voc(
    images: ImagesArgument,
    annotations: Annotated[Path, typer.Argument(help="the folder with an XML file per picture")],
    out: OutOption,
    first_pixel: Annotated[
        int, typer.Option("--first-pixel", min=0, max=1, help="what the first column and row are called; VOC says 1")
    ] = 1,
    labels_lie: LabelsLieOption = None,
    missing_is_clean: MissingOption = False,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Boxes in Pascal VOC's XML. Their masks are filled rectangles; a picture without objects has an empty mask."""
    from trainer.importing.voc_boxes import read_voc

    settings = _settings(out, empty, group_from, rename, preview, seed, annotator)
    source = _read(
        read_voc,
        images,
        annotations,
        first_pixel=first_pixel,
        missing_is_clean=missing_is_clean,
        labels_lie=labels_lie.value if labels_lie else "",
    )
    _write(source, out, settings)


@import_app.command(
    name="class-folders",
    epilog="Example: `linewatch-train import class-folders steel --at-most 300 --out steel-classes`",
)
def class_folders(
    folder: Annotated[Path, typer.Argument(help="a folder with a folder of pictures for each class")],
    out: OutOption,
    at_most: Annotated[
        int | None, typer.Option("--at-most", min=1, help="of each class at most so many pictures, chosen by --seed")
    ] = None,
    rename: RenameOption = None,
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """One folder of pictures per class, without masks, for classification. Free, ok and good are clean."""
    from trainer.importing.class_folders import read_class_folders

    settings = _settings(out, "keep", group_from, rename, preview, seed, annotator)
    _write(_read(read_class_folders, folder, at_most=at_most, seed=seed), out, settings)


@import_app.command(name="manifest", epilog="Example: `linewatch-train import manifest scratches stains --out both`")
def manifest(
    folders: Annotated[list[Path], typer.Argument(help="dataset folders with manifest.csv")],
    out: OutOption,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Dataset folders that have a manifest.csv: checked, made uniform, and joined if there are several.

    Folders may label the same pictures with different classes. Groups stay unless --group-from is given.
    """
    from trainer.importing.manifest_csv import read_manifests

    settings = _settings(out, empty, group_from, rename, preview, seed, annotator)
    _write(_read(read_manifests, folders), out, settings)


@import_app.command(name="evidence", epilog="Example: `linewatch-train import evidence evidence.zip --out looked-at`")
def evidence(
    source: Annotated[
        Path, typer.Argument(metavar="ZIP|FOLDER", help="what `linewatch evidence export` wrote, or a station's folder")
    ],
    out: OutOption,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> None:
    """Pictures that a station kept, with what people said of them.

    A reject that was right has the masks that the model drew, in the class that was named. A false reject is clean. A
    missed defect is a label of its class without a mask. What was unsure, or nobody judged, is left out and told of.
    """
    from edge.files import scratch_folder
    from trainer.importing.evidence import read_evidence

    settings = _settings(out, empty, group_from, rename, preview, seed, annotator)
    with scratch_folder("linewatch-evidence-") as scratch:
        _write(_read(read_evidence, source, scratch), out, settings)


@export_app.command(name="rle", epilog="Example: `linewatch-train export rle steel steel.csv`")
def export_rle(
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    table: Annotated[Path, typer.Argument(metavar="CSV", help="the file to write; it must not exist")],
    names: NamesOption = "",
    form: Annotated[
        Form, typer.Option("--form", help="ImageId and ClassId in columns of their own, or joined as they once were")
    ] = Form.SEPARATE,
) -> None:
    """Write a CSV of run-length encoded masks, as the Severstal steel competition has them."""
    from trainer.importing.rle_csv import write_rle

    exported = write_rle(data, table, _names(names), form.value, console)
    numbers = ",".join(f"{number}={name}" for number, name in exported.ids.items())
    console.print(
        f"{table}: {counted(exported.rows, 'row')} for {counted(exported.pictures, 'picture')}; --names {numbers}"
    )
