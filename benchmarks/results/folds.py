"""The figures of the recipes over folds of whole groups: `linewatch-train compare RECIPE --folds K` of each set.

The comparisons lie in folders named after the sets, `DIR/SET`. One that is not over is told by the folds that it has.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.running import ROOT
from benchmarks.results.sets import Report
from edge.yaml_settings import load_yaml
from trainer.comparing.folds_summary import pooled_figures
from trainer.comparing.one_run import FIGURES, RECIPE
from trainer.recipe.settings import TrainSettings

KEPT = "folds"  # the key of docs/results.json
_FLAGGED = "0.05"
_WORDS = """## By folds

Each set is dealt into folds, whole groups at a time. Each fold is held out once, and its run learns from the others.
The pictures that `split.test` of a recipe holds out are in no fold. All runs are judged on them as well. For each set
the command was

    linewatch-train compare config/train.SET.yaml --data DIR/FOLDER --out COMPARISONS/SET --folds K

and then `make results DATA=DIR ARGS="--folds COMPARISONS"`. `±` is the standard deviation of single runs, and the worst
of them stands beside it. Trainings may be shortened: the table tells how many of the recipe's steps they took.

| set | figure | | ± | worst run | held out | must | aim | runs | steps |
|---|---|---|---|---|---|---|---|---|---|"""
Runs = Mapping[int, Sequence[Report]]  # each seed's reports, one of each fold that is done
Of = Callable[[Sequence[Report]], float | None]


@dataclass(frozen=True)
class FoldTarget:
    """One figure of reports over folds, `of` those of one seed, with its limits. `share`: to be read in per cent."""

    title: str
    of: Of
    must: float
    aim: float
    at_least: bool = True
    share: bool = True

    def short_by(self, value: float, limit: float) -> float:
        """Return by how much `value` falls short of `limit`; 0 where it is as good."""
        return max(0.0, limit - value if self.at_least else value - limit)

    def words(self, value: float) -> str:
        """Write a value as the table has it."""
        return f"{value:.1%}" if self.share else f"{value:.3f}"

    def told(self, value: float, limit: float) -> str:
        """Write a limit as the table has it, and whether or by how much it is missed."""
        written = f"{'≥' if self.at_least else '≤'} {100 * limit:.4g} %" if self.share else f"≥ {limit:.4g}"
        short = self.short_by(value, limit)
        if not short:
            return f"{written} reached"
        return f"{written}, short by {f'{100 * short:.1f} points' if self.share else f'{short:.3f}'}"


@dataclass(frozen=True)
class FoldSet:
    """A set that is judged over folds. `worst`: of several seeds the worst counts, not their mean. `remark`: see it."""

    name: str
    title: str
    folds: int
    targets: tuple[FoldTarget, ...]
    worst: bool = False
    remark: str = ""


def _found_at_flagged(reports: Sequence[Report]) -> float | None:
    """Return the mean over folds of what is found where 5 % of the clean pictures are flagged."""
    found = [(report.get("found_at_false_alarms") or {}).get(_FLAGGED) for report in reports]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _passed_at_flagged(reports: Sequence[Report]) -> float | None:
    found = _found_at_flagged(reports)
    return None if found is None else 1 - found


def _pooled(name: str) -> Of:
    return lambda reports: pooled_figures(reports).get(name)


def _found(reports: Sequence[Report]) -> float | None:
    missed = pooled_figures(reports).get("missed")
    return None if missed is None else 1 - missed


def _defects_alone(reports: Sequence[Report]) -> float | None:
    """Return the mean IoU of the classes of defects, all pictures as one set."""
    names = list(reports[0]["counts"]["shown"])
    iou = [value for name in names if (value := pooled_figures(reports).get(f"iou {name}")) is not None]
    return float(np.mean(iou)) if iou else None


def _counted(key: str, name: str, *, others: bool) -> Of:
    """Return the share of pictures that show a class, or of the others, that `counts` has under `key`."""

    def share(reports: Sequence[Report]) -> float | None:
        shown = [report["counts"]["shown"][name] for report in reports]
        of = sum(report["pictures"] - own for report, own in zip(reports, shown, strict=True)) if others else sum(shown)
        return sum(report["counts"][key][name] for report in reports) / of if of else None

    return share


def _found_scratches(reports: Sequence[Report]) -> float | None:
    missed = _counted("missed", "scratch", others=False)(reports)
    return None if missed is None else 1 - missed


def _at_flagged(must: float) -> tuple[FoldTarget, ...]:
    return (FoldTarget("found at ≤ 5 % flagged", _found_at_flagged, must, 0.99),)


SETS = (
    FoldSet(
        "tiles",
        "Magnetic tiles",
        5,
        (
            FoldTarget("passed as clean at ≤ 5 % flagged", _passed_at_flagged, 0.12, 0.05, at_least=False),
            FoldTarget("mIoU, 6 classes with the background", _pooled("miou"), 0.66, 0.80, share=False),
        ),
    ),
    FoldSet(
        "steel",
        "Hot-rolled steel",
        5,
        (
            FoldTarget("mIoU, 4 classes with the background", _pooled("miou"), 0.845, 0.87, share=False),
            FoldTarget("IoU of defects alone", _defects_alone, 0.80, 0.83, share=False),
        ),
    ),
    FoldSet(
        "phone",
        "Phone screens",
        3,
        (
            FoldTarget("scratch pictures found", _found_scratches, 0.95, 1.0),
            FoldTarget("others given a scratch", _counted("false", "scratch", others=True), 0.08, 0.0, at_least=False),
        ),
    ),
    FoldSet(
        "kolektor",
        "Commutators",
        3,
        (
            FoldTarget("found, worst of the runs of one recipe", _found, 0.93, 1.0),
            FoldTarget("clean flagged, worst of the runs of one recipe", _pooled("false"), 0.06, 0.0, at_least=False),
        ),
        worst=True,
    ),
    FoldSet("cells", "Nuclei", 3, (FoldTarget("IoU", _pooled("iou nuclei"), 0.87, 0.92, share=False),)),
    FoldSet("castings", "Castings", 3, _at_flagged(0.95)),
    FoldSet("cookies", "Cookies", 3, _at_flagged(0.90)),
    FoldSet(
        "ballscrew",
        "Ball screws",
        3,
        _at_flagged(0.85),
        remark="The three positions are too few to fold by: groups are days of a position, and days that show nearly "
        "the same are in one fold.",
    ),
)


def measured(comparisons: Path) -> dict[str, Any]:
    """Return what is kept of each set whose comparison has a finished run below the folder `comparisons`."""
    return {one.name: entry for one in SETS if (entry := _measured(one, comparisons / one.name)) is not None}


def _measured(one: FoldSet, folder: Path) -> dict[str, Any] | None:
    runs: dict[int, dict[int, Report]] = {}
    minutes, steps = [], 0
    for path in sorted(folder.glob(f"*/{FIGURES}")):
        settings = load_yaml(path.parent / RECIPE, TrainSettings)
        report: Report = json.loads(path.read_text(encoding="utf-8"))
        manifest = json.loads((path.parent / "bundle" / "manifest.json").read_text(encoding="utf-8"))
        runs.setdefault(settings.seed, {})[settings.split.fold] = report
        minutes.append(manifest["training"]["seconds"] / 60)
        steps = settings.epochs * settings.sampling.steps_per_epoch
    if not runs:
        return None
    whole = load_yaml(ROOT / f"config/train.{one.name}.yaml", TrainSettings)
    reports = {seed: list(own.values()) for seed, own in runs.items()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "runs": sum(map(len, reports.values())),
        "seeds": len(reports),
        "folds": max(map(len, reports.values())),
        "pictures": sum(report["pictures"] for report in next(iter(reports.values()))),
        "steps": steps,
        "of_steps": whole.epochs * whole.sampling.steps_per_epoch,
        "minutes": round(float(np.mean(minutes)), 1),
        "figures": [_figure(one, target, reports) for target in one.targets],
    }


def _figure(one: FoldSet, target: FoldTarget, reports: Runs) -> dict[str, Any]:
    of_seeds = [value for own in reports.values() if (value := target.of(own)) is not None]
    of_runs = [value for own in reports.values() for report in own if (value := target.of([report])) is not None]
    also = [[report["held_out"]] for own in reports.values() for report in own if report.get("held_out")]
    held_out = [value for report in also if (value := target.of(report)) is not None]
    worse = min if target.at_least else max
    return {
        "title": target.title,
        "value": None if not of_seeds else worse(of_seeds) if one.worst else float(np.mean(of_seeds)),
        "deviation": float(np.std(of_runs, ddof=1)) if len(of_runs) > 1 else None,
        "worst": worse(of_runs) if of_runs else None,
        "held_out": float(np.mean(held_out)) if held_out else None,
    }


def section(kept: Mapping[str, Any]) -> str:
    """Write the section of the page from what `measured` returned, now or earlier."""
    lines = [_WORDS]
    for one in SETS:
        own = kept.get(one.name)
        for place, target in enumerate(one.targets):
            title = one.title if place == 0 else ""
            figure = None if own is None else own["figures"][place]
            if own is None or figure is None or figure["value"] is None:
                limits = (
                    f"{target.told(limit, limit).removesuffix(' reached')}" for limit in (target.must, target.aim)
                )
                lines.append(f"| {title} | {target.title} | no figure yet | | | | {' | '.join(limits)} | | |")
                continue
            lines.append(f"| {title} | {target.title} | {' | '.join(_cells(one, target, own, figure))} |")
    remarks = [textwrap.fill(f"{one.title}: {one.remark}", 120) for one in SETS if one.remark]
    return "\n".join([*lines, "", *remarks]) + "\n"


def missed(kept: Mapping[str, Any]) -> list[str]:
    """Name the figures that fall short of what they must reach, of the sets that were run."""
    return [
        f"{one.name} by folds: {target.title} {target.words(value)}, {target.told(value, target.must)}"
        for one in SETS
        for target, figure in zip(one.targets, kept.get(one.name, {}).get("figures", []), strict=False)
        if (value := figure["value"]) is not None and target.short_by(value, target.must)
    ]


def _cells(one: FoldSet, target: FoldTarget, own: Mapping[str, Any], figure: Mapping[str, Any]) -> list[str]:
    deviation = "" if figure["deviation"] is None else target.words(figure["deviation"])
    partly = own["folds"] < one.folds
    so_far = " so far" if partly else ""
    runs = f"{own['folds']} of {one.folds} folds" if partly else f"{one.folds} folds"
    runs += f", {own['seeds']} seeds" if own["seeds"] > 1 else ""
    steps = f"{own['steps']:,}" + (f" of {own['of_steps']:,}" if own["steps"] < own["of_steps"] else "")
    return [
        f"**{target.words(figure['value'])}**",
        deviation,
        target.words(figure["worst"]),
        "" if figure["held_out"] is None else target.words(figure["held_out"]),
        target.told(figure["value"], target.must) + so_far,
        target.told(figure["value"], target.aim) + so_far,
        f"{runs}, {own['pictures']} pictures",
        steps,
    ]
