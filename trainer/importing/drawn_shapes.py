"""Strokes that may mean something else than they cover: an arrow points at a defect, an open arc goes round one.

Each stroke is followed along its middle, from one end to the other. An arc turns one way by more than a hand does that
follows a scratch. An arrow has two barbs, or the corners of a filled head, all on the side of its tail. One branch of a
crack that forks goes on.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

ARC, ARROW = "open arc", "arrow"
_SIDE_PX = 110  # strokes are looked at no larger
_AT_MOST = 50  # strokes of one drawing
_LEAST_PX = 12  # longer side of a stroke that is looked at
_SLENDER = 3.0  # widths that a stroke is long at least
_CLOSED = 0.3  # of its own area that a stroke encloses
_ARC_TURNS = (150.0, 420.0)  # degrees; less follows a defect, more is a scribble
_ONE_WAY = 0.8  # share of all turning that goes the same way
_CORNER = 0.7  # of the turning at one place: a tick, not an arc
_STEPS = 17
_BARB_DEGREES = (10.0, 75.0)  # between a barb and the shaft
_BARBS_DIFFER = 2.2
_BARB_OF_SHAFT = 0.8


@dataclass(frozen=True)
class Shape:
    """A stroke whose meaning is not clear. `kind`: ARC or ARROW; `at`: its middle, x and y in px."""

    kind: str
    at: tuple[int, int]


def ambiguous_shapes(strokes: UInt8) -> list[Shape]:
    """Find arrows and open arcs among the strokes of a mask, uint8 [H, W], not 0 = painted; largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((strokes > 0).astype(np.uint8), connectivity=8)
    sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) if count > 1 else np.zeros(0)
    found = []
    for number in (np.argsort(-sides, kind="stable")[:_AT_MOST] + 1).tolist():
        left, top, width, height, _ = stats[number].tolist()
        if max(width, height) < _LEAST_PX:
            continue
        own = (labels[top : top + height, left : left + width] == number).astype(np.uint8)
        if kind := _kind_of(own):
            found.append(Shape(kind, (left + width // 2, top + height // 2)))
    return found


def _kind_of(own: UInt8) -> str:
    """Return ARC or ARROW of one connected stroke, 0/1, or nothing."""
    scale = min(1.0, _SIDE_PX / max(own.shape))
    if scale < 1:
        small = cv2.resize(own.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        own = (small > 0.25).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
        own = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    own = np.pad(own, 2)
    area, depth = int(own.sum()), cv2.distanceTransform(own, cv2.DIST_L2, 5)
    ridge = depth[(depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 1e-6) & (own > 0)]
    width = 2 * float(np.median(ridge))
    if area < _SLENDER * width * width or _filled(own) - area > _CLOSED * area:
        return ""  # it is a blob, or goes all the way round
    stroke = _Stroke(own, depth)
    if stroke.length < _SLENDER * 2 * stroke.half_width:
        return ""
    if stroke.is_arrow():
        return ARROW
    return ARC if stroke.is_arc() else ""


class _Stroke:
    """One stroke, 0/1 with an empty edge, and the way along its middle."""

    def __init__(self, own: UInt8, depth: Float32) -> None:
        self._own = own
        self._depth = depth
        rows, columns = np.nonzero(own)
        start = (int(rows[0]), int(columns[0]))
        tail = self._farthest([start])[0]
        tip, _, _ = self._farthest([tail])
        self.path = self._way(tail, tip)
        self._points = _smoothed(np.array(self.path, np.float64)[:, ::-1])
        self.length = _length(self._points)
        around = cv2.dilate(self._depth, np.ones((5, 5), np.uint8))
        self._depths = np.array([around[place] for place in self.path], np.float64)
        self.half_width = float(np.median(self._depths))

    def is_arc(self) -> bool:
        """Tell whether it goes round something, and leaves it open."""
        points = _resampled(self._points, _STEPS)
        polygon = float(abs(cv2.contourArea(points.astype(np.float32))))
        if polygon < self._own.sum():
            return False
        turns = _turns(points)
        total, all_turns = abs(float(turns.sum())), float(np.abs(turns).sum())
        least, most = _ARC_TURNS
        return (
            least <= total <= most and total >= _ONE_WAY * all_turns and float(np.abs(turns).max()) <= _CORNER * total
        )

    def is_arrow(self) -> bool:
        """Tell whether it has a head at one end, of barbs or filled."""
        return self._has_barbs() or self._has_filled_head(self._depths) or self._has_filled_head(self._depths[::-1])

    def _has_barbs(self) -> bool:
        least = max(3.0, 1.8 * self.half_width)
        third, away, begins = self._farthest(self.path)
        if away < least:
            return False
        branch = self._way(begins, third)
        if self._farthest([*self.path, *branch])[1] >= 4 * self.half_width + 2:
            return False  # it has more branches, which the tip itself is not
        fork = self.path.index(begins)
        ways = [self.path[fork::-1], self.path[fork:], branch]
        if min(len(way) for way in ways) < 3:
            return False
        lengths = [_length(np.array(way, np.float64)) for way in ways]
        reach = min(lengths)
        directions = [_towards(way, reach) for way in ways]
        shaft = int(np.argmax(lengths))
        one, other = (index for index in range(3) if index != shaft)
        if max(lengths[one], lengths[other]) > _BARBS_DIFFER * reach or reach < least:
            return False
        if max(lengths[one], lengths[other]) > _BARB_OF_SHAFT * lengths[shaft]:
            return False
        angles = [_angle(directions[shaft], directions[index]) for index in (one, other)]
        low, high = _BARB_DEGREES
        return angles[0] * angles[1] < 0 and all(low <= abs(angle) <= high for angle in angles)

    def _has_filled_head(self, depths: Float64) -> bool:
        """Look at the end of `depths`, how deep the stroke is along its middle: a triangle has corners and a tip."""
        points = self._points if depths is self._depths else self._points[::-1]
        count = len(depths)
        at = int(depths.argmax())
        shaft, deepest = float(np.median(depths[: count // 2])), float(depths[at])
        if at < 0.55 * count or deepest < 1.45 * shaft or deepest < 2:
            return False
        to_tip = _length(points[at:])
        if not 1.3 * deepest <= to_tip <= 4.5 * deepest:
            return False
        forward = points[-1] - points[max(0, at - count // 3)]
        rows, columns = np.nonzero(self._own)
        away = np.stack([columns, rows], axis=1) - points[at]
        distance = np.hypot(away[:, 0], away[:, 1])
        near = (distance >= 1.35 * deepest) & (distance <= 2.6 * deepest)
        angles = np.degrees(
            np.arctan2(
                forward[0] * away[near, 1] - forward[1] * away[near, 0],
                forward[0] * away[near, 0] + forward[1] * away[near, 1],
            )
        )
        corners = (np.abs(angles) > 75) & (np.abs(angles) < 155)
        return bool((corners & (angles > 0)).any() and (corners & (angles < 0)).any())

    def _farthest(self, sources: list[tuple[int, int]]) -> tuple[tuple[int, int], float, tuple[int, int]]:
        """Return the pixel that is farthest from all sources within the stroke, how far, and from which of them."""
        reached, origin, _ = self._spread(sources, even=True)
        inside = np.where(np.isfinite(reached), reached, -1.0)
        place = np.unravel_index(int(inside.argmax()), inside.shape)
        pixel = (int(place[0]), int(place[1]))
        return pixel, float(inside[pixel]), origin[pixel]

    def _way(self, begins: tuple[int, int], ends: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the pixels from one to another, along the middle of the stroke."""
        _, _, before = self._spread([begins], even=False)
        way = [ends]
        while way[-1] != begins:
            way.append(before[way[-1]])
        return way[::-1]

    def _spread(
        self, sources: list[tuple[int, int]], *, even: bool
    ) -> tuple[Float64, dict[tuple[int, int], tuple[int, int]], dict[tuple[int, int], tuple[int, int]]]:
        """Walk from the sources over the stroke (Dijkstra 1959): lengths, whose source, and the step before.

        `even`: each px counts the same; else those at the stroke's edge count more.
        """
        reached: Float64 = np.full(self._own.shape, np.inf)
        origin = {source: source for source in sources}
        before: dict[tuple[int, int], tuple[int, int]] = {}
        for source in sources:
            reached[source] = 0.0
        waiting = [(0.0, source) for source in sources]
        heapq.heapify(waiting)
        deepest = float(self._depth.max())
        while waiting:
            length, (row, column) = heapq.heappop(waiting)
            if length > reached[row, column]:
                continue
            for down, right, step in _NEIGHBOURS:
                place = (row + down, column + right)
                if not self._own[place]:
                    continue
                further = length + step * (1.0 if even else 1.0 + 3.0 * (1.0 - float(self._depth[place]) / deepest))
                if further < reached[place]:
                    reached[place] = further
                    origin[place], before[place] = origin[row, column], (row, column)
                    heapq.heappush(waiting, (further, place))
        return reached, origin, before


_DIAGONAL = float(np.sqrt(2))
_NEIGHBOURS = tuple(
    (down, right, _DIAGONAL if down and right else 1.0) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right
)


def _filled(own: UInt8) -> int:
    """Return how many pixels a stroke has with what it encloses."""
    ground = own.copy()
    cv2.floodFill(ground, None, (0, 0), 2)
    return int((ground != 2).sum())


def _smoothed(points: Float64) -> Float64:
    """Even out the steps from pixel to pixel, float64 [N, 2]."""
    width = min(7, len(points) // 2 * 2 - 1)
    if width < 3:
        return points
    padded = np.concatenate([np.repeat(points[:1], width // 2, 0), points, np.repeat(points[-1:], width // 2, 0)])
    kernel = np.full(width, 1 / width)
    even = [np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)]
    smooth: Float64 = np.stack(even, axis=1)
    return smooth


def _length(points: Float64) -> float:
    return float(np.hypot(*np.diff(points, axis=0).T).sum()) if len(points) > 1 else 0.0


def _resampled(points: Float64, count: int) -> Float64:
    """Return so many points in even steps along a line."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    wanted = np.linspace(0, along[-1], count)
    even: Float64 = np.stack([np.interp(wanted, along, points[:, axis]) for axis in (0, 1)], axis=1)
    return even


def _turns(points: Float64) -> NDArray[np.float64]:
    """Return the turns at each inner point, degrees, to the right positive."""
    steps = np.diff(points, axis=0)
    headings = np.degrees(np.arctan2(steps[:, 1], steps[:, 0]))
    turns: NDArray[np.float64] = (np.diff(headings) + 180) % 360 - 180
    return turns


def _towards(way: list[tuple[int, int]], reach: float) -> Float64:
    """Return the direction, x and y, of a branch up to so many px after it has left the others."""
    points = np.array(way, np.float64)[:, ::-1]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    begin, end = (points[min(int(np.searchsorted(along, part)), len(points) - 1)] for part in (reach / 2, reach))
    direction: Float64 = end - begin
    return direction


def _angle(one: Float64, other: Float64) -> float:
    """Return the angle from one direction to another, -180 to 180 degrees."""
    return float(np.degrees(np.arctan2(one[0] * other[1] - one[1] * other[0], float(one @ other))))
