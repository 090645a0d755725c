"""The scene of parts: a belt, its light and the hall's reflections; and the frame that shows parts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8


@dataclass(frozen=True)
class Look:
    """The looks in which lines and lamps vary; grey levels 0-255, sizes as shares of the frame's height."""

    belt: float
    belt_texture: float
    light_fall: float
    streaks: int
    streak_strength: float
    noise: float
    blur_px: float
    part_length: float
    part_width: float
    dust: int
    motion_px: int


USUAL = Look(
    belt=78,
    belt_texture=6,
    light_fall=0.35,
    streaks=3,
    streak_strength=22,
    noise=3,
    blur_px=0.5,
    part_length=0.95,
    part_width=0.5,
    dust=14,
    motion_px=3,
)


def random_look(generator: np.random.Generator) -> Look:
    """Draw a look from a range wide enough to hold cameras and lamps that nobody has thought of."""
    g = generator
    length = float(np.exp(g.uniform(np.log(0.7), np.log(4.0))))
    return Look(
        belt=float(g.uniform(35, 130)),
        belt_texture=float(g.uniform(2, 14)),
        light_fall=float(g.uniform(0, 0.6)),
        streaks=int(g.integers(0, 6)),
        streak_strength=float(g.uniform(3, 30)),
        noise=float(g.uniform(0.5, 6)),
        blur_px=float(g.uniform(0.3, 1.4)),
        part_length=length,
        part_width=length * float(g.uniform(0.45, 0.58)),
        dust=int(g.integers(0, 50)),
        motion_px=int(g.integers(1, 6)),
    )


@dataclass(frozen=True)
class Scene:
    """The scene that stays: `belt` uint8 [H, 2W] (it scrolls), `gain` and `hall` float32 [H, W], noise bank.

    `backdrop`: uint8 [h, W], what stands still behind the belt, in the upper rows; None where all of it is belt.
    """

    look: Look
    belt: UInt8
    gain: Float32
    hall: Float32
    noise: list[Float32]
    backdrop: UInt8 | None = None


@dataclass(frozen=True)
class SimulatedPart:
    """One part as one view shows it: `pixels` float32, `glass` float32 opacity, `truth` uint8 ids, [h, w] each.

    `inner`: uint8 [h, w] 0/1, where a scratch may lie, well off the rim; None where nobody asks.
    """

    pixels: Float32
    glass: Float32
    truth: UInt8
    inner: UInt8 | None = None


def make_scene(height: int, width: int, look: Look, generator: np.random.Generator) -> Scene:
    """Draw belt, light and reflections for frames of `height` x `width` px."""
    grain = generator.normal(0, look.belt_texture, (height, 2 * width)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 1.2) * 2 + generator.normal(0, 1, grain.shape).astype(np.float32)
    belt = np.clip(look.belt + grain, 0, 255).astype(np.uint8)
    ys, xs = grid(height, width)
    angle = generator.uniform(0, 2 * np.pi)
    slope = (xs * np.cos(angle) + ys * np.sin(angle)) / 1.5
    gain = (1 + look.light_fall * slope) * (1 - 0.5 * look.light_fall * (xs**2 + ys**2) / 2)
    hall = np.zeros((height, width), np.float32)
    for _ in range(look.streaks):
        tilt = generator.uniform(-0.8, 0.8)
        across = xs * np.cos(tilt) + ys * np.sin(tilt) - generator.uniform(-1, 1)
        hall += (
            np.exp(-((across / generator.uniform(0.03, 0.3)) ** 2)) * generator.uniform(0.3, 1) * look.streak_strength
        )
    noise = [generator.normal(0, look.noise, (height, width)).astype(np.float32) for _ in range(4)]
    return Scene(look, belt, gain.astype(np.float32), hall, noise)


def grid(height: int, width: int) -> tuple[Float32, Float32]:
    """Return each pixel's place, float32 [height, width] of y and of x, from -1 to 1 across the picture."""
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return ys, xs


def compose(
    scene: Scene, parts: Sequence[tuple[SimulatedPart, int, int]], scroll_px: int, number: int
) -> tuple[UInt8, UInt8]:
    """Lay parts with their corners at (x, y) on the belt; return uint8 [H, W] pixels and uint8 [H, W] truth.

    `scroll_px`: how far the belt has moved; `number` picks the noise.
    """
    height, width = scene.gain.shape
    start = (-scroll_px) % width
    picture = scene.belt[:, start : start + width].astype(np.float32)
    if scene.backdrop is not None:
        picture[: len(scene.backdrop)] = scene.backdrop
    truth: UInt8 = np.zeros((height, width), np.uint8)
    for part, x, y in parts:
        h, w = part.truth.shape
        x0, x1, y0, y1 = max(0, x), min(width, x + w), max(0, y), min(height, y + h)
        if x0 < x1 and y0 < y1:
            there = np.s_[y0:y1, x0:x1]
            own = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            opacity = part.glass[own]
            picture[there] += opacity * (part.pixels[own] + scene.hall[there] - picture[there])
            truth[there] = part.truth[own]
    picture *= scene.gain
    if scene.look.motion_px > 1:  # the belt moves from left to right while the shutter is open
        picture = cv2.blur(picture, (scene.look.motion_px, 1))
    if scene.look.blur_px > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), scene.look.blur_px)
    # another corner of the bank for each frame: wrapped around, so that no frame repeats another's noise
    _add_moved(picture, scene.noise[number % len(scene.noise)], number * 37 % height, number * 101 % width)
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8), truth


def _add_moved(picture: Float32, noise: Float32, down: int, right: int) -> None:
    """Add noise that is moved and wrapped around, as np.roll would move it, without a copy."""
    height, width = picture.shape
    for to_y, from_y in ((np.s_[down:], np.s_[: height - down]), (np.s_[:down], np.s_[height - down :])):
        for to_x, from_x in ((np.s_[right:], np.s_[: width - right]), (np.s_[:right], np.s_[width - right :])):
            picture[to_y, to_x] += noise[from_y, from_x]


def inset(outline: Float32, margin_px: int) -> UInt8:
    """Return the part but for a margin along its outline, uint8 [h, w] 0/1."""
    solid = np.pad((outline > 0.5).astype(np.uint8), 1)
    inside: UInt8 = cv2.erode(solid, np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8), borderValue=0)
    return inside[1:-1, 1:-1]


def rounded(h: int, w: int, radius: int) -> Float32:
    """Opacity of a rectangle with round corners, float32 [h, w], smoothed at its edge."""
    mask = np.zeros((h, w), np.uint8)
    cv2.rectangle(mask, (radius, 1), (w - radius - 1, h - 2), 255, -1)
    cv2.rectangle(mask, (1, radius), (w - 2, h - radius - 1), 255, -1)
    for x in (radius, w - radius - 1):
        for y in (radius, h - radius - 1):
            cv2.circle(mask, (x, y), radius - 1, 255, -1, cv2.LINE_AA)
    smooth: Float32 = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7)
    return smooth
