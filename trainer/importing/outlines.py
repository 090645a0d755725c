"""Outlines → the pixels that they go round, and back.

A picture's pixel (column i, row j) lies at i to i + 1, j to j + 1. Labelling tools count so. It belongs to an outline
where its centre does, by the even-odd rule: so an outline within another is a hole, and two that share an edge share no
pixel. `traced` gives outlines that `filled` makes the same mask of again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.opencv import cv2
from edge.records import Float64, UInt8

_ROUND = 90  # corners of an ellipse


def filled(rings: Sequence[Float64], shape_px: tuple[int, int]) -> UInt8:
    """Fill outlines, float64 [N, 2] of x and y in px each, together by the even-odd rule: uint8 [H, W] of 0 and 255.

    `shape_px`: (height, width); parts beyond are cut off.
    """
    height, width = shape_px
    mask: UInt8 = np.zeros(shape_px, np.uint8)
    points = np.concatenate(rings)
    left, top = (int(v) for v in np.clip(np.floor(points.min(axis=0)), 0, (width, height)))
    right, bottom = (int(v) for v in np.clip(np.ceil(points.max(axis=0)), 0, (width, height)))
    if right <= left or bottom <= top:
        return mask
    turns: UInt8 = np.zeros((bottom - top, right - left + 1), np.uint8)  # 1 where a row goes in or out
    for ring in rings:
        _cross(turns, ring - (left, top))
    inside = np.bitwise_xor.accumulate(turns[:, :-1], axis=1)
    mask[top:bottom, left:right] = inside * np.uint8(255)
    return mask


def _cross(turns: UInt8, ring: Float64) -> None:
    """Note at which pixel each row's centre crosses the edges of an outline, float64 [N, 2]."""
    edges = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)
    upwards = edges[:, 0, 1] > edges[:, 1, 1]
    edges[upwards] = edges[upwards, ::-1]  # the same both ways
    first, last = (np.clip(np.ceil(edges[:, end, 1] - 0.5), 0, len(turns)).astype(int) for end in (0, 1))
    crossed = first < last
    edges, first, counts = edges[crossed], first[crossed], (last - first)[crossed]
    which = np.repeat(np.arange(len(edges)), counts)
    rows = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    x = x0[which] + (rows + 0.5 - y0[which]) * ((x1 - x0) / (y1 - y0))[which]
    np.bitwise_xor.at(turns, (rows, np.clip(np.ceil(x - 0.5), 0, turns.shape[1] - 1).astype(int)), 1)


def drawn_line(points: Float64, width_px: float, shape_px: tuple[int, int], *, closed: bool = False) -> UInt8:
    """Draw a line through float64 [N, 2] points, `width_px` wide, as uint8 [H, W] of 0 and 255.

    Its joints are round; one point is a dot.
    """
    mask: UInt8 = np.zeros(shape_px, np.uint8)
    half = width_px / 2
    ends = np.concatenate([points[1:], points[:1]]) if closed else points[1:]
    for start, end in zip(points, ends, strict=False):
        along = end - start
        if length := float(np.hypot(*along)):
            aside = np.array([-along[1], along[0]]) * (half / length)
            mask |= filled([np.stack([start + aside, end + aside, end - aside, start - aside])], shape_px)
    joints = points if closed or len(points) == 1 else points[1:-1]
    for x, y in joints.tolist():
        mask |= filled([ellipse_corners(x, y, half, half)], shape_px)
    return mask


def box_corners(left: float, top: float, width: float, height: float, degrees: float = 0.0) -> Float64:
    """Return the corners of a box, float64 [4, 2], turned clockwise about its middle."""
    right, bottom = left + width, top + height
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    return turned_about(corners, (left + width / 2, top + height / 2), degrees)


def ellipse_corners(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Float64:
    """Return points on an ellipse about (x, y), float64 [N, 2], turned clockwise."""
    angles = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
    return turned_about(points, (x, y), degrees)


def turned_about(points: Float64, middle: tuple[float, float], degrees: float) -> Float64:
    """Turn points, float64 [N, 2], about (x, y), clockwise as seen, for y points down."""
    if not degrees:
        return points
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned: Float64 = (points - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    return turned


def traced(mask: UInt8) -> list[Float64]:
    """Return an outline of each 8-connected part of a mask, uint8 [H, W] (not 0 = inside), float64 [N, 2] each.

    Holes are joined to their part's outline by a line there and back, so that each part is one outline. It runs a
    quarter of a pixel within the part's edge.
    """
    twice = np.repeat(np.repeat((mask > 0).astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return []
    rings = [(contour[:, 0].astype(np.float64) + 0.5) / 2 for contour in contours]
    outlines = {place: ring for place, ring in enumerate(rings) if tree[0][place][3] < 0}
    for place, ring in enumerate(rings):
        if (outer := int(tree[0][place][3])) >= 0:
            outlines[outer] = _joined(outlines[outer], ring)
    return list(outlines.values())


def _joined(outer: Float64, hole: Float64) -> Float64:
    """Go round an outline, over to its hole, round that, and back."""
    leaves, enters = int(outer[:, 0].argmin()), int(hole[:, 0].argmin())
    there = np.roll(outer, -leaves, axis=0)
    around = np.roll(hole, -enters, axis=0)
    return np.concatenate([there, there[:1], around, around[:1]])
