"""The comparison on one recording, as JSON, and as lines for the events of the first station."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.files import write_text
from edge.printable import as_json
from edge.recipes.comparing import Diff
from edge.replaying.pairs import Change, Twice, Unit

SCHEMA = "linewatch/diff/1"
_LISTED = 200  # defects of one part


@dataclass(frozen=True)
class Station:
    """The station that judged: its settings, by their SHA-256, and the model of each view, by `recipe/view`."""

    settings: str
    settings_sha256: str
    models: Mapping[str, Mapping[str, Any]]


@dataclass
class Comparison:
    """Sums up what two stations make of the same parts. `unit`: part or frame. `differing`: those that differ."""

    unit: str
    former: Station
    new: Station
    diff: Diff = field(default_factory=Diff)
    differing: list[dict[str, Any]] = field(default_factory=list)
    only_new: int = 0

    def add(self, twice: Twice) -> None:
        """Count one part or frame."""
        if (compared := twice.compared) is None:
            self.diff = Diff(
                self.diff.compared,
                self.diff.skipped + 1,
                self.diff.disagreeing,
                self.diff.verdicts,
                self.diff.classes,
            )
            return
        self.diff = self.diff.plus(compared)
        if twice.differs:
            self.differing.append(told_of(self.unit, twice))

    @property
    def changed(self) -> bool:
        """Tell whether anything differs, or could not be compared: then nothing is proven to be the same."""
        return bool(self.differing or self.diff.skipped or self.only_new or not self.diff.compared)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, as JSON has it; the names are those of a reload's message (`state/reload`)."""
        diff = self.diff
        return {
            "schema": SCHEMA,
            "unit": self.unit,
            "former": _station(self.former),
            "new": _station(self.new),
            "compared": diff.compared,
            "skipped": diff.skipped,
            "only_new": self.only_new,
            "verdicts": [
                {"former": old.value, "new": new.value, "count": count}
                for (old, new), count in sorted(diff.verdicts.items())
            ],
            "classes": {name: {"gained": one.gained, "lost": one.lost} for name, one in sorted(diff.classes.items())},
            "differing": self.differing,
        }

    def write(self, path: Path) -> None:
        """Write it as JSON. Raises StoreError."""
        write_text(path, as_json(self.as_dict(), indent=2) + "\n")


def event_of(unit: str, twice: Twice) -> dict[str, Any]:
    """Return the first station's message body, with what the second one makes of the same under `against`.

    It is None where the second station has no such part or frame.
    """
    body = dict(twice.former.body)
    if twice.new is None:
        return body | {"against": None}
    told = told_of(unit, twice)
    return body | {"against": told["new"] | {"gained": told["gained"], "lost": told["lost"]}}


def told_of(unit: str, twice: Twice) -> dict[str, Any]:
    """Return one part or frame that was judged twice, as JSON has it."""
    return {
        unit: twice.former.name,
        "former": _judged(twice.former),
        "new": None if twice.new is None else _judged(twice.new),
        "gained": defects_of(twice.gained),
        "lost": defects_of(twice.lost),
    }


def defects_of(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Return defects as JSON has them, the largest first; px of the frame, mm where there is a scale."""
    listed = sorted(changes, key=lambda one: -one.defect.area_px)[:_LISTED]
    return [
        {
            "view": one.view,
            "frame": one.frame,
            "class": one.defect.class_name,
            "score": round(one.defect.score, 3),
            "area_px": round(one.defect.area_px, 1),
            "area_mm2": one.defect.area_mm2,
            "length_mm": one.defect.length_mm,
            "width_mm": one.defect.width_mm,
            "u_mm": one.defect.u_mm,
            "bbox": list(one.defect.bbox),
        }
        for one in listed
    ]


def _judged(unit: Unit) -> dict[str, Any]:
    return {"verdict": unit.judgement.verdict.value, "reason": unit.judgement.reason}


def _station(station: Station) -> dict[str, Any]:
    return {
        "settings": station.settings,
        "settings_sha256": station.settings_sha256,
        "models": {name: dict(model) for name, model in station.models.items()},
    }
