"""Parts on a belt, drawn with defects whose place and shape are known: pixels and their true class map.

The same seed draws the same line, and shows the same parts to every view. A `Scene` is what stays (belt, light,
reflections of the hall). A `SimulatedPart` is drawn once for each view and then only moved. The truth of a defect is
where it is visibly drawn: opacity of 0.35 or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.opencv import cv2
from edge.records import UInt8
from edge.simulation.defects import CHIP, CLASS_NAMES, SCRATCH, STAIN, drop
from edge.simulation.edges import SCALE, SIDE_LOOK, STANDS_AT, EdgeMark, a_mark, make_side_scene
from edge.simulation.glass import make_part, shine
from edge.simulation.known_marks import Mark, add_mark
from edge.simulation.mirrored import draw_mirrored, with_shadow
from edge.simulation.products import (
    PartPlan,
    ProductName,
    draw_side,
    draw_top,
    draw_varied,
    plan_marks,
)
from edge.simulation.scenes import USUAL, Look, Scene, SimulatedPart, compose, inset, make_scene, random_look

__all__ = ["CLASS_NAMES", "RenderedLine", "SimulatedLineSettings", "straight_picture", "varied_edge", "varied_picture"]


_BY_RIM = 0.25  # of even lines: those that lie along the rim, 6 to 20 px (of 480) from it
_FAR_LIGHTS = 0.5  # of the lights of a phone's edge: those that may lie further inside it


class SimulatedLineSettings(BaseModel):
    """The simulated line. `fps` 0 renders as fast as frames are read; `frames` 0 never ends.

    Cameras with the same `seed` and the same `BELT_KEYS` show the same parts. `products`: in turn, `parts_per_product`
    of each. `view`: from above, or the near edge from the side. `edge_share`: of the defective parts, those whose near
    edge is flawed: half of them nowhere else, so that only the side view shows it, unless it is a chip. 0 = none, and
    chips seen from above may lie at any edge. `offset_frames`: so many frames later than at the first camera does a
    part come by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: Annotated[int, Field(ge=64, le=4096, description="px")] = 640
    height: Annotated[int, Field(ge=64, le=4096, description="px")] = 480
    fps: Annotated[float, Field(ge=0, le=240, description="frames/s")] = 15.0
    frames: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 7
    defective_share: Annotated[float, Field(ge=0, le=1, description="of the parts")] = 0.5
    frames_per_part: Annotated[int, Field(ge=4, le=1000, description="frames from one part to the next")] = 30
    view: Literal["top", "side"] = "top"
    products: Annotated[tuple[ProductName, ...], Field(min_length=1, max_length=16)] = ("glass",)
    parts_per_product: Annotated[int, Field(ge=1, le=100_000)] = 1
    edge_share: Annotated[float, Field(ge=0, le=1, description="of the defective parts")] = 0.0
    offset_frames: Annotated[int, Field(ge=0, le=1000, description="frames")] = 0

    @model_validator(mode="after")
    def _side_has_something_to_see(self) -> SimulatedLineSettings:
        if self.view == "side" and self.edge_share == 0 and self.defective_share > 0:
            raise ValueError(
                "edge_share: expected above 0 where view is side, received 0: no part would be flawed where this view "
                "looks. Give every camera of the station the same, such as 0.5"
            )
        return self


class RenderedLine:
    """The endless line of one seed: `frame(index)` gives pixels uint8 [H, W, 3] (BGR) and truth uint8 [H, W]."""

    def __init__(self, settings: SimulatedLineSettings) -> None:
        self.settings = settings
        self._above = settings.view == "top"
        if self._above:
            self._scene = make_scene(settings.height, settings.width, USUAL, np.random.default_rng([settings.seed, 0]))
        else:
            generator = np.random.default_rng([settings.seed, 6])
            self._scene = make_side_scene(settings.height, settings.width, SIDE_LOOK, generator)
        self._part: Callable[[int], SimulatedPart] = lru_cache(maxsize=3)(self._make_part)
        scale = 1.0 if self._above else SCALE
        self._longest_px = int(scale * USUAL.part_length * settings.height) + (0 if self._above else 2)
        # parts follow each other with a gap of more than half a frame
        between_px = int(USUAL.part_length * settings.height) + 0.6 * settings.width
        self._step_px = max(1, round(scale * between_px / settings.frames_per_part))

    def plan(self, number: int) -> PartPlan:
        """Tell what part `number` (from 0) is to show: the same for every view and size."""
        surface, marks = self._plan(number, np.random.default_rng([self.settings.seed, 1, number]))
        return PartPlan(self.product(number), surface, marks)

    def product(self, number: int) -> ProductName:
        """Tell which product part `number` (from 0) is."""
        s = self.settings
        return s.products[number // s.parts_per_product % len(s.products)]

    def shown(self, number: int) -> tuple[str, ...]:
        """Name the classes that are visibly drawn on part `number` in this view."""
        there = np.unique(self._part(number).truth)
        return tuple(name for class_id, name in enumerate(CLASS_NAMES, start=1) if class_id in there)

    def _plan(self, number: int, generator: np.random.Generator) -> tuple[dict[int, int], tuple[EdgeMark, ...]]:
        surface, s = self._defects(number, generator), self.settings
        if not surface or s.edge_share == 0:
            return surface, ()
        marks, also_above = plan_marks(s.edge_share, np.random.default_rng([s.seed, 4, number]))
        return surface if also_above else {}, marks

    def _make_part(self, number: int) -> SimulatedPart:
        s = self.settings
        generator = np.random.default_rng([s.seed, 1, number])
        surface, marks = self._plan(number, generator)
        plan = PartPlan(self.product(number), surface, marks)
        if self._above:
            return draw_top(plan, s.height, generator, far_chips=s.edge_share > 0)
        return draw_side(plan, s.height, np.random.default_rng([s.seed, 5, number]))

    def _defects(self, number: int, generator: np.random.Generator) -> dict[int, int]:
        """Decide what is wrong with a part; good and bad ones alternate so as to keep the share."""
        share = self.settings.defective_share
        if int((number + 1) * share + 1e-9) == int(number * share + 1e-9):
            return {}
        kind = int(generator.choice([SCRATCH, STAIN, CHIP], p=[0.6, 0.25, 0.15]))
        extra = int(generator.choice([SCRATCH, STAIN, CHIP]))
        return {
            kind: int(generator.integers(1, 4)),
            **({extra: 1} if extra != kind and generator.random() < 0.3 else {}),
        }

    def frame(self, index: int) -> tuple[UInt8, UInt8]:
        """Draw frame `index` (from 0)."""
        moved = self._moved(index)
        grey, truth = compose(self._scene, [(part, x, y) for _, part, x, y in self._in_sight(moved)], moved, index)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), truth

    def outline(self, index: int, number: int, margin_px: int = 0) -> UInt8:
        """Return where frame `index` shows part `number`, uint8 [H, W] 0/1, but for a margin along its outline."""
        s = self.settings
        shown: UInt8 = np.zeros((s.height, s.width), np.uint8)
        for other, part, x, y in self._in_sight(self._moved(index)):
            if other == number:
                own, (h, w) = inset(part.glass, margin_px), part.truth.shape
                top, left, bottom, right = max(0, y), max(0, x), min(s.height, y + h), min(s.width, x + w)
                shown[top:bottom, left:right] = own[top - y : bottom - y, left - x : right - x]
        return shown

    def _moved(self, index: int) -> int:
        return (index - self.settings.offset_frames) * self._step_px

    def _in_sight(self, moved: int) -> list[tuple[int, SimulatedPart, int, int]]:
        """List number, part and corner (x, y) of the parts that may be in a frame."""
        s = self.settings
        pitch = s.frames_per_part * self._step_px
        parts = []
        for number in range(max(0, (moved - self._longest_px - s.width) // pitch), moved // pitch + 1):
            part = self._part(number)
            parts.append((number, part, moved - number * pitch - part.truth.shape[1], self._top_row(number, part)))
        return parts

    def _top_row(self, number: int, part: SimulatedPart) -> int:
        height, own = self.settings.height, int(part.truth.shape[0])
        if not self._above:
            return int(STANDS_AT * height) - own
        return (height - own) // 2 + int(np.random.default_rng([self.settings.seed, 2, number]).integers(-8, 9))


def varied_picture(
    height: int, width: int, generator: np.random.Generator, product: ProductName = "glass"
) -> tuple[UInt8, UInt8]:
    """Draw one picture from above to train on: any look, any part, any place; about a third come out clean.

    Returns uint8 [H, W] pixels and uint8 [H, W] truth.
    """
    g = generator
    look = random_look(g)
    defects: dict[int, int] = {}
    if g.random() > 0.15:
        for class_id, share in ((SCRATCH, 0.65), (STAIN, 0.5), (CHIP, 0.5)):
            if g.random() < share:
                # as many in sight where the part is larger than the picture
                crowd = max(1.0, look.part_length * look.part_width * height / width) if product == "glass" else 1.3
                defects[class_id] = round(crowd * g.integers(1, 4))
    scene = make_scene(height, width, look, g)
    near = [a_mark(CHIP, g)] if defects.get(CHIP) and product != "glass" else []
    part = draw_varied(product, height, look, g, surface=defects, marks=near)
    h, w = part.truth.shape
    turned = g.random() < 0.5
    if turned:
        part = SimulatedPart(np.rot90(part.pixels), np.rot90(part.glass), np.rot90(part.truth))
        h, w = w, h
    x = int(g.integers(min(-w // 3, width - w), max(width - 2 * w // 3, 1)))
    y = int(g.integers(min(-h // 3, height - h), max(height - 2 * h // 3, 1)))
    return compose(scene, [(part, x, y)], int(g.integers(width)), int(g.integers(1000)))


def straight_picture(height: int, width: int, generator: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw glass with even, straight scratches to train on, or a phone without any.

    Half of the pictures show glass of the usual line, three in four of them lit and taken as there. Its scratches lie
    at any angle, a third of them along an axis, some along the rim. They keep 6 px (of 480) from it. The rim itself
    shines more often and more brightly than there. The others show phones with drops, and all that phones show and
    nobody rejects. Straight, even lines are mirrored there. Returns uint8 [H, W] pixels and uint8 [H, W] truth.
    """
    g = generator
    drawn = random_look(g)
    if g.random() < 0.5:
        return _phone(height, width, drawn, g)
    look = USUAL
    if g.random() < 0.25:
        look = replace(USUAL, noise=drawn.noise, blur_px=drawn.blur_px, motion_px=drawn.motion_px, dust=drawn.dust)
    if g.random() < 0.3:  # belt and glass may be alike: then the rim is a line with the like on both sides
        look = replace(look, belt=float(g.uniform(45, 110)), streaks=4, streak_strength=float(g.uniform(22, 45)))
    part = make_part(height, look, {}, g)
    for _ in range(g.choice([0, 1, 2], p=[0.5, 0.35, 0.15])):
        shine(part.pixels, part.glass, height / 480, g)
    free = inset(part.glass, max(1, round(6 * height / 480)))
    return _with_lines(*_placed(height, width, replace(part, inner=free), make_scene(height, width, look, g), g), g)


def _phone(height: int, width: int, drawn: Look, g: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw a phone that nearly fills the picture, with stains, drops and bent scratches: pixels and truth."""
    length, unit = float(np.exp(g.uniform(np.log(0.8), np.log(2.0)))), height / 480
    look = replace(drawn, part_length=length, part_width=length * float(g.uniform(0.42, 0.58)))
    counts = {SCRATCH: g.choice([0, 1, 2], p=[0.6, 0.25, 0.15]), STAIN: g.choice([0, 1, 3], p=[0.5, 0.3, 0.2])}
    part = make_part(height, look, {kind: int(count) for kind, count in counts.items()}, g, varied=True)
    inner = part.inner if part.inner is not None else inset(part.glass, round(12 * unit))
    if inner.any():
        for _ in range(g.choice([0, 1, 2, 3, 4], p=[0.15, 0.25, 0.25, 0.2, 0.15])):
            drop(part.pixels, part.truth, inner, unit, g)
    draw_mirrored(part.pixels, part.glass, unit, g, far_lights=_FAR_LIGHTS)
    if g.random() < 0.6:
        part = with_shadow(replace(part, inner=inner), unit, g)
    pixels, truth, _ = _placed(height, width, part, make_scene(height, width, look, g), g)
    return pixels, truth


def _placed(
    height: int, width: int, part: SimulatedPart, scene: Scene, g: np.random.Generator
) -> tuple[UInt8, UInt8, UInt8]:
    """Lay a part onto the belt, a quarter of it out of sight at most: pixels, truth, and where its `inner` is shown."""
    inner = np.zeros_like(part.truth) if part.inner is None else part.inner
    h, w = inner.shape
    x = int(g.integers(min(-w // 4, width - w), max(width - 3 * w // 4, 1)))
    y = int(g.integers(min(-h // 6, height - h), max(height - 5 * h // 6, 1)))
    pixels, truth = compose(scene, [(part, x, y)], int(g.integers(width)), int(g.integers(1000)))
    within: UInt8 = np.zeros((height, width), np.uint8)
    top, left = max(0, y), max(0, x)
    shown = inner[top - y : height - y, left - x : width - x]
    within[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return pixels, truth, within


def _with_lines(pixels: UInt8, truth: UInt8, within: UInt8, g: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw up to five even lines onto a finished picture where `within` is set. In 3 of 10 there is none."""
    height, width = truth.shape
    unit = height / 480
    band = 2 * round(14 * unit) + 1
    deep = cv2.erode(within, np.ones((band, 1), np.uint8)), cv2.erode(within, np.ones((1, band), np.uint8))
    places = np.flatnonzero(within)
    by_rim = [np.flatnonzero(within & (1 - own)) for own in deep]  # along rows, along columns
    for _ in range(0 if g.random() < 0.3 or not len(places) else int(g.integers(1, 6))):
        along = int(g.integers(2))
        near = g.random() < _BY_RIM and len(by_rim[along]) > 0
        own_places = by_rim[along] if near else places
        row, column = divmod(int(own_places[g.integers(len(own_places))]), width)
        line = _a_line(column, row, unit, g)
        if near:
            line = replace(line, angle_deg=float(90 * along + g.choice([0.0, g.normal(0, 2)])))
        pixels, own = add_mark(pixels, line, within)
        truth[own > 0] = SCRATCH
    return pixels, truth


def _a_line(x: float, y: float, unit: float, g: np.random.Generator) -> Mark:
    """Draw an even line: short ones as often as long ones, faint ones as often as strong ones."""
    size_px, contrast = (float(np.exp(g.uniform(*np.log(ends)))) for ends in ((10, 220), (28, 110)))
    axis, lean = 90 * g.integers(2), g.choice([0.0, g.normal(0, 2), g.uniform(0, 180)], p=[0.3, 0.1, 0.6])
    width_px = max(1.2, g.uniform(1.4, 2.8) * unit)
    return Mark("line", x, y, size_px * unit, contrast, width_px, float(axis + lean))


def varied_edge(height: int, width: int, generator: np.random.Generator, product: ProductName) -> tuple[UInt8, UInt8]:
    """Draw one picture of a near edge to train on: any light and size; about a third come out clean.

    Returns uint8 [H, W] pixels and uint8 [H, W] truth.
    """
    g = generator
    drawn = random_look(g)
    look = replace(SIDE_LOOK, belt=drawn.belt, light_fall=drawn.light_fall, noise=drawn.noise, blur_px=drawn.blur_px)
    marks: list[EdgeMark] = []
    if g.random() > 0.25:
        marks = [a_mark(int(g.choice([SCRATCH, STAIN, CHIP], p=[0.42, 0.18, 0.4])), g) for _ in range(g.integers(1, 6))]
    scene = make_side_scene(height, width, look, g)
    part = draw_side(PartPlan(product, {}, tuple(marks)), height, g, zoom=float(g.uniform(0.8, 1.7)))
    h, w = part.truth.shape
    x = int(g.integers(min(-w // 3, width - w), max(width - 2 * w // 3, 1)))
    y = int(g.uniform(0.55, 0.95) * height) - h
    return compose(scene, [(part, x, y)], int(g.integers(width)), int(g.integers(1000)))
