"""Sets that are published as folders: MVTec's layout, and masks that lie beside their pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError
from edge.pictures import JPEG, why_left_out
from edge.wording import counted
from trainer.datasets.class_naming import means_clean, sounds_good
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.mask_sets import MaskChoices, MaskSet
from trainer.importing.pairing import pictures_below, read_file, some, without_suffix

TRAIN, TEST, TRUTH = "train", "test", "ground_truth"
_KNOWN_PARTS = (TRAIN, "validation", "val", TEST)


@dataclass(frozen=True)
class _Labelled:
    """A picture, the class that its folder has, and its masks, if the set has any of it."""

    path: Path
    name: str
    masks: tuple[Path, ...]


def is_mvtec(folder: Path) -> bool:
    """Tell whether a folder has MVTec's layout: train/good, and test with a folder for each kind.

    Good parts may be called otherwise, as BTAD's are ok; tests may be called test_public, as MVTec AD 2's are.
    """
    return any(means_clean(each.name) for each in _folders(folder / TRAIN)) and any(
        _folders(folder / part) for part in _parts(folder) if part.startswith(TEST)
    )


def _folders(folder: Path) -> list[Path]:
    """Return the folders in one that are neither hidden nor a program's."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not why_left_out(path.name))


def _parts(folder: Path) -> list[str]:
    """Return the folders of a set that hold pictures: those with known names, then further tests."""
    there = [path.name for path in _folders(folder)]
    return [*(part for part in _KNOWN_PARTS if part in there), *(part for part in there if part.startswith(f"{TEST}_"))]


def read_mvtec(folder: Path, choices: MaskChoices, labels_lie: LabelsLie = "") -> LabelSource:
    """Read `train/good`, `test/<class>` and `ground_truth/<class>/NAME_mask.png`, as MVTec AD has them.

    A picture may have a folder of masks, `ground_truth/<class>/NAME/…`, as MVTec LOCO's have. The truth may lie in a
    test's folder, as MVTec AD 2's does. Tests without folders of classes are left out and told. Pictures have labels
    alone where there is no ground_truth at all. Raises DatasetError naming what does not pair.
    """
    if not is_mvtec(folder):
        raise DatasetError(f"{folder}: expected the folders train/good and test/…, as MVTec AD has them")
    told: list[str] = []
    truths = _Truths(folder, told)
    found: dict[str, _Labelled] = {}
    problems: list[str] = []
    for part in _parts(folder):
        if part.startswith(f"{TEST}_") and not _folders(folder / part):
            count = len(pictures_below(folder / part, told))
            told.append(
                counted(count, f"picture in {part} was", f"pictures in {part} were")
                + " left out, for nothing says whether they are good"
            )
            continue
        for name, path in pictures_below(folder / part, told).items():
            kind, _, rest = name.partition("/")
            if kind == TRUTH:
                continue
            if not rest:
                raise DatasetError(f"{path} lies in no class's folder; expected all pictures in one")
            masks = () if means_clean(kind) else truths.pop(part, kind, without_suffix(rest))
            if not masks and truths.any and not means_clean(kind):
                problems.append(f"{path}: expected its mask {TRUTH}/{kind}/{without_suffix(rest)}_mask.png")
            found[f"{part}/{name}"] = _Labelled(path, kind, masks)
    problems += [f"{path}: expected the picture of this mask in {TEST}" for path in truths.left]
    if problems:
        raise DatasetError(f"{counted(len(problems), 'file does', 'files do')} not pair: {some(problems)}")
    if not truths.any:
        told.append(f"no {TRUTH}: pictures have labels without masks")
    return _source(found, choices, labels_lie, told)


class _Truths:
    """The masks of a set, of all its tests or of one: each is given out once, and `left` are those that nobody took."""

    def __init__(self, folder: Path, told: list[str]) -> None:
        self._masks: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
        places = {"": folder / TRUTH, **{part: folder / part / TRUTH for part in _parts(folder)}}
        there = {part: place for part, place in places.items() if place.is_dir()}
        self.any = bool(there)
        for part, place in there.items():
            for name, path in pictures_below(place, told).items():
                kind, _, rest = name.partition("/")
                self._masks[part, kind, without_suffix(rest, "_mask")].append(path)
                if (inside := PurePosixPath(rest).parent.as_posix()) != ".":
                    self._masks[part, kind, f"{inside}/"].append(path)
        self._taken: set[Path] = set()

    def pop(self, part: str, kind: str, stem: str) -> tuple[Path, ...]:
        """Return the mask of a picture's name, or all in the folder of its name."""
        keys = [(place, kind, name) for name in (stem, f"{stem}/") for place in (part, "")]
        masks = next((tuple(self._masks[key]) for key in keys if key in self._masks), ())
        self._taken |= set(masks)
        return masks

    @property
    def left(self) -> list[Path]:
        return sorted({path for masks in self._masks.values() for path in masks} - self._taken)


def twins_below(folder: Path, told: list[str] | None = None) -> dict[str, tuple[Path, Path | None]]:
    """Return the pictures below a folder with the mask beside each: of its name, and no JPEG where the picture is one.

    Raises DatasetError where two files of a name could both be the picture.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    files = pictures_below(folder, told)
    for name in files:
        by_stem[without_suffix(name)].append(name)
    found: dict[str, tuple[Path, Path | None]] = {}
    for names in by_stem.values():
        # JPEG changes levels, so no mask is one where the other is not
        pictures = [name for name in names if PurePosixPath(name).suffix.lower() in JPEG]
        masks = [name for name in names if name not in pictures]
        if len(names) == 1:
            found[names[0]] = (files[names[0]], None)
        elif len(pictures) == 1 and len(masks) == 1:
            found[pictures[0]] = (files[pictures[0]], files[masks[0]])
        else:
            raise DatasetError(
                f"{folder}: expected a JPEG and its mask of one name, received {', '.join(names)}: nothing says which "
                "of them is the picture"
            )
    return found


def read_side_by_side(folder: Path, class_name: str, choices: MaskChoices, labels_lie: LabelsLie = "") -> LabelSource:
    """Read pictures (JPEG) with masks (PNG, BMP, TIFF) of the same name beside them, in a folder per class.

    `class_name`: of all, where folders are no classes. A picture may lack a mask only where its folder's name says that
    it is clean. Raises DatasetError.
    """
    told: list[str] = []
    pairs = twins_below(folder, told)
    if not any(mask for _, mask in pairs.values()):
        raise DatasetError(f"{folder}: expected masks beside the pictures, of their names, received none")
    found: dict[str, _Labelled] = {}
    lacking: list[str] = []
    for name, (path, mask) in pairs.items():
        kind = class_name or name.partition("/")[0]
        if not class_name and "/" not in name:
            raise DatasetError(f"{path} lies in no class's folder. Give --class, if all masks are of one class")
        if mask is None and not sounds_good(kind):
            lacking.append(str(path))
        found[name] = _Labelled(path, kind, (mask,) if mask is not None else ())
    if lacking:
        raise DatasetError(
            f"{counted(len(lacking), 'picture has', 'pictures have')} no mask of the name beside it: {some(lacking)}. "
            "Put pictures without a defect into a folder called ok or good"
        )
    return _source(found, choices, labels_lie, told)


def _source(
    found: Mapping[str, _Labelled], choices: MaskChoices, labels_lie: LabelsLie, told: list[str]
) -> LabelSource:
    paths: dict[str, list[Path]] = defaultdict(list)
    several: set[str] = set()
    for each in found.values():
        paths[each.name] += each.masks
        several |= {each.name} if any(mask.parent.name == each.path.stem for mask in each.masks) else set()
    # a mask for each object has the level of its kind
    ways = {name: replace(choices, objects=True) if name in several else choices for name in paths}
    sets = {name: MaskSet(own, ways[name]) for name, own in paths.items() if own}
    told += [f"{name}: {line}" for name, masks in sets.items() for line in masks.told]
    return LabelSource(len(found), one_by_one(found.items(), _labelling(sets, labels_lie)), told=told)


def _labelling(sets: Mapping[str, MaskSet], labels_lie: LabelsLie) -> Callable[[str, _Labelled], LabelledPicture]:
    def make(name: str, own: _Labelled) -> LabelledPicture:
        file, _ = read_file(own.path)
        where = str(own.masks[0] if own.masks else own.path)
        clean = not own.masks and means_clean(own.name)
        findings = [] if own.masks or clean else [ClassMask(own.name, None, where)]
        for path in own.masks:
            mask, _ = sets[own.name].read(path)
            shape = (mask.shape[0], mask.shape[1])
            shown = file.place(shape, labels_lie, str(path)) if mask.any() else True
            findings.append(ClassMask(own.name, mask if shown else file.as_shown(mask), str(path)))
        return LabelledPicture(
            name, own.path, file.shape_px, tuple(findings), where, clean, notes=file.notes(), greatest=file.greatest
        )

    return make
