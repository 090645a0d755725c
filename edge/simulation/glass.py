"""Phone glass from above: what every phone has and nobody rejects, and its defects."""

from __future__ import annotations

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8
from edge.simulation.defects import CHIP, SCRATCH, STAIN, a_straight_stroke, chip, scratch, stain
from edge.simulation.scenes import Look, SimulatedPart, grid, inset, rounded


def make_part(
    frame_height: int,
    look: Look,
    defects: dict[int, int],
    generator: np.random.Generator,
    *,
    varied: bool = False,
    straight: float = 0.0,
    far_chips: bool = False,
) -> SimulatedPart:
    """Draw one phone glass with `defects` ({class id: how many}); `varied` draws tones from a wide range.

    `straight`: the share of the scratches that are straight, at any angle, some from edge to edge. `far_chips`: none at
    the near edge, which is the lower one.
    """
    g = generator
    h, w = int(look.part_width * frame_height), int(look.part_length * frame_height)
    radius = int(h * g.uniform(0.06, 0.2))
    outline = rounded(h, w, radius)
    tone = g.uniform(8, 60) if varied else g.uniform(24, 36)
    pixels = np.full((h, w), tone, np.float32)
    unit = frame_height / 480
    screen = _draw_face(pixels, outline, tone, unit, g, varied=varied)
    truth: UInt8 = np.zeros((h, w), np.uint8)
    if not varied or g.random() < 0.8:
        draw_innocent_marks(pixels, outline, unit, look.dust, g)
    # Light defects on a light frame would be truth that nobody can see, so they lie on the dark glass.
    # A line along the rim is light on it and no scratch, so these keep their distance from it.
    inner = cv2.erode(screen, np.ones((9, 9), np.uint8))
    off_rim = cv2.erode(cv2.bitwise_and(screen, inset(outline, round(12 * unit))), np.ones((9, 9), np.uint8))
    for _ in range(defects.get(STAIN, 0)):
        stain(pixels, truth, inner, unit, g, drops=varied)
    for _ in range(defects.get(SCRATCH, 0)):
        stroke = a_straight_stroke(off_rim, unit, g) if straight and g.random() < straight else None
        scratch(pixels, truth, off_rim, unit, g, stroke=stroke)
    for _ in range(defects.get(CHIP, 0)):
        chip(pixels, truth, outline, unit, g, far=far_chips)
    return SimulatedPart(pixels, outline, truth, off_rim)


def _draw_face(
    pixels: Float32, outline: Float32, tone: float, unit: float, g: np.random.Generator, *, varied: bool
) -> UInt8:
    """Draw what every phone has and nobody rejects: frame, screen edge, rim light, holes, soft reflections.

    Returns where the dark glass is, uint8 [h, w] 0/1.
    """
    h, w = pixels.shape
    solid = (outline > 0.5).astype(np.uint8)
    screen = solid
    if varied and g.random() < 0.35:  # a light frame around a dark screen
        x, y = int(w * g.uniform(0.05, 0.14)), int(h * g.uniform(0.02, 0.06))
        screen = np.zeros_like(solid)
        screen[y : h - y, x : w - x] = 1
        pixels[screen == 0] = g.uniform(150, 245)
    elif g.random() < 0.6:  # the screen is a little lighter or darker than its frame
        x, y = int(w * g.uniform(0.04, 0.1)), int(h * g.uniform(0.02, 0.06))
        pixels[y : h - y, x : w - x] += g.uniform(-0.25, 0.35) * tone
    ys, xs = grid(h, w)
    for _ in range(g.integers(1, 4) if varied else 1):
        _light_rim(pixels, outline, unit, g, varied=varied)
    for _ in range(g.integers(0, 5 if varied else 3)):
        _drill(pixels, tone, unit, g, varied=varied)
    if varied and g.random() < 0.4:  # one line inspects one product, and this one has no print
        _print_name(pixels, tone, unit, g)
    # large soft reflections of the hall on the glass itself
    for _ in range(g.integers(0, 4)):
        spot = np.exp(
            -(
                ((xs - g.uniform(-1, 1)) / g.uniform(0.2, 0.8)) ** 2
                + ((ys - g.uniform(-1, 1)) / g.uniform(0.2, 0.8)) ** 2
            )
        )
        pixels += spot * g.uniform(2, 18)
    if varied and g.random() < 0.5:  # something straight-edged and dim mirrored in it
        x, y = int(g.uniform(0, 0.8) * w), int(g.uniform(0, 0.8) * h)
        box = np.zeros_like(pixels)
        cv2.rectangle(box, (x, y), (x + int(g.uniform(0.05, 0.3) * w), y + int(g.uniform(0.05, 0.5) * h)), 1.0, -1)
        pixels += cv2.GaussianBlur(box, (0, 0), g.uniform(1, 8) * unit) * g.uniform(-0.5 * tone, 18)
    return screen


def _light_rim(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator, *, varied: bool) -> None:
    """Let the rim shine along part of it; `varied`: also a little inside, as a bevel does, broad and broken off."""
    inside = inset(outline, int(g.integers(0, 7) * unit)) if varied else (outline > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(inside.copy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = np.zeros_like(pixels)
    cv2.drawContours(rim, contours, -1, 1.0, max(1, round(g.uniform(1, 6 if varied else 3) * unit)))
    ys, xs = grid(*pixels.shape)
    angle = g.uniform(0, 2 * np.pi)
    lit = np.clip(xs * np.cos(angle) + ys * np.sin(angle) + g.uniform(-0.5, 0.5), 0, 1)
    if varied and g.random() < 0.5:
        lit = (lit > g.uniform(0.05, 0.5)).astype(np.float32)
    pixels += cv2.GaussianBlur(rim, (0, 0), 0.6 * unit) * lit * g.uniform(30, 230 if varied else 55)


def shine(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Let the very rim shine once more: fading as on the line, or evenly all around or along a part of it."""
    contours, _ = cv2.findContours((outline > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = np.zeros_like(pixels)
    cv2.drawContours(rim, contours, -1, 1.0, max(1, round(g.uniform(1, 4) * unit)))
    ys, xs = grid(*pixels.shape)
    angle = g.uniform(0, 2 * np.pi)
    lit = np.clip(xs * np.cos(angle) + ys * np.sin(angle) + g.uniform(-0.5, 0.5), 0, 1)
    how = g.random()
    if how < 0.5:
        lit = np.ones_like(lit) if how < 0.25 else (lit > g.uniform(0, 0.5)).astype(np.float32)
    pixels += cv2.GaussianBlur(rim, (0, 0), 0.6 * unit) * lit * g.uniform(25, 100)


def _drill(pixels: Float32, tone: float, unit: float, g: np.random.Generator, *, varied: bool) -> None:
    """Draw a camera hole, button or loudspeaker near one end: dark, `varied` some with a fine ring."""
    h, w = pixels.shape
    largest_px = 16 if varied else 6
    axes = (max(2, round(g.uniform(2, largest_px) * unit)), max(2, round(g.uniform(2, 2.2 * largest_px) * unit)))
    end = axes[0] + g.uniform(0.02, 0.06) * w
    middle = (int(end if g.random() < 0.5 else w - end), int(h * g.uniform(0.25, 0.75)))
    cv2.ellipse(pixels, middle, axes, 0, 0, 360, max(0.0, tone - g.uniform(4, 30)), -1)
    if varied and g.random() < 0.6:
        cv2.ellipse(pixels, middle, axes, 0, 0, 360, float(tone + g.uniform(10, 70)), 1)


def _print_name(pixels: Float32, tone: float, unit: float, g: np.random.Generator) -> None:
    """Print a maker's name or a row of symbols near one end, along the part or across it."""
    h, w = pixels.shape
    size = g.uniform(0.25, 0.7) * unit
    text = "".join(chr(g.integers(48, 91)) for _ in range(g.integers(1, 7)))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    name = np.zeros((height + below + 2, width + 2), np.uint8)
    cv2.putText(name, text, (1, height), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
    name = np.rot90(name, int(g.integers(4)))
    y, x = int(g.uniform(0.25, 0.6) * h), int(g.choice([g.uniform(0.02, 0.06), g.uniform(0.85, 0.93)]) * w)
    there = pixels[y : y + name.shape[0], x : x + name.shape[1]]
    ink = name[: there.shape[0], : there.shape[1]] / np.float32(255)
    there += ink * g.uniform(15, 110) * (1 if tone < 90 else -1)


def draw_innocent_marks(pixels: Float32, outline: Float32, unit: float, dust: int, g: np.random.Generator) -> None:
    """Dust: specks of one to three pixels, too small to count, and faint short fibres, too dim to count."""
    h, w = pixels.shape
    for _ in range(dust):
        x, y = int(g.integers(w)), int(g.integers(h))
        if outline[y, x] < 0.5:
            continue
        if g.random() < 0.7:
            cv2.circle(pixels, (x, y), round(g.uniform(0, 1.2 * unit)), float(pixels[y, x] + g.uniform(15, 90)), -1)
        else:
            dx, dy = (int(v) for v in g.integers(-4, 5, 2) * unit)
            cv2.line(pixels, (x, y), (x + dx, y + dy), float(pixels[y, x] + g.uniform(6, 18)), 1)
