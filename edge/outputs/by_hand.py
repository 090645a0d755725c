"""One output that somebody switches by hand while the station runs: which may be, and at which level. Pure.

The scheduler keeps all other signals at their safe levels meanwhile, and ends it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.outputs.settings import NUMBERS, TEXTS, OutputRule
from edge.records.outputs import Level

Barred = Literal["says_ok", "beats_itself"]


@dataclass(frozen=True)
class HandTest:
    """A signal at a level by hand, until a moment of the station's clock. `user`: who wants it."""

    signal: str
    level: Level
    user: str
    until_ns: int


@dataclass(frozen=True)
class HandTestEnds:
    """The end of a hand test: what is switched by hand is to end now."""


def barred(rule: OutputRule) -> Barred | None:
    """Say why a signal is not switched by hand while a station runs; None where it may be.

    A machine that does not wait for the counter would take the bit of the rule ok for a verdict.
    """
    if rule.rule == "ok":
        return "says_ok"
    return "beats_itself" if rule.rule == "heartbeat" else None


def level_of(rule: OutputRule) -> Level:
    """Return the level that a signal is switched to: of a bit the one that is not safe."""
    if rule.rule in TEXTS:
        return "test"
    return 1 if rule.rule in NUMBERS or rule.rule == "heartbeat" else not rule.safe
