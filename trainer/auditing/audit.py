"""`linewatch-train audit`: what is wrong or odd with a dataset's labels, before a model learns it.

Broken labels, which training would refuse, are told apart from doubtful ones and from mere notes. Nothing is changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from edge.bundle import SPLIT, sha256_of
from edge.cli.terminal import lines
from edge.errors import BundleError, DatasetError
from edge.preparing import depth_bits
from edge.wording import counted
from trainer.auditing.annotator_styles import MEASURES, StyleDifference, style_differences
from trainer.auditing.audit_reading import PictureFacts, Reading, read_mask, read_tolerantly
from trainer.datasets.class_naming import questions
from trainer.datasets.dataset import IGNORE_MASK, Entry
from trainer.datasets.near_duplicates import Pair, clusters, near_duplicates
from trainer.datasets.recipe_classes import unknown_classes
from trainer.datasets.split_manifest import SplitRow, read_split
from trainer.datasets.splitting import Split, leaks, split
from trainer.recipe.settings import TrainSettings

Severity = Literal["refused", "doubtful", "note"]
_ORDER: tuple[Severity, ...] = ("refused", "doubtful", "note")
_TEXTS_SHOWN = 2
_RARE = 0.1
_AGREES = 0.9
_LEAST_MASKS, _DILATED_PX = 5, 3.0


@dataclass(frozen=True)
class Kind:
    """One kind of finding: how bad, and in words for a table."""

    severity: Severity
    title: str


KINDS: dict[str, Kind] = {
    "incomplete-row": Kind("refused", "rows without image, class or group"),
    "missing-picture": Kind("refused", "pictures that are missing"),
    "unreadable-picture": Kind("refused", "pictures that cannot be read"),
    "missing-mask": Kind("refused", "masks that are missing"),
    "unreadable-mask": Kind("refused", "masks that cannot be read"),
    "unclear-mask": Kind("refused", "masks whose levels have no clear meaning"),
    "depth": Kind("refused", "pictures of 16 bits whose depth nothing says"),
    "leads-out": Kind("refused", "files outside of the dataset"),
    "look-alikes": Kind("refused", "classes that differ in capitals only"),
    "mask-size": Kind("refused", "masks of another size than their picture"),
    "no-mask": Kind("refused", "defects without a mask"),
    "class-name": Kind("refused", "classes whose name cannot be used"),
    "two-groups": Kind("refused", "pictures in two groups"),
    "several-labels": Kind("refused", "pictures of several classes without masks"),
    "empty-class": Kind("refused", "classes without a pixel in any mask"),
    "unknown-class": Kind("refused", "classes of the recipe that the dataset lacks"),
    "no-split": Kind("refused", "classes that cannot be split"),
    "empty-mask": Kind("doubtful", "empty masks"),
    "not-binary": Kind("doubtful", "masks that are not 0 and 255"),
    "turned": Kind("doubtful", "pictures that are turned by their orientation"),
    "odd-class": Kind("doubtful", "classes that may be none"),
    "levels-lost": Kind("note", "pictures of more than 8 bits"),
    "nearly-full-mask": Kind("doubtful", "masks that cover nearly everything"),
    "overlapping-masks": Kind("doubtful", "masks that overlap"),
    "mask-on-clean": Kind("doubtful", "clean rows with a mask that is not empty"),
    "specks": Kind("doubtful", "masks with tiny specks"),
    "dilated": Kind("doubtful", "classes drawn wider than they are"),
    "other-labels": Kind("doubtful", "the same picture, labelled otherwise"),
    "duplicate": Kind("doubtful", "identical files"),
    "near-duplicate": Kind("doubtful", "near-duplicates in different groups"),
    "leak": Kind("doubtful", "held-out pictures that nearly show what is learned from"),
    "changed": Kind("doubtful", "files that changed since the bundle was trained"),
    "style": Kind("doubtful", "annotators who draw otherwise than the others"),
    "group-style": Kind("note", "groups drawn otherwise than the others"),
    "mixed-group": Kind("note", "groups with several classes"),
    "touches-border": Kind("note", "masks that touch the border"),
    "rare-class": Kind("note", "classes with few pictures"),
}


@dataclass(frozen=True)
class Finding:
    """One finding: its kind (a key of KINDS), what in words, and the pictures that it is about."""

    kind: str
    text: str
    images: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """Return the severity of its kind."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class ClassBalance:
    """A dataset's pictures of one class; `pixel_share` of all pixels, `median_area_px` of its defects."""

    name: str
    pictures: int
    groups: int
    defects: int
    pixels: int
    pixel_share: float
    median_area_px: float | None


@dataclass(frozen=True)
class GroupBalance:
    """A dataset's pictures of one group: `pictures` of each class, or combination of classes, or `clean`."""

    name: str
    pictures: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """All that was found. `by`: what the styles are compared by. `clean`: pictures and groups without a defect."""

    data: Path
    pictures: tuple[PictureFacts, ...]
    findings: tuple[Finding, ...]
    balance: tuple[ClassBalance, ...]
    clean: tuple[int, int]
    groups: tuple[GroupBalance, ...]
    pairs: tuple[Pair, ...]
    styles: tuple[StyleDifference, ...]
    by: Literal["annotator", "group"]

    def count(self, severity: Severity) -> int:
        """Return the number of findings of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def report(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "data": str(self.data),
            "pictures": len(self.pictures),
            "refused": self.count("refused"),
            "doubtful": self.count("doubtful"),
            "classes": [asdict(line) for line in self.balance],
            "clean": dict(zip(("pictures", "groups"), self.clean, strict=True)),
            "groups": {group.name: dict(group.pictures) for group in self.groups},
            "findings": [{"severity": finding.severity} | asdict(finding) for finding in self.findings],
            "near_duplicates": [asdict(pair) for pair in self.pairs],
            "styles": {"by": self.by, "comparisons": [asdict(style) for style in self.styles]},
        }


def audit(
    data: Path,
    console: Console,
    *,
    bundle: Path | None = None,
    settings: TrainSettings | None = None,
    recipe: Path | None = None,
) -> Audit:
    """Look through the dataset folder `data`; with a bundle or a recipe also at what its split would leak.

    With a recipe's `settings`, read from the file `recipe`, also at the classes that it names.

    Raises DatasetError where there is no manifest to read, BundleError where the bundle's split cannot be read.
    """
    rows = _split_of(bundle) if bundle is not None else None
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        depth = depth_bits(settings.preparing) if settings is not None else None
        reading = read_tolerantly(data, lambda total: progress.update(task, total=total, advance=1), depth)
    pairs = near_duplicates([picture.thumbnail for picture in reading.pictures])
    sets = clusters(pairs)
    findings = [Finding(problem.kind, problem.text, (problem.image,)) for problem in reading.problems]
    groups = _groups(reading.pictures)
    findings += _odd_classes(reading)
    findings += _duplicates(reading.pictures) + _near_duplicates(reading.pictures, sets)
    findings += _mixed_groups(groups, reading.pictures) + _several_labels(reading)
    parts: Mapping[str, Split] | None = {row.image: row.part for row in rows} if rows is not None else None
    if rows is not None:
        findings += _changed(rows, reading)
    if settings is not None:
        findings += _unknown_classes(reading.pictures, settings, data, recipe)
        parts = _parts(reading.pictures, settings, sets, findings)
    if parts is not None:
        findings += _leaks(parts, reading.pictures, sets)
    balance = _balance(reading.pictures)
    findings += _shortages(reading.pictures, balance, split_judged=settings is not None)
    findings += _dilated(reading.pictures, balance)
    by: Literal["annotator", "group"] = "annotator" if reading.has_annotators else "group"
    styles = _styles(reading.pictures, by)
    findings += [_style_finding(style, by, reading.pictures) for style in styles if style.differs]
    kinds = list(KINDS)
    findings.sort(key=lambda finding: (_ORDER.index(finding.severity), kinds.index(finding.kind)))
    clean = [picture.group for picture in reading.pictures if not picture.classes]
    return Audit(
        data=data,
        pictures=reading.pictures,
        findings=tuple(findings),
        balance=tuple(balance),
        clean=(len(clean), len(set(clean))),
        groups=tuple(groups),
        pairs=tuple(pairs),
        styles=tuple(styles),
        by=by,
    )


def _split_of(bundle: Path) -> list[SplitRow]:
    if not (bundle / SPLIT).is_file():
        raise BundleError(f"{bundle} has no {SPLIT}: expected a bundle that was trained here, with its split")
    return read_split(bundle / SPLIT)


def _odd_classes(reading: Reading) -> list[Finding]:
    """Name classes that differ in capitals only, or that sound as if they were no defects."""
    of: dict[str, list[str]] = defaultdict(list)
    for row in reading.rows:
        if row.name and not row.clean:
            of[row.name].append(row.image)
    found = []
    known: dict[str, str] = {}
    for name, images in sorted(of.items()):
        if (before := known.setdefault(name.casefold(), name)) != name:
            found.append(Finding("look-alikes", f"{before} and {name}", tuple(of[before] + images)))
        if question := next(iter(questions([name], {})), ""):
            found.append(Finding("odd-class", question, tuple(images)))
    return found


def _duplicates(pictures: Sequence[PictureFacts]) -> list[Finding]:
    alike: dict[str, list[PictureFacts]] = defaultdict(list)
    for picture in pictures:
        alike[picture.sha256].append(picture)
    found = []
    for same in alike.values():
        if len(same) > 1:
            groups = sorted({picture.group for picture in same})
            where = f"in the groups {', '.join(groups)}" if len(groups) > 1 else f"in the group {groups[0]}"
            images = tuple(picture.image for picture in same)
            found.append(Finding("duplicate", f"{' = '.join(images)}, {where}", images))
            found += [
                Finding(
                    "other-labels", f"{same[0].image} = {other.image}, but their masks agree by {iou:.0%} only", images
                )
                for other in same[1:]
                if (iou := _agreement(same[0], other)) < _AGREES
            ]
    return found


def _agreement(first: PictureFacts, second: PictureFacts) -> float:
    """Return the IoU of the masks of two identical pictures, over all classes together."""
    drawn = [np.zeros(first.size, bool), np.zeros(first.size, bool)]
    for union, picture in zip(drawn, (first, second), strict=True):
        for facts in picture.masks:
            mask = read_mask(facts.path)
            if mask is not None:
                np.logical_or(union, mask > 0, out=union)
    either = int((drawn[0] | drawn[1]).sum())
    return int((drawn[0] & drawn[1]).sum()) / either if either else 1.0


def _near_duplicates(pictures: Sequence[PictureFacts], sets: Sequence[Sequence[str]]) -> list[Finding]:
    known = {picture.image: picture for picture in pictures}
    found = []
    for images in sets:
        own = [known[image] for image in images]
        same = f"{counted(len(images), 'picture shows', 'pictures show')} nearly the same"
        groups, kinds = sorted({p.group for p in own}), sorted({" and ".join(p.classes) or "clean" for p in own})
        if len(groups) > 1:
            text = f"{same} in {counted(len(groups), 'group')}: {_some(images)}"
            found.append(Finding("near-duplicate", text, tuple(images)))
        if len(kinds) > 1:
            text = f"{same}, labelled {', '.join(kinds)}: {_some(images)}"
            found.append(Finding("other-labels", text, tuple(images)))
    return found


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _groups(pictures: Sequence[PictureFacts]) -> list[GroupBalance]:
    of_group: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        of_group[picture.group][" and ".join(picture.classes) or "clean"] += 1
    return [GroupBalance(group, dict(sorted(counts.items()))) for group, counts in sorted(of_group.items())]


def _mixed_groups(groups: Sequence[GroupBalance], pictures: Sequence[PictureFacts]) -> list[Finding]:
    return [
        Finding(
            "mixed-group",
            f"{group.name}: {', '.join(f'{count} {kind}' for kind, count in group.pictures.items())}",
            tuple(picture.image for picture in pictures if picture.group == group.name),
        )
        for group in groups
        if len(group.pictures) > 1
    ]


def _several_labels(reading: Reading) -> list[Finding]:
    """Name pictures of several classes where there are no masks, which would say what of them is which."""
    if any(row.mask for row in reading.rows if not row.clean):
        return []  # then rows without one are told of as such
    return [
        Finding("several-labels", f"{p.image} is {' and '.join(p.classes)}; expected one class, or masks", (p.image,))
        for p in reading.pictures
        if len(p.classes) > 1
    ]


def _changed(rows: Sequence[SplitRow], reading: Reading) -> list[Finding]:
    now = {picture.image: picture for picture in reading.pictures}
    named = {row.image for row in reading.rows}
    found = []
    for row in rows:
        picture = now.get(row.image)
        what = ""
        if row.image not in named:
            what = "is no longer in the manifest"
        elif picture is not None and picture.sha256 != row.sha256:
            what = "is another picture now"
        elif picture is not None and row.masks is not None:
            named_masks = [(facts.row.name, facts.path) for facts in picture.masks]
            named_masks += [(IGNORE_MASK, path) for path in picture.ignored]
            masks = sorted((name, sha256_of(path)) for name, path in named_masks)
            what = "has other masks now" if masks != sorted(row.masks) else ""
        if what:
            found.append(Finding("changed", f"{row.image} ({row.part}) {what}", (row.image,)))
    return found


def _entries(pictures: Sequence[PictureFacts]) -> list[Entry]:
    return [Entry(p.image, p.path, (), p.group, frozenset(p.classes)) for p in pictures]


def _unknown_classes(
    pictures: Sequence[PictureFacts], settings: TrainSettings, data: Path, recipe: Path | None
) -> list[Finding]:
    names = sorted({name for picture in pictures for name in picture.classes})
    return [Finding("unknown-class", told, ()) for told in unknown_classes(settings, names, data, recipe)]


def _parts(
    pictures: Sequence[PictureFacts],
    settings: TrainSettings,
    sets: Sequence[Sequence[str]],
    findings: list[Finding],
) -> Mapping[str, Split] | None:
    """Split as the recipe would; note in `findings` where that cannot be done."""
    own = settings.split
    together = sets if own.near_duplicates == "together" else ()
    try:
        return split(
            _entries(pictures),
            own.test,
            own.validation,
            settings.seed,
            folds=own.folds,
            fold=own.fold,
            together=together,
        )
    except DatasetError as error:
        findings.append(Finding("no-split", str(error), ()))
        return None


def _leaks(
    parts: Mapping[str, Split], pictures: Sequence[PictureFacts], sets: Sequence[Sequence[str]]
) -> list[Finding]:
    same: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        same[picture.sha256].append(picture.image)
    together = [*sets, *(images for images in same.values() if len(images) > 1)]
    found = []
    for image in leaks(parts, together):
        others = sorted(
            {other for images in together if image in images for other in images if parts.get(other, "test") != "test"}
        )
        words = f"{image} is held out; nearly the same as {_some(others)}, {parts[others[0]]}"
        found.append(Finding("leak", words, (image, *others)))
    return found


def _balance(pictures: Sequence[PictureFacts]) -> list[ClassBalance]:
    pixels = sum(picture.size[0] * picture.size[1] for picture in pictures)
    found = []
    for name in sorted({name for picture in pictures for name in picture.classes}):
        own = [picture for picture in pictures if name in picture.classes]
        masks = [mask for picture in own for mask in picture.masks if mask.row.name == name]
        areas = [mask.style.defect_area_px for mask in masks if mask.style is not None]
        area = sum(mask.area_px for mask in masks)
        found.append(
            ClassBalance(
                name=name,
                pictures=len(own),
                groups=len({picture.group for picture in own}),
                defects=sum(mask.defects for mask in masks),
                pixels=area,
                pixel_share=area / pixels,
                median_area_px=float(np.median(areas)) if areas else None,
            )
        )
    return found


def _shortages(
    pictures: Sequence[PictureFacts], balance: Sequence[ClassBalance], *, split_judged: bool
) -> list[Finding]:
    """Name classes that training could not learn or split, and those with a tenth of the largest one's pictures.

    `split_judged`: a recipe's own split has told of those already that cannot be split.
    """
    found = []
    most = max((line.pictures for line in balance), default=0)
    for line in balance:
        images = tuple(picture.image for picture in pictures if line.name in picture.classes)
        masked = any(mask.row.name == line.name for picture in pictures for mask in picture.masks)
        if masked and not line.pixels:
            shown = counted(line.pictures, "picture")
            text = f"{line.name}: the masks of all {shown} are empty, so that it cannot be learned"
            found.append(Finding("empty-class", text, images))
        if line.groups < 2 and not split_judged:
            shown = counted(line.pictures, "picture")
            text = f"{line.name} has 1 group with {shown}; expected one to learn from, one to validate"
            found.append(Finding("no-split", text, images))
        if line.pictures <= _RARE * most:
            found.append(
                Finding(
                    "rare-class", f"{line.name}: {counted(line.pictures, 'picture')}, the largest has {most}", images
                )
            )
    return found


def _dilated(pictures: Sequence[PictureFacts], balance: Sequence[ClassBalance]) -> list[Finding]:
    """Name classes whose outlines lie well outside of the pictures' edges, in the median of their masks."""
    found = []
    for line in balance:
        outside = [
            (mask.style.dilation_px, picture.image)
            for picture in pictures
            for mask in picture.masks
            if mask.row.name == line.name and mask.style is not None and mask.style.dilation_px is not None
        ]
        median = float(np.median([px for px, _ in outside])) if len(outside) >= _LEAST_MASKS else 0.0
        if median >= _DILATED_PX:
            masks = counted(len(outside), "mask")
            text = f"{line.name}: outlines lie {median:.1f} px outside of the edge, in the median of {masks}, "
            text += "as if painted with a pen; labels: {shrink: edge} in a recipe learns them without the rim"
            found.append(Finding("dilated", text, tuple(image for px, image in outside if px >= median)))
    return found


def _styles(pictures: Sequence[PictureFacts], by: Literal["annotator", "group"]) -> list[StyleDifference]:
    return style_differences(
        [
            (mask.row.annotator or "(nobody)" if by == "annotator" else picture.group, mask.row.name, mask.style)
            for picture in pictures
            for mask in picture.masks
            if mask.style is not None
        ]
    )


def _style_finding(
    style: StyleDifference, by: Literal["annotator", "group"], pictures: Sequence[PictureFacts]
) -> Finding:
    words = (
        f"{style.annotator}: {MEASURES[style.measure]} of {style.class_name} {style.own:.1f} px"
        f"{'²' if style.measure == 'defect_area_px' else ''} in {counted(style.masks, 'mask')}, "
        f"{style.others:.1f} elsewhere "
        f"(p = {style.p:.1g})"
    )
    of_class = [
        (picture.image, mask.row.annotator or "(nobody)" if by == "annotator" else picture.group)
        for picture in pictures
        for mask in picture.masks
        if mask.row.name == style.class_name
    ]
    own = [image for image, who in of_class if who == style.annotator]
    others = [image for image, who in of_class if who != style.annotator]
    # two of each, to see how they differ, then the rest of those that it is about
    images = tuple(dict.fromkeys([*own[:2], *others[:2], *own[2:]]))
    return Finding("style" if by == "annotator" else "group-style", words, images)


def refuse_broken(found: Audit) -> None:
    """Raise DatasetError where anything was found that training would refuse, with the first of each kind."""
    broken = [own for _, own in by_kind(found.findings) if own[0].severity == "refused"]
    if broken:
        first = "; ".join(own[0].text + (f" (and {len(own) - 1} more)" if len(own) > 1 else "") for own in broken)
        raise DatasetError(
            f"{found.data}: training would refuse {counted(sum(map(len, broken)), 'label')}: {first}. Mend them"
        )


def tables(found: Audit) -> list[Table]:
    """Lay the audit out: what each class has, and each kind of finding with its first examples."""
    balance = Table("class", "pictures", "groups", "defects", "pixels", "of all pixels", "median area per defect")
    for line in found.balance:
        area = "-" if line.median_area_px is None else f"{line.median_area_px:,.0f} px"
        numbers = (line.pictures, line.groups, line.defects, line.pixels)
        balance.add_row(line.name, *[f"{number:,}" for number in numbers], f"{line.pixel_share:.3%}", area)
    if found.clean[0]:
        balance.add_row("(clean)", *[f"{number:,}" for number in found.clean])
    findings = Table("", "finding", "count", Column("for example", overflow="fold"))
    for kind, own in by_kind(found.findings):
        examples = [finding.text for finding in own[:_TEXTS_SHOWN]]
        more = [f"… and {len(own) - _TEXTS_SHOWN} more"] if len(own) > _TEXTS_SHOWN else []
        findings.add_row(KINDS[kind].severity, KINDS[kind].title, str(len(own)), lines(*examples, *more))
    return [balance, findings] if found.findings else [balance]


def by_kind(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """Gather findings by kind, in the order of KINDS within each severity."""
    gathered: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        gathered[finding.kind].append(finding)
    return list(gathered.items())
