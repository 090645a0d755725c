"""An estimate of how long a training will take here, from its first steps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from edge.wording import counted

# The first step traces and compiles; the next ones still find their memory.
SKIPPED_STEPS = 2
MEASURED_STEPS = 6


def forecast(step_ends_s: Sequence[float], steps: int, max_minutes: float | None) -> str | None:
    """Say how long `steps` steps take, given when the first ones ended, in seconds; None until enough have.

    The median of the steps' times is taken: a disk or a neighbour holds up one step, not most.
    """
    if len(step_ends_s) != SKIPPED_STEPS + MEASURED_STEPS:
        return None
    ends_s = step_ends_s[SKIPPED_STEPS - 1 :]
    step_s = median(later - earlier for earlier, later in pairwise(ends_s))
    minutes = steps * step_s / 60
    all_take = counted(steps, "step takes", "steps take")
    told = f"a step takes {step_s:.2g} s here: {all_take} about {_minutes(minutes)}, validation apart"
    if max_minutes is None or minutes <= max_minutes:
        return told
    share = max_minutes / minutes
    return (
        f"{told}. max_minutes cuts it after {_minutes(max_minutes)}, with about {share:.0%} of them, before the "
        "learning rate has fallen: raise it, or lower epochs"
    )


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
