"""The gate for frames: good enough to be judged, by what good frames of the same camera looked like. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.opencv import cv2
from edge.quality.measures import (
    Edges,
    Exposure,
    Shift,
    edges,
    exposure,
    likeness,
    sample,
    shift_of,
    small,
    small_size,
)
from edge.quality.settings import CHECKS, Check
from edge.records import CameraFault, Float32, Float64, UInt8

# A frame that is as unlike the reference as this, and cannot be laid upon it, looks elsewhere.
_ELSEWHERE = 0.25
# Laid upon the reference, a frame of a moved camera keeps at most this share of what was unlike.
_EXPLAINED = 0.4
# So much of the small picture's still part must be there, with so much contrast, to tell a move.
STILL_AT_LEAST, STILL_LEVELS = 0.05, 2.0


PartFinder = Callable[[UInt8], Float64 | None]


@dataclass(frozen=True)
class Limits:
    """The limits that a good frame keeps. Shares are of the pixels, 0-1; grey levels 0-255.

    `blur_px`: the most that edges are blurred. `edges`: the least share of pixels on edges. `streak`: how many times
    more one direction is blurred than another. `alike`: the least likeness of what stands still. `moved_px`, in pixels
    of the frame, and `turned_deg`: how far it may lie from where it was.
    """

    median_from: float
    median_to: float
    black: float
    clipped: float
    glare: float
    blur_px: float
    edges: float
    streak: float
    alike: float
    moved_px: float
    turned_deg: float


@dataclass(frozen=True)
class Reference:
    """The look of good frames of one camera.

    `size_px`: (width, height) of the frames. `region`: x, y, width, height in px, where it is looked. `picture`: the
    small reference picture without its light, float32 [h, w]. `still`: where nothing moved between good frames, uint8
    [h, w] 0/255, outside of the parts. `bright`: where good frames were saturated, uint8 of the sample's size, 0/255.
    `tells_moves`: whether enough stands still.
    """

    size_px: tuple[int, int]
    region: tuple[int, int, int, int]
    limits: Limits
    picture: Float32
    still: UInt8
    bright: UInt8

    @property
    def tells_moves(self) -> bool:
        """Tell whether enough stands still, and has enough contrast, to tell a camera that was moved."""
        where = self.still > 0
        return bool(where.mean() >= STILL_AT_LEAST and self.picture[where].std() >= STILL_LEVELS)

    @property
    def resized(self) -> float:
        """The share by which the picture may be larger or smaller: a corner then lies `moved_px` from where it was."""
        return self.limits.moved_px / (0.5 * float(np.hypot(*self.region[2:])))


@dataclass(frozen=True)
class Looked:
    """The measures of one frame. `alike`: of what stands still, with the reference; 1 where that is not told."""

    edges: Edges
    exposure: Exposure
    alike: float


@dataclass(frozen=True)
class Flaw:
    """A flaw that makes a frame not good enough: the fault, and a reason for people."""

    fault: CameraFault
    reason: str


class QualityGate:
    """Looks at single frames of one camera; none follows from another."""

    def __init__(self, reference: Reference, checks: tuple[Check, ...] = CHECKS) -> None:
        self._reference = reference
        self._checks = checks
        x, y, w, h = reference.region
        self._whole_frame = (x, y, w, h) == (0, 0, *reference.size_px)
        shape = sample(np.empty((h, w), np.uint8)).shape
        self._all: UInt8 = np.full(shape, 255, np.uint8)
        self._usual: UInt8 = cv2.bitwise_not(reference.bright)
        self._small_px = small_size((w, h))
        self._moves = reference.tells_moves and "camera_moved" in checks

    def misfit(self, pixels: UInt8) -> str:
        """Say why a frame cannot be compared with the good ones; or nothing."""
        size = (pixels.shape[1], pixels.shape[0])
        if size == self._reference.size_px:
            return ""
        (width, height), (w, h) = self._reference.size_px, size
        return (
            f"the frame has {w} x {h} px, and its quality was learned in {width} x {height}: whether it is good "
            "enough cannot be known. Learn it again with linewatch learn-quality"
        )

    def look(self, pixels: UInt8, part: PartFinder | None = None) -> Flaw | None:
        """Return why uint8 [H, W] or [H, W, 3] of the reference's size is not good enough, or None.

        `part`: finds the part's outline, float64 [N, 2] px of the frame, or None. It is asked only where there is
        glare, which then counts within the part alone.
        """
        return self.flaw(pixels, self.measure(pixels), part)

    def measure(self, pixels: UInt8) -> Looked:
        """Measure a frame, uint8 [H, W] or [H, W, 3], of the reference's size."""
        part = self._part(pixels)
        sampled = sample(part)
        alike = 1.0
        if self._moves:
            alike = likeness(self._reference.picture, small(sampled, self._small_px), self._reference.still)
        return Looked(edges(part), self._exposure(sampled, self._all), alike)

    def _part(self, pixels: UInt8) -> UInt8:
        x, y, w, h = self._reference.region
        return pixels if self._whole_frame else pixels[y : y + h, x : x + w]

    def _exposure(self, sampled: UInt8, where: UInt8) -> Exposure:
        seen = exposure(sampled, where)
        if not seen.glare or not self._reference.bright.any():
            return seen
        # a place saturated in good frames is no glare
        unusual = exposure(sampled, cv2.bitwise_and(where, self._usual))
        return Exposure(seen.median, seen.black, seen.clipped, unusual.glare)

    def flaw(self, pixels: UInt8, looked: Looked, part: PartFinder | None = None) -> Flaw | None:
        """Return the first thing that is wrong with a frame of these measures: what hides others comes first."""
        found = {
            "exposure": lambda: _badly_exposed(looked.exposure, self._reference.limits),
            "glare": lambda: self._glare(pixels, looked.exposure.glare, part),
            "camera_moved": lambda: self._moved(pixels, looked.alike),
            "motion_blur": lambda: _streaked(looked.edges, self._reference.limits),
            "focus": lambda: _out_of_focus(looked.edges, self._reference.limits),
        }
        return next((flaw for check in CHECKS if check in self._checks and (flaw := found[check]())), None)

    def _glare(self, pixels: UInt8, share: float, part: PartFinder | None) -> Flaw | None:
        flaw = _glares(share, self._reference.limits)
        outline = None if flaw is None or part is None else part(pixels)
        if outline is None:
            return flaw
        x, y, _, _ = self._reference.region
        corners = np.round((outline - (x, y)) / 4).astype(np.int32)
        within = cv2.fillPoly(np.zeros_like(self._all), [corners], 255)
        return _glares(self._exposure(sample(self._part(pixels)), within).glare, self._reference.limits)

    def _moved(self, pixels: UInt8, alike: float) -> Flaw | None:
        limits = self._reference.limits
        if not self._moves or alike >= limits.alike:
            return None
        now = small(sample(self._part(pixels)), self._small_px)
        shift = shift_of(self._reference.picture, now, self._reference.still)
        return _moved(shift, alike, self._reference)


def _badly_exposed(seen: Exposure, limits: Limits) -> Flaw | None:
    told = ""
    if not limits.median_from <= seen.median <= limits.median_to:
        which = "dark" if seen.median < limits.median_from else "bright"
        told = f"it is too {which}: its median grey level is {seen.median:.0f}, "
        told += f"{max(0.0, limits.median_from):.0f} to {min(255.0, limits.median_to):.0f} expected"
    elif seen.black > limits.black:
        told = f"{seen.black:.1%} of it are black, at most {limits.black:.1%} expected"
    elif seen.clipped > limits.clipped:
        told = f"{seen.clipped:.1%} of it are clipped, at most {limits.clipped:.1%} expected"
    return Flaw(CameraFault.EXPOSURE, f"the exposure is wrong: {told}") if told else None


def _glares(share: float, limits: Limits) -> Flaw | None:
    if share <= limits.glare:
        return None
    return Flaw(CameraFault.GLARE, f"glare: {share:.1%} are hidden by it, at most {limits.glare:.1%} expected")


def _streaked(seen: Edges, limits: Limits) -> Flaw | None:
    if seen.streak <= limits.streak:
        return None
    blurs = [blur for blur in seen.blur_px if blur is not None]
    return Flaw(
        CameraFault.MOTION_BLUR,
        f"motion blur: edges are blurred by {max(blurs):.1f} px along one direction and by {min(blurs):.1f} along "
        f"another, {seen.streak:.1f} times as much; at most {limits.streak:.1f} expected",
    )


def _out_of_focus(seen: Edges, limits: Limits) -> Flaw | None:
    if seen.share < limits.edges:
        told = f"{seen.share:.2%} of it lie on edges, at least {limits.edges:.2%} expected"
    elif seen.blur is not None and seen.blur > limits.blur_px:
        told = f"its edges are blurred by {seen.blur:.2f} px, at most {limits.blur_px:.2f} expected"
    else:
        return None
    return Flaw(CameraFault.OUT_OF_FOCUS, f"it is out of focus: {told}")


def _moved(shift: Shift | None, alike: float, reference: Reference) -> Flaw | None:
    if shift is None or shift.alike < 0.5 or 1 - shift.alike > _EXPLAINED * (1 - alike):
        if alike >= _ELSEWHERE:
            return None  # something lies there, or the light is another: a moved camera shows the same elsewhere
        return Flaw(
            CameraFault.MOVED,
            "the camera was moved, or what stands still was: nothing of it is where it was",
        )
    size_px, limits, resized = reference.region[2:], reference.limits, reference.resized
    moved_px = float(np.hypot(shift.x, shift.y)) * size_px[0] / small_size(size_px)[0]
    turned_deg, larger = abs(shift.degrees), shift.larger - 1
    if moved_px <= limits.moved_px and turned_deg <= limits.turned_deg and abs(larger) <= resized:
        return None
    told = f", and is {abs(larger):.1%} {'larger' if larger > 0 else 'smaller'}" if abs(larger) > resized else ""
    return Flaw(
        CameraFault.MOVED,
        f"the camera was moved: the picture lies {moved_px:.0f} px and {turned_deg:.1f} degrees from where it "
        f"was{told}; at most {limits.moved_px:.0f} px, {limits.turned_deg:.1f} degrees and {resized:.1%} expected",
    )
