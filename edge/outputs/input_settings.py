"""The section `inputs` of the settings: what the machine's signals mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.bundle import Name
from edge.yaml_settings import StrictModel

InputKind = Literal[
    "part", "part_id", "product", "part_count", "recipe", "acknowledge", "reset_counters", "encoder", "running"
]
BITS = frozenset({"part", "acknowledge", "reset_counters", "running"})
_WORDS = frozenset({"part_id", "encoder"})
_NAMED = frozenset({"product", "recipe"})


class InputRule(StrictModel):
    """One signal from the machine.

    `rule` is one of these:

    - part = opens and closes parts;
    - part_id, product = of the part that is opened next, 0 = none;
    - part_count = 1 more with each part, by which lost and doubled ones are known;
    - recipe = wishes for a recipe; acknowledge = of every alarm that is shown; reset_counters;
    - encoder = how far the belt went; running = the line runs.

    `at`: where the signal is. `inverted`: a bit that is down means yes. `debounce_ms`: a bit counts once it has stayed
    so for so long. `mode` of part: level = open while the bit is up; edge = each rise opens a part, which closes after
    `part_ms`. handshake = likewise, and the machine keeps the bit up until it sees `done`. It takes the bit back within
    `release_ms`. `min_gap_ms`: two openings that are nearer are one too many. `names`: what the numbers 1, 2, 3 stand
    for. `words`: registers that a number has, the upper one first. `parts_within_ms`: while the line runs a part comes
    at least so often.
    """

    rule: InputKind
    at: Annotated[str, Field(min_length=1, max_length=200)]
    inverted: bool = False
    debounce_ms: Annotated[int, Field(ge=0, le=10_000)] = 0
    mode: Literal["level", "edge", "handshake"] = "level"
    part_ms: Annotated[int, Field(ge=1, le=600_000)] | None = None
    min_gap_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    release_ms: Annotated[int, Field(ge=10, le=60_000)] = 2000
    names: Annotated[tuple[Name, ...], Field(max_length=200)] = ()
    words: Annotated[int, Field(ge=1, le=2)] = 1
    parts_within_ms: Annotated[int, Field(ge=100, le=3_600_000)] | None = None

    @model_validator(mode="after")
    def _keys_fit_the_rule(self) -> InputRule:
        for key, fits in (
            ("inverted", BITS),
            ("debounce_ms", BITS),
            ("mode", {"part"}),
            ("part_ms", {"part"}),
            ("min_gap_ms", {"part"}),
            ("release_ms", {"part"}),
            ("names", _NAMED),
            ("words", _WORDS),
            ("parts_within_ms", {"running"}),
        ):
            if key in self.model_fields_set and self.rule not in fits:
                raise ValueError(f"expected no {key} for the rule {self.rule}")
        if self.rule in _NAMED and not self.names:
            raise ValueError(f"expected names for the rule {self.rule}, received none")
        if (self.mode == "level") == (self.part_ms is not None):
            raise ValueError("expected part_ms for the modes edge and handshake, and not for level")
        return self
