"""A recipe that is ready: each view with its bundle, and the batcher that answers its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.bundle import Bundle
from edge.inspection.batcher import Batcher, SharedInference
from edge.inspection.inspector import Inspector
from edge.inspection.recipe_settings import RecipeSettings
from edge.inspection.settings import InspectSettings
from edge.parts.rules import PartRules, ViewRule
from edge.parts.settings import PartSettings
from edge.records import DefectClass
from edge.records.models import ModelIdentity
from edge.settings import effective_thresholds


@dataclass(frozen=True)
class LoadedView:
    """One camera under one recipe, ready to judge. `batcher`: that of the bundle's engine, which views share.

    `edition`: how often the recipe was loaded anew before, with another bundle or other limits.
    """

    recipe: str
    bundle: Bundle
    inspect: InspectSettings
    batcher: Batcher
    edition: int = 0

    @property
    def model(self) -> ModelIdentity:
        """Return the identity of the model that judges."""
        return model_of(self.bundle)

    @property
    def learned_good_parts(self) -> bool:
        """Tell whether the model learned good parts alone, so that its score says how far a part is from these."""
        recipe = self.bundle.manifest.training.get("recipe")
        return isinstance(recipe, dict) and recipe.get("learn") == "good-parts"

    def inspector(self) -> Inspector:
        """Return what judges the view's frames; it remembers earlier frames, so each run of a view has its own."""
        inference = SharedInference(self.batcher, effective_thresholds(self.inspect, self.bundle))
        return Inspector(inference, self.bundle, self.inspect)


@dataclass(frozen=True)
class Unready:
    """One camera under a recipe that cannot judge yet: its frames are NO_READ, for this `reason`.

    `model`: the one that is to judge, None where that is not known.
    """

    recipe: str
    reason: str
    model: ModelIdentity | None = None
    edition: int = 0


@dataclass(frozen=True)
class UnreadyRecipe:
    """One product type that cannot be judged yet. `rules`: how its parts are put together."""

    name: str
    views: Mapping[str, Unready]
    rules: PartRules


@dataclass(frozen=True)
class LoadedRecipe:
    """One product type whose views are ready. `rules`: how its parts are put together."""

    name: str
    views: Mapping[str, LoadedView]
    rules: PartRules

    @property
    def models(self) -> dict[str, ModelIdentity]:
        """Return the identity of the model that judges each view."""
        return {name: view.model for name, view in self.views.items()}

    @property
    def finds(self) -> dict[str, tuple[str, ...]]:
        """Return the sizes that the model of each view finds, one sentence for each class; empty where not measured."""
        return {name: view.bundle.finds for name, view in self.views.items()}

    @property
    def classes(self) -> dict[str, tuple[DefectClass, ...]]:
        """The defect classes of each view."""
        return {name: tuple(view.bundle.classes) for name, view in self.views.items()}


def model_of(bundle: Bundle) -> ModelIdentity:
    """Return the identity of a bundle's model."""
    return ModelIdentity(bundle.manifest.name, bundle.manifest.version, bundle.model_sha256)


def part_rules(
    parts: PartSettings, recipe: RecipeSettings, models: Mapping[str, ModelIdentity], edition: int = 0
) -> PartRules:
    """Return how parts of a recipe are put together. `models`: that judge its views."""
    views = {
        name: ViewRule(
            view.frames or parts.frames_per_view, view.ng_frames or parts.ng_frames, view.offset_ms * 1_000_000
        )
        for name, view in recipe.views.items()
    }
    return PartRules(
        views, parts.timeout_ms * 1_000_000, parts.wait_ms * 1_000_000, models=dict(models), edition=edition
    )


def loaded(
    name: str,
    recipe: RecipeSettings,
    parts: PartSettings,
    batcher_of: Callable[[str], tuple[Bundle, Batcher]],
    edition: int = 0,
) -> LoadedRecipe:
    """Return a recipe whose views are answered by what `batcher_of` gives for each view's name."""
    views = {}
    for view in recipe.views:
        bundle, batcher = batcher_of(view)
        views[view] = LoadedView(name, bundle, recipe.inspect(view), batcher, edition)
    models = {view: one.model for view, one in views.items()}
    return LoadedRecipe(name, views, part_rules(parts, recipe, models, edition))


def unready(
    name: str,
    recipe: RecipeSettings,
    parts: PartSettings,
    models: Mapping[str, ModelIdentity],
    *,
    reason: str,
    edition: int = 0,
) -> UnreadyRecipe:
    """Return a recipe whose frames are NO_READ for a reason. `models`: of its views, as far as they are known."""
    views = {view: Unready(name, reason, models.get(view), edition) for view in recipe.views}
    return UnreadyRecipe(name, views, part_rules(parts, recipe, models, edition))
