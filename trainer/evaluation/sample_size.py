"""Bounds that figures on so few pictures can prove, said before anybody believes them.

Pictures of one group show one piece, so pieces are counted. None of n may be missed while the line misses a share as
large as p, with `(1 - p)^n = 0.025`. That is the upper end of the exact 95 % interval of 0 of n (Clopper and Pearson
1934). Turned round, n = ln 0.025 / ln(1 - p) pieces without a miss show that the share is below p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge.wording import counted
from trainer.datasets.dataset import Entry
from trainer.datasets.splitting import Split
from trainer.evaluation.exact_interval import TAIL, largest_share

# A line's question: fewer than one in twenty?
_WANTED = 0.05


def pieces_for(share: float) -> int:
    """Return how many pieces without an error show that an error is rarer than `share`, above 0 and below 1."""
    return math.ceil(math.log(TAIL) / math.log(1 - share))


def what_can_be_shown(entries: Sequence[Entry], parts: Mapping[str, Split], names: Sequence[str]) -> list[str]:
    """Say per class, and for clean pieces, what the held-out pieces can and cannot prove; one sentence each."""
    held_out = [entry for entry in entries if parts[entry.image] == "test"]
    if not held_out:
        return ["nothing is held out: no figure can say how the model does on pieces that it does not know"]
    enough = f"to show less than {_WANTED:.0%} takes {counted(pieces_for(_WANTED), 'piece')} without one"
    sentences = []
    for name in names:
        pieces = len({entry.group for entry in held_out if name in entry.classes})
        sentences.append(
            f"{name}: {_pieces(pieces)} held out. With none missed, {largest_share(pieces):.0%} could still be missed "
            f"on the line (95 %); {enough}"
            if pieces
            else f"{name}: not held out at all, so nothing is known of what is missed"
        )
    clean = len({entry.group for entry in held_out if not entry.classes})
    sentences.append(
        f"clean: {_pieces(clean)} held out. With no false alarm, {largest_share(clean):.0%} could still be flagged on "
        f"the line (95 %); {enough}"
        if clean
        else "clean: no clean piece is held out, so nothing is known of false alarms on good parts"
    )
    return sentences


def _pieces(count: int) -> str:
    return "1 piece" if count == 1 else f"{counted(count, 'piece')}"
