"""Ragged masks → even ones, before they are thinned: each fringe and pinhole would make a branch or a ring of its own.

A pixel becomes like most of those around it. A change that is too long for a fringe is taken back. So a thin line keeps
its place beside a wide one, and a narrow gap stays a gap.
"""

from __future__ import annotations

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8

# Masks with their middle so far from their edge, px: of wide ones the pixels up to 2 away are asked, else up to 1.
_WIDE, _NARROW = 2.9, 1.9
# What is longer than so many px, or than so many half-widths of its mask, is no fringe.
_FRINGE_PX, _FRINGE = 5, 1.0


def evened(mask: UInt8, widest: float) -> UInt8:
    """Return a mask, uint8 [h, w] 0/1 with a border of 0, without fringes and pinholes.

    `widest`: how far its innermost pixel is from its edge, px.
    """
    if widest < _NARROW:
        return mask
    even: UInt8 = cv2.medianBlur(mask, 5 if widest >= _WIDE else 3)
    changed = mask ^ even
    if not cv2.countNonZero(changed):
        return mask
    for kind in (mask & changed, even & changed):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(kind, connectivity=8)
        long = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) > max(_FRINGE_PX, _FRINGE * widest)
        long[0] = False
        if long.any():
            even ^= long[labels].view(np.uint8)
    return even
