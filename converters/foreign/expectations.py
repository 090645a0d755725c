"""The input and output of somebody else's net, as flags and as a YAML beside the file say it.

Nothing of it can be seen in a file: a net for pixels from 0 to 1 answers pixels from 0 to 255 as well, only wrongly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from edge.errors import BundleError, SettingsError
from edge.preparing import PreparingStep
from edge.yaml_settings import StrictModel, load_yaml

Colour = Literal["rgb", "bgr", "grey"]
Layout = Literal["nhwc", "nchw"]
Activation = Literal["sigmoid", "softmax", "none"]
SUFFIXES = (".yaml", ".yml")


def _items(value: Any) -> Any:
    """Take `0,1` as [0, 1] and one number as a list of it: a YAML says what a flag says."""
    if isinstance(value, str):
        return [_number(part.strip()) for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _tile(value: Any) -> Any:
    """Take 512x384 as (height, width) = (384, 512)."""
    if not isinstance(value, str):
        return value
    width, _, height = value.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError("expected WIDTHxHEIGHT such as 512x512")
    return [int(height), int(width)]


def _names(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_Floats = Annotated[tuple[float, ...], BeforeValidator(_items)]


class ModelFlags(StrictModel):
    """The description of a bare model, by flags or by a YAML of the same keys.

    None is an open one. `tile`: (height, width) px. `thresholds`: one, or one per class. `stride`: px per answered
    cell. `input_range`: what black and white are for the net. `mean`, `std`: per channel of the net, in the input
    range's unit. `colour`: the order of the net's channels. `background`: the answer's channel that is no defect.
    `output`: which answer is meant.
    """

    tile: Annotated[tuple[int, int], BeforeValidator(_tile)] | None = None
    classes: Annotated[tuple[str, ...], BeforeValidator(_names)] | None = None
    thresholds: _Floats | None = None
    overlap: Annotated[int, Field(ge=0)] | None = None
    channels: Literal[1, 3] | None = None
    frames: Annotated[int, Field(ge=1)] | None = None
    stride: Annotated[int, Field(ge=1)] | None = None
    min_area: Annotated[float, Field(ge=0)] | None = None
    name: str | None = None
    input_range: _Floats | None = None
    mean: _Floats | None = None
    std: _Floats | None = None
    colour: Colour | None = None
    layout: Layout | None = None
    activation: Activation | None = None
    background: Annotated[int, Field(ge=0)] | None = None
    output: str | None = None
    preparing: Path | tuple[PreparingStep, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_flags_are_written(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        named = {str(key).replace("-", "_"): value for key, value in raw.items()}
        if len(named) != len(raw):
            raise ValueError("expected each key once, received one with _ and one with -")
        return named

    def over(self, other: ModelFlags) -> ModelFlags:
        """Return both, these before the other's."""
        own = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
        return other.model_copy(update=own)

    @property
    def said(self) -> tuple[str, ...]:
        """The flags that were given, as they are written."""
        names = (name for name in type(self).model_fields if getattr(self, name) is not None)
        return tuple(f"--{name.replace('_', '-')}" for name in names)


class _Steps(StrictModel):
    preparing: tuple[PreparingStep, ...]


def with_yaml_beside(model: Path, flags: ModelFlags) -> tuple[ModelFlags, Path | None]:
    """Return the flags, completed by the YAML that lies beside the model, and that file. Raises SettingsError."""
    beside = [found for found in (model.with_suffix(suffix) for suffix in SUFFIXES) if found.is_file()]
    if not beside:
        return flags, None
    if len(beside) > 1:
        raise SettingsError(f"{beside[0]} and {beside[1]} both lie beside {model.name}: expected one. Remove the other")
    read = load_yaml(beside[0], ModelFlags)
    if isinstance(read.preparing, Path):  # relative to the file that names it
        read = read.model_copy(update={"preparing": beside[0].parent / read.preparing})
    return flags.over(read), beside[0]


def preparing_of(flags: ModelFlags) -> tuple[PreparingStep, ...] | None:
    """Return the preparing steps that were given, from their file or the YAML; None where none were.

    The file is a YAML with the key `preparing`, as in a recipe. Raises SettingsError.
    """
    if isinstance(flags.preparing, Path):
        return load_yaml(flags.preparing, _Steps).preparing
    return flags.preparing


@dataclass(frozen=True)
class Expectations:
    """A bundle's record of its net's input and output, so that it can be built again."""

    input_range: tuple[float, float] = (0.0, 255.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    colour: Colour | None = None
    layout: Layout | None = None
    activation: Activation = "none"
    background: int | None = None
    output: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def expectations_from(raw: dict[str, Any]) -> Expectations:
    """Read what `as_dict` gave and JSON kept. Raises BundleError for anything else."""
    known = {each.name for each in fields(Expectations)}
    if set(raw) - known:
        raise BundleError(
            f"The bundle's provenance says of its net {sorted(raw)}, expected {sorted(known)}. Convert the model again"
        )
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return Expectations(**given)


def expectations_of(flags: ModelFlags, model: Path) -> Expectations:
    """Check what was said of a float net's input and answer; all that decides its sight must have been said.

    Raises BundleError naming the flag.
    """
    found = Expectations(
        mean=flags.mean or (),
        std=flags.std or (),
        colour=flags.colour,
        layout=flags.layout,
        activation=flags.activation or "none",
        background=flags.background,
        output=flags.output,
    )
    if flags.input_range is not None:
        if len(flags.input_range) != 2 or not flags.input_range[0] < flags.input_range[1]:
            raise BundleError(f"--input-range: expected LO,HI with LO < HI such as 0,1, received {flags.input_range}")
        low, high = flags.input_range
        found = replace(found, input_range=(low, high))
    elif not _plainly_bytes(found):
        raise BundleError(
            f"{model} does not tell which pixels it was trained on, and a wrong guess would find wrong defects. "
            "Expected --input-range 0,1 (pixels divided by 255), -1,1 or 0,255 (pixels as they are), received none. "
            "Look at the training program, and give --mean and --std where it normalises"
        )
    if any(deviation <= 0 for deviation in found.std):
        raise BundleError(f"--std: expected numbers above 0, received {found.std}")
    low, high = found.input_range
    if any(not low <= mean <= high for mean in found.mean):
        raise BundleError(
            f"--mean: expected numbers within the input range {low:g} to {high:g}, in whose unit they are, received "
            f"{', '.join(f'{mean:g}' for mean in found.mean)}. Give the --input-range that they belong to"
        )
    return found


def _plainly_bytes(found: Expectations) -> bool:
    """Tell whether the means or deviations can be of nothing but pixels of 0-255."""
    return any(each > 2 for each in (*found.mean, *found.std))
