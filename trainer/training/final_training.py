"""The last part of a training, which learns from the validation pictures as well.

Of a rare defect there may be one piece to learn from and one to choose by. The second's lesson is then lost. So the
schedule can be parted. In its first part validation pictures judge. They choose thresholds and smallest areas unless
the recipe presumes them. Then the network goes on from the last epoch for a second cosine. It learns all pictures that
are not held out. Its last weights are kept. The best epoch is not asked for unless the first part stopped early. An
early one can be the best by one picture. A fit with its unsettled weights does not suit the second part's end. Nothing
is chosen after the first part, and held-out pictures stay held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edge.bundle import SPLIT, Manifest
from edge.records import Float32
from edge.wording import counted
from trainer.datasets.dataset import Entry, Picture
from trainer.datasets.split_manifest import write_split
from trainer.datasets.splitting import Split
from trainer.recipe.settings import FinalTrainingSettings, TrainSettings, stored_recipe
from trainer.training.batches import Batches
from trainer.training.checkpointing import CHECKPOINT, Run, check_writable
from trainer.training.training_loop import TrainingLoop

FOLDER = "finish"


@dataclass(frozen=True)
class FinallyTrained:
    """The last averaged weights, in the order of `net.get_weights()`, and what happened."""

    weights: list[Float32]
    run: Run
    cut_by_clock: dict[str, Any] | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """Return the manifest's entry on this part."""
        return {"epochs": self.run.epoch, "steps": self.run.steps, "seconds": round(self.run.elapsed_s, 1)}


def presumption_asked_for(manifest: Manifest) -> bool:
    """Tell whether thresholds are presumed because the recipe says so, not because a class was found nowhere."""
    told = stored_recipe(manifest.training.get("recipe", {})).get("final_training") or {}
    return bool(told.get("thresholds") == "presumed")


def first_part(settings: TrainSettings) -> TrainSettings:
    """Return the settings of the first part; the same ones where the recipe has no final training."""
    if settings.final_training is None:
        return settings
    return _shortened(settings, 1 - settings.final_training.share)


def last_part(settings: TrainSettings, final: FinalTrainingSettings) -> TrainSettings:
    """Return the settings of the second part: other crops, and no epoch is better than the last."""
    rate = final.learning_rate or settings.optimizer.learning_rate / 2
    part = _shortened(settings, final.share)
    return part.model_copy(
        update={
            "seed": settings.seed + 1,
            "early_stopping_epochs": part.epochs + 1,
            "optimizer": settings.optimizer.model_copy(update={"learning_rate": rate}),
        }
    )


def _shortened(settings: TrainSettings, share: float) -> TrainSettings:
    minutes = None if settings.max_minutes is None else settings.max_minutes * share
    return settings.model_copy(
        update={"epochs": max(1, round(settings.epochs * share)), "max_minutes": minutes, "final_training": None}
    )


def train_finally(
    settings: TrainSettings,
    loop: TrainingLoop,
    pictures: dict[Split, list[Picture]],
    names: Sequence[str],
    *,
    folder: Path,
    entries: Sequence[Entry],
    parts: dict[str, Split],
    console: Console,
    resume: bool,
) -> FinallyTrained:
    """Go on from the weights that `loop` kept, which has come to its end, with training and validation pictures.

    `folder`: the run's own. This part is kept in a folder of its own there, and goes on where it was with `resume`.
    Raises what `TrainingLoop.train` raises.
    """
    if settings.final_training is None:
        raise ValueError("the recipe has no final_training")
    own = folder / FOLDER
    begun = resume and (own / CHECKPOINT).is_file()
    check_writable(own)
    # a training that begins with these weights is told what they learned from
    write_split(own / SPLIT, entries, {image: _learned(part) for image, part in parts.items()})
    together = [*pictures["train"], *pictures["validation"]]
    presumed = settings.final_training.thresholds == "presumed"
    thresholds = "presumed" if presumed else "fitted on what came before"
    console.print(
        f"goes on with all {counted(len(together), 'picture that is', 'pictures that are')} not held out; "
        f"thresholds are {thresholds}, "
        "and what is told of validation from here on is of pictures that are learned from"
    )
    part = last_part(settings, settings.final_training)
    last = loop.going_on(part, Batches(part, names, together), own)
    last.train(resume=begun)
    return FinallyTrained(last.last_weights, last.run, last.cut_by_clock)


def _learned(part: Split) -> Split:
    return "test" if part == "test" else "train"
