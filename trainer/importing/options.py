"""The shared options of the commands of `linewatch-train import` and `export`, and how they are understood."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import typer

from edge.cli.terminal import Terminal

if TYPE_CHECKING:
    from trainer.importing.annotations import LabelChoices
    from trainer.importing.labelled import LabelsLie, LabelSource
    from trainer.importing.mask_sets import MaskChoices
    from trainer.importing.writing import WritingSettings

Read = TypeVar("Read")
Command = Callable[..., None]
Sometimes = Literal["empty", "missing_is_clean", "labels_lie", "line_width"]  # options that not every import has

import_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make a dataset folder of labels in another form: images/, masks/, manifest.csv, and preview.png to look at.",
)
export_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Write a dataset folder's labels in another form."
)
console = Terminal()


class DefectIs(str, Enum):
    """The level that is the defect, black or white."""

    WHITE = "white"
    BLACK = "black"


class LabelsLieOn(str, Enum):
    """The place of labels on pictures that are turned by their orientation."""

    SHOWN = "shown"
    STORED = "stored"


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
GroupPathOption = Annotated[
    str | None,
    typer.Option(
        "--group-from-path",
        metavar="REGEX",
        help="finds the same in a picture's whole path below the folder, / between folders; several (...) are joined",
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
LineOption = Annotated[
    float,
    typer.Option("--line-width", min=0, max=200, help="how wide lines and points are drawn, px; labels do not say"),
]
LabelImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="the folder with the pictures; default: where the labels lie, or the folder above"),
]
IgnoreOption = Annotated[
    str,
    typer.Option(
        "--ignore",
        metavar="ID,…",
        help="of masks of class ids: what has these values is neither learned from nor judged, such as 255",
    ),
]
ObjectsOption = Annotated[
    bool, typer.Option("--objects", help="masks number objects of one class: every level above 0 is the defect")
]
DefectIsOption = Annotated[
    DefectIs | None, typer.Option("--defect-is", help="what the defect is in black and white masks")
]
ImagesArgument = Annotated[Path, typer.Argument(help="the folder with the pictures, subfolders included")]
DataArgument = Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")]


def writing_settings(  # noqa: PLR0917 - the options of a command line, one by one
    out: Path,
    empty: str,
    group_from: tuple[str | None, str | None],
    rename: Sequence[str] | None,
    preview: int,
    seed: int,
    annotator: str,
) -> WritingSettings:
    """Check what all imports let be chosen; `group_from`: --group-from and --group-from-path.

    Raises typer.BadParameter, StoreError.
    """
    from trainer.datasets.class_naming import renaming
    from trainer.datasets.whole_folders import check_target
    from trainer.importing.writing import WritingSettings

    if all(group_from):
        raise typer.BadParameter("expected one of --group-from and --group-from-path, received both")
    name, path = (_expression(*each) for each in zip(("--group-from", "--group-from-path"), group_from, strict=True))
    try:
        names = renaming(rename or ())
    except ValueError as error:
        raise typer.BadParameter(f"--rename: {error}") from error
    share = _share(empty)
    check_target(out)
    return WritingSettings(
        empty_share=share,
        group_from=name,
        group_from_path=path,
        rename=names,
        preview=preview,
        seed=seed,
        annotator=annotator,
    )


def _expression(option: str, text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise typer.BadParameter(f"{option}: {text!r} is no regular expression: {error}") from error


def class_names(text: str) -> Mapping[int, str]:
    """Read --names. Raises typer.BadParameter."""
    from trainer.datasets.class_naming import names_by_number

    try:
        return names_by_number(text)
    except ValueError as error:
        raise typer.BadParameter(f"--names: {error}") from error


def mask_choices(objects: bool, defect_is: DefectIs | None) -> MaskChoices:
    """Return the choices that --objects and --defect-is give."""
    from trainer.importing.mask_sets import MaskChoices

    return MaskChoices(objects, defect_is.value if defect_is else "")


def read_labels(reader: Callable[..., Read], *labels: Any, zips: bool = False, **how: Any) -> Read:
    """Call a reader of labels, and show meanwhile that it works.

    Raises DatasetError for a zip, unless it reads `zips`.
    """
    from edge.errors import DatasetError
    from trainer.importing.unpacking import is_zip

    if not zips and isinstance(labels[0], Path) and is_zip(labels[0]):
        raise DatasetError(f"{labels[0]} is a zip; expected what is in it. Unpack it, or give it to import auto")
    with console.status("reading the labels") if console.is_terminal else nullcontext():
        return reader(*labels, **how)


def write_labels(source: LabelSource, out: Path, settings: WritingSettings, shown: tuple[str, str] = ("", "")) -> None:
    """Write the dataset, and say what it came to; `shown`: of what is said, a text that is replaced by another.

    Raises DatasetError, StoreError.
    """
    from trainer.importing.writing import summary_lines, write_dataset

    for line in summary_lines(write_dataset(source, out, settings, console), out):
        console.print(line.replace(*shown))


@dataclass(frozen=True)
class Common:
    """The shared choices of an import, as they were given; an option that its command lacks has its default."""

    out: Path
    settings: WritingSettings
    choices: LabelChoices


def with_options(*some: Sometimes) -> Callable[[Command], Command]:
    """Give a command the options that all imports share, and `some` others; its first parameter is `Common`."""
    lacking = set(get_args(Sometimes)) - set(some)
    every = inspect.signature(_in_common, eval_str=True).parameters
    shared = {name: each for name, each in every.items() if name not in lacking}

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        mine = list(own.parameters.values())[1:]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            common = _in_common(**{name: given.pop(name) for name in shared})
            command(common, **given)

        # typer reads these: of the command's own parameters it would see too few
        both = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*mine, *shared.values())]
        run.__signature__ = own.replace(parameters=both)  # type: ignore[attr-defined]  # as written
        run.__annotations__ = {each.name: each.annotation for each in both}
        del run.__wrapped__  # functools has set it
        return run

    return decorate


def with_label_options(command: Command) -> Command:
    """Give a command all shared options, as labelling tools' files need them; its first parameter is `Common`."""
    return with_options(*get_args(Sometimes))(command)


def _in_common(  # noqa: PLR0917 - the options of a command line, one by one
    out: OutOption,
    missing_is_clean: MissingOption = False,
    labels_lie: LabelsLieOption = None,
    line_width: LineOption = 0.0,
    rename: RenameOption = None,
    empty: EmptyOption = "keep",
    group_from: GroupOption = None,
    group_from_path: GroupPathOption = None,
    preview: PreviewOption = 24,
    seed: SeedOption = 0,
    annotator: AnnotatorOption = "",
) -> Common:
    from trainer.importing.annotations import LabelChoices

    settings = writing_settings(out, empty, (group_from, group_from_path), rename, preview, seed, annotator)
    lie: LabelsLie = labels_lie.value if labels_lie else ""
    return Common(out, settings, LabelChoices(missing_is_clean, lie, line_width))
