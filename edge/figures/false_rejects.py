"""The station's errors, by people who looked at its parts: false rejects and escapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edge.parts.yields import wilson_interval
from edge.records import Verdict

Opinion = Literal["right", "false_reject", "missed", "unsure"]


@dataclass(frozen=True)
class Rate:
    """A share of what people judged, with Wilson's 95 % interval; None where they judged nothing."""

    of: int
    wrong: int

    @property
    def share(self) -> float | None:
        """The wrong ones ÷ all that were judged."""
        return self.wrong / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the share."""
        return wilson_interval(self.wrong, self.of)


@dataclass(frozen=True)
class Opinions:
    """People's opinions of kept parts.

    `false_rejects`: of the NG parts that they judged, those that were good. `escapes`: of the OK parts, those that were
    bad. `unsure`: judged, and in neither. `odd`: judgements that do not fit the verdict, in neither. `unjudged_ng`: NG
    parts that nobody judged yet.
    """

    false_rejects: Rate
    escapes: Rate
    unsure: int
    odd: int
    unjudged_ng: int


def opinions(judged: Iterable[tuple[Verdict, Opinion]], ng_parts: int) -> Opinions:
    """Add up what was said of each part last. `ng_parts`: all NG parts of the same time.

    A rate is that of the judged parts. It is the line's own only where each NG part is judged, or a random share.
    """
    right_ng = false_rejects = right_ok = escapes = unsure = odd = 0
    for verdict, opinion in judged:
        if opinion == "unsure":
            unsure += 1
        elif verdict is Verdict.NG and opinion == "right":
            right_ng += 1
        elif verdict is Verdict.NG and opinion == "false_reject":
            false_rejects += 1
        elif verdict is Verdict.OK and opinion == "right":
            right_ok += 1
        elif verdict is Verdict.OK and opinion == "missed":
            escapes += 1
        else:
            odd += 1
    known_ng = right_ng + false_rejects
    return Opinions(
        Rate(known_ng, false_rejects),
        Rate(right_ok + escapes, escapes),
        unsure,
        odd,
        max(0, ng_parts - known_ng),
    )
