"""The demands of the command line, checked before anything is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from edge.errors import SettingsError
from edge.simulation.known_marks import MarkShape
from edge.simulation.products import PRODUCT_NAMES
from trainer.pod.plan import Asked
from trainer.pod.running import On

_LARGEST_PX = 100_000.0


def asked_for(
    contrasts: Sequence[float] | None,
    sizes_px: tuple[float, float] | None,
    width_px: float | None,
    *,
    dark: bool,
    each: int,
    parts: int,
    seed: int,
) -> Asked:
    """Put together what is to be drawn. Raises SettingsError."""
    if sizes_px is not None and not 1 <= sizes_px[0] < sizes_px[1] <= _LARGEST_PX:
        raise SettingsError(
            f"--size-px: expected two sizes from 1 to {_LARGEST_PX:g} px, the smaller one first, received "
            f"{sizes_px[0]:g} {sizes_px[1]:g}"
        )
    if contrasts and len(set(contrasts)) != len(contrasts):
        raise SettingsError(f"--contrast: expected each once, received {', '.join(f'{c:g}' for c in contrasts)}")
    own: dict[str, Any] = {"contrasts": tuple(contrasts)} if contrasts else {}
    return Asked(sizes_px=sizes_px, width_px=width_px, dark=dark, each=each, parts=parts, seed=seed, **own)


def on_what(data: Path | None, product: str, shapes: Sequence[str], mm_per_px: float | None) -> On:
    """Put together what is drawn onto and what stands for which class. Raises SettingsError."""
    if product not in PRODUCT_NAMES:
        raise SettingsError(f"--product: expected one of {', '.join(PRODUCT_NAMES)}, received {product}")
    if mm_per_px is not None and not (mm_per_px > 0 and math.isfinite(mm_per_px)):
        raise SettingsError(f"--mm-per-px: expected a size above 0 mm, received {mm_per_px:g}")
    found: dict[str, MarkShape] = {}
    for each in shapes:
        name, _, shape = each.partition("=")
        if not name or shape not in {"line", "spot"}:
            raise SettingsError(f"--shape: expected a class with line or spot, such as scratch=line, received {each}")
        found[name] = cast("MarkShape", shape)
    return On(data, product, found, mm_per_px)
