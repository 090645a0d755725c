"""The near edge of a part, seen from the side at a grazing angle: other scale and light than from above.

In the picture the part stands on the belt: a narrow band of its upper face, a bright arris, and below it the edge's
band. Chips break the arris; scratches and stains lie on the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8
from edge.simulation.defects import CHIP, SCRATCH, Stroke, break_off, scratch, stain
from edge.simulation.scenes import USUAL, Look, Scene, SimulatedPart, grid, make_scene
from edge.simulation.solids import OF_CERAMIC, OF_METAL

SCALE = 1.2  # of the view from above
STANDS_AT = 0.74  # of the frame's height: where parts stand
_HORIZON = 0.5  # of the frame's height: the belt's far side
_FORESHORTENED = 0.13  # the rest of a length away from the camera
SIDE_LOOK = replace(USUAL, belt=62, belt_texture=9, light_fall=0.5, streaks=2, noise=3.5, blur_px=0.6)


@dataclass(frozen=True)
class EdgeMark:
    """One defect of the near edge. `along`: 0-1, of the part's length; `seed`: of all the rest that is drawn."""

    class_id: int
    along: float
    seed: int


@dataclass(frozen=True)
class EdgeLook:
    """The look of a product's near edge; lengths in units (1/480 of the frame's height from above).

    `thickness`: of the band, `depth`: of the face behind it. `round`: of a cylinder. `tone`, `face`: grey levels.
    `light`: scratches shine, else they are dark. `shine`: how bright the lamp is mirrored along the band.
    """

    thickness: float
    depth: float
    round: bool
    tone: float
    face: float
    texture: float
    shine: float
    light: bool


def a_mark(class_id: int, g: np.random.Generator) -> EdgeMark:
    """Draw where a defect of the near edge lies."""
    return EdgeMark(class_id, float(g.uniform(0.14, 0.86)), int(g.integers(2**31)))


def make_side_scene(height: int, width: int, look: Look, generator: np.random.Generator) -> Scene:
    """Draw a belt at a grazing angle, and still things behind it, out of focus and dark."""
    g = generator
    scene = make_scene(height, width, look, g)
    grain = g.normal(0, look.belt_texture, (height, 2 * width)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), sigmaX=7, sigmaY=0.8) * 4
    near = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    belt = np.clip(look.belt * (1 - 0.25 * near) + grain, 0, 255).astype(np.uint8)
    horizon = round(_HORIZON * height)
    hall = np.full((horizon, width), g.uniform(0.25, 0.6) * look.belt, np.float32)
    for _ in range(int(g.integers(2, 6))):
        x, across = int(g.uniform(0, width)), int(g.uniform(0.03, 0.25) * width)
        hall[:, x : x + across] += g.uniform(-12, 16)
    hall = cv2.GaussianBlur(hall, (0, 0), height / 40)
    return replace(scene, belt=belt, backdrop=np.clip(hall, 0, 255).astype(np.uint8))


def make_edge(
    length_px: int, unit: float, look: EdgeLook, marks: Sequence[EdgeMark], generator: np.random.Generator
) -> SimulatedPart:
    """Draw the near edge of a part that is `length_px` long in the picture; `unit`: px in a unit, the scale included.

    A fringe of shadow below it belongs to the part's opacity.
    """
    g = generator
    face_px, band_px = max(6, round(look.depth * unit * _FORESHORTENED)), max(8, round(look.thickness * unit))
    shadow_px = max(2, round(5 * unit))
    h = face_px + band_px + shadow_px
    arris = _arris(length_px, face_px, round_=look.round)
    ys = np.arange(h, dtype=np.float32)[:, None]
    below = ys - arris  # px below the arris, float32 [h, w]
    band, face = (below >= 0) & (below < band_px), (below < 0) & _face(h, length_px, face_px, round_=look.round)
    pixels = _shaded(below, band_px, look, unit, g)
    _, xs = grid(h, length_px)
    pixels = np.where(band, pixels, look.face * (1 + 0.4 * np.cos(3 * xs + g.uniform(0, 6))) + 0.5 * below)
    glow = 0.6 + 0.4 * np.cos(g.uniform(1, 5) * xs + g.uniform(0, 6))
    pixels += np.exp(-((below / (1.3 * unit)) ** 2)) * glow * g.uniform(40, 110)
    shadow = (below >= band_px) * np.clip(1 - (below - band_px) / shadow_px, 0, 1) * 0.7
    pixels = np.where(below >= band_px, 8, pixels).astype(np.float32)
    solid: UInt8 = (band | face).astype(np.uint8)
    opacity = np.maximum(cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.7), shadow.astype(np.float32))
    part = SimulatedPart(pixels, opacity, np.zeros((h, length_px), np.uint8))
    free: UInt8 = ((below > 0.12 * band_px + 2 * unit) & (below < 0.94 * band_px)).astype(np.uint8)
    for mark in marks:
        _draw_mark(part, mark, look, unit, solid=solid, free=free, arris=arris)
    return part


def _arris(length: int, face_px: int, *, round_: bool) -> Float32:
    """Return where the arris is, float32 [w], px from above: straight, or the near half of a flat ellipse."""
    across = np.linspace(-1, 1, length, dtype=np.float32)
    if not round_:
        return np.full(length, face_px, np.float32)
    return (face_px / 2 * (1 + np.sqrt(np.clip(1 - across**2, 0, 1)))).astype(np.float32)


def _face(height: int, length: int, face_px: int, *, round_: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return where the upper face shows, bool [h, w]: the far half of an ellipse, or a trapezium."""
    ys, across = np.arange(height)[:, None], np.linspace(-1, 1, length)
    if round_:
        return ys >= face_px / 2 * (1 - np.sqrt(np.clip(1 - across**2, 0, 1)))
    drawn_in = (face_px - ys) * 0.8
    xs = np.arange(length)
    return (xs >= drawn_in) & (xs < length - drawn_in)


def _shaded(below: Float32, band_px: int, look: EdgeLook, unit: float, g: np.random.Generator) -> Float32:
    """Shade the band: its texture, the lamp mirrored along it, and what turns away from the light at its ends."""
    h, w = below.shape
    grain = cv2.GaussianBlur(g.normal(0, 1, (h, w)).astype(np.float32), (0, 0), sigmaX=4 * unit, sigmaY=0.7) * 3
    pixels: Float32 = grain * look.texture + look.tone * g.uniform(0.9, 1.1)
    place, breadth = g.uniform(0.25, 0.75), g.uniform(0.06, 0.2)
    pixels += np.exp(-(((below / band_px - place) / breadth) ** 2)) * look.shine * g.uniform(0.5, 1)
    if look.round:
        across = np.linspace(-1, 1, w, dtype=np.float32)
        pixels *= 0.35 + 0.65 * np.sqrt(np.clip(1 - (across * 0.98) ** 2, 0, 1))
    return pixels


def _draw_mark(
    part: SimulatedPart, mark: EdgeMark, look: EdgeLook, unit: float, *, solid: UInt8, free: UInt8, arris: Float32
) -> None:
    g = np.random.default_rng(mark.seed)
    w = part.truth.shape[1]
    x = mark.along * (w - 1)
    if mark.class_id == CHIP:
        break_off(
            part.pixels,
            part.truth,
            solid,
            (x, float(arris[int(x)])),
            g,
            inwards=(0.0, 1.0),
            radius=min(g.uniform(10, 15) * unit, 0.8 * look.thickness * unit),
            tones=OF_METAL if look.light else OF_CERAMIC,
        )
        return
    nearby = np.zeros_like(free)
    window = np.s_[:, max(0, int(x - 0.04 * w)) : int(x + 0.04 * w) + 1]
    nearby[window] = free[window]
    if mark.class_id == SCRATCH:
        sign = 1 if look.light else -0.75
        places = np.flatnonzero(nearby)
        y, left = divmod(int(places[g.integers(len(places))]), w)
        # most run along the belt, some across the band
        along = g.random() < 0.7
        angle = g.uniform(-0.15, 0.15) if along else g.uniform(0, np.pi)
        length = (g.uniform(30, 150) if along else g.uniform(25, 60)) * unit
        stroke = Stroke(left, y, length, angle, g.uniform(-0.1, 0.1), sign * g.uniform(45, 140))
        scratch(part.pixels, part.truth, free, unit, g, stroke=stroke)
    else:
        stain(part.pixels, part.truth, nearby, 0.7 * unit, g, dark=look.tone > 70)
