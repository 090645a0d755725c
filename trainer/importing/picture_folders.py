"""Sets that are published as folders: MVTec's layout, and masks that lie beside their pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError
from edge.pictures import JPEG
from edge.wording import counted
from trainer.datasets.class_naming import means_clean, sounds_good
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.mask_sets import MaskChoices, MaskSet
from trainer.importing.pairing import pictures_below, read_file, some, without_suffix

TRAIN, TEST, TRUTH = "train", "test", "ground_truth"
_PARTS = (TRAIN, "validation", TEST)


@dataclass(frozen=True)
class _Labelled:
    """A picture, the class that its folder has, and its mask; None of masks in a set without any."""

    path: Path
    name: str
    mask: Path | None


def is_mvtec(folder: Path) -> bool:
    """Tell whether a folder has MVTec's layout: train/good, and test with a folder for each kind."""
    return (folder / TRAIN / "good").is_dir() and (folder / TEST).is_dir()


def read_mvtec(folder: Path, choices: MaskChoices, labels_lie: LabelsLie = "") -> LabelSource:
    """Read `train/good`, `test/<class>` and `ground_truth/<class>/NAME_mask.png`, as MVTec AD has them.

    Pictures have labels alone where there is no ground_truth at all. Raises DatasetError naming what does not pair.
    """
    if not is_mvtec(folder):
        raise DatasetError(f"{folder}: expected the folders train/good and test/…, as MVTec AD has them")
    told: list[str] = []
    masks = _masks_of(folder / TRUTH, told) if (folder / TRUTH).is_dir() else None
    found: dict[str, _Labelled] = {}
    problems: list[str] = []
    for part in _PARTS:
        for name, path in pictures_below(folder / part, told).items() if (folder / part).is_dir() else ():
            kind, _, rest = name.partition("/")
            if not rest:
                raise DatasetError(f"{path} lies in no class's folder; expected all pictures in one")
            mask = None if masks is None or means_clean(kind) else masks.pop((kind, without_suffix(rest)), None)
            if mask is None and masks is not None and not means_clean(kind):
                problems.append(f"{path}: expected its mask {TRUTH}/{kind}/{without_suffix(rest)}_mask.png")
            found[f"{part}/{name}"] = _Labelled(path, kind, mask)
    problems += [f"{path}: expected the picture of this mask in {TEST}" for path in (masks or {}).values()]
    if problems:
        raise DatasetError(f"{counted(len(problems), 'file does', 'files do')} not pair: {some(problems)}")
    if masks is None:
        told.append(f"no {TRUTH}: pictures have labels without masks")
    return _source(found, choices, labels_lie, told)


def _masks_of(folder: Path, told: list[str]) -> dict[tuple[str, str], Path]:
    masks = {}
    for name, path in pictures_below(folder, told).items():
        kind, _, rest = name.partition("/")
        masks[kind, without_suffix(rest, "_mask")] = path
    return masks


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
        found[name] = _Labelled(path, kind, mask)
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
    for each in found.values():
        if each.mask is not None:
            paths[each.name].append(each.mask)
    sets = {name: MaskSet(own, choices) for name, own in paths.items()}
    told += [f"{name}: {line}" for name, masks in sets.items() for line in masks.told]
    return LabelSource(len(found), one_by_one(found.items(), _labelling(sets, labels_lie)), told=told)


def _labelling(sets: Mapping[str, MaskSet], labels_lie: LabelsLie) -> Callable[[str, _Labelled], LabelledPicture]:
    def make(name: str, own: _Labelled) -> LabelledPicture:
        file, _ = read_file(own.path)
        where = str(own.mask or own.path)
        if own.mask is None:
            clean = means_clean(own.name)
            findings = () if clean else (ClassMask(own.name, None, where),)
        else:
            clean = False
            mask, _ = sets[own.name].read(own.mask)
            shape = (mask.shape[0], mask.shape[1])
            shown = file.place(shape, labels_lie, where) if mask.any() else True
            findings = (ClassMask(own.name, mask if shown else file.as_shown(mask), where),)
        return LabelledPicture(
            name, own.path, file.shape_px, findings, where, clean, notes=file.notes(), greatest=file.greatest
        )

    return make
