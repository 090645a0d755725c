"""The comparison of two models on the same parts: verdicts that differ, defects gained and lost. Pure.

The former model judged before the change, the new one after it, whichever of them runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge.records import Defect, FrameResult, Verdict
from edge.wording import counted

Change = tuple[Verdict, Verdict]  # of a verdict: what the former model says, and what the new one


@dataclass(frozen=True)
class ClassChange:
    """Defects of one class: `gained`, seen by the new model alone; `lost`, seen by the former one alone."""

    gained: int = 0
    lost: int = 0

    def plus(self, other: ClassChange) -> ClassChange:
        """Return the sum."""
        return ClassChange(self.gained + other.gained, self.lost + other.lost)


@dataclass(frozen=True)
class Compared:
    """One part, or frame, that both models judged."""

    former: Verdict
    new: Verdict
    classes: Mapping[str, ClassChange] = field(default_factory=dict)

    @property
    def disagrees(self) -> bool:
        """Tell whether the new model judges otherwise what the former one could judge."""
        return self.former is not Verdict.NO_READ and self.former is not self.new


@dataclass(frozen=True)
class Diff:
    """The differences over some parts. `skipped`: parts that could not be compared. `verdicts`: those that differ.

    `disagreeing`: of these, where the former model could judge. `frames`, `slow`: frames that the new model judged, and
    those for which it took too long.
    """

    compared: int = 0
    skipped: int = 0
    disagreeing: int = 0
    verdicts: Mapping[Change, int] = field(default_factory=dict)
    classes: Mapping[str, ClassChange] = field(default_factory=dict)
    frames: int = 0
    slow: int = 0

    def plus(self, one: Compared) -> Diff:
        """Return the diff with one more part."""
        verdicts = dict(self.verdicts)
        if one.former is not one.new:
            change = (one.former, one.new)
            verdicts[change] = verdicts.get(change, 0) + 1
        return Diff(
            self.compared + 1,
            self.skipped,
            self.disagreeing + one.disagrees,
            verdicts,
            summed(self.classes, one.classes),
            self.frames,
            self.slow,
        )

    @property
    def differing(self) -> int:
        """Tell how many verdicts differ."""
        return sum(self.verdicts.values())

    def told(self, unit: str) -> str:
        """Write it in one line. `unit`: part or frame."""
        said = [f"{counted(self.compared, unit)} compared, {counted(self.differing, 'verdict')} would differ"]
        if self.verdicts:
            changes = sorted(self.verdicts.items(), key=lambda entry: (-entry[1], entry[0]))
            said[0] += f" ({', '.join(f'{old.value} → {new.value}: {count}' for (old, new), count in changes)})"
        said += [
            f"{name}: {change.gained} gained, {change.lost} lost"
            for name, change in sorted(self.classes.items())
            if change.gained or change.lost
        ] or ["no defect gained or lost"]
        if self.skipped:
            said.append(f"{counted(self.skipped, unit)} not compared")
        return "; ".join(said)


def summed(one: Mapping[str, ClassChange], other: Mapping[str, ClassChange]) -> dict[str, ClassChange]:
    """Return the sum by class."""
    names = dict.fromkeys([*one, *other])
    return {name: one.get(name, ClassChange()).plus(other.get(name, ClassChange())) for name in names}


def changed(former: FrameResult, new: FrameResult) -> dict[str, ClassChange]:
    """Return what two models see of one frame. A frame that one of them could not read tells nothing of defects."""
    if former.measurement is None or new.measurement is None:
        return {}
    return changed_defects(former.measurement.defects, new.measurement.defects)


def changed_defects(former: Sequence[Defect], new: Sequence[Defect]) -> dict[str, ClassChange]:
    """Count the defects of one frame that only one model sees, by class; see `differing_defects`."""
    only_new, only_former = differing_defects(former, new)
    gained = Counter(one.class_name for one in only_new)
    lost = Counter(one.class_name for one in only_former)
    return {name: ClassChange(gained[name], lost[name]) for name in sorted({*gained, *lost})}


def differing_defects(former: Sequence[Defect], new: Sequence[Defect]) -> tuple[tuple[Defect, ...], tuple[Defect, ...]]:
    """Return the defects of one frame that only one model sees: those gained, and those lost.

    Both see a defect where their boxes of one class overlap. So one that is split or merged is neither gained nor lost.
    """
    gained = tuple(one for one in new if not _seen(one, former))
    return gained, tuple(one for one in former if not _seen(one, new))


def _seen(defect: Defect, others: Sequence[Defect]) -> bool:
    return any(one.class_name == defect.class_name and _overlap(one.bbox, defect.bbox) for one in others)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    x, y, w, h = one
    left, top, width, height = other
    return x < left + width and left < x + w and y < top + height and top < y + h
