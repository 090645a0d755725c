"""`linewatch learn-belt`: the empty belt, by which a frame shows a part, from a few empty frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.camera_frames import frames_of, region_of
from edge.cli.console import ConfigArgument, load_station, output
from edge.wording import counted


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command("learn-belt", epilog="Example: `linewatch learn-belt config/station.yaml top --out belt.npz`")(
        learn_belt_of
    )


def learn_belt_of(
    config: ConfigArgument,
    camera: Annotated[str, typer.Argument(help="which of the settings' cameras looks at the belt")],
    out: Annotated[Path, typer.Option("--out", help="write what was learned here; parts.presence.belt names it")],
    frames: Annotated[int, typer.Option("--frames", min=5, max=1000, help="how many empty frames to look at")] = 20,
    region: Annotated[
        str | None, typer.Option("--region", metavar="X,Y,W,H", help="px of the frame to look at; else all of it")
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.001, max=0.9, help="of the region, from which on a part is there")
    ] = 0.02,
    source: Annotated[
        Path | None, typer.Option("--from", help="a folder, a picture or a video of the empty belt, not the camera")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="draw the region, and where parts are harder to tell, as PNG")
    ] = None,
) -> None:
    """Learn the empty belt of one camera. Clear the belt first, let it run, and keep the light as it is in production.

    A belt that is not empty, or does not look alike in all frames, is refused.
    """
    from edge.parts.belt import learn_belt, write_belt

    looked_at = region_of(region)
    settings, bundles = load_station(config, None)
    seen = frames_of(settings, bundles, camera, frames, source, shows="belt")
    belt = learn_belt(seen, looked_at, share)
    write_belt(out, belt)
    if picture is not None:
        _draw(picture, belt, seen[-1])
    (width, height), (x, y, w, h) = belt.size_px, belt.region
    rows, columns = belt.mean.shape
    least, most = float(belt.levels.min()), float(belt.levels.max())
    own = max(belt.look(pixels).share for pixels in seen)
    output.print(
        f"{out}: the empty belt of {camera}, from {counted(len(seen), 'frame')} of {width} x {height} px. Region "
        f"{x},{y},{w},{h}: {counted(rows * columns, 'cell')} of {w / columns:.0f} x {h / rows:.0f} px"
    )
    output.print(
        f"a part differs by {least:.0f} to {most:.0f} of 255 grey levels in at least {belt.share:.1%} of the region; "
        f"these frames differ in at most {own:.1%}"
    )


def _draw(path: Path, belt: Any, pixels: Any) -> None:
    """Draw the region onto a frame, and in red where a part must differ by more. Raises StoreError."""
    import numpy as np

    from edge.files import write_bytes
    from edge.opencv import cv2

    drawn = pixels.copy() if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    x, y, w, h = belt.region
    part = drawn[y : y + h, x : x + w]
    harder = (belt.levels - belt.least_levels) / max(belt.least_levels, float(belt.levels.max() - belt.least_levels))
    red = cv2.resize(harder.astype(np.float32), (w, h), interpolation=cv2.INTER_NEAREST)[..., None]
    part[:] = (part * (1 - red) + np.array([0, 0, 255], np.float32) * red).astype(np.uint8)
    cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), (0, 255, 0), 2)
    write_bytes(path, cv2.imencode(".png", drawn)[1].tobytes())
