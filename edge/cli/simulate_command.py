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
    straight: Annotated[
        float,
        typer.Option("--straight", min=0, max=1, help="share of the dataset: glass with even, straight scratches"),
    ] = 0.0,
    parts_per_product: Annotated[
        int, typer.Option("--parts-per-product", min=1, max=100_000, help="parts until the station's product changes")
    ] = 1,
    target: Annotated[
        Path | None, typer.Option("--target", help="write a picture of a calibration target here, .png or .jpg")
    ] = None,
    shows: Annotated[str, typer.Option("--shows", help="which target")] = "chessboard:9x6:10mm",
    tilt_deg: Annotated[float, typer.Option("--tilt-deg", min=-60, max=60, help="of the camera above the target")] = 0,
    bend: Annotated[float, typer.Option("--bend", min=-0.5, max=0.5, help="of its lens: OpenCV's k1")] = 0,
    mm_per_px: Annotated[
        float, typer.Option("--mm-per-px", min=0.001, max=10, help="in the target picture's centre, across the tilt")
    ] = 0.2,
) -> None:
    """Render a simulated line with its truth, a station of two cameras, or pictures with masks to train on.

    Or what a camera with a known lens and tilt sees of a calibration target.
    """
    from edge.simulation.camera import write_video
    from edge.simulation.dataset import write_dataset
    from edge.simulation.recording import station_cameras, write_station
    from edge.simulation.rendering import SimulatedLineSettings

    if sum(out is not None for out in (video, dataset, station, target)) != 1:
        raise typer.BadParameter("expected one of --video, --dataset, --station and --target")
    width, _, height = size.partition("x")
    if not all(re.fullmatch(r"[0-9]{2,4}", side) and 64 <= int(side) <= 4096 for side in (width, height)):
        raise typer.BadParameter(f"--size: expected WIDTHxHEIGHT such as 640x480, each 64 to 4096, received {size}")
    if target is not None:
        _write_target(target, shows, (int(width), int(height)), (tilt_deg, bend, mm_per_px))
    elif video is not None:
        settings = SimulatedLineSettings(width=int(width), height=int(height), seed=seed)
        with progress_bar(lambda: frames) as advance:
            write_video(video, settings, frames, advance)
        output.print(f"{video}: {counted(frames, 'frame')}")
    elif dataset is not None:
        own = _products(products)
        if straight and "glass" not in own:
            raise typer.BadParameter(
                f"--straight: it draws glass; expected glass among --products, received {products}"
            )
        with progress_bar(lambda: frames, "pictures") as advance:
            write_dataset(dataset, frames, seed, (int(height), int(width)), advance, products=own, straight=straight)
        output.print(f"{dataset}: {counted(frames, 'picture')}")
    elif station is not None:
        cameras = station_cameras(
            (int(height), int(width)), seed, products=_products(products), parts_per_product=parts_per_product
        )
        with progress_bar(lambda: frames * len(cameras)) as advance:
            parts = write_station(station, cameras, frames, advance)
        output.print(f"{station}: {counted(frames, 'frame')} of each camera, {counted(parts, 'whole part')}")


def _write_target(path: Path, shows: str, size_px: tuple[int, int], seen: tuple[float, float, float]) -> None:
    """Write what a camera sees of a target. `seen`: its tilt, its lens's k1, and mm per px in the centre."""
    from edge.calibration.targets import parse_target
    from edge.files import write_bytes
    from edge.opencv import cv2
    from edge.simulation.target_scene import PinholeCamera, painted

    if path.suffix.lower() not in {".png", ".jpg"}:
        raise typer.BadParameter(f"--target: expected a file that ends in .png or .jpg, received {path}")
    tilt_deg, bend, mm_per_px = seen
    camera = PinholeCamera(size_px, mm_per_px, tilt_deg=tilt_deg, k1=bend)
    pixels = camera.picture(painted(parse_target(shows)), noise=2.0)
    write_bytes(path, cv2.imencode(path.suffix, pixels)[1].tobytes())
    output.print(f"{path}: {shows}, {size_px[0]} x {size_px[1]} px")


def _products(names: str) -> tuple[ProductName, ...]:
    from edge.simulation.products import PRODUCT_NAMES

    asked = [name.strip() for name in names.split(",")]
    known = tuple(product for name in asked for product in PRODUCT_NAMES if product == name)
    if len(known) != len(asked):
        raise typer.BadParameter(f"--products: expected some of {', '.join(PRODUCT_NAMES)}, received {names}")
    return known
