"""The limits in force, where the dashboard has the station's own settings: by view of one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import LinewatchError
from edge.figures.what_if import Limits
from edge.settings import load_settings


@dataclass(frozen=True)
class Known:
    """The settings' limits of a recipe. `views`: limits by camera; none where they are not known.

    `differ`: the recipes that are asked for have other limits than each other. `ng_frames`: as in the settings.
    """

    views: Mapping[str, Limits] = field(default_factory=dict)
    differ: bool = False
    ng_frames: int = 1

    def of(self, view: str) -> Limits | None:
        """Return the limits of a view, or those that all views have; None where these differ, or none are known."""
        if view:
            return self.views.get(view)
        limits = list(self.views.values())
        return limits[0] if limits and all(each == limits[0] for each in limits) else None


def known_limits(config: Path | None, place: str, recipe: str) -> Known:
    """Read a station's settings, if they are of this place. `recipe`: "" = all, which must have the same limits."""
    if config is None:
        return Known()
    try:
        settings = load_settings(config)
    except LinewatchError:  # the page goes without; `linewatch check` says what is wrong with the file
        return Known()
    recipes = settings.station_recipes
    if settings.line.root != f"{place}/inspect/v1" or (recipe and recipe not in recipes):
        return Known()
    asked = [recipes[recipe]] if recipe else list(recipes.values())
    told = [{view: each.inspect(view).limits for view in each.views} for each in asked]
    frames = settings.parts.ng_frames
    return Known(told[0], ng_frames=frames) if all(each == told[0] for each in told) else Known({}, True, frames)
