"""A dataset read tolerantly for an audit: what is broken is noted with its row and file, and reading goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.bundle import safe_name, sha256_of
from edge.errors import DatasetError, SourceError
from edge.opencv import cv2
from edge.pictures import Decoded, NotReadableError, depth_of, levels_lost, read_decoded, to_look_at
from edge.pictures.tables import below, inside, read_table
from edge.records import UInt8
from edge.wording import counted
from trainer.auditing.annotator_styles import Style, measure_style
from trainer.datasets.dataset import ANNOTATOR, CLEAN, COLUMNS, IGNORE_MASK, RESERVED, find_manifest
from trainer.datasets.masks import Meaning, defective, meaning_of, plane_of
from trainer.datasets.near_duplicates import Thumbnail, thumbnail

SPECK_PX = 16
_NEARLY_FULL = 0.9
_READERS = 4


@dataclass(frozen=True)
class Row:
    """One row of manifest.csv, stripped; `number` counts from 2, as an editor shows it."""

    number: int
    image: str
    mask: str
    name: str
    group: str
    annotator: str
    ignored: str = ""

    @property
    def clean(self) -> bool:
        """Tell whether the row's class means that there is no defect."""
        return self.name.lower() in CLEAN


@dataclass(frozen=True)
class Problem:
    """One problem of a row or a file. `kind` is a key of trainer.auditing.audit.KINDS."""

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
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A whole dataset: rows as they stand, pictures that could be read, and what is wrong with the others."""

    rows: tuple[Row, ...]
    pictures: tuple[PictureFacts, ...]
    problems: tuple[Problem, ...]
    has_annotators: bool


def read_tolerantly(folder: Path, done: Callable[[int], object] = lambda _: None, depth: int | None = None) -> Reading:
    """Read all that can be read; `done` is called with the number of pictures after each of them.

    `depth`: how many bits of pictures of 16 count, where a recipe says so.

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
        if _file(folder, row.image) is not None:
            by_image.setdefault(row.image, []).append(row)
    pictures: list[PictureFacts] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as pool:
        for facts, wrong in pool.map(lambda item: _examine(folder, item[0], item[1], depth), by_image.items()):
            done(len(by_image))
            problems += wrong
            if facts is not None:
                pictures.append(facts)
    return Reading(tuple(rows), tuple(pictures), tuple(problems), has_annotators)


def _rows(folder: Path) -> tuple[list[Row], bool]:
    manifest = find_manifest(folder)
    try:
        table = read_table(manifest, COLUMNS)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    keys = ("image", "mask", "class", "group", ANNOTATOR, IGNORE_MASK)
    rows = [Row(row.number, *(row.values.get(key, "") for key in keys)) for row in table.rows]
    read = [row if _leads_out(folder, row.image) else replace(row, image=below(folder, row.image)) for row in rows]
    if not read:
        raise DatasetError(f"{manifest} names no picture; expected at least one row")
    return read, ANNOTATOR in table.columns


def _file(folder: Path, name: str) -> Path | None:
    """Return the file that a manifest names, or None where there is none below its folder."""
    try:
        path = inside(folder, name)
    except SourceError:
        return None
    return path if name and path.is_file() else None


def _row_problem(folder: Path, row: Row, known: dict[str, list[Row]], *, masks_needed: bool) -> Problem | None:
    """Return what would make training refuse the row, in the order in which training would meet it."""
    before = known.get(row.image, [])
    lacking = [key for key, value in (("image", row.image), ("class", row.name), ("group", row.group)) if not value]
    kind, text = "", ""
    if lacking:
        kind, text = "incomplete-row", f"no {' and no '.join(lacking)}"
    elif outside := [name for name in (row.image, row.mask, row.ignored) if _leads_out(folder, name)]:
        kind, text = "leads-out", f"{outside[0]} is outside of the dataset"
    elif _file(folder, row.image) is None:
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
    elif row.mask and _file(folder, row.mask) is None:
        kind, text = "missing-mask", f"{row.mask} is missing"
    return Problem(kind, row.image, f"row {row.number}: {text}") if kind else None


def _leads_out(folder: Path, name: str) -> bool:
    try:
        inside(folder, name)
    except SourceError:
        return True
    return False


def _examine(
    folder: Path, image: str, rows: Sequence[Row], depth: int | None
) -> tuple[PictureFacts | None, list[Problem]]:
    path = inside(folder, image)
    try:
        decoded = read_decoded(path)
        pixels = to_look_at(path, decoded)
    except SourceError as error:
        return None, [Problem("unreadable-picture", image, str(error))]
    problems = _understood(image, decoded, depth)
    masks: list[MaskFacts] = []
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    taken: UInt8 = np.zeros(grey.shape, np.uint8)
    for row in rows:
        if row.mask and (mask_path := _file(folder, row.mask)) is not None:
            facts, wrong = _examine_mask(mask_path, row, grey, taken)
            problems += wrong
            if facts is not None and not row.clean:
                masks.append(facts)
    ignored, wrong = _ignored(folder, rows, grey.shape)
    problems += wrong
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
        ignored=ignored,
    )
    return facts_of_picture, problems


def _understood(image: str, decoded: Decoded, depth: int | None) -> list[Problem]:
    """Say how a picture's orientation and depth were understood, where that is worth a word."""
    found = []
    if decoded.header.turned:
        found.append(
            Problem("turned", image, f"{image} is turned by its orientation; its masks are laid on it as shown")
        )
    try:
        count = depth_of(decoded.pixels, depth, decoded.header.declared_bits)
    except NotReadableError as error:
        return [*found, Problem("depth", image, f"{image}: {error}")]
    if lost := levels_lost(decoded.pixels, count):
        found.append(Problem("levels-lost", image, f"{image}: {lost}"))
    return found


def _ignored(folder: Path, rows: Sequence[Row], size: tuple[int, ...]) -> tuple[tuple[Path, ...], list[Problem]]:
    """Return the masks of what a picture's rows leave out, and what is wrong with them."""
    found: dict[Path, Problem | None] = {}
    for row in rows:
        if not row.ignored or _leads_out(folder, row.ignored) or (path := inside(folder, row.ignored)) in found:
            continue
        where, wrong = f"row {row.number}: {row.ignored}", None
        if not path.is_file():
            found[path] = Problem("missing-mask", row.image, f"{where} is missing")
            continue
        try:
            levels = plane_of(read_decoded(path)).levels
            defective(levels, meaning_of(levels))
            if levels.shape != size:
                text = f"{where} is {levels.shape[1]} x {levels.shape[0]} px, {row.image} {size[1]} x {size[0]}"
                wrong = Problem("mask-size", row.image, text)
        except (SourceError, ValueError) as error:
            kind = "unreadable-mask" if isinstance(error, SourceError) else "unclear-mask"
            wrong = Problem(kind, row.image, f"{where}: {error}")
        found[path] = wrong
    problems = [problem for problem in found.values() if problem is not None]
    return tuple(path for path in found if path.is_file()), problems


def read_mask(path: Path) -> UInt8 | None:
    """Read a mask as uint8 [H, W] of 0 and 255, as training takes it; None where it cannot be read."""
    try:
        levels = plane_of(read_decoded(path)).levels
        return defective(levels, meaning_of(levels))
    except (SourceError, ValueError):
        return None


def _examine_mask(path: Path, row: Row, grey: UInt8, taken: UInt8) -> tuple[MaskFacts | None, list[Problem]]:
    """Look at one mask; `taken` collects which pixels have a class by now."""
    where = f"row {row.number}: {row.mask}"
    try:
        levels = plane_of(read_decoded(path)).levels
    except (SourceError, ValueError) as error:
        # a clean row's mask is not read in training
        kind = "unreadable-mask" if isinstance(error, SourceError) else "unclear-mask"
        return None, [] if row.clean else [Problem(kind, row.image, f"{where}: {error}")]
    if levels.shape != grey.shape:
        text = f"{where} is {levels.shape[1]} x {levels.shape[0]} px, {row.image} {grey.shape[1]} x {grey.shape[0]}"
        return None, [] if row.clean else [Problem("mask-size", row.image, text)]
    meaning = meaning_of(levels)
    try:
        drawn = defective(levels, meaning) & np.uint8(1)
    except ValueError as error:
        return None, [] if row.clean else [Problem("unclear-mask", row.image, f"{where}: {error}")]
    if row.clean:
        text = f"{where} has {int(drawn.sum())} px of a defect, but the row says {row.name}; training takes it as clean"
        return None, [Problem("mask-on-clean", row.image, text)] if drawn.any() else []
    count, _, stats, _ = cv2.connectedComponentsWithStats(drawn, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    specks = int((areas < SPECK_PX).sum())
    touching = bool(drawn[0].any() or drawn[-1].any() or drawn[:, 0].any() or drawn[:, -1].any())
    facts = MaskFacts(row, path, int(drawn.sum()), count - 1, specks, touching, measure_style(grey, drawn))
    seen = _Seen(drawn, meaning, int(((drawn > 0) & (taken > 0)).sum()))
    problems = [Problem(kind, row.image, f"{where} {text}") for kind, text in _mask_problems(row, facts, seen)]
    taken |= drawn
    return facts, problems


@dataclass(frozen=True)
class _Seen:
    """A mask as it was read: 0 or 1 per pixel, and its levels' meaning.

    `overlap_px` is how many of its pixels another mask has too.
    """

    drawn: UInt8
    meaning: Meaning
    overlap_px: int


def _mask_problems(row: Row, facts: MaskFacts, seen: _Seen) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def add(kind: str, text: str) -> None:
        found.append((kind, text))

    if not facts.area_px:
        add("empty-mask", f"is empty, but the row says {row.name}")
    elif seen.meaning.kind == "soft":
        add(
            "not-binary",
            f"has soft edges, {counted(seen.meaning.count, 'level')} above 0; training divides them in the middle",
        )
    elif seen.meaning.above != (255,):
        add("not-binary", f"has the level {seen.meaning.above[0]} beside 0; training takes it as the defect")
    if seen.overlap_px:
        add("overlapping-masks", f"shares {seen.overlap_px} px with another mask of {row.image}; the last row wins")
    if facts.area_px > _NEARLY_FULL * seen.drawn.size:
        add("nearly-full-mask", f"covers {facts.area_px / seen.drawn.size:.0%} of the picture; is it inverted?")
    if facts.specks:
        add("specks", f"has {facts.specks} of {counted(facts.defects, 'defect')} below {SPECK_PX} px")
    if facts.touches_border:
        add("touches-border", "reaches the picture's border: the defect may be cut off")
    return found
