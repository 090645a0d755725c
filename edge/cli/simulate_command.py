"""`linewatch simulate`: the simulated line or station, rendered into files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli.console import output, progress_bar
from edge.wording import counted

if TYPE_CHECKING:
    from edge.simulation.products import ProductName


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch simulate --station out/station --frames 240`")(simulate)


def simulate(
    video: Annotated[Path | None, typer.Option("--video", help="write an mp4 with its truth beside it")] = None,
    dataset: Annotated[Path | None, typer.Option("--dataset", help="write a training dataset into this folder")] = None,
    station: Annotated[
        Path | None, typer.Option("--station", help="write top.mp4, side.mp4 and parts.csv into this folder")
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, help="frames of each video, or pictures")] = 240,
    size: Annotated[str, typer.Option("--size", help="width x height in pixels", metavar="WxH")] = "640x480",
    seed: Annotated[int, typer.Option("--seed", min=0, help="another seed, other parts")] = 1,
    products: Annotated[
        str, typer.Option("--products", help="of the station or dataset, in turn: of glass, disc and tile")
    ] = "glass,disc,tile",
    parts_per_product: Annotated[
        int, typer.Option("--parts-per-product", min=1, max=100_000, help="parts until the station's product changes")
    ] = 1,
) -> None:
    """Render a simulated line with its truth, a station of two cameras, or pictures with masks to train on."""
    from edge.simulation.camera import write_video
    from edge.simulation.dataset import write_dataset
    from edge.simulation.recording import station_cameras, write_station
    from edge.simulation.rendering import SimulatedLineSettings

    if sum(out is not None for out in (video, dataset, station)) != 1:
        raise typer.BadParameter("expected one of --video, --dataset and --station")
    width, _, height = size.partition("x")
    if not all(re.fullmatch(r"[0-9]{2,4}", side) and 64 <= int(side) <= 4096 for side in (width, height)):
        raise typer.BadParameter(f"--size: expected WIDTHxHEIGHT such as 640x480, each 64 to 4096, received {size}")
    if video is not None:
        settings = SimulatedLineSettings(width=int(width), height=int(height), seed=seed)
        with progress_bar(lambda: frames) as advance:
            write_video(video, settings, frames, advance)
        output.print(f"{video}: {counted(frames, 'frame')}")
    elif dataset is not None:
        with progress_bar(lambda: frames, "pictures") as advance:
            write_dataset(dataset, frames, seed, (int(height), int(width)), advance, products=_products(products))
        output.print(f"{dataset}: {counted(frames, 'picture')}")
    elif station is not None:
        cameras = station_cameras(
            (int(height), int(width)), seed, products=_products(products), parts_per_product=parts_per_product
        )
        with progress_bar(lambda: frames * len(cameras)) as advance:
            parts = write_station(station, cameras, frames, advance)
        output.print(f"{station}: {counted(frames, 'frame')} of each camera, {counted(parts, 'whole part')}")


def _products(names: str) -> tuple[ProductName, ...]:
    from edge.simulation.products import PRODUCT_NAMES

    asked = [name.strip() for name in names.split(",")]
    known = tuple(product for name in asked for product in PRODUCT_NAMES if product == name)
    if len(known) != len(asked):
        raise typer.BadParameter(f"--products: expected some of {', '.join(PRODUCT_NAMES)}, received {names}")
    return known
