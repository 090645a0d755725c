"""Photos, and the same photos with defects painted red in any drawing program → labels, and what did not fit.

A drawing that does not belong to its photo is not guessed at: it is left out and told of, with the reason.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edge.errors import DatasetError, SourceError
from edge.files import write_text
from edge.opencv import cv2
from edge.pictures import SUFFIXES, Decoded, natural_order, read_decoded, to_look_at
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.class_naming import checked_name
from trainer.importing.drawn_shapes import ARC, ARROW, ambiguous_shapes
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource, one_by_one
from trainer.importing.pairing import NameIndex, pictures_below, read_file, without_suffix
from trainer.importing.phone_copies import as_pair, names_of_photo
from trainer.importing.red_paint import BLEEDING_PX, Paint, fill_outlines, painted_mask, painted_seeds
from trainer.importing.same_photo import compare

# JPEG works in blocks of 8 px, of 16 px for colour: so far from paint a copy is untouched.
_UNTOUCHED_FROM_PX = 16
# Paint in another colour than the wanted one differs from its surroundings by so many levels, on so many pixels.
_OTHER_COLOUR_LEVELS = 60
_OTHER_COLOUR_PX = 25
# A stroke's palest pixels have this share of its median saturation.
_PALER = 0.75
# Paint of one colour: most of its pixels are so near to one hue, and it is no grey.
_ONE_HUE_DEGREES, _MOST, _PAINT_SATURATION = 20.0, 0.8, 0.2

NO_DRAWING, NO_PHOTO, OTHER_SIZE, SHIFTED = "no drawing", "no photo", "other size", "shifted"
ANOTHER_PHOTO, NOTHING_DRAWN, OTHER_COLOUR = "another photo", "nothing drawn", "other colour"
SECOND, NEARLY, OPEN = "second drawing", "nearly the colour", "open outline"
_KEEP = "give --outlines keep where the strokes themselves are the defects"
_UNCLEAR = {
    ARC: f"goes round something and is left open: close it, or {_KEEP}",
    ARROW: f"looks like an arrow: paint the defect that it points at, or {_KEEP}",
}
# Levels beyond paint, but not by much. The greatest distance of an outline's ends that still looks like one.
_NEARLY_DEGREES, _NEARLY_SATURATION = 20.0, 0.25
_GAPS_PX = (8, 12, 16, 24, 32, 50)


@dataclass(frozen=True)
class Mismatch:
    """A photo and its drawing that do not fit. `photo`, `drawing`: below their folders, empty if absent."""

    photo: str
    drawing: str
    reason: str
    detail: str


@dataclass(frozen=True)
class RedMarkerSettings:
    """Settings for finding and reading drawings.

    `suffix`: what a drawing's name has behind its photo's, such as `_red`. `missing_is_clean`: a photo without a
    drawing is one of a piece without defects; else it is told of and left out.
    """

    class_name: str
    paint: Paint
    suffix: str = ""
    missing_is_clean: bool = False


def read_red_marker(
    photos: Path, drawings: Path, settings: RedMarkerSettings, mismatches: list[Mismatch]
) -> LabelSource:
    """Pair photos with drawings by name and read them lazily; unfit ones are added to `mismatches`.

    Raises DatasetError for a folder without pictures, two drawings of one photo, or a picture that cannot be read.
    """
    checked_name(settings.class_name, "--class")
    told: list[str] = []
    found_photos, found_drawings = _sorted_out(photos, drawings, settings.suffix, told)
    pairs = _paired(found_photos, found_drawings, photos, settings.suffix, mismatches)
    make = _labelling(found_drawings, pairs, settings, mismatches)
    wanted = {name: path for name, path in found_photos.items() if name in pairs or settings.missing_is_clean}
    for photo in found_photos.keys() - wanted.keys():
        called = f"{without_suffix(photo)}{settings.suffix}"
        mismatches.append(Mismatch(photo, "", NO_DRAWING, f"no drawing called {called}"))
    mismatches.sort(key=lambda mismatch: natural_order(mismatch.photo or mismatch.drawing))
    return LabelSource(len(wanted), one_by_one(wanted.items(), make), (settings.class_name,), told)


def _paired(
    photos: Mapping[str, Path], drawings: Mapping[str, Path], folder: Path, suffix: str, mismatches: list[Mismatch]
) -> dict[str, str]:
    """Return the drawing of each photo: by the photo's own name, else by what phones make of it for a copy."""
    index = NameIndex(tuple(photos), "photo")
    pairs: dict[str, str] = {}
    left: list[str] = []
    for drawing, path in drawings.items():
        photo = index.find(without_suffix(drawing).removesuffix(suffix), where=str(path))
        if photo is None:
            left.append(drawing)
        elif photo in pairs:
            raise DatasetError(
                f"{photos[photo]}: expected one drawing, received {pairs[photo]} and {drawing}. Remove one"
            )
        else:
            pairs[photo] = drawing
    for drawing in left:
        called = without_suffix(drawing).removesuffix(suffix)
        tried = names_of_photo(called)
        photo = index.find(*tried, where=str(drawings[drawing])) if tried else None
        if photo is None:
            mismatches.append(Mismatch("", drawing, NO_PHOTO, f"no photo called {called} in {folder}"))
        elif photo in pairs:
            mismatches.append(Mismatch(photo, drawing, SECOND, f"{pairs[photo]} is the drawing of this photo already"))
        else:
            pairs[photo] = drawing
    return pairs


def _sorted_out(photos: Path, drawings: Path, suffix: str, told: list[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """List photos and drawings; the suffix tells them apart if they share a folder."""
    found_photos = pictures_below(photos, told)
    if photos.resolve() != drawings.resolve():
        found = pictures_below(drawings, told)
        drawn = {name: path for name, path in found.items() if without_suffix(name).endswith(suffix)}
    elif not suffix:
        raise DatasetError(f"{photos} holds photos and drawings: expected --suffix, which tells drawings from photos")
    else:
        drawn = {name: path for name, path in found_photos.items() if without_suffix(name).endswith(suffix)}
        found_photos = {name: path for name, path in found_photos.items() if name not in drawn}
    if not drawn or not found_photos:
        raise DatasetError(
            f"{drawings}: expected drawings with names that end in {suffix!r} before {', '.join(SUFFIXES)}, and photos "
            f"in {photos}; received {counted(len(drawn), 'drawing')} and {counted(len(found_photos), 'photo')}"
        )
    return found_photos, drawn


def _labelling(
    drawings: Mapping[str, Path], pairs: Mapping[str, str], settings: RedMarkerSettings, mismatches: list[Mismatch]
) -> Callable[[str, Path], LabelledPicture | None]:
    def make(photo: str, path: Path) -> LabelledPicture | None:
        file, pixels = read_file(path)
        drawing = pairs.get(photo)
        if drawing is None:
            return LabelledPicture(
                photo, path, file.shape_px, (), str(path), True, notes=file.notes(), greatest=file.greatest
            )
        decoded, drawn = _read_drawing(drawings[drawing])
        pair = as_pair(pixels, decoded, drawn)
        if pair is None:
            mask, reason, detail = None, OTHER_SIZE, _other_size(pixels, decoded)
        else:
            mask, reason, detail = judge_drawing(pair.photo, pair.drawing, settings.paint)
        if reason:
            mismatches.append(Mismatch(photo, drawing, reason, detail))
        if mask is None or pair is None:
            return None
        if mask.shape != file.shape_px:
            mask = cv2.resize(mask, file.shape_px[::-1], interpolation=cv2.INTER_NEAREST)
        finding = ClassMask(settings.class_name, mask)
        where, notes = str(drawings[drawing]), (*file.notes(by_labels=True), *pair.notes)
        return LabelledPicture(photo, path, file.shape_px, (finding,), where, notes=notes, greatest=file.greatest)

    return make


def _read_drawing(path: Path) -> tuple[Decoded, UInt8 | None]:
    """Read a drawing; its pixels are None where it is a layer, transparent in parts. Raises DatasetError."""
    try:
        decoded = read_decoded(path)
        pixels = decoded.pixels
        layer = pixels.ndim == 3 and pixels.shape[2] == 4 and int(pixels[:, :, 3].min()) < np.iinfo(pixels.dtype).max
        return decoded, None if layer else to_look_at(path, decoded)
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _other_size(photo: UInt8, decoded: Decoded) -> str:
    (height, width), (drawn_height, drawn_width) = photo.shape[:2], decoded.shape_px
    turned = ", turned by a quarter" if (drawn_height, drawn_width) == (width, height) else ""
    return f"expected {width} x {height} px, received {drawn_width} x {drawn_height}{turned}"


def judge_drawing(photo: UInt8, drawing: UInt8, paint: Paint) -> tuple[UInt8 | None, str, str]:
    """Return a drawing's mask (uint8 [H, W], 255 = painted), and a reason with a detail if something is amiss.

    The mask is None where the drawing does not belong to the photo, and empty where nothing is drawn. Both pictures
    are uint8 BGR [H, W, 3].
    """
    if photo.shape != drawing.shape:
        (height, width), (drawn_height, drawn_width) = photo.shape[:2], drawing.shape[:2]
        turned = ", turned by a quarter" if (drawn_height, drawn_width) == (width, height) else ""
        return None, OTHER_SIZE, f"expected {width} x {height} px, received {drawn_width} x {drawn_height}{turned}"
    seeds = painted_seeds(photo, drawing, paint)
    comparison = compare(photo, drawing, _touched(seeds))
    if comparison.kind == "shifted":
        right, down = comparison.shift_px
        return None, SHIFTED, f"the drawing lies {right:+.1f} px to the right and {down:+.1f} px down"
    otherwise = _painted_otherwise(photo, drawing)
    if comparison.kind == "another photo" and _of_one_colour(drawing, otherwise):
        # the photo may be this one beside what is painted in a colour that is not looked for
        beside = compare(photo, drawing, _touched(seeds | otherwise))
        comparison = beside if beside.kind == "same" else comparison
    if comparison.kind == "another photo":
        shared = (
            ""
            if comparison.detail_shared is None
            else f", and shares {max(0.0, comparison.detail_shared):.0%} of its details"
        )
        return None, ANOTHER_PHOTO, f"brightness differs by up to {comparison.means_differ:.0f} levels{shared}"
    strokes = painted_mask(photo, drawing, seeds, replace(paint, outlines="keep"))
    if strokes is not None:
        mask = painted_mask(photo, drawing, seeds, paint)
        assert mask is not None  # noqa: S101 - it has the strokes
        doubts = _doubts(photo, drawing, paint, strokes, mask)
        unclear = _unclear(strokes) if paint.outlines == "fill" and doubts[0] != OPEN else None
        return (None, *unclear) if unclear else (mask, *doubts)
    if otherwise.sum() >= _OTHER_COLOUR_PX:
        return None, OTHER_COLOUR, _other_colour(drawing, otherwise)
    return np.zeros(photo.shape[:2], np.uint8), NOTHING_DRAWN, "the drawing is the photo"


def _unclear(strokes: UInt8) -> tuple[str, str] | None:
    """Return why strokes may mean something else than they cover, None where they do not."""
    found = ambiguous_shapes(strokes)
    if not found:
        return None
    (x, y), kind = found[0].at, found[0].kind
    more = f"; {counted(len(found) - 1, 'further stroke')} like it" if len(found) > 1 else ""
    return kind, f"the stroke around {x}, {y} px {_UNCLEAR[kind]}{more}"


def _doubts(photo: UInt8, drawing: UInt8, paint: Paint, strokes: UInt8, mask: UInt8) -> tuple[str, str]:
    """Say what of a drawing that is taken may be missing: paint that is nearly of the colour, outlines left open."""
    wide = replace(
        paint,
        tolerance_degrees=min(60.0, paint.tolerance_degrees + _NEARLY_DEGREES),
        min_saturation=max(0.1, paint.min_saturation - _NEARLY_SATURATION),
    )
    around = cv2.dilate(mask, np.ones((2 * BLEEDING_PX + 1, 2 * BLEEDING_PX + 1), np.uint8)) > 0
    nearly = painted_seeds(photo, drawing, wide) & ~around
    if int(nearly.sum()) >= _OTHER_COLOUR_PX:
        hue, saturation = _median_colour(drawing, nearly)
        return NEARLY, (
            f"{int(nearly.sum())} px that were not taken have hue {hue:.0f} degrees and saturation {saturation:.2f}, "
            f"just beyond --hue-tolerance {paint.tolerance_degrees:g} and --min-saturation {paint.min_saturation:g}"
        )
    if paint.outlines == "fill":
        area, drawn = int(np.count_nonzero(mask)), int(np.count_nonzero(strokes))
        for gap_px in _GAPS_PX:
            if gap_px <= paint.gap_px:
                continue
            filled = int(np.count_nonzero(fill_outlines((strokes > 0).astype(np.uint8), gap_px)))
            if filled - area > max(_OTHER_COLOUR_PX, drawn):
                return OPEN, (
                    f"an outline is left open: with --gap {gap_px} it would hold {filled - area} px more, which are "
                    "not taken"
                )
    return "", ""


def _touched(painted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add to painted pixels, bool [H, W], what saving them may have changed."""
    around = np.ones((2 * _UNTOUCHED_FROM_PX + 1, 2 * _UNTOUCHED_FROM_PX + 1), np.uint8)
    touched: NDArray[np.bool_] = cv2.dilate(painted.view(np.uint8), around).view(np.bool_)
    return touched


def _painted_otherwise(photo: UInt8, drawing: UInt8) -> NDArray[np.bool_]:
    """Return bool [H, W]: pixels that differ from all that is near by on the photo, in whatever colour."""
    near = np.ones((2 * BLEEDING_PX + 1, 2 * BLEEDING_PX + 1), np.uint8)
    brighter, darker = cv2.subtract(drawing, cv2.dilate(photo, near)), cv2.subtract(cv2.erode(photo, near), drawing)
    changed: NDArray[np.bool_] = cv2.max(brighter, darker).max(axis=2) >= _OTHER_COLOUR_LEVELS
    return changed


def _median_colour(drawing: UInt8, painted: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the hue in degrees and the saturation, 0-1, of painted pixels."""
    colour = np.median(drawing[painted], axis=0).astype(np.float32)[None, None] / 255
    hue, saturation, _ = cv2.cvtColor(colour, cv2.COLOR_BGR2HSV)[0, 0]
    return float(hue), float(saturation)


def _of_one_colour(drawing: UInt8, painted: NDArray[np.bool_]) -> bool:
    """Tell paint from the details of another photo: most of it has one hue."""
    if painted.sum() < _OTHER_COLOUR_PX:
        return False
    hue, saturation = _median_colour(drawing, painted)
    own = cv2.cvtColor(drawing[painted][None].astype(np.float32) / 255, cv2.COLOR_BGR2HSV)[0]
    off = np.abs((own[:, 0] - hue + 180) % 360 - 180)
    return saturation >= _PAINT_SATURATION and float((off <= _ONE_HUE_DEGREES).mean()) >= _MOST


def _other_colour(drawing: UInt8, painted: NDArray[np.bool_]) -> str:
    hue, saturation = _median_colour(drawing, painted)
    advice = f"--hue {hue:.0f}"
    if saturation * _PALER < Paint().min_saturation:
        advice += f" --min-saturation {max(0.1, saturation * _PALER):.1f}"
    return (
        f"{int(painted.sum())} px are painted with hue {hue:.0f} degrees and saturation {saturation:.2f}; if that is "
        f"the paint, give {advice}"
    )


def mismatch_table(mismatches: Sequence[Mismatch]) -> Table:
    """Lay out what did not fit, for people."""
    table = Table("photo", "drawing", "reason", "")
    for mismatch in mismatches:
        table.add_row(mismatch.photo or "-", mismatch.drawing or "-", mismatch.reason, mismatch.detail)
    return table


def write_report(path: Path, mismatches: Sequence[Mismatch]) -> None:
    """Write what did not fit as JSON or CSV, by the path's suffix; with no row if all fits. Raises StoreError."""
    rows = [asdict(mismatch) for mismatch in mismatches]
    if path.suffix.lower() == ".json":
        write_text(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, ("photo", "drawing", "reason", "detail"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
