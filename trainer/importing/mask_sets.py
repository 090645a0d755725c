"""The meaning of a whole set of masks: looked through before any is taken, so that one reading holds for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge.errors import DatasetError, SourceError
from edge.pictures import Decoded, as_text, read_decoded
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.masks import WHITES, Levels, Meaning, colours_of, defective, meaning_of, of_eight_bits, plane_of
from trainer.importing.pairing import each_told, listed, some

DefectIs = Literal["white", "black", ""]
_NEARLY_ALL, _MOST, _BORDER = 0.9, 0.5, 0.5
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskChoices:
    """The importing person's word on black and white masks. `objects`: each level above 0 is one object.

    `defect_is`: white or black; not said: white, unless masks cover so much that they look inverted.
    """

    objects: bool = False
    defect_is: DefectIs = ""


@dataclass(frozen=True)
class _Looked:
    path: Path
    meaning: Meaning
    share: float
    border: float
    colour: Colour | None
    from_alpha: bool
    deep: bool


class MaskSet:
    """Masks of one class, and how they are read. `told`: what was determined, for people."""

    def __init__(self, paths: Iterable[Path], choices: MaskChoices) -> None:
        """Look at all masks. Raises DatasetError naming every one that cannot be read, or what is ambiguous."""
        self._choices = choices
        broken: list[str] = []
        looked: list[_Looked] = []
        for path in paths:
            try:
                looked.append(_look(path))
            except DatasetError as error:  # noqa: PERF203 - all that is broken is told at once
                broken.append(str(error))
        if broken:
            one = len(broken) == 1
            raise DatasetError(
                *(broken if one else each_told(f"{counted(len(broken), 'mask')} cannot be used:", broken))
            )
        self.told: list[str] = []
        self._objects = choices.objects or self._are_objects(looked)
        self._check_levels(looked)
        self._check_shares(looked)
        self._tell(looked)

    def read(self, path: Path) -> tuple[UInt8, Decoded]:
        """Return a mask as uint8 [H, W] of 0 and 255, and the file as it was decoded. Raises DatasetError."""
        decoded = _decoded(path)
        levels = plane_of(decoded).levels
        mask = _above_none(levels) if self._objects else defective(levels, meaning_of(levels))
        return (255 - mask if self._choices.defect_is == "black" else mask), decoded

    @staticmethod
    def _are_objects(looked: Sequence[_Looked]) -> bool:
        """Tell whether some masks number many objects, and none says otherwise."""
        many = [each for each in looked if each.meaning.kind == "many"]
        return any(each.meaning.objects for each in many)

    def _check_levels(self, looked: Sequence[_Looked]) -> None:
        colours = {each.colour for each in looked if each.colour is not None}
        if len(colours) > 1:
            examples = [f"{_hex(each.colour)} in {each.path}" for each in _first_of_each(looked, "colour")]
            raise DatasetError(
                f"Masks of one class have several colours: {some(examples)}. If each is a class give --colours, "
                f"such as {','.join(f'{_hex(colour)}=NAME' for colour in sorted(colours)[:2])}"
            )
        grey = [each for each in looked if each.colour is None and each.meaning.kind != "empty" and not each.from_alpha]
        if colours and grey:
            raise DatasetError(
                f"Masks of one class are coloured and black and white: {_hex(next(iter(colours)))} in "
                f"{next(each.path for each in looked if each.colour is not None)}, white in {grey[0].path}. If each is "
                f"a class give --colours {_hex(next(iter(colours)))}=NAME,FFFFFF=NAME; otherwise save all in one way"
            )
        if self._objects:
            return
        unclear = [each for each in looked if each.meaning.kind == "many"]
        for each in unclear[:1]:
            try:
                defective(np.zeros((1, 1), np.uint8), each.meaning)
            except ValueError as error:  # noqa: PERF203 - there is one at most
                more = f" ({len(unclear)} such masks: {some([as_text(str(each.path)) for each in unclear])})"
                raise DatasetError(
                    f"{as_text(str(unclear[0].path))}: {error}{more if len(unclear) > 1 else ''}"
                ) from error
        single = {each.meaning.above[0] for each in looked if each.meaning.kind == "one level" and each.colour is None}
        single |= {255 for each in looked if each.meaning.kind == "soft"}
        if len(single) > 1 and not single <= WHITES:
            examples = [f"{level} in {path}" for level, path in _levels(looked).items()]
            raise DatasetError(
                f"Masks of one class have different levels above 0: {some(examples)}. If they are classes give --names "
                f"{','.join(f'{level}=NAME' for level in sorted(single)[:2])}; if each level is an object of one class "
                "give --objects"
            )
        if odd := [each for each in looked if each.meaning.kind == "one level" and each.colour is None]:
            _refuse_numbers(odd[0])

    def _check_shares(self, looked: Sequence[_Looked]) -> None:
        """Ask about masks that look inverted."""
        if self._choices.defect_is:
            return
        drawn = [each for each in looked if each.meaning.kind != "empty"]
        nearly_all = [
            each for each in drawn if each.share > _NEARLY_ALL or (each.share > _MOST and each.border > _BORDER)
        ]
        most = sum(each.share > _MOST for each in drawn)
        if not nearly_all and 2 * most <= len(drawn):
            return
        shown = nearly_all or [each for each in drawn if each.share > _MOST]
        examples = [f"{as_text(str(each.path))} ({each.share:.0%})" for each in shown]
        raise DatasetError(
            f"{len(shown)} of {counted(len(drawn), 'mask')} call most of their picture defective, as inverted "
            f"ones would: "
            f"{some(examples)}. Give --defect-is white if white is the defect all the same, or --defect-is black"
            + ("" if len(shown) == len(drawn) else " if it is black in all masks; if only these are inverted mend them")
        )

    def _tell(self, looked: Sequence[_Looked]) -> None:
        kinds = Counter(each.meaning.kind for each in looked)
        if self._objects:
            self.told.append(
                f"{counted(len(looked), 'mask numbers', 'masks number')} objects: every level above 0 is the defect"
            )
        elif soft := kinds["soft"]:
            self.told.append(
                f"{counted(soft, 'mask has', 'masks have')} soft edges: from the middle between black and white "
                f"on is the defect"
            )
        levels = sorted({each.meaning.above[0] for each in looked if each.meaning.kind == "one level"})
        if not self._objects and levels and levels != [255]:
            self.told.append(f"masks of 0 and one level, {' or '.join(map(str, levels))}: that is the defect")
        if colours := {each.colour for each in looked if each.colour is not None}:
            self.told.append(f"masks of black and one colour, {_hex(next(iter(colours)))}: that is the defect")
        if alpha := sum(each.from_alpha for each in looked):
            self.told.append(
                f"{counted(alpha, 'mask lies', 'masks lie')} in the transparency of the file: what is opaque is "
                f"the defect"
            )
        if deep := sum(each.deep for each in looked):
            self.told.append(f"{counted(deep, 'mask has', 'masks have')} 16 bits")
        if self._choices.defect_is == "black":
            self.told.append(f"{counted(len(looked), 'mask was', 'masks were')} inverted: black is the defect")


def _refuse_numbers(looked: _Looked) -> None:
    try:
        defective(np.zeros((1, 1), np.uint8), looked.meaning)
    except ValueError as error:
        raise DatasetError(f"{as_text(str(looked.path))}: {error}") from error


def _look(path: Path) -> _Looked:
    decoded = _decoded(path)
    try:
        plane = plane_of(decoded)
    except ValueError as error:
        raise DatasetError(f"{as_text(str(path))}: {error}") from error
    meaning = meaning_of(plane.levels)
    share = float(np.count_nonzero(plane.levels)) / plane.levels.size
    return _Looked(
        path, meaning, share, _of_border(plane.levels), plane.colour, plane.from_alpha, plane.levels.dtype == np.uint16
    )


def _of_border(levels: Levels) -> float:
    """Return which share of the pixels at the picture's edge is above 0: most of them where a mask is inverted."""
    edge = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    return float(np.count_nonzero(edge)) / edge.size


def _decoded(path: Path) -> Decoded:
    try:
        return read_decoded(path)
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _above_none(levels: Levels) -> UInt8:
    return np.where(levels > 0, np.uint8(255), np.uint8(0))


def _first_of_each(looked: Sequence[_Looked], what: str) -> list[_Looked]:
    return list({getattr(each, what): each for each in reversed(looked) if getattr(each, what) is not None}.values())


def _levels(looked: Sequence[_Looked]) -> dict[int, Path]:
    return {each.meaning.above[0]: each.path for each in reversed(looked) if each.meaning.kind == "one level"}


def _hex(colour: Colour | None) -> str:
    red, green, blue = colour or (0, 0, 0)
    return f"{red:02X}{green:02X}{blue:02X}"


def in_colour(path: Path, colour: Colour, known: frozenset[Colour]) -> UInt8:
    """Read what a coloured mask has in one colour as uint8 [H, W] of 0 and 255.

    Raises DatasetError for colours that are not known.
    """
    pixels = _decoded(path).pixels
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if unknown := [each for each in colours_of(pixels[:, :, :3]) if each not in known]:
        raise DatasetError(
            f"{as_text(str(path))}: expected the colours {listed([_hex(each) for each in sorted(known)])}, received "
            f"{listed([_hex(each) for each in unknown[:5]])}"
        )
    return np.where((pixels[:, :, :3] == colour[::-1]).all(axis=2), np.uint8(255), np.uint8(0))


def by_colour(decoded: Decoded, path: Path, names: Mapping[Colour, str]) -> list[tuple[str, UInt8]]:
    """Return uint8 [H, W] of 0 and 255 for each named colour that a mask has; black is clean.

    Raises DatasetError for transparent ones, and for colours that nobody named.
    """
    pixels = decoded.pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        if int(pixels[:, :, 3].min()) < np.iinfo(pixels.dtype).max:
            raise DatasetError(f"{as_text(str(path))}: parts of it are transparent; expected colours alone")
        pixels = pixels[:, :, :3]
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    try:
        pixels = of_eight_bits(pixels)
    except ValueError as error:
        raise DatasetError(f"{as_text(str(path))}: {error}") from error
    found = colours_of(pixels)
    if unknown := [colour for colour in found if colour not in names]:
        raise DatasetError(
            f"{as_text(str(path))}: expected black and the colours {listed([_hex(colour) for colour in names])}, "
            f"received {listed([_hex(colour) for colour in unknown[:5]])}. Name it: --colours "
            f"{_hex(unknown[0])}=NAME, or =ok if it says nothing; save it as PNG if JPEG has blurred it"
        )
    return [
        (names[colour], np.where((pixels == colour[::-1]).all(axis=2), np.uint8(255), np.uint8(0))) for colour in found
    ]
