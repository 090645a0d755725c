"""The outcome of a run, as a row of figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import MANIFEST
from edge.errors import StoreError
from trainer.comparing.carrying_out import STOPPED, why_failed
from trainer.comparing.grid import Run
from trainer.comparing.one_run import BUNDLE, FIGURES, HELD_OUT

FOUND = "found at 5 % flagged"
# Of a run's figures: the shorter a training was cut, the less it says of its recipe.
STEPS_DONE = "share of its steps"
_FALSE_ALARMS = "0.05"


@dataclass(frozen=True)
class RunFigures:
    """The outcome of a run: `evaluate`'s report and the bundle's training figures, or why there is none.

    `stopped`: it did not fail, but was among the weakest (`--halving`).
    """

    run: Run
    report: dict[str, Any] | None
    training: dict[str, Any] | None
    failure: str
    stopped: bool = False

    @property
    def held_out(self) -> dict[str, Any] | None:
        """The report on what all folds hold out; None without folds, or where nothing is held out."""
        return self.report.get(HELD_OUT) if self.report else None


def figures_of(run: Run, folder: Path) -> RunFigures:
    """Read what a run came to from its folder. Raises StoreError."""
    path, manifest = folder / FIGURES, folder / BUNDLE / MANIFEST
    if not path.is_file() and (folder / STOPPED).is_file():
        return RunFigures(run, None, None, (folder / STOPPED).read_text(encoding="utf-8").strip(), stopped=True)
    if not path.is_file():
        return RunFigures(run, None, None, why_failed(folder))
    try:
        training = json.loads(manifest.read_text(encoding="utf-8"))["training"]
        return RunFigures(run, json.loads(path.read_text(encoding="utf-8")), training, "")
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{folder} cannot be read: {error}. Remove it; the same command then does it again") from error


def as_row(outcome: RunFigures) -> dict[str, Any]:
    """Flatten an outcome: labels, then the figures that the table shows; None where a run failed.

    A run with a fold has more of its figures, and the same ones on what all folds hold out.
    """
    training, fold = outcome.training or {}, outcome.run.fold
    row: dict[str, Any] = dict(outcome.run.labels)
    if fold is None:
        row |= _figures(outcome.report or {}, more=False)
    else:
        row |= {"fold": fold, **_figures(outcome.report or {}, more=True)}
        row |= {f"held-out {key}": value for key, value in _figures(outcome.held_out or {}, more=True).items()}
    row["minutes"] = training["seconds"] / 60 if "seconds" in training else None
    if cut := training.get("cut_by_clock"):
        row[STEPS_DONE] = cut["steps"] / cut["of_steps"]
    row["failure"] = outcome.failure or None
    if outcome.stopped:
        row["stopped"] = True
    return row


def _figures(report: dict[str, Any], *, more: bool) -> dict[str, Any]:
    missed, false = report.get("missed_pictures", {}), report.get("false_pictures", {})
    row: dict[str, Any] = {"miou": report.get("miou"), "missed": missed.get("all"), "false": false.get("all")}
    if more:
        found = report.get("found_at_false_alarms") or {}
        row |= {"passed": report.get("passed_pictures", {}).get("all"), FOUND: found.get(_FALSE_ALARMS)}
    row |= {f"iou {name}": value for name, value in report.get("iou", {}).items()}
    return row | {f"dice {name}": value for name, value in report.get("dice_nonempty", {}).items()}
