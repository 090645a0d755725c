"""Pictures of simulated parts with masks, as a dataset to train on: all products, both views."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge.errors import StoreError
from edge.opencv import cv2
from edge.records import UInt8
from edge.simulation.products import PRODUCT_NAMES, ProductName
from edge.simulation.rendering import (
    CLASS_NAMES,
    RenderedLine,
    SimulatedLineSettings,
    straight_picture,
    varied_edge,
    varied_picture,
)

_LINE_SEEDS = 10**9  # lines to learn from have seeds from here on, so that no demo or test runs on one of them
_WIDE_SHARE = 0.25  # of the frames of lines: wide ones, drawn at twice the size, as a model sees those of 1080p
# The subjects of pictures, in turn: a part that varies far, or as it is on a line; from above, or (edge, side) from the
# side.
_STATION = (*["varied"] * 4, *["line"] * 8, *["edge"] * 3, *["side"] * 5)
_PHONES = (*["varied"] * 8, *["line"] * 3)  # glass that varies far is what real phones are met with


def write_dataset(
    out: Path,
    pictures: int,
    seed: int,
    size: tuple[int, int],
    each: Callable[[], object] = lambda: None,
    *,
    products: Sequence[ProductName] = PRODUCT_NAMES,
    straight: float = 0.0,
) -> None:
    """Write a dataset folder to train on: `pictures` of `size` (height, width) px in images/, masks/, manifest.csv.

    Some are frames of simulated lines, each of another; the others vary further. Some frames of lines are wide: three
    quarters as high. Each picture is of a part of its own, so each is its own group. Clean ones are of class `ok`.
    Glass alone is shown from above, and most of it varies as phones do. Else the products are shown from both views.
    `straight`: the share of the pictures, 0-1, that show even, straight scratches on usual glass or on phones instead.
    `each` is called after each picture. Raises StoreError.
    """
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "mask", "class", "group"])
            for index in range(pictures):
                g = np.random.default_rng([seed, index])
                if np.random.default_rng([seed, index, 1]).random() < straight:
                    pixels, truth = straight_picture(*size, g)
                else:
                    pixels, truth = _picture(*size, g, index, products)
                image, group = f"images/{index:05d}.jpg", f"part{index:05d}"
                _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 94])
                (out / image).write_bytes(encoded.tobytes())
                table.writerows(_rows(out, image, group, truth))
                each()
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error.strerror}. Free some space or name another") from error


def _picture(
    height: int, width: int, g: np.random.Generator, index: int, products: Sequence[ProductName]
) -> tuple[UInt8, UInt8]:
    shown = _PHONES if list(products) == ["glass"] else _STATION
    how = shown[index * 7 % len(shown)]  # 7: so that the first few pictures are of many kinds
    product = products[index // len(shown) % len(products)]
    if how == "varied":
        return varied_picture(height, width, g, product)
    if how == "edge":
        return varied_edge(height, width, g, product)
    return _of_a_line(height, width, g, product, above=how == "line")


def _of_a_line(
    height: int, width: int, g: np.random.Generator, product: ProductName, *, above: bool
) -> tuple[UInt8, UInt8]:
    wide = bool(g.random() < _WIDE_SHARE) and 3 * height // 2 >= 64 and 2 * width <= 4096
    size = (3 * height // 2, 2 * width) if wide else (height, width)
    settings = SimulatedLineSettings(
        width=size[1],
        height=size[0],
        seed=_LINE_SEEDS + int(g.integers(10**9)),
        defective_share=0.75,
        products=(product,),
        view="top" if above else "side",
        edge_share=0.4 if above else 1.0,
    )
    pixels, truth = RenderedLine(settings).frame(int(g.integers(2 * settings.frames_per_part)))
    if wide:
        half = (width, 3 * height // 4)
        pixels = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
        truth = cv2.resize(truth, half, interpolation=cv2.INTER_NEAREST)
    return pixels, truth


def _rows(out: Path, image: str, group: str, truth: UInt8) -> list[tuple[str, str, str, str]]:
    rows = []
    for class_id, name in enumerate(CLASS_NAMES, start=1):
        mask = (truth == class_id).astype(np.uint8) * 255
        if mask.any():
            path = f"masks/{name}/{Path(image).stem}.png"
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            _, encoded = cv2.imencode(".png", mask)
            (out / path).write_bytes(encoded.tobytes())
            rows.append((image, path, name, group))
    return rows or [(image, "", "ok", group)]
