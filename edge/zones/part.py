"""The section `inspect.part`: how the part is found in each frame."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edge.errors import ProductNotFoundError
from edge.preparing import CropCircle, CropRectangle
from edge.preparing.grey import luminance
from edge.preparing.locating import find_outline
from edge.preparing.part_box import circle_box, outline_box, rectangle_box
from edge.records import PartBox, UInt8
from edge.yaml_settings import StrictModel

_Share = Annotated[float, Field(gt=0, le=2)]
_TAKES = {
    "bundle": (),
    "rectangle": ("orientation", "min_area", "min_fill", "min_contrast"),
    "circle": ("min_radius", "max_radius", "min_rim", "min_contrast"),
    "outline": ("turns", "min_area", "min_contrast"),
}


class PartFinding(StrictModel):
    """The finding of the part in each frame; a frame without it is NO_READ.

    `find`: `bundle`, as its preparing finds the product; `rectangle`, `circle`, or `outline`, the largest thing of any
    form. The rest is as in the steps `crop_rectangle` and `crop_circle`, with their defaults:

    - `orientation` keep, landscape or portrait;
    - `min_area`, share of the frame; `min_fill`, share of its rectangle;
    - `min_radius`, `max_radius`, shares of the frame's shorter side; `min_rim`, share of the rim;
    - `min_contrast`, grey levels.

    `turns`: an outline's box turns with it.
    """

    find: Literal["bundle", "rectangle", "circle", "outline"] = "bundle"
    orientation: Literal["keep", "landscape", "portrait"] | None = None
    turns: bool | None = None
    min_area: Annotated[float, Field(gt=0, le=1)] | None = None
    min_fill: Annotated[float, Field(gt=0, le=1)] | None = None
    min_radius: _Share | None = None
    max_radius: _Share | None = None
    min_rim: Annotated[float, Field(gt=0, le=1)] | None = None
    min_contrast: Annotated[float, Field(ge=1, le=255)] | None = None

    @model_validator(mode="after")
    def _keys_fit(self) -> PartFinding:
        given = [name for name in type(self).model_fields if name != "find" and getattr(self, name) is not None]
        if foreign := [name for name in given if name not in _TAKES[self.find]]:
            fits = ", ".join(_TAKES[self.find]) or "nothing else"
            raise ValueError(f"expected with find: {self.find} only {fits}; received {', '.join(foreign)}")
        try:
            self._steps()
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error
        return self

    def _given(self, *left_out: str) -> dict[str, object]:
        names = [name for name in _TAKES[self.find] if name not in left_out]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _steps(self) -> CropCircle | CropRectangle | None:
        if self.find == "circle":
            return CropCircle.model_validate(self._given())
        return CropRectangle.model_validate(self._given()) if self.find == "rectangle" else None

    def look(self, pixels: UInt8) -> PartBox:
        """Return where the part lies in a frame, uint8 [H, W] or BGR [H, W, 3]. Not for `find: bundle`.

        Raises ProductNotFoundError.
        """
        planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
        step = self._steps()
        if isinstance(step, CropCircle):
            return circle_box(step.find(planes))
        if isinstance(step, CropRectangle):
            return rectangle_box(step.find(planes))
        min_area, min_contrast = self.min_area or 0.02, self.min_contrast or 10.0
        found = find_outline(luminance(planes), min_area, min_contrast)
        if found is None:
            raise ProductNotFoundError(
                f"expected a thing of at least {min_area:.0%} of the frame that touches no border of it, "
                f"{min_contrast:g} grey levels from what surrounds it, received none"
            )
        return outline_box(found, turns=self.turns is not False)
