"""Recipes that learn marked defects, told apart from those that learn from good parts."""

from __future__ import annotations

from pathlib import Path

from edge.errors import SettingsError
from edge.yaml_settings import load_yaml
from trainer.recipe.good_parts_settings import learns_from_good_parts
from trainer.recipe.settings import TrainSettings


def load_marked_recipe(path: Path, instead: str) -> TrainSettings:
    """Read a recipe that learns marked defects. Raises SettingsError.

    `instead` says what to do where it is one of good parts.
    """
    if learns_from_good_parts(path):
        raise SettingsError(
            f"{path} learns from good parts: it deals these into folds, and has neither a split nor augmentation to "
            f"show. Expected a recipe that learns marked defects, such as config/train.start.yaml; {instead}"
        )
    return load_yaml(path, TrainSettings)
