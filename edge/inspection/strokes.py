"""Skeletons → strokes: the lines as a pen would have drawn them, straight through their crossings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.inspection.skeleton import Skeleton
from edge.records import Float32, Float64

# A branch that leaves its line by less than so many half-widths is a corner of the mask, no line.
_SPUR = 1.6
# Two branches at a line's end whose lengths differ by less than this share are both its corners.
_FORK = 0.5
# Two joints closer than this many half-widths are one: of a crossing at a sharp angle.
_BRIDGE = 4.0
# Two branches whose directions away from a joint differ by more than this, in degrees, are one line.
_STRAIGHT_ON = 130.0
# The distance from a joint, in half-widths, within which a mask's middle is no line's middle.
_ROUND_A_JOINT = 1.5
_DIRECTION_PX = 12
_NOWHERE: Float64 = np.empty((0, 2))
_NONE: Float64 = np.empty(0)


@dataclass(frozen=True)
class Stroke:
    """One line: `points` float64 [N, 2], (x, y), about a pixel apart, of its mask's middle.

    `closed`: a ring. `free`: whether its beginning and its end are ends of the defect, and no joint. `beyond`: its mask
    goes on so far beyond its beginning and its end, px; 0 where nobody looked.
    """

    points: Float64
    closed: bool = False
    free: tuple[bool, bool] = (True, True)
    beyond: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Drawing:
    """The strokes of one defect, and the joints where they meet: float64 [J, 2], (x, y), and their `radii` [J], px.

    `overlaps`: of each joint the area that its strokes share, in squares of their width: 1/2 where one ends in the
    middle of another, 1 / sin(angle) where two cross.
    """

    strokes: tuple[Stroke, ...]
    joints: Float64 = field(default_factory=lambda: _NOWHERE)
    radii: Float64 = field(default_factory=lambda: _NONE)
    overlaps: tuple[float, ...] = ()


@dataclass(eq=False)
class _Arm:
    """A branch as seen from its beginning; it is turned round where a joint sees its end."""

    points: Float64
    joints: list[int | None]
    closed: bool = False
    met: tuple[int, ...] = ()
    lost: int = 0

    def reach(self) -> int:
        """Tell how long it is, with the fork at its end that was removed: the mask reaches as far."""
        return len(self.points) + self.lost


def drawing(skeleton: Skeleton, distance: Float32) -> Drawing:
    """Return the strokes of a skeleton, without spurs. `distance` [h, w]: of the mask's pixels to its edge, px."""
    if not len(skeleton.joints):
        return Drawing(tuple(_ended(b.points, b.closed, distance) for b in skeleton.branches if len(b.points) > 1))
    half_widths = np.array([_at(distance, joint) for joint in skeleton.joints])
    arms = [_Arm(b.points, list(b.joints), b.closed) for b in skeleton.branches]
    places = skeleton.joints.copy()
    _merge_joints(arms, places, half_widths)
    _prune(arms, half_widths)
    return _drawn(arms, places, half_widths, distance)


def _ended(points: Float64, closed: bool, distance: Float32, free: tuple[bool, bool] = (True, True)) -> Stroke:
    """Return a stroke that knows how far its mask goes on beyond its free ends."""
    if closed:
        return Stroke(points, closed, free)
    first, last = (
        _goes_on(end, distance) if loose else 0.0 for end, loose in zip((points, points[::-1]), free, strict=True)
    )
    return Stroke(points, closed, free, (first, last))


def _goes_on(points: Float64, distance: Float32) -> float:
    """Return how far a mask goes on, px, straight ahead from the first of a line's points."""
    way = points[0] - points[min(_DIRECTION_PX, len(points) - 1)]
    way /= max(1e-9, float(np.hypot(*way)))
    steps = np.arange(1, 2 * max(distance.shape))
    places = (points[0] + steps[:, None] * way).astype(np.int64)
    inside = ((places >= 0) & (places < distance.shape[::-1])).all(axis=1)
    within = distance[places[inside, 1], places[inside, 0]] > 0
    return float(within.argmin()) if not within.all() else float(len(within))


def _at(distance: Float32, point: Float64) -> float:
    """Return how far the mask reaches around a joint, which may lie beside the middle of its line."""
    row, column, far = int(point[1]), int(point[0]), 1
    for _ in range(2):
        around = distance[max(0, row - far) : row + far + 1, max(0, column - far) : column + far + 1]
        half_width = max(1.0, float(around.max()))
        far = int(half_width) + 1
    return half_width


def _merge_joints(arms: list[_Arm], places: Float64, half_widths: Float64) -> None:
    """Make one of two joints whose masks overlap: the skeleton of a crossing has two, with a short bridge."""
    for arm in list(arms):
        one, other = arm.joints
        if one is None or other is None or one == other:
            continue
        if len(arm.points) > _BRIDGE * max(half_widths[one], half_widths[other]):
            continue
        arms.remove(arm)
        places[one] = (places[one] + places[other]) / 2
        half_widths[one] = max(half_widths[one], half_widths[other], len(arm.points) / 2)
        for each in arms:
            each.joints = [one if joint == other else joint for joint in each.joints]


def _prune(arms: list[_Arm], half_widths: Float64) -> None:
    """Remove what is no longer than the mask is wide, but for what a line goes on by: ends of it, and bridges."""
    for joint, half_width in enumerate(half_widths):
        loose = [arm for arm in arms if sorted(arm.joints, key=str) == sorted([joint, None], key=str)]
        others = [arm for arm in arms if joint in arm.joints and arm not in loose]
        loose.sort(key=_Arm.reach)
        forked = len(loose) > 1 and loose[-2].reach() >= _FORK * loose[-1].reach()
        short = [arm for arm in loose if arm.reach() < _SPUR * half_width + 1.5]
        if not others or (len(others) == 1 and not forked):
            short = [arm for arm in short if arm is not loose[-1]]
        for arm in short:
            arms.remove(arm)
        left = [arm for arm in arms if joint in arm.joints]
        if len(left) == 1 and left[0].joints.count(joint) == 1:  # a line's end was forked by its corners
            left[0].joints = [None if each == joint else each for each in left[0].joints]
            left[0].lost += max((arm.reach() for arm in short), default=0)


def _outward(arm: _Arm, joint: int, trim: float) -> tuple[Float64, bool]:
    """Return an arm's points from a joint on, without those `trim` px beside it, and whether they were turned."""
    turned = arm.joints[0] != joint
    points = arm.points[::-1] if turned else arm.points
    return points[min(int(trim), max(0, len(points) - 2)) :], turned


def _drawn(arms: list[_Arm], places: Float64, half_widths: Float64, distance: Float32) -> Drawing:
    """Join arms that go straight on through a joint; let the others end in its middle."""
    overlaps: list[float] = []
    met: list[int] = []
    for joint, half_width in enumerate(half_widths):
        while True:
            own = [arm for arm in arms if joint in arm.joints and not arm.closed]
            pair = _straightest(own, joint, half_width)
            if pair is None:
                break
            degree = len(own)
            if degree > 2:
                met.append(joint)
                overlaps.append(_overlap(own, pair, joint, half_width))
            _join(arms, pair, joint, half_width)
        for arm in [arm for arm in arms if joint in arm.joints and not arm.closed]:
            _end_at(arm, joint, places[joint], half_width)
    strokes = tuple(
        _ended(arm.points, arm.closed, distance, (arm.joints[0] is None, arm.joints[1] is None))
        for arm in arms
        if len(arm.points) > 1
    )
    kept = sorted({joint for arm in arms for joint in arm.met} | set(met))
    return Drawing(strokes, places[kept], _ROUND_A_JOINT * half_widths[kept] + 2, tuple(overlaps))


def _straightest(own: Sequence[_Arm], joint: int, half_width: float) -> tuple[_Arm, _Arm] | None:
    """Return the two arms that differ least from one straight line, if they do so little enough."""
    ways = [(arm, _direction(_outward(arm, joint, _ROUND_A_JOINT * half_width)[0])) for arm in own]
    best, found = np.cos(np.radians(_STRAIGHT_ON)), None
    if len(ways) == 2 and ways[0][0] is not ways[1][0]:
        return ways[0][0], ways[1][0]  # the rest of a joint without its spurs
    for (one, way), (other, back) in itertools.combinations(ways, 2):
        if (cosine := float(way @ back)) < best:
            best, found = cosine, (one, other)
    return found


def _direction(points: Float64) -> Float64:
    way: Float64 = points[min(_DIRECTION_PX, len(points) - 1)] - points[0]
    return way / max(1e-9, float(np.hypot(*way)))


def _overlap(own: Sequence[_Arm], pair: tuple[_Arm, _Arm], joint: int, half_width: float) -> float:
    """Return the area that a line through a joint shares with the others there, in squares of their width."""
    trim = _ROUND_A_JOINT * half_width
    through = _direction(_outward(pair[0], joint, trim)[0])
    shared = 0.0
    for arm in own:
        if arm not in pair:
            way = _direction(_outward(arm, joint, trim)[0])
            shared += 0.5 / max(0.3, abs(float(through[0] * way[1] - through[1] * way[0])))
    return shared


def _join(arms: list[_Arm], pair: tuple[_Arm, _Arm], joint: int, half_width: float) -> None:
    """Replace two arms by one that runs straight through their joint."""
    trim = _ROUND_A_JOINT * half_width
    one, other = pair
    (ahead, turned), (behind, other_turned) = _outward(one, joint, trim), _outward(other, joint, trim)
    far = one.joints[0 if turned else 1], other.joints[0 if other_turned else 1]
    gap = behind[0] - ahead[0]
    steps = max(1, round(float(np.hypot(*gap))))
    bridge = ahead[0] + gap * (np.arange(1, steps) / steps)[:, None]
    arms.remove(one)
    arms.remove(other)
    arms.append(_Arm(np.concatenate([ahead[::-1], bridge, behind]), [*far], met=one.met + other.met))


def _end_at(arm: _Arm, joint: int, place: Float64, half_width: float) -> None:
    """Let an arm end in the middle of a joint, in a straight line."""
    for side in (0, 1):
        if arm.joints[side] != joint:
            continue
        points = arm.points if side == 0 else arm.points[::-1]
        points = points[min(int(_ROUND_A_JOINT * half_width), max(0, len(points) - 2)) :]
        gap = points[0] - place
        steps = max(1, round(float(np.hypot(*gap))))
        points = np.concatenate([place + gap * (np.arange(steps) / steps)[:, None], points])
        arm.points = points if side == 0 else points[::-1]
        arm.joints[side] = -1
        arm.met = (*arm.met, joint)
