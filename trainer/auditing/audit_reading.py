"""A dataset read tolerantly for an audit: what is broken is noted with its row and file, and reading goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.bundle import safe_name, sha256_of
from edge.errors import DatasetError, SourceError
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.records import UInt8
from trainer.auditing.annotator_styles import Style, measure_style
from trainer.datasets.dataset import CLEAN, COLUMNS, RESERVED, find_manifest
from trainer.datasets.near_duplicates import Thumbnail, thumbnail

SPECK_PX = 16
_NEARLY_FULL = 0.9
_READERS = 4
ANNOTATOR = "annotator"


@dataclass(frozen=True)
class Row:
    """One row of manifest.csv, stripped; `number` counts from 2, as an editor shows it."""

    number: int
    image: str
    mask: str
    name: str
    group: str
    annotator: str

    @property
    def clean(self) -> bool:
        """Whether the row's class means that there is no defect."""
        return self.name.lower() in CLEAN


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row or a file. `kind` is a key of trainer.auditing.audit.KINDS."""

    kind: str
    image: str
    text: str


@dataclass(frozen=True)
class MaskFacts:
    """One mask that could be read: its pixels above 127, 8-connected defects, and how it was drawn."""

    row: Row
    path: Path
    area_px: int
    defects: int
    specks: int
    touches_border: bool
    style: Style | None


@dataclass(frozen=True)
class PictureFacts:
    """One picture that could be read. `size`: (height, width), px. `classes`: the defects its rows name, sorted."""

    image: str
    path: Path
    group: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    sha256: str
    masks: tuple[MaskFacts, ...]
    thumbnail: Thumbnail


@dataclass(frozen=True)
class Reading:
    """A whole dataset: rows as they stand, pictures that could be read, and what is wrong with the others."""

    rows: tuple[Row, ...]
    pictures: tuple[PictureFacts, ...]
    problems: tuple[Problem, ...]
    has_annotators: bool


def read_tolerantly(folder: Path, done: Callable[[int], object] = lambda _: None) -> Reading:
    """Read all that can be read; `done` is called with the number of pictures after each of them.

    Raises DatasetError only where there is no manifest that is a table with the needed columns.
    """
    rows, has_annotators = _rows(folder)
    problems: list[Problem] = []
    masks_needed = any(row.mask for row in rows if not row.clean)
    by_image: dict[str, list[Row]] = {}
    for row in rows:
        found = _row_problem(folder, row, by_image, masks_needed=masks_needed)
        if found is not None:
            problems.append(found)
        if row.image and (folder / row.image).is_file():
            by_image.setdefault(row.image, []).append(row)
    pictures: list[PictureFacts] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as pool:
        for facts, wrong in pool.map(lambda item: _examine(folder, item[0], item[1]), by_image.items()):
            done(len(by_image))
            problems += wrong
            if facts is not None:
                pictures.append(facts)
    return Reading(tuple(rows), tuple(pictures), tuple(problems), has_annotators)


def _rows(folder: Path) -> tuple[list[Row], bool]:
    manifest = find_manifest(folder)
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if missing := sorted(set(COLUMNS[:4]) - set(names)):
                raise DatasetError(
                    f"{manifest}: expected the columns {', '.join(COLUMNS)}, missing {', '.join(missing)}"
                )
            read = [
                Row(number, *((row.get(key) or "").strip() for key in ("image", "mask", "class", "group", ANNOTATOR)))
                for number, row in enumerate(reader, start=2)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{manifest} cannot be read as CSV in UTF-8: {error}") from error
    if not read:
        raise DatasetError(f"{manifest} names no picture; expected at least one row")
    return read, ANNOTATOR in names


def _row_problem(folder: Path, row: Row, known: dict[str, list[Row]], *, masks_needed: bool) -> Problem | None:
    """Return what would make training refuse the row, in the order in which training would meet it."""
    before = known.get(row.image, [])
    lacking = [key for key, value in (("image", row.image), ("class", row.name), ("group", row.group)) if not value]
    kind, text = "", ""
    if lacking:
        kind, text = "incomplete-row", f"no {' and no '.join(lacking)}"
    elif not (folder / row.image).is_file():
        kind, text = "missing-picture", f"{row.image} is missing"
    elif before and before[0].group != row.group:
        earlier = f"in {before[0].group!r} in row {before[0].number}"
        kind, text = "two-groups", f"{row.image} is in group {row.group!r}, and {earlier}"
    elif row.clean:
        pass
    elif safe_name(row.name) != row.name:
        kind, text = "class-name", f"{row.name!r} is more than letters, digits, _ and -"
    elif row.name.lower() in RESERVED:
        kind, text = "class-name", f"{row.name!r} is what figures call something else"
    elif not row.mask and masks_needed:
        kind, text = "no-mask", f"{row.image} shows {row.name} and has no mask"
    elif row.mask and not (folder / row.mask).is_file():
        kind, text = "missing-mask", f"{row.mask} is missing"
    return Problem(kind, row.image, f"row {row.number}: {text}") if kind else None


def _examine(folder: Path, image: str, rows: Sequence[Row]) -> tuple[PictureFacts | None, list[Problem]]:
    path = folder / image
    try:
        pixels = read_picture(path)
    except SourceError as error:
        return None, [Problem("unreadable-picture", image, str(error))]
    problems: list[Problem] = []
    masks: list[MaskFacts] = []
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    taken: UInt8 = np.zeros(grey.shape, np.uint8)
    for row in rows:
        if row.mask and (folder / row.mask).is_file():
            facts, wrong = _examine_mask(folder / row.mask, row, grey, taken)
            problems += wrong
            if facts is not None and not row.clean:
                masks.append(facts)
    classes = tuple(sorted({row.name for row in rows if row.name and not row.clean}))
    size = (pixels.shape[0], pixels.shape[1])
    facts_of_picture = PictureFacts(
        image=image,
        path=path,
        group=rows[0].group,
        classes=classes,
        size=size,
        sha256=sha256_of(path),
        masks=tuple(masks),
        thumbnail=thumbnail(image, pixels),
    )
    return facts_of_picture, problems


def read_mask(path: Path) -> UInt8 | None:
    """Read a mask as uint8 [H, W]; None where it cannot be read."""
    try:
        mask: UInt8 | None = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return mask


def _examine_mask(path: Path, row: Row, grey: UInt8, taken: UInt8) -> tuple[MaskFacts | None, list[Problem]]:
    """Look at one mask; `taken` collects which pixels have a class by now."""
    where = f"row {row.number}: {row.mask}"
    mask = read_mask(path)
    if mask is None:
        # a clean row's mask is not read in training
        return None, [] if row.clean else [Problem("unreadable-mask", row.image, f"{where} is no picture")]
    if mask.shape != grey.shape:
        text = f"{where} is {mask.shape[1]} x {mask.shape[0]} px, {row.image} {grey.shape[1]} x {grey.shape[0]}"
        return None, [] if row.clean else [Problem("mask-size", row.image, text)]
    drawn = (mask > 127).astype(np.uint8)
    if row.clean:
        text = f"{where} has {int(drawn.sum())} px of a defect, but the row says {row.name}; training takes it as clean"
        return None, [Problem("mask-on-clean", row.image, text)] if drawn.any() else []
    count, _, stats, _ = cv2.connectedComponentsWithStats(drawn, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    specks = int((areas < SPECK_PX).sum())
    touching = bool(drawn[0].any() or drawn[-1].any() or drawn[:, 0].any() or drawn[:, -1].any())
    facts = MaskFacts(row, path, int(drawn.sum()), count - 1, specks, touching, measure_style(grey, drawn))
    problems = [Problem(kind, row.image, f"{where} {text}") for kind, text in _mask_problems(row, mask, facts, taken)]
    taken |= drawn
    return facts, problems


def _mask_problems(row: Row, mask: UInt8, facts: MaskFacts, taken: UInt8) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def add(kind: str, text: str) -> None:
        found.append((kind, text))

    between = int(((mask > 0) & (mask < 255)).sum())
    if not facts.area_px and between:
        add("faint-mask", f"has {between} px up to {mask.max()}, none above 127: training takes it as empty")
    elif not facts.area_px:
        add("empty-mask", f"is empty, but the row says {row.name}")
    elif between:
        add("not-binary", f"has {between} px that are neither 0 nor 255, {between / facts.area_px:.1%} of its defects")
    if overlap := int(((mask > 127) & (taken > 0)).sum()):
        add("overlapping-masks", f"shares {overlap} px with another mask of {row.image}; the last row wins")
    if facts.area_px > _NEARLY_FULL * mask.size:
        add("nearly-full-mask", f"covers {facts.area_px / mask.size:.0%} of the picture; is it inverted?")
    if facts.specks:
        add("specks", f"has {facts.specks} of {facts.defects} defects below {SPECK_PX} px")
    if facts.touches_border:
        add("touches-border", "reaches the picture's border: the defect may be cut off")
    return found
