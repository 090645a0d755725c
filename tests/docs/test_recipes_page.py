from __future__ import annotations

import re

from edge.yaml_settings import load_yaml
from tests.conftest import ROOT
from trainer.datasets.recipe_classes import unknown_classes
from trainer.recipe.settings import TrainSettings


def test_the_index_lists_each_recipe_once() -> None:
    """A recipe that is not on the page is not found, and one that is gone is not on it."""
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(train\.[\w-]+\.yaml)\]\(\.\./config/\1\)", page, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "config").glob("train.*.yaml"))
    assert len(listed) == 15


def test_the_recipe_to_begin_with_takes_any_classes() -> None:
    """It names none, so that nobody has to mend it before the first training."""
    settings = load_yaml(ROOT / "config" / "train.start.yaml", TrainSettings)
    assert unknown_classes(settings, ("whatever",), ROOT, None) == []
