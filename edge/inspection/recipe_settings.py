"""The section `recipes` of the settings: the views of each product type, and what its parts are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from edge.bundle import Name
from edge.inspection.grading import GradeRow, problem_of
from edge.inspection.settings import InspectSettings
from edge.yaml_settings import StrictModel


class ViewSettings(StrictModel):
    """One camera under one recipe: the bundle that judges its frames, and by which limits.

    `offset_ms`: how much later than the trigger the view sees a part. `frames`, `ng_frames`: for this view, in place of
    `parts.frames_per_view` and `parts.ng_frames`.
    """

    bundle: Path | None = None
    inspect: InspectSettings = InspectSettings()
    offset_ms: Annotated[int, Field(ge=-60_000, le=60_000)] = 0
    frames: Annotated[int, Field(ge=1, le=1000)] | None = None
    ng_frames: Annotated[int, Field(ge=1, le=1000)] | None = None


class RecipeSettings(StrictModel):
    """One product type. `grades`: for each view that has none of its own.

    `part_id_prefixes`: a part whose id begins with one of these is of this recipe.
    """

    views: Annotated[dict[Name, ViewSettings], Field(min_length=1, max_length=16)]
    grades: Annotated[tuple[GradeRow, ...], Field(max_length=20)] = ()
    part_id_prefixes: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=50)
    ] = ()

    @model_validator(mode="after")
    def _every_part_has_one_grade(self) -> RecipeSettings:
        if problem := problem_of(self.grades):
            raise ValueError(problem)
        return self

    def inspect(self, view: str) -> InspectSettings:
        """Return how a view is judged, with the recipe's grades where it has none of its own."""
        own = self.views[view].inspect
        return own if own.grades or not self.grades else own.model_copy(update={"grades": self.grades})
