"""The feeding of a net and the reading of its answer: every choice made from flags and from the net itself.

A visible fact (the order of the axes, by their sizes) is determined. Others (the range of the pixels, the order of the
colours) have to be said. A contradiction is refused. All of it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.foreign.expectations import Expectations, Layout
from converters.foreign.nets import Dims, Net
from edge.errors import ContractError
from edge.records import Float32, UInt8
from edge.wording import counted

_BGR = {"rgb": (2, 1, 0), "bgr": (0, 1, 2)}


@dataclass(frozen=True)
class Asked:
    """The bundle to be: tile (height, width) px, the number of defect classes, and what may be left open (None)."""

    tile: tuple[int, int]
    classes: int
    frames: int = 1
    channels: int | None = None
    stride: int | None = None


@dataclass(frozen=True)
class Reading:
    """Everything that leads from uint8 tiles of the line (grey or BGR) to probabilities per class.

    `channels`: of the tiles. `order`: for each channel of the net, the tiles' channel that it is given. `layout`: of
    the net's input; `answer`: of what it gives, with `nhw`, `nk` and `n` where axes are left out. `stride`: px per
    answered cell.
    """

    expects: Expectations
    channels: int
    order: tuple[int, ...]
    frames: int
    layout: Layout
    answer: str
    stride: int
    classes: int

    @property
    def scale_and_offset(self) -> tuple[Float32, Float32]:
        """Return the graph's factor and summand for pixels (0-255), float32 [channels of the net]."""
        low, high = self.expects.input_range
        count = len(self.order)
        mean, std = _per_channel(self.expects.mean, 0.0, count), _per_channel(self.expects.std, 1.0, count)
        return ((high - low) / 255 / std).astype(np.float32), ((low - mean) / std).astype(np.float32)

    def feed(self, tiles: UInt8) -> Float32:
        """Return what the original is given for uint8 tiles [N, (T,) H, W, C], step by step as training programs do."""
        low, high = self.expects.input_range
        pixels = tiles[..., list(self.order)].astype(np.float64) / 255 * (high - low) + low
        count = len(self.order)
        normal = (pixels - _per_channel(self.expects.mean, 0.0, count)) / _per_channel(self.expects.std, 1.0, count)
        return np.ascontiguousarray(np.moveaxis(normal, -1, -3) if self.layout == "nchw" else normal, np.float32)

    def probabilities(self, raw: Float32) -> Float32:
        """Return float32 [N, h, w, K] of what the original answered."""
        answer = raw.astype(np.float64)
        if self.answer == "nchw":
            answer = np.moveaxis(answer, 1, -1)
        elif self.answer == "nhw":
            answer = answer[..., None]
        elif self.answer in {"nk", "n"}:
            answer = answer.reshape(len(answer), 1, 1, -1)
        if self.expects.activation == "sigmoid":
            answer = 0.5 * (1 + np.tanh(0.5 * answer))  # 1 / (1 + exp(-x)) without overflow
        elif self.expects.activation == "softmax":
            grown = np.exp(answer - answer.max(axis=-1, keepdims=True))
            answer = grown / grown.sum(axis=-1, keepdims=True)
        if self.expects.background is not None:
            answer = np.delete(answer, self.expects.background, axis=-1)
        return answer.astype(np.float32)

    def told(self) -> list[str]:
        """Say how the net was understood, one sentence each."""
        low, high = self.expects.input_range
        order = "grey" if self.channels == 1 else "RGB" if self.order == (2, 1, 0) else "BGR"
        spread = " (the same in each of three channels)" if self.channels == 1 and len(self.order) == 3 else ""
        sentences = [f"Pixels: {order}{spread}, from {low:g} (black) to {high:g} (white)"]
        if self.expects.mean or self.expects.std:
            mean, std = (", ".join(f"{each:g}" for each in values) for values in (self.expects.mean, self.expects.std))
            sentences[0] += f", less the mean {mean or '0'}, by the deviation {std or '1'}"
        kind = {"none": "probabilities", "sigmoid": "logits, by sigmoid", "softmax": "logits, by softmax"}
        background = "" if self.expects.background is None else f"; channel {self.expects.background} is the background"
        cells = "one per pixel" if self.stride == 1 else f"one per {self.stride} x {self.stride} px"
        sentences.append(f"Answers: {kind[self.expects.activation]}, {cells}{background}")
        sentences.append(f"Axes: {self.layout.upper()} in, {self.answer.upper()} out")
        return sentences


def _per_channel(values: tuple[float, ...], neutral: float, count: int) -> Any:
    """Return float64 [count], exact until the last step."""
    if not values:
        return np.full(count, neutral, np.float64)
    return np.broadcast_to(np.array(values, np.float64), count)


def understand(net: Net, expects: Expectations, asked: Asked) -> Reading:
    """Return how `net` is fed and read. Raises ContractError naming the flag where something is missing or contradicts.

    The net is run once, on a grey tile, to see the shape of its answer.
    """
    layout, of_net = _input_axes(net, expects, asked)
    channels, order = _colours(net, expects, asked, of_net)
    for flag, values in (("--mean", expects.mean), ("--std", expects.std)):
        if len(values) not in {0, 1, of_net}:
            raise ContractError(
                f"{flag}: expected one number, or one for each of {counted(of_net, 'channel')}, received {len(values)}"
            )
    reading = Reading(expects, channels, order, asked.frames, layout, "", 1, asked.classes)
    frames = (asked.frames,) if asked.frames > 1 else ()
    grey = np.full((2, *frames, *asked.tile, channels), 128, np.uint8)
    shape = net.run(reading.feed(grey)).shape
    answer, stride = _answer_axes(net.path, shape, expects, asked, layout)
    return replace(reading, answer=answer, stride=stride)


def _input_axes(net: Net, expects: Expectations, asked: Asked) -> tuple[Layout, int]:
    """Return the order of the input's axes, and its channels."""
    dims: Dims = net.dims
    sequence = asked.frames > 1
    if len(dims) != (5 if sequence else 4):
        raise ContractError(
            f"{net.path} does not keep the graph contract: it takes {_shown(dims)}: expected batch, "
            f"{'frames, ' if sequence else ''}height, width and channels in this order or with the channels before the "
            f"height. {'Leave --frames out' if sequence else 'For a net of several frames give --frames'}"
        )
    if sequence and dims[1] not in {None, asked.frames}:
        raise ContractError(f"--frames: {net.path} takes {counted(dims[1], 'frame')}, received {asked.frames}")
    *_, a, b, c = dims
    height, width = asked.tile
    fits: dict[Layout, int | None] = {}
    if a in {None, height} and b in {None, width}:
        fits["nhwc"] = c
    if b in {None, height} and c in {None, width}:
        fits["nchw"] = a
    if len(fits) == 2 and any(found in {1, 3} for found in fits.values()):
        fits = {name: found for name, found in fits.items() if found in {1, 3}}
    if expects.layout is not None:
        fits = {name: found for name, found in fits.items() if name == expects.layout}
    layout = _only(net, expects, asked, list(fits))
    channels = fits[layout]
    if channels is None:
        channels = asked.channels or (3 if expects.colour in _BGR else 1 if expects.colour == "grey" else None)
    if channels is None:
        raise ContractError(f"{net.path} does not state its channels. Give --channels 1 or 3, and --colour")
    if channels not in {1, 3}:
        raise ContractError(
            f"{net.path} takes {counted(channels, 'channel')}: the line gives 1 (grey) or 3 (colour). Train it so"
        )
    return layout, channels


def _only(net: Net, expects: Expectations, asked: Asked, fits: list[Layout]) -> Layout:
    """Return the one order of axes that fits; refuse none and several."""
    dims, (height, width) = net.dims, asked.tile
    if not fits:
        raise ContractError(
            f"{net.path} does not keep the graph contract: it takes {_shown(dims)}, expected tiles of "
            f"{width} x {height} px{f' as {expects.layout}' if expects.layout else ''}. Give its own --tile "
            "WIDTHxHEIGHT and --layout"
        )
    if len(fits) > 1:
        raise ContractError(
            f"{net.path} takes {_shown(dims)}, which can be either order of axes. Give --layout nhwc (channels last, "
            "as Keras and TensorFlow have it) or --layout nchw (channels first, as PyTorch has it)"
        )
    return fits[0]


def _colours(net: Net, expects: Expectations, asked: Asked, of_net: int) -> tuple[int, tuple[int, ...]]:
    """Return the tiles' channels, and for each of the net's the tiles' channel that it is given."""
    if of_net == 1:
        if expects.colour not in {None, "grey"} or asked.channels == 3:
            raise ContractError(
                f"{net.path} takes one channel, which is grey: expected --colour grey and --channels 1, or neither, "
                f"received {f'--colour {expects.colour}' if expects.colour not in {None, 'grey'} else '--channels 3'}"
            )
        return 1, (0,)
    if expects.colour is None:
        raise ContractError(
            f"{net.path} takes three channels and does not tell their order; the wrong one would find wrong defects. "
            "Give --colour rgb (PIL, torchvision, Keras, TensorFlow), bgr (OpenCV) or grey (the same in each)"
        )
    if expects.colour == "grey":
        return 1, (0, 0, 0)
    if asked.channels == 1:
        raise ContractError(f"--channels 1 contradicts --colour {expects.colour}: expected 3, or --colour grey")
    return 3, _BGR[expects.colour]


def _answer_axes(
    path: Path, shape: tuple[int, ...], expects: Expectations, asked: Asked, layout: Layout
) -> tuple[str, int]:
    """Return the order of the answer's axes and the px per cell."""
    count = asked.classes + (expects.background is not None)
    if expects.background is not None and expects.background >= count:
        raise ContractError(f"--background: expected a channel from 0 to {count - 1}, received {expects.background}")
    if expects.activation == "softmax" and count == 1:
        raise ContractError(
            "--activation softmax of one channel is always 1: give sigmoid, or the background too, such as "
            "--background 0"
        )
    fits: dict[str, int] = {}
    for answer, (channels, cells) in _ways(shape).items():
        stride = _stride(asked.tile, cells)
        if channels == count and stride is not None:
            fits[answer] = stride
    if len(fits) > 1:
        fits = {answer: stride for answer, stride in fits.items() if answer == layout} or fits
    if not fits:
        raise ContractError(_no_answer(path, shape, expects, asked, count))
    answer, stride = next(iter(fits.items()))
    if asked.stride is not None and asked.stride != stride:
        raise ContractError(f"--stride: {path} answers one cell per {stride} px, received {asked.stride}")
    return answer, stride


def _ways(shape: tuple[int, ...]) -> dict[str, tuple[int, tuple[int, int]]]:
    """Return (channels, cells) for each order of axes that a shape could have."""
    match shape:
        case (_, a, b, c):
            return {"nhwc": (c, (a, b)), "nchw": (a, (b, c))}
        case (_, a, b):
            return {"nhw": (1, (a, b))}
        case (_, a):
            return {"nk": (a, (1, 1))}
        case (_,):
            return {"n": (1, (1, 1))}
        case _:
            return {}


def _stride(tile: tuple[int, int], cells: tuple[int, int]) -> int | None:
    """Return the px per cell; None where cells are no squares of whole px."""
    if not cells[0] or not cells[1] or tile[0] % cells[0] or tile[1] % cells[1]:
        return None
    stride = tile[0] // cells[0]
    return stride if tile[1] // cells[1] == stride else None


def _no_answer(path: Path, shape: tuple[int, ...], expects: Expectations, asked: Asked, count: int) -> str:
    channels = {found for found, cells in _ways(shape).values() if _stride(asked.tile, cells) is not None}
    begins = (
        f"{path} does not keep the graph contract: it answers {_shown((None, *shape[1:]))} to tiles of "
        f"{asked.tile[1]} x {asked.tile[0]} px, expected {count} channel{'s' * (count > 1)} for {asked.classes} "
        f"class{'es' * (asked.classes > 1)}{' and a background' if expects.background is not None else ''}. "
    )
    if expects.background is None and asked.classes + 1 in channels:
        return f"{begins}If one of the channels is the background, name it: --background 0"
    if expects.background is not None and asked.classes in channels:
        return f"{begins}Leave --background out, or --classes has one name too many: the background has none"
    if channels:
        return f"{begins}Give --classes as many names as there are channels of defects"
    if {found for found, _ in _ways(shape).values()} & {count}:
        return f"{begins}A cell is a square of whole pixels: give a --tile of which the answer is a part"
    return f"{begins}Export a net that answers a probability per class, for each pixel or for the tile"


def _shown(dims: Dims) -> str:
    return f"[{', '.join('any' if dim is None else str(dim) for dim in dims)}]"
