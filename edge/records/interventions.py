"""People's interventions: they challenge a station's inspection, and they take it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Noted:
    """One note for the journal, of whom; `comment` is the person's own, `detail` says what happened."""

    kind: Literal["challenge", "bypass_begin", "bypass_end"]
    user: str
    comment: str
    detail: str


@dataclass(frozen=True)
class StationTroubles:
    """The troubles of the inspection itself: what the measure `station` of alarms is decided from.

    Each says in words what is wrong, None = nothing. `bypassed`: inspection is taken out. `challenge_missed`: a known
    bad part was not NG. `challenge_due`: the shift had no challenge. `recipe_failed`: a recipe could not be loaded.
    `evidence_unkept`: pictures of results could not be kept.
    `model_drift`: passed parts look other than those that a model of good parts was taught.
    `reload_failed`: new models or settings were not taken, or given up.
    `output_lost`: signals do not reach the machine. `output_late`: a pulse missed its time.
    """

    bypassed: str | None = None
    challenge_missed: str | None = None
    challenge_due: str | None = None
    recipe_failed: str | None = None
    evidence_unkept: str | None = None
    model_drift: str | None = None
    reload_failed: str | None = None
    output_lost: str | None = None
    output_late: str | None = None
