"""The split into pictures that are learned from, that choose, and that only judge: by group, stratified by class.

A group is one physical piece: a split that cut through it would judge a model on what it has learned. Groups whose
pictures are near-duplicates of each other are held together too.

A hash of the seed and a group's name first places the group. No other group can change that. Then as few groups as
possible are moved, those nearest to a border first. It ends when each class and each combination of classes has its
share in every part. So a dataset that grows by a few pictures keeps most of its split. The aim is every label in its
share, the rare ones first. It is that of iterative stratification (Sechidis et al., "On the stratification of
multi-label data", 2011). The way there differs for the sake of stability.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.cli.terminal import warn
from edge.errors import DatasetError
from edge.records import Float64
from edge.wording import counted
from trainer.datasets.balancing import Aims, deal
from trainer.datasets.dataset import Entry, class_names
from trainer.datasets.near_duplicates import clusters, near_duplicates, read_thumbnails
from trainer.recipe.settings import SplitSettings

Split = Literal["train", "validation", "test"]
PARTS: tuple[Split, ...] = ("train", "validation", "test")
_CLEAN, _ALL = "(clean)", "(all)"
# A whole number of groups is within half a group of any share. Pictures come in whole groups and fit less well.
_HALF_A_GROUP, _PICTURES_TOLERANCE = 0.5, 1.0
_ATTEMPTS = 32
# A class that cannot be learned from or validated is no model. One that is not tested is a gap in the report.
_REQUIRED, _WISHED = 1000, 1


@dataclass(frozen=True)
class _Unit:
    """A unit that may not be cut: a group, or several that near-duplicates join. `kinds`: classes of each picture."""

    name: str
    groups: tuple[str, ...]
    kinds: tuple[tuple[str, ...], ...]


def split(
    entries: Sequence[Entry],
    test: float,
    validation: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int = 0,
    together: Iterable[Collection[str]] = (),
) -> dict[str, Split]:
    """Assign each picture (by `image`) to a part; shares are of the groups of each class and combination of classes.

    `validation` is a share of what the test part leaves. With `folds` the test part is fold number `fold` (from 0) of
    that many, and `test` is not used: over all folds each picture is held out once. `together`: sets of pictures
    (`image`) that must not be parted, beside the groups. A class with two groups is learned from and validated, with
    three or more also tested. Deterministic by `seed` and the groups' names, whatever the order of `entries`. Raises
    DatasetError, with the class and its counts. That is where a class would be learned from no group or could not be
    validated.
    """
    units = _units(entries, together)
    names = class_names(entries)
    _check_possible(units, names, folds, fold)
    for attempt in range(_ATTEMPTS):
        salt = f"{seed}" if attempt == 0 else f"{seed}/{attempt}"
        if folds is None:
            parts = _in_shares(units, names, test, validation, salt)
        else:
            own = [number == fold for number in _in_folds(units, names, folds, f"{seed}")]
            parts = _around_fold(units, names, own, validation, salt)
        lacking = _lacking(units, names, parts)
        if not lacking:
            break
    else:
        raise DatasetError(_impossible(units, names, parts, lacking))
    of_group = {group: part for unit, part in zip(units, parts, strict=True) for group in unit.groups}
    return {entry.image: of_group[entry.group] for entry in entries}


def split_rest(
    entries: Sequence[Entry],
    test: float,
    validation: float,
    seed: int,
    *,
    folds: int | None,
    fold: int = 0,
    together: Iterable[Collection[str]] = (),
) -> dict[str, Split]:
    """Hold out what `split` without folds does and, of the rest, fold number `fold` of `folds`; arguments as there.

    So the test part is the held-out pictures that all folds share, and the fold. Raises DatasetError like `split`.
    """
    kept = [tuple(images) for images in together]
    parts = split(entries, test, validation, seed, together=kept)
    rest = [entry for entry in entries if parts[entry.image] != "test"]
    return parts | split(rest, test, validation, seed, folds=folds, fold=fold, together=kept)


def _units(entries: Sequence[Entry], together: Iterable[Collection[str]]) -> list[_Unit]:
    """Join groups that share a set of `together`, by union-find; sorted by name."""
    leader = {entry.group: entry.group for entry in entries}

    def find(group: str) -> str:
        while leader[group] != group:
            leader[group] = leader[leader[group]]
            group = leader[group]
        return group

    group_of = {entry.image: entry.group for entry in entries}
    for images in together:
        joined = sorted({find(group_of[image]) for image in images if image in group_of})
        for group in joined[1:]:
            leader[group] = joined[0]
    groups: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for entry in entries:
        groups[find(entry.group)].add(entry.group)
        kinds[find(entry.group)].append(entry.classes)
    return [_Unit(name, tuple(sorted(groups[name])), tuple(sorted(kinds[name]))) for name in sorted(groups)]


def _in_shares(units: Sequence[_Unit], names: Sequence[str], test: float, validation: float, salt: str) -> list[Split]:
    shares = np.array([(1 - test) * (1 - validation), (1 - test) * validation, test])
    counts = _group_counts(units, names)
    least = np.array([[1, 1, int(test > 0 and counts[name] >= 3)] for name in names]).reshape(-1, 3).T
    shows, features, tolerance = _features(units, names)
    aims = Aims(shares, tolerance, least, np.array([_REQUIRED, _REQUIRED, _WISHED]))
    places = np.array([_place(salt, unit.name) for unit in units])
    return [PARTS[k] for k in deal(places, shows, features, aims)]


def _in_folds(units: Sequence[_Unit], names: Sequence[str], folds: int, salt: str) -> list[int]:
    shows, features, tolerance = _features(units, names)
    nothing = np.zeros((folds, len(names)), np.int64)
    aims = Aims(np.full(folds, 1 / folds), tolerance, nothing, np.zeros(folds, np.int64))
    places = np.array([_place(f"{salt}/folds", unit.name) for unit in units])
    return deal(places, shows, features, aims)


def _around_fold(
    units: Sequence[_Unit], names: Sequence[str], of_fold: Sequence[bool], validation: float, salt: str
) -> list[Split]:
    parts: list[Split] = ["test"] * len(units)
    rest = [k for k, own in enumerate(of_fold) if not own]
    within = _in_shares([units[k] for k in rest], names, 0.0, validation, f"{salt}/validation")
    for k, part in zip(rest, within, strict=True):
        parts[k] = part
    return parts


def _place(salt: str, name: str) -> float:
    """Return where a unit stands in [0, 1): the first 52 bits of a hash, so that it depends on nothing else."""
    return int(hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest()[:13], 16) / 16**13


def _features(units: Sequence[_Unit], names: Sequence[str]) -> tuple[Float64, Float64, Float64]:
    """Return the classes of a unit, float [U, K] of 0 and 1; the shared-out counts, float [U, F]; tolerances [F].

    Shared out are the groups with each class, the clean ones and all of them. So are those with each combination of
    classes. So are the pictures of each class, counted in groups of usual size.
    """
    labels = (*names, _CLEAN, _ALL)
    combinations = sorted({kind for unit in units for kind in unit.kinds})
    showing: list[list[int]] = []
    for unit in units:
        counts = Counter(name for kind in unit.kinds for name in (*(kind or (_CLEAN,)), _ALL))
        showing.append([counts[label] for label in labels])
    pictures = np.array(showing, dtype=float).reshape(len(units), len(labels))
    combined = np.array([[kind in unit.kinds for kind in combinations] for unit in units], dtype=float)
    combined = combined.reshape(len(units), len(combinations))
    groups = (pictures > 0).astype(float)
    usual = pictures.sum(axis=0) / np.maximum(groups.sum(axis=0), 1)
    tolerance = [_HALF_A_GROUP] * (len(labels) + len(combinations)) + [_PICTURES_TOLERANCE] * len(labels)
    features = np.hstack([groups, combined, pictures / np.maximum(usual, 1)])
    return groups[:, : len(names)], features, np.array(tolerance)


def _group_counts(units: Sequence[_Unit], names: Sequence[str]) -> dict[str, int]:
    return {name: sum(any(name in kind for kind in unit.kinds) for unit in units) for name in names}


def _check_possible(units: Sequence[_Unit], names: Sequence[str], folds: int | None, fold: int) -> None:
    if folds is not None and not 0 <= fold < folds:
        raise DatasetError(f"The split cannot be made: expected split.fold from 0 to {folds - 1}, received {fold}")
    # with folds the largest of them takes ceil(n / folds) groups, and two must be left
    short = [
        f"no group of {name} would be left to validation, {_counted(units, name)}"
        for name, count in _group_counts(units, names).items()
        if count - (-(-count // folds) if folds else 0) < 2
    ]
    if short:
        beside = f" beside each of {folds} folds" if folds else ""
        raise DatasetError(
            f"The split cannot be made: {'; '.join(short)}. Expected at least two groups of each class{beside}, one to "
            f"learn from and one to choose by; give more pictures{' or fewer folds' if folds else ''}"
        )


def _counted(units: Sequence[_Unit], name: str) -> str:
    """Say how many groups and pictures a class has, and how many groups are one because of near-duplicates."""
    own = [unit for unit in units if any(name in kind for kind in unit.kinds)]
    pictures = sum(name in kind for unit in own for kind in unit.kinds)
    groups = sum(len(unit.groups) for unit in own)
    joined = f" (of {groups}, joined by near-duplicates)" if groups > len(own) else ""
    return f"{name} has {len(own)} group{'s' * (len(own) != 1)}{joined} with {counted(pictures, 'picture')}"


def _lacking(units: Sequence[_Unit], names: Sequence[str], parts: Sequence[Split]) -> list[tuple[Split, str]]:
    needed: tuple[Split, ...] = ("train", "validation")
    return [
        (part, name)
        for part in needed
        for name in names
        if not any(p == part and name in kind for unit, p in zip(units, parts, strict=True) for kind in unit.kinds)
    ]


def _impossible(
    units: Sequence[_Unit], names: Sequence[str], parts: Sequence[Split], lacking: Sequence[tuple[Split, str]]
) -> str:
    what = "; ".join(f"no group of {name} would be left to {part}, {_counted(units, name)}" for part, name in lacking)
    counts = Counter(parts)
    largest = max(units, key=lambda unit: len(unit.groups))
    joined = (
        f" Near-duplicates join {counted(len(largest.groups), 'group')} into one; if they are none, set "
        f"split.near_duplicates: "
        "warn."
        if len(largest.groups) > max(2, len(units) // 4)
        else ""
    )
    return (
        f"The split cannot be made: {what}. Of {counted(len(units), 'group')} and "
        f"{counted(len(names), 'class', 'classes')} {counted(counts['train'], 'group')} "
        f"would be learned from, {counts['validation']} would validate. Expected at least two groups of each class "
        f"beside those held out; give more pictures or lower split.test.{joined}"
    )


def split_dataset(
    entries: Sequence[Entry], settings: SplitSettings, seed: int, console: Console | None = None
) -> dict[str, Split]:
    """Split as a recipe says: reads the pictures once to find near-duplicates, and tells `console` what was found.

    Raises DatasetError like `split`. Takes some hundredths of a second per picture, for reading it.
    """
    seed = seed if settings.seed is None else settings.seed
    found, unread = _look_alike(entries, settings)
    together = found if settings.near_duplicates == "together" else []
    cut = split_rest if settings.folds_of == "rest" else split
    parts = cut(
        entries,
        settings.test,
        settings.validation,
        seed,
        folds=settings.folds,
        fold=settings.fold,
        together=together,
    )
    if console is not None:
        across = _across_groups(entries, found)
        for line in _remarks(across, settings):
            console.print(line)
        if leaking := leaks(parts, across):
            warn(
                console,
                f"{len(leaking)} of {sum(part == 'test' for part in parts.values())} held-out pictures "
                "show nearly what is learned from or chosen by, so figures on them flatter. With "
                "split.near_duplicates: together such pictures are in one part",
            )
        if unread:
            more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
            names = ", ".join(unread[:3])
            warn(console, f"cannot be read, and training would refuse: {names}{more}")
    return parts


def _look_alike(entries: Sequence[Entry], settings: SplitSettings) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return sets of near-duplicates, and the pictures that cannot be read; neither where nobody asks for them."""
    if settings.near_duplicates == "ignore":
        return [], []
    small = list(read_thumbnails([(entry.image, entry.path) for entry in entries]))
    unread = sorted({entry.image for entry in entries} - {thumbnail.image for thumbnail in small})
    return clusters(near_duplicates(small)), unread


def fold_of_each(
    entries: Sequence[Entry], settings: SplitSettings, seed: int, folds: int, *, validated: bool = True
) -> dict[str, int | None]:
    """Return the fold, from 0, of each picture (`image`); None where `settings.test` holds it out of all folds.

    Each fold is what `split_dataset` holds out beside them with `folds_of: rest`. `validated`: of each class something
    is to be left to learn from and to choose by. Without it, as for good parts, all pictures are in folds. Raises
    DatasetError like `split`.
    """
    seed = seed if settings.seed is None else settings.seed
    together = _look_alike(entries, settings)[0] if settings.near_duplicates == "together" else []
    if not validated:
        units = _units(entries, together)
        numbers = _in_folds(units, class_names(entries), folds, f"{seed}")
        of_group = {group: fold for unit, fold in zip(units, numbers, strict=True) for group in unit.groups}
        return {entry.image: of_group[entry.group] for entry in entries}
    shared = split(entries, settings.test, settings.validation, seed, together=together)
    found: dict[str, int | None] = {entry.image: None for entry in entries}
    rest = [entry for entry in entries if shared[entry.image] != "test"]
    for fold in range(folds):
        parts = split(rest, 0.0, settings.validation, seed, folds=folds, fold=fold, together=together)
        found |= {image: fold for image, part in parts.items() if part == "test"}
    return found


def _across_groups(entries: Sequence[Entry], found: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    group_of = {entry.image: entry.group for entry in entries}
    return [images for images in found if len({group_of[image] for image in images}) > 1]


def _remarks(across: Sequence[Sequence[str]], settings: SplitSettings) -> list[str]:
    remarks = []
    if settings.folds is not None:
        beside = "split.test is not used" if settings.folds_of == "all" else "what split.test holds out is so too"
        remarks.append(f"fold {settings.fold} of {settings.folds} is held out; {beside}")
    if across and settings.near_duplicates == "together":
        remarks.append(
            f"{counted(sum(map(len, across)), 'picture')} of different groups are near-duplicates, in "
            f"{counted(len(across), 'set')}; each "
            "set is in one part"
        )
    return remarks


def leaks(parts: Mapping[str, Split], together: Iterable[Collection[str]]) -> list[str]:
    """Return the test pictures that share a set of `together` with a picture of another part, sorted."""
    found: set[str] = set()
    for images in together:
        sides = {image: parts[image] for image in images if image in parts}
        if set(sides.values()) - {"test"}:
            found.update(image for image, part in sides.items() if part == "test")
    return sorted(found)


def split_table(entries: Sequence[Entry], parts: dict[str, Split]) -> Table:
    """Lay out pictures and groups of each class in each part, as `linewatch-train split` prints them."""
    table = Table("class", *PARTS, "all", caption="pictures (groups)")
    for label in (*class_names(entries), _CLEAN, _ALL):
        own = [entry for entry in entries if label == _ALL or label in (entry.classes or (_CLEAN,))]
        if own:
            cells = [_cell([entry for entry in own if parts[entry.image] == part]) for part in PARTS]
            table.add_row(label, *cells, _cell(own))
    return table


def _cell(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} ({len({entry.group for entry in entries})})"
