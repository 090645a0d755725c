"""Makes recipes ready: opens and proves the engines of their views."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.bundle import Bundle
from edge.inspection.batcher import Batcher
from edge.recipes.engines import OpenEngines
from edge.recipes.loaded import LoadedRecipe, loaded
from edge.settings import Settings


class RecipeLoader:
    """Loads the recipes of one station. `bundles`: verified, by their path in the settings."""

    def __init__(self, settings: Settings, bundles: Mapping[Path | None, Bundle], engines: OpenEngines) -> None:
        self._settings = settings
        self._bundles = dict(bundles)
        self.engines = engines

    def bundles_of(self, recipe: str) -> list[Bundle]:
        """Return the bundles of a recipe's views, each once."""
        views = self._settings.station_recipes[recipe].views.values()
        return [self._bundles[path] for path in dict.fromkeys(view.bundle for view in views)]

    def load(self, recipe: str) -> LoadedRecipe:
        """Open what a recipe needs and return it, ready. Raises BundleError and EngineError."""
        entry = self._settings.station_recipes[recipe]

        def batcher_of(view: str) -> tuple[Bundle, Batcher]:
            bundle = self._bundles[entry.views[view].bundle]
            return bundle, self.engines.batcher(bundle)

        return loaded(recipe, entry, self._settings.parts, batcher_of)
