"""`linewatch-train preparing`: what each preparing step makes of a picture, on one contact sheet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge.bundle import MANIFEST, load_bundle
from edge.errors import ProductNotFoundError
from edge.preparing import PreparingStep, stages
from edge.records import UInt8
from edge.yaml_settings import load_yaml
from trainer.datasets.contact_sheets import SheetCell, contact_sheet

_CELL_PX = 480
_COLUMNS = 3


class PreparingSettings(BaseModel):
    """Of a recipe, or any YAML file, only the key `preparing`."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    preparing: tuple[PreparingStep, ...]


@dataclass(frozen=True)
class Stage:
    """A picture, uint8 [H, W, C], as a step left it (`name`; the first is the picture itself), and what that took."""

    name: str
    pixels: UInt8
    milliseconds: float

    @property
    def size(self) -> str:
        """Width x height, in pixels."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"

    @property
    def caption(self) -> str:
        """The step, the size in pixels, the mean and the standard deviation in grey levels."""
        return f"{self.name} {self.size} mean {self.pixels.mean():.1f} std {self.pixels.std():.1f}"


def load_steps(path: Path) -> tuple[PreparingStep, ...]:
    """Read the steps of a recipe (YAML) or of a bundle (a folder). Raises SettingsError, BundleError."""
    if path.is_dir() or path.name == MANIFEST:
        folder = path if path.is_dir() else path.parent
        return load_bundle(folder, need_onnx=False).manifest.preparing
    return load_yaml(path, PreparingSettings).preparing


def walk(pixels: UInt8, steps: Sequence[PreparingStep]) -> tuple[list[Stage], ProductNotFoundError | None]:
    """Return the picture, each step's result, and the error of the step that found no product, if any."""
    seen = [Stage("picture", pixels if pixels.ndim == 3 else pixels[:, :, None], 0.0)]
    began_s = time.perf_counter()
    try:
        for place, (prepared, _) in enumerate(stages(pixels, tuple(steps)), start=1):
            seen.append(Stage(f"{place} {_name(steps[place - 1])}", prepared, 1000 * (time.perf_counter() - began_s)))
            began_s = time.perf_counter()
    except ProductNotFoundError as error:
        return seen, error
    return seen, None


def _name(step: PreparingStep) -> str:
    kind = getattr(step, "kind", None)
    return step.step if kind is None else f"{step.step} {kind}"


def draw(seen: Sequence[Stage]) -> UInt8:
    """Draw the stages as a contact sheet, BGR uint8."""
    cells = [SheetCell(np.ascontiguousarray(stage.pixels), stage.caption) for stage in seen]
    return contact_sheet(cells, columns=min(_COLUMNS, len(cells)), cell_px=_CELL_PX)
