"""The step `flat_field`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.polynomial import legendre
from pydantic import Field

from edge.opencv import cv2
from edge.preparing.grey import luminance
from edge.preparing.step import Step
from edge.records import Float32, Float64, Transform, UInt8

_ROUNDS = 5  # at each order
# Tukey's biweight leaves out samples further than this many standard deviations from the surface. 4.685 keeps 95 % of
# the efficiency of least squares under normal noise (Holland and Welsch, 1977).
_TUKEY = 4.685
_SPREAD_AT_LEAST = 0.5  # grey levels: of a surface without noise nothing is an outlier
# The surface is smooth: it is evaluated at so many places along the longer side, and interpolated.
_PLACES = 256
# The factor by which the surface may go beyond the samples that it was fitted to.
_BEYOND = 1.25


class FlatField(Step):
    """Level the light by one smooth surface, fitted to the luminance at many points of the picture.

    A polynomial of `order` in x and y is fitted by least squares to the luminance. It is read at `points` places along
    the longer side (as closely along the other). Each is the mean of its surroundings. Defects and prints are outliers:
    Tukey's biweight takes them out of the fit. Then `divide` (light that falls off) gives out = clip(target * pixel /
    max(surface, floor)). `subtract` (light that is added) gives out = clip(pixel - surface + target). `target` is the
    grey level of an even surface. Without it, it is the surface's mean: the picture stays as bright as it was. Colours
    are kept: all channels are levelled alike.
    """

    step: Literal["flat_field"] = "flat_field"
    how: Literal["divide", "subtract"] = "divide"
    order: Annotated[int, Field(ge=1, le=4)] = 2
    points: Annotated[int, Field(ge=4, le=128)] = 40
    target: Annotated[int, Field(ge=1, le=255)] | None = None
    floor: Annotated[int, Field(ge=1, le=255)] = 8

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [H, W, C]; moves no pixel."""
        height, width, channels = pixels.shape
        surface = self._surface(luminance(pixels))
        target = float(surface.mean()) if self.target is None else float(self.target)
        divide = self.how == "divide"
        change = (target / np.maximum(surface, self.floor)) if divide else target - surface
        change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
        if channels == 3:
            change = cv2.cvtColor(change, cv2.COLOR_GRAY2BGR)
        operation = cv2.multiply if divide else cv2.add
        level: UInt8 = operation(pixels.reshape(change.shape), change, dtype=cv2.CV_8U)
        return level.reshape(height, width, channels), transform

    def _surface(self, grey: UInt8) -> Float32:
        """Fit the luminance of uint8 [H, W]; return the surface at 256 x n places, float32 [h, w]."""
        height, width = grey.shape
        longer = max(height, width)
        columns, rows = (max(1, min(side, round(self.points * side / longer))) for side in (width, height))
        samples = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns)
        coefficients, lowest, highest = _fit(samples.astype(np.float64), self.order)
        small = [max(1, min(side, round(_PLACES * side / longer))) for side in (height, width)]
        surface = legendre.leggrid2d(_places(small[0]), _places(small[1]), coefficients)
        return np.clip(surface, lowest / _BEYOND, highest * _BEYOND).astype(np.float32)


def _places(count: int) -> Float64:
    """Return the middles of `count` equal parts of -1…1."""
    return (np.arange(count) + 0.5) * 2 / count - 1


def _fit(samples: Float64, order: int) -> tuple[Float64, float, float]:
    """Fit a polynomial to float64 [h, w]; return Legendre coefficients [order + 1, order + 1] in y and x.

    Beside them, the least and greatest sample that was not left out: beyond those a polynomial only guesses. The fit is
    iteratively reweighted least squares from order 0, the median, up. Each order tells the next its outliers. So a
    bright frame around a dark screen does not bend the surface. Terms that so few samples cannot tell are left out.
    """
    rows, columns = samples.shape
    places = [(i, j) for i in range(min(order + 1, rows)) for j in range(min(order + 1, columns)) if i + j <= order]
    places.sort(key=sum)
    in_y, in_x = legendre.legvander(_places(rows), order), legendre.legvander(_places(columns), order)
    basis = np.stack([np.outer(in_y[:, i], in_x[:, j]).ravel() for i, j in places], axis=1)
    values = samples.ravel()
    solved: Float64 = np.zeros(len(places))
    solved[0] = np.median(values)
    weights = _trust(values - solved[0])
    for degree in range(1, order + 1):
        used = sum(i + j <= degree for i, j in places)
        for _ in range(_ROUNDS):
            weighted = basis[:, :used] * weights[:, None]
            solved[:used] = np.linalg.lstsq(weighted.T @ basis[:, :used], weighted.T @ values, rcond=None)[0]
            weights = _trust(values - basis[:, :used] @ solved[:used])
    coefficients = np.zeros((order + 1, order + 1))
    for (i, j), value in zip(places, solved, strict=True):
        coefficients[i, j] = value
    trusted = values[weights > 0]
    return coefficients, float(trusted.min()), float(trusted.max())


def _trust(errors: Float64) -> Float64:
    """Return Tukey's biweights of the errors of a fit."""
    spread = max(_SPREAD_AT_LEAST, 1.4826 * float(np.median(np.abs(errors))))  # 1.4826: of a normal distribution
    return np.clip(1 - (errors / (_TUKEY * spread)) ** 2, 0, None) ** 2
