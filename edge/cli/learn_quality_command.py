"""`linewatch learn-quality`: what good frames of a camera look like, by which others are not good enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.camera_frames import frames_of, region_of
from edge.cli.console import ConfigArgument, load_station, output, warn
from edge.wording import counted


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        "learn-quality", epilog="Example: `linewatch learn-quality config/station.yaml top --out quality-top.npz`"
    )(learn_quality_of)


def learn_quality_of(
    config: ConfigArgument,
    camera: Annotated[str, typer.Argument(help="which of the settings' cameras")],
    out: Annotated[Path, typer.Option("--out", help="write what was learned here; camera.quality names it")],
    frames: Annotated[int, typer.Option("--frames", min=5, max=1000, help="how many good frames to look at")] = 40,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="a folder, a picture or a video of good frames, not the camera")
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="X,Y,W,H", help="px of the frame to look at; else all of it")
    ] = None,
) -> None:
    """Learn what good frames of one camera look like: focus, exposure, glare, motion blur, and where it looks.

    Let the line run as in production, with parts and empty belt as they come; each frame must be good.
    """
    from edge.quality.learning import learn_quality, write_quality

    looked_at = region_of(region)
    settings, bundles = load_station(config, None)
    seen = frames_of(settings, bundles, camera, frames, pictures)
    learned = learn_quality(seen, looked_at)
    write_quality(out, learned)
    (width, height), (x, y, w, h) = learned.size_px, learned.region
    output.print(
        f"{out}: good frames of {camera}, from {counted(len(seen), 'frame')} of {width} x {height} px. "
        f"Region {x},{y},{w},{h}"
    )
    for told in _limits(learned):
        output.print(f"  {told}")
    if not learned.tells_moves:
        warn(
            "too little stands still in these frames, or it has too little contrast: a camera that was moved cannot be "
            "told. Let the picture show something of the machine"
        )


def _limits(learned: Any) -> list[str]:
    limits = learned.limits
    darkest, brightest = max(0.0, limits.median_from), min(255.0, limits.median_to)
    still = (learned.still > 0).mean()
    light = f"at most {limits.black:.1%} black and {limits.clipped:.1%} clipped"
    moves = f"by more than {limits.moved_px:.0f} px or {limits.turned_deg:.1f} degrees, or {learned.resized:.1%} larger"
    return [
        f"focus: edges blurred by at most {limits.blur_px:.2f} px, on at least {limits.edges:.2%} of the pixels",
        f"motion blur: at most {limits.streak:.2f} times more along one direction than along another",
        f"exposure: median {darkest:.0f} to {brightest:.0f}, {light}",
        f"glare: at most {limits.glare:.1%}",
        f"camera moved: {moves}; {still:.0%} of the picture stand still",
    ]
