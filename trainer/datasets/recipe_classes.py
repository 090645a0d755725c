"""The classes that a recipe names, set beside those that a dataset shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from edge.errors import DatasetError
from trainer.recipe.loss_settings import BACKGROUND
from trainer.recipe.settings import TrainSettings


def unknown_classes(settings: TrainSettings, names: Sequence[str], data: Path, recipe: Path | None) -> list[str]:
    """Say of each key of the recipe that names a class which `data`, with its `names`, lacks: where it is."""
    lowered = {name.lower(): name for name in names}
    found = []
    for key, name in _named(settings):
        if name in names:
            continue
        near = get_close_matches(name.lower(), lowered, n=1)
        meant = f"; did you mean {lowered[near[0]]}?" if near else ""
        where = f"{recipe}: key {key}" if recipe else f"key {key} of the recipe"
        found.append(f"{where}: expected a class that {data} shows ({', '.join(names)}), received {name}{meant}")
    return found


def require_known_classes(settings: TrainSettings, names: Sequence[str], data: Path, recipe: Path | None) -> None:
    """Raise DatasetError with each key of the recipe that names a class which `data`, with its `names`, lacks."""
    if unknown := unknown_classes(settings, names, data, recipe):
        raise DatasetError(f"{'. '.join(unknown)}. Mend the recipe, or the dataset's manifest.csv")


def _named(settings: TrainSettings) -> Iterator[tuple[str, str]]:
    for name in settings.classes:
        yield f"classes.{name}", name
    for name in settings.sampling.class_weights:
        yield f"sampling.class_weights.{name}", name
    augmentation = settings.augmentation
    for key in ("paste_classes", "only_classes", "class_strength"):
        for name in getattr(augmentation, key):
            yield f"augmentation.{key}", name
    loss = settings.loss
    for name in loss.class_weights:
        if name != BACKGROUND:
            yield f"loss.class_weights.{name}", name
    for place, term in enumerate(loss.terms):
        for name in term.class_weights:
            if name != BACKGROUND:
                yield f"loss.terms.{place}.class_weights.{name}", name
