"""The three products of the simulated station, and what each part of a belt comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.records import UInt8
from edge.simulation.defects import CHIP, OF_GLASS, SCRATCH, STAIN, break_off
from edge.simulation.edges import SCALE, EdgeLook, EdgeMark, a_mark, make_edge
from edge.simulation.glass import make_part
from edge.simulation.scenes import USUAL, Look, SimulatedPart
from edge.simulation.solids import OF_CERAMIC, OF_METAL, make_disc, make_tile

ProductName = Literal["glass", "disc", "tile"]
PRODUCT_NAMES: tuple[ProductName, ...] = ("glass", "disc", "tile")
UNITS = 480  # units in the height of a frame from above
_STRAIGHT = 0.25  # of the scratches of a glass with an edge
_ALSO_ABOVE = 0.5  # of the parts with a flawed edge: those that the view from above shows flawed as well


@dataclass(frozen=True)
class Product:
    """Sizes as shares of the frame's height from above: `length` along the belt, `width` across it."""

    length: float
    width: float
    edge: EdgeLook


PRODUCTS: dict[ProductName, Product] = {
    "glass": Product(
        USUAL.part_length,
        USUAL.part_width,
        EdgeLook(thickness=40, depth=240, round=False, tone=48, face=30, texture=2.5, shine=45, light=True),
    ),
    "disc": Product(
        0.5, 0.5, EdgeLook(thickness=88, depth=240, round=True, tone=125, face=95, texture=4, shine=40, light=True)
    ),
    "tile": Product(
        0.74, 0.66, EdgeLook(thickness=62, depth=317, round=False, tone=165, face=185, texture=6, shine=12, light=False)
    ),
}


@dataclass(frozen=True)
class PartPlan:
    """A part's plan: `surface` defects from above ({class id: how many}), `marks` of its near edge."""

    product: ProductName
    surface: dict[int, int]
    marks: tuple[EdgeMark, ...] = ()


def plan_marks(edge_share: float, g: np.random.Generator) -> tuple[tuple[EdgeMark, ...], bool]:
    """Decide for a defective part which defects its near edge has, and whether its surface has any."""
    if g.random() >= edge_share:
        return (), True
    kinds = g.choice([CHIP, SCRATCH, STAIN], p=[0.5, 0.38, 0.12], size=int(g.integers(1, 3)))
    return tuple(a_mark(int(kind), g) for kind in kinds), bool(g.random() < _ALSO_ABOVE)


def draw_top(plan: PartPlan, frame_height: int, g: np.random.Generator, *, far_chips: bool) -> SimulatedPart:
    """Draw a part from above. `far_chips`: what breaks off the near edge is told by the marks alone.

    Without it a glass is drawn as it was before parts had edges: recordings of it must stay the same.
    """
    unit, product = frame_height / UNITS, PRODUCTS[plan.product]
    if plan.product == "glass":
        part = make_part(
            frame_height, USUAL, plan.surface, g, straight=_STRAIGHT if far_chips else 0, far_chips=far_chips
        )
    elif plan.product == "disc":
        part = make_disc(int(product.length * frame_height), unit, plan.surface, g)
    else:
        size = int(product.width * frame_height), int(product.length * frame_height)
        part = make_tile(size, unit, plan.surface, g)
    _break_near_edge(part, plan, unit)
    return part


def draw_varied(
    name: ProductName,
    frame_height: int,
    look: Look,
    g: np.random.Generator,
    *,
    surface: dict[int, int],
    marks: Sequence[EdgeMark],
) -> SimulatedPart:
    """Draw a part from above to learn from: at any size, its tones from a wide range, many scratches straight."""
    unit, product = frame_height / UNITS, PRODUCTS[name]
    if name == "glass":
        return make_part(frame_height, look, surface, g, varied=True, straight=0.35)
    zoom = float(np.exp(g.uniform(np.log(0.75), np.log(2.6))))
    if name == "disc":
        part = make_disc(int(product.length * zoom * frame_height), unit, surface, g, varied=True)
    else:
        size = int(product.width * zoom * frame_height), int(product.length * zoom * frame_height)
        part = make_tile(size, unit, surface, g, varied=True)
    _break_near_edge(part, PartPlan(name, surface, tuple(marks)), unit)
    return part


def draw_side(plan: PartPlan, frame_height: int, g: np.random.Generator, *, zoom: float = 1.0) -> SimulatedPart:
    """Draw a part's near edge from the side."""
    product, unit = PRODUCTS[plan.product], frame_height / UNITS * SCALE
    return make_edge(int(product.length * zoom * UNITS * unit), zoom * unit, product.edge, plan.marks, g)


def _break_near_edge(part: SimulatedPart, plan: PartPlan, unit: float) -> None:
    """Draw the chips of the near edge as they look from above."""
    solid: UInt8 = (part.glass > 0.5).astype(np.uint8)
    h, w = solid.shape
    tones = {"glass": OF_GLASS, "disc": OF_METAL, "tile": OF_CERAMIC}[plan.product]
    for mark in plan.marks:
        if mark.class_id == CHIP:
            g = np.random.default_rng([mark.seed, 1])
            x = mark.along * (w - 1)
            y = float(np.flatnonzero(solid[:, int(x)])[-1])
            radius = g.uniform(12, 18) * unit
            break_off(
                part.pixels, part.truth, solid, (x, y), g, inwards=(w / 2 - x, h / 2 - y), radius=radius, tones=tones
            )
