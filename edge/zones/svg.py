"""Zones from an SVG file: its rectangles, circles, ellipses, polygons and paths, by their ids. A strict subset.

A drawing that could mean something else is refused: entities, scripts, links to anything, pictures, text, clipping.
docs/zones.md lists what is read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from edge.errors import SettingsError
from edge.files import read_text
from edge.records import Float64, Transform
from edge.zones.shapes import CORNERS_AT_MOST, Corners

BYTES_AT_MOST = 1_000_000
SHAPES_AT_MOST = 100
_DEPTH_AT_MOST = 20
_ELEMENTS_AT_MOST = 5_000
_CURVE_CORNERS = 16
_FARTHEST = 1e6
_SVG = "http://www.w3.org/2000/svg"
_SHAPES = frozenset({"rect", "circle", "ellipse", "polygon", "path"})
_GROUPS = frozenset({"svg", "g"})
_SKIPPED = frozenset({"title", "desc", "metadata", "defs"})
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_STEP = re.compile(r"([A-Za-z])|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)|([\s,]+)")
_TRANSFORM = re.compile(r"\s*(translate|scale|rotate|matrix)\s*\(([^()]*)\)[\s,]*")
_TAKES = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "Q": 4, "Z": 0}


@dataclass(frozen=True)
class Drawing:
    """The contents of an SVG file: each shape's corners by its id, and the box (x, y, width, height) around them."""

    shapes: dict[str, Corners]
    box: tuple[float, float, float, float]


def read_drawing(path: Path) -> Drawing:
    """Read the shapes of an SVG file. Raises SettingsError for a file that is none, or holds anything else."""
    try:
        text = read_text(path, BYTES_AT_MOST)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a zero byte in the name
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > BYTES_AT_MOST:
        raise SettingsError(f"{path}: expected an SVG file of at most {BYTES_AT_MOST:,} characters, received more")
    try:
        return drawing_of(text)
    except _NoDrawingError as error:
        raise SettingsError(f"{path}: {error}") from error


class _NoDrawingError(ValueError):
    """An element of the file that is not read."""


def drawing_of(text: str) -> Drawing:
    """Return what an SVG document draws. Raises ValueError, which says what is wrong."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _no_document_type
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.ProcessingInstructionHandler = _no_instruction
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise _NoDrawingError(f"expected an SVG file, received no well-formed XML: {error}") from error
    if reader.box is None:
        raise _NoDrawingError("expected an SVG file with a viewBox, received none")
    if not reader.shapes:
        raise _NoDrawingError(f"expected shapes with ids ({', '.join(sorted(_SHAPES))}), received none")
    return Drawing(reader.shapes, reader.box)


def _no_document_type(*_: Any) -> None:
    raise _NoDrawingError("expected no document type: it could bring entities. Remove the line <!DOCTYPE …>")


def _no_instruction(target: str, _: str) -> None:
    raise _NoDrawingError(f"expected shapes alone, received the instruction <?{target:.40} …>")


@dataclass
class _Reader:
    """Takes elements as the parser meets them; `transforms` of the groups that are open."""

    shapes: dict[str, Corners] = field(default_factory=dict)
    box: tuple[float, float, float, float] | None = None
    transforms: list[Transform] = field(default_factory=list)
    skipping: int = 0
    elements: int = 0

    def begin(self, name: str, given: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > _ELEMENTS_AT_MOST or len(self.transforms) + self.skipping > _DEPTH_AT_MOST:
            raise _NoDrawingError(f"expected at most {_ELEMENTS_AT_MOST:,} elements, {_DEPTH_AT_MOST} deep")
        namespace, _, tag = name.rpartition(" ")
        _refuse_active(tag, given)
        if not self.transforms and not self.skipping:
            if (namespace, tag) != (_SVG, "svg"):
                raise _NoDrawingError(f"expected the element svg first, received {tag:.40}")
            self.box = _view_box(given)
        elif self.skipping or namespace != _SVG or tag in _SKIPPED:
            if self.skipping and namespace == _SVG and tag in _SHAPES:
                raise _NoDrawingError(f"expected no {tag} within defs or metadata: it would not be a zone. Remove it")
            self.skipping += 1
            return
        elif tag not in _GROUPS | _SHAPES or tag == "svg":
            raise _NoDrawingError(
                f"expected g, {', '.join(sorted(_SHAPES))}, received the element {tag:.40}. Remove it, or convert it "
                "to a path"
            )
        own = _transform(given.get("transform", "")).then(self.transforms[-1] if self.transforms else _HERE)
        self.transforms.append(own)
        if tag in _SHAPES:
            self._add(tag, given, own)

    def end(self, _: str) -> None:
        if self.skipping:
            self.skipping -= 1
        else:
            self.transforms.pop()

    def _add(self, tag: str, given: dict[str, str], to_box: Transform) -> None:
        name = given.get("id", "")
        if not name:
            raise _NoDrawingError(f"expected an id for each shape, the zone's name; a {tag} has none")
        if name in self.shapes:
            raise _NoDrawingError(f"expected zones with ids of their own, received {name:.80} twice")
        if len(self.shapes) >= SHAPES_AT_MOST:
            raise _NoDrawingError(f"expected at most {SHAPES_AT_MOST} shapes, received more")
        try:
            points = to_box.apply(np.array(_corners(tag, given), np.float64))
        except _NoDrawingError as error:
            raise _NoDrawingError(f"shape {name:.80}: {error}") from error
        if not np.isfinite(points).all() or np.abs(points).max() > _FARTHEST:
            raise _NoDrawingError(
                f"shape {name:.80}: expected it near the viewBox, received it farther than {_FARTHEST:g}"
            )
        self.shapes[name] = tuple((float(x), float(y)) for x, y in points)


_HERE = Transform.identity()


def _refuse_active(tag: str, given: dict[str, str]) -> None:
    """Refuse what runs, what leads elsewhere, and what hides a part of a shape."""
    if tag in {"script", "style", "foreignObject", "image", "use", "a", "iframe", "animate", "set"}:
        raise _NoDrawingError(f"expected shapes alone, received the element {tag}")
    for key, value in given.items():
        name = key.rpartition(" ")[2].lower()
        if hidden := _hidden_by(name, value):
            raise _NoDrawingError(f"expected shapes as they are seen, received {hidden} at {tag:.40}. Remove it")
        if name.startswith("on") or name in {"href", "src", "clip-path", "mask", "filter"} or "url(" in value.lower():
            raise _NoDrawingError(f"expected shapes alone, received the attribute {name:.40} at {tag:.40}")


# Properties of a style that move or form a shape, and such as hide it.
_FORMING = {"transform", "translate", "rotate", "scale", "offset-path", "clip", "clip-path", "mask", "filter", "zoom"}
_FORMING |= {"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "d"}
_HIDING = {"display": {"none"}, "visibility": {"hidden", "collapse"}}


def _hidden_by(name: str, value: str) -> str:
    """Return the property by which an attribute hides a shape, or by which a style moves one; nothing for others."""
    if name != "style":
        return name if value.strip().lower() in _HIDING.get(name, ()) else ""
    for declared in value.lower().split(";"):
        key, _, rest = (part.strip() for part in declared.partition(":"))
        if key in _FORMING or rest.removesuffix("!important").strip() in _HIDING.get(key, ()):
            return f"the style {key}"
    return ""


def _view_box(given: dict[str, str]) -> tuple[float, float, float, float] | None:
    text = given.get("viewBox")
    if text is None:
        return None
    numbers = _numbers(text, "viewBox")
    if len(numbers) != 4 or min(numbers[2:]) <= 0:
        raise _NoDrawingError(f"expected a viewBox of four numbers, x y width height, received {text:.80}")
    x, y, w, h = numbers
    return x, y, w, h


def _numbers(text: str, what: str) -> list[float]:
    rest = _NUMBER.sub(" ", text)
    if rest.strip(" ,\t\r\n"):
        raise _NoDrawingError(f"{what}: expected numbers, received {text:.80}")
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if not all(map(math.isfinite, numbers)):
        raise _NoDrawingError(f"{what}: expected numbers, received infinity")
    return numbers


def _number(given: dict[str, str], name: str, default: float | None = None) -> float:
    text = given.get(name)
    if text is None and default is not None:
        return default
    numbers = _numbers((text or "").strip().removesuffix("px"), name)
    if len(numbers) != 1:
        raise _NoDrawingError(f"{name}: expected one number without a unit, received {(text or 'nothing'):.80}")
    return numbers[0]


def _corners(tag: str, given: dict[str, str]) -> list[tuple[float, float]]:
    if tag == "rect":
        if any(_number(given, name, 0.0) for name in ("rx", "ry")):
            raise _NoDrawingError("expected a rectangle with sharp corners, received rx or ry. Convert it to a path")
        x, y = _number(given, "x", 0.0), _number(given, "y", 0.0)
        w, h = _number(given, "width"), _number(given, "height")
        if min(w, h) <= 0:
            raise _NoDrawingError(f"expected a width and height above 0, received {w:g} and {h:g}")
        return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    if tag in {"circle", "ellipse"}:
        return _ellipse(tag, given)
    if tag == "polygon":
        numbers = _numbers(given.get("points", ""), "points")
        if len(numbers) % 2:
            raise _NoDrawingError("points: expected pairs of numbers, received an odd number of them")
        return _enough(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return _enough(_path(given.get("d", "")))


def _ellipse(tag: str, given: dict[str, str]) -> list[tuple[float, float]]:
    x, y = _number(given, "cx", 0.0), _number(given, "cy", 0.0)
    a, b = (_number(given, name) for name in (("r", "r") if tag == "circle" else ("rx", "ry")))
    if min(a, b) <= 0:
        raise _NoDrawingError(f"expected radii above 0, received {a:g} and {b:g}")
    turns = (2 * math.pi * index / 128 for index in range(128))
    return [(x + a * math.cos(turn), y + b * math.sin(turn)) for turn in turns]


def _enough(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if not 3 <= len(points) <= CORNERS_AT_MOST:
        raise _NoDrawingError(f"expected 3 to {CORNERS_AT_MOST} corners, received {len(points)}")
    return points


def _transform(text: str) -> Transform:
    """Return what an attribute `transform` does, the last of its parts first."""
    result, at = _HERE, 0
    for found in _TRANSFORM.finditer(text):
        if found.start() != at:
            break
        at = found.end()
        result = _one_transform(found[1], _numbers(found[2], "transform")).then(result)
    if text[at:].strip():
        raise _NoDrawingError(f"transform: expected translate, scale, rotate or matrix, received {text:.80}")
    return result


def _one_transform(kind: str, numbers: list[float]) -> Transform:
    if kind == "translate" and len(numbers) in {1, 2}:
        return Transform.shift(numbers[0], numbers[1] if len(numbers) == 2 else 0.0)
    if kind == "scale" and len(numbers) in {1, 2}:
        return Transform(np.array([[numbers[0], 0.0, 0.0], [0.0, numbers[-1], 0.0]]))
    if kind == "rotate" and len(numbers) in {1, 3}:
        cos, sin = math.cos(math.radians(numbers[0])), math.sin(math.radians(numbers[0]))
        turn = Transform(np.array([[cos, -sin, 0.0], [sin, cos, 0.0]]))
        if len(numbers) == 1:
            return turn
        x, y = numbers[1:]
        return Transform.shift(-x, -y).then(turn).then(Transform.shift(x, y))
    if kind == "matrix" and len(numbers) == 6:
        a, b, c, d, e, f = numbers
        return Transform(np.array([[a, c, e], [b, d, f]]))
    raise _NoDrawingError(f"transform: expected {kind} with its numbers, received {len(numbers)} of them")


def _path(text: str) -> list[tuple[float, float]]:
    """Return the corners of a path of one closed piece: M L H V C Q Z and their relative forms."""
    points: list[tuple[float, float]] = []
    closed = False
    for command, numbers in _steps(text):
        kind = command.upper()
        _require_step(command, numbers, first=not points)
        if closed or (kind == "M" and points):
            raise _NoDrawingError("d: expected one closed piece, received more. Break the path apart")
        closed = kind == "Z"
        takes = _TAKES[kind] or 1
        for at in range(0, len(numbers), takes):
            points += _piece(kind, command.islower(), numbers[at : at + takes], points[-1] if points else (0.0, 0.0))
            if len(points) > CORNERS_AT_MOST * 2:
                raise _NoDrawingError(f"d: expected at most {CORNERS_AT_MOST} corners, received more. Simplify it")
    if not closed and (len(points) < 2 or points[0] != points[-1]):
        raise _NoDrawingError("d: expected a closed path, received an open one. End it with Z")
    return _without_repeats(points)


def _require_step(command: str, numbers: list[float], *, first: bool) -> None:
    kind = command.upper()
    if kind not in _TAKES:
        raise _NoDrawingError(f"d: expected the steps M L H V C Q Z, received {command}. Simplify the path")
    if first and kind != "M":
        raise _NoDrawingError("d: expected a path that begins with M")
    takes = _TAKES[kind]
    if (not takes and numbers) or (takes and (not numbers or len(numbers) % takes)):
        raise _NoDrawingError(f"d: expected {takes} numbers after {command}, or a multiple; received {len(numbers)}")


def _steps(text: str) -> list[tuple[str, list[float]]]:
    steps: list[tuple[str, list[float]]] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (found[2] and not steps):
            raise _NoDrawingError(f"d: expected steps with numbers, received {text[at : at + 20]!r}")
        at = found.end()
        if found[1]:
            steps.append((found[1], []))
        elif found[2]:
            steps[-1][1].extend(_numbers(found[2], "d"))
    return steps


def _piece(kind: str, relative: bool, numbers: list[float], at: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the corners that one step adds, from the point `at` on."""
    x0, y0 = at if relative else (0.0, 0.0)
    if kind == "H":
        return [(x0 + numbers[0], at[1])]
    if kind == "V":
        return [(at[0], y0 + numbers[0])]
    pairs = [(x0 + x, y0 + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    if kind in {"M", "L"}:
        return pairs
    control: Float64 = np.array([at, *pairs])
    shares = np.arange(1, _CURVE_CORNERS + 1)[:, None] / _CURVE_CORNERS
    while len(control) > 1:  # de Casteljau
        if control.ndim == 2:
            control = np.repeat(control[:, None], _CURVE_CORNERS, axis=1)
        control = control[:-1] * (1 - shares) + control[1:] * shares
    return [(float(x), float(y)) for x, y in control[0]]


def _without_repeats(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]
