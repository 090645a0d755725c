"""A recipe that learns from good parts: YAML → frozen typed settings. config/train.good-parts.yaml explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.bundle import Manifest, Name, TileEntry
from edge.preparing import PreparingSteps
from edge.yaml_settings import StrictModel, load_yaml

GOOD_PARTS = "good-parts"
ANOMALY = "anomaly"  # the one class of such a model
STRIDES = {3: 8, 4: 16, 5: 16, 6: 32, 7: 32}  # px: the width of one feature of each stage of the encoder
_LEAST_TILE_PX = 64


class CopiesSettings(StrictModel):
    """Settings of each good picture's copies: `count` of them in other light. Ranges as in `AugmentationSettings`."""

    count: Annotated[int, Field(ge=0, le=8)] = 1
    contrast: Annotated[float, Field(ge=1, le=4)] = 1.1
    brightness: Annotated[float, Field(ge=0, le=128)] = 8.0
    gamma: Annotated[float, Field(ge=1, le=4)] = 1.1
    defocus_px: Annotated[float, Field(ge=0, le=16)] = 0.5


class DrawnSettings(StrictModel):
    """Settings of the defects that are drawn into good parts, and of the head that learns to tell them.

    `tiles`: at most so many are learned from, drawn into or plain. `rounds`: how often each is learned from. `weight`:
    what one unit of the head's logit adds to the logarithm of the squared distance.
    """

    tiles: Annotated[int, Field(ge=100, le=20_000)] = 1600
    rounds: Annotated[int, Field(ge=1, le=200)] = 10
    weight: Annotated[float, Field(gt=0, le=1)] = 0.07


class GoodPartsRecipe(StrictModel):
    """One recipe that learns from good parts.

    `placed`: parts lie in a fixture, so that each place of the one tile has statistics of its own. `components`: of the
    whitened features. `memory`: how many of these are kept, whatever number of parts was seen. `neighbours`: so many
    good cells next to each of these weigh the distance to it; 0 = all weigh alike. `samples`: at most so many of them
    choose which. `stages`: of the encoder, 7 sees the most around it, 3 the finest. `cell_px`: width of the cells that
    are compared. `contrast_cells`: each cell's features lose their mean over so many x so many cells around it; 0 =
    they lose nothing. `smooth_cells`: so often each distance becomes the mean over its 3 x 3 neighbours.
    `drawn`: defects are drawn into good parts, and a head learns to tell them; None = no head. `false_alarms`: the
    share of good parts that may be flagged. `folds`: in so many parts, each judged by what the others taught, the good
    parts choose the threshold.
    """

    learn: Literal["good-parts"]
    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    channels: Literal[1, 3] = 3
    preparing: PreparingSteps = ()
    tile: TileEntry = TileEntry(height=256, width=256, overlap_px=32)
    placed: bool = False
    components: Annotated[int, Field(ge=8, le=232)] = 96
    memory: Annotated[int, Field(ge=16, le=8192)] = 2048
    neighbours: Annotated[int, Field(ge=0, le=1000)] = 0
    samples: Annotated[int, Field(ge=1000, le=1_000_000)] = 30_000
    stages: tuple[Literal[3, 4, 5, 6, 7], ...] = (4, 5)
    cell_px: Literal[8, 16, 32] = 16
    contrast_cells: Annotated[int, Field(ge=0, le=31)] = 0
    smooth_cells: Annotated[int, Field(ge=0, le=8)] = 2
    copies: CopiesSettings = CopiesSettings()
    drawn: DrawnSettings | None = None
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    severity: Literal["minor", "major", "critical"] = "major"
    colour: tuple[int, int, int] = (230, 60, 40)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _sizes_fit_the_encoder(self) -> GoodPartsRecipe:
        if len(set(self.stages)) != len(self.stages) or not self.stages:
            raise ValueError(f"expected stages as one or several of 3 to 7, each once, received {list(self.stages)}")
        # 16 px also where finer features are asked for, as it always was
        multiple_px = max(16, self.cell_px, 32 * bool(self.drawn), *(STRIDES[stage] for stage in self.stages))
        for key, side in (("tile.height", self.tile.height), ("tile.width", self.tile.width)):
            if side % multiple_px or side < _LEAST_TILE_PX:
                raise ValueError(
                    f"expected {key} as a multiple of {multiple_px} px, from {_LEAST_TILE_PX} on, received {side}"
                )
        if self.contrast_cells and (self.contrast_cells % 2 == 0 or self.contrast_cells < 3):
            raise ValueError(f"expected contrast_cells as 0, or odd and from 3 on, received {self.contrast_cells}")
        if self.placed and self.tile.overlap_px:
            raise ValueError(
                f"expected tile.overlap_px 0 beside placed, where one tile is the whole picture, received "
                f"{self.tile.overlap_px}"
            )
        if self.placed and self.drawn:
            raise ValueError(
                "expected drawn: null beside placed, where each place has statistics of its own; received settings"
            )
        return self


class _Kind(BaseModel):
    """Of a recipe, or any YAML file, only what tells the kinds apart."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    learn: str | None = None


def learns_from_good_parts(path: Path) -> bool:
    """Tell whether the recipe at `path` has the key `learn`. Raises SettingsError where it is no YAML."""
    return load_yaml(path, _Kind).learn is not None


def learned_from_good_parts(manifest: Manifest) -> bool:
    """Tell whether a bundle learned from good parts: then each labelled defect counts as its one class."""
    recipe = manifest.training.get("recipe")
    return isinstance(recipe, dict) and recipe.get("learn") == GOOD_PARTS
