"""The grid of a comparison: a recipe, varied along axes; every combination is a run, or one run for each fold."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from edge.bundle import Name
from edge.errors import SettingsError
from edge.yaml_settings import StrictModel, load_yaml
from trainer.recipe.good_parts_settings import GOOD_PARTS, GoodPartsRecipe, learns_from_good_parts
from trainer.recipe.settings import TrainSettings

SEED = "seed"
RECIPE = "recipe"


class GridSettings(StrictModel):
    """A grid: `recipe` is what all runs share, `vary` names axes, on each of them labels, and what each label changes.

    A change is merged into the recipe key by key. An axis called `seed` is averaged over in the table.
    """

    name: Name
    recipe: dict[str, Any]
    vary: Annotated[dict[Name, dict[Name, dict[str, Any]]], Field(min_length=1)]


@dataclass(frozen=True)
class Run:
    """One combination: its label on each axis, and its recipe as plain keys. `fold`: which one is held out, from 0."""

    labels: tuple[tuple[str, str], ...]
    recipe: dict[str, Any]
    fold: int | None = None

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return "-".join([*(label for _, label in self.labels), *([] if self.fold is None else [f"fold{self.fold}"])])

    @property
    def learns_from_good_parts(self) -> bool:
        """Tell whether its recipe learns from good parts alone."""
        return self.recipe.get("learn") == GOOD_PARTS

    @property
    def settings(self) -> TrainSettings | GoodPartsRecipe:
        """The recipe, checked. Raises pydantic's ValidationError."""
        kind = GoodPartsRecipe if self.learns_from_good_parts else TrainSettings
        return kind.model_validate(self.recipe)


def read_grid(path: Path, seeds: int | None = None) -> GridSettings:
    """Read a grid or, as a grid of one, a recipe. `seeds`: train each combination so often, beside the recipe's seed.

    Raises SettingsError.
    """
    if _is_grid(path):
        grid = load_yaml(path, GridSettings)
    else:
        load_yaml(path, GoodPartsRecipe if learns_from_good_parts(path) else TrainSettings)
        with path.open(encoding="utf-8") as file:
            recipe = yaml.safe_load(file)
        grid = GridSettings(name=recipe["name"], recipe=recipe, vary={RECIPE: {recipe["name"]: {}}})
    if seeds is None:
        return grid
    if SEED in grid.vary:
        raise SettingsError(f"{path} has an axis {SEED} of its own: leave out --seeds, or the axis")
    first = int(grid.recipe.get(SEED, 0))
    own = {str(seed): {SEED: seed} for seed in range(first, first + seeds)}
    return grid.model_copy(update={"vary": {**grid.vary, SEED: own}})


class _Keys(StrictModel):
    model_config = StrictModel.model_config | {"extra": "ignore"}
    vary: Any = None


def _is_grid(path: Path) -> bool:
    return load_yaml(path, _Keys).vary is not None


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a change into a recipe: dictionaries key by key, everything else replaced.

    A change that names another `family` or `preset` replaces the whole dictionary around it: its other keys would
    belong to the former one.
    """
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not {"family", "preset"} & set(value):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def runs_of(grid: GridSettings) -> list[Run]:
    """Return every combination, checked as a recipe before anything is trained. Raises SettingsError naming the run."""
    runs = []
    for labels in itertools.product(*([(axis, label) for label in choices] for axis, choices in grid.vary.items())):
        recipe: dict[str, Any] = {"name": grid.name, **grid.recipe}
        for axis, label in labels:
            recipe = merged(recipe, grid.vary[axis][label])
        run = Run(labels, recipe)
        _check(run)
        runs.append(run)
    return runs


def in_folds(runs: list[Run], folds: int, seed: int) -> list[Run]:
    """Return each run once for each fold: it holds out the fold, beside what its recipe holds out.

    `seed`: of the split, which is the same for all runs, whatever their own seed. Raises SettingsError.
    """
    made = []
    for run in runs:
        for fold in range(folds):
            recipe = run.recipe
            if not run.learns_from_good_parts:
                own = {"folds": folds, "fold": fold, "folds_of": "rest", "seed": seed}
                recipe = {**recipe, "split": {**recipe.get("split", {}), **own}}
            made.append(replace(run, recipe=recipe, fold=fold))
            _check(made[-1])
    return made


def _check(run: Run) -> None:
    try:
        _ = run.settings
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "the recipe"
        raise SettingsError(
            f"The run {run.name} has no valid recipe, key {where}: {wrong['msg']}, received {wrong['input']!r:.50}."
            " Check `recipe` and what `vary` changes in it"
        ) from error
