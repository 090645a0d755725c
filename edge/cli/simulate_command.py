"""`linewatch simulate`: the simulated line, rendered into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch simulate --video line.mp4 --frames 240`")(simulate)


def simulate(
    video: Annotated[Path | None, typer.Option("--video", help="write an mp4 with its truth beside it")] = None,
    dataset: Annotated[Path | None, typer.Option("--dataset", help="write a training dataset into this folder")] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, help="frames of the video, or pictures")] = 240,
    size: Annotated[str, typer.Option("--size", help="width x height in pixels", metavar="WxH")] = "640x480",
    seed: Annotated[int, typer.Option("--seed", min=0, help="another seed, other parts")] = 1,
) -> None:
    """Render the simulated line: a recording with its truth, or pictures with masks to train on."""
    from edge.simulation.camera import write_dataset, write_video
    from edge.simulation.rendering import SimulatedLineSettings

    if (video is None) == (dataset is None):
        raise typer.BadParameter("expected either --video or --dataset")
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and all(64 <= int(side) <= 4096 for side in (width, height))):
        raise typer.BadParameter(f"--size: expected WIDTHxHEIGHT such as 640x480, each 64 to 4096, received {size}")
    if video is not None:
        settings = SimulatedLineSettings(width=int(width), height=int(height), seed=seed)
        write_video(video, settings, frames)
    elif dataset is not None:
        write_dataset(dataset, frames, seed, (int(height), int(width)))
