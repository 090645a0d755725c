"""The rules by which parts are put together, from a recipe and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.records.models import ModelIdentity


@dataclass(frozen=True)
class ViewRule:
    """The frames that a part needs of one view.

    `frames`: readable frames without which the part is NO_READ. `ng_frames`: NG frames from which the part is NG.
    `offset_ns`: how much later than the trigger the view sees the part.
    """

    frames: int = 1
    ng_frames: int = 1
    offset_ns: int = 0


@dataclass(frozen=True)
class PartRules:
    """The rules for the parts of one recipe.

    `views`: by name. `timeout_ns`: the longest that a part may stay open. `wait_ns`: how long judged frames may come
    after the part has ended. `most_open`: parts at once. `models`: that judge the views. `edition`: of the recipe; a
    frame that another edition has judged is not the part's.
    """

    views: Mapping[str, ViewRule]
    timeout_ns: int
    wait_ns: int
    most_open: int = 64
    models: Mapping[str, ModelIdentity] = field(default_factory=dict)
    edition: int = 0
