"""`linewatch zones`: a view's zones over a picture of its camera, to be checked, written to a file, or drawn."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.camera_frames import frames_of
from edge.cli.console import ConfigArgument, load_station, output, stop_on_signals
from edge.errors import SettingsError
from edge.wording import counted


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command("zones", epilog="Example: `linewatch zones config/line.yaml camera --out zones.yaml --edit`")(zones)


def zones(
    config: ConfigArgument,
    camera: Annotated[str | None, typer.Argument(help="which camera, where there are several")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="of the settings' recipes, this one")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="draw upon this picture, not upon a frame of the camera")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option("--draw", help="draw part, region, zones and what is ignored here: .png or .svg")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="write the zones here: .yaml, or .svg with the shapes alone")
    ] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="serve a page to this machine on which zones are drawn; Save writes --out")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="of the page; 0 = any that is free")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Show where a view's zones lie in a picture, write them to a file, or draw them on a page.

    The page shows the part alone, upright, where the settings find the part in each frame. Zones are drawn on it; else
    they are drawn on the frame. The settings take the file by `zones: {file: zones.yaml}` or `zones: {svg: …}`.
    """
    from edge.files import write_bytes, write_text
    from edge.inspection.zone_drawing import drawn_shapes, sheet_of, write_zones
    from edge.zones.drawing import as_png, as_svg

    if edit and out is None:
        raise typer.BadParameter("--edit: expected --out, the file that is written; received none")
    if draw is None and out is None:
        raise typer.BadParameter("expected --draw or --out, what is to be made; received neither")
    if draw is not None and draw.suffix not in {".png", ".svg"}:
        raise typer.BadParameter(f"--draw: expected a file that ends in .png or .svg, received {draw.name}")
    settings, bundles = load_station(config, None)
    view = settings.of_view(camera, recipe)
    seen = frames_of(settings, bundles, view.camera.name, 1, picture)[0]
    sheet = sheet_of(seen, view.inspect, bundles[view.bundle])
    shapes = drawn_shapes(sheet, view.inspect)
    if draw is not None:
        if draw.suffix == ".png":
            write_bytes(draw, as_png(seen, shapes))
        else:
            write_text(draw, as_svg(seen, shapes))
        output.print(f"{draw}: {counted(len(view.inspect.zones), 'zone')} on {seen.shape[1]} x {seen.shape[0]} px")
    if out is not None and not edit:
        if not view.inspect.zones:
            raise SettingsError(f"{config} has no zones to write. Draw some with --edit")
        write_zones(out, view.inspect.zones, sheet)
        output.print(f"{out}: {counted(len(view.inspect.zones), 'zone')}")
    if out is not None and edit:
        _serve(sheet, dict(view.inspect.zones), out, port, open_page=open_page, name=view.camera.name)


def _serve(sheet: Any, known: dict[str, Any], out: Path, port: int, *, open_page: bool, name: str) -> None:
    from edge.inspection.zone_drawing import write_zones
    from edge.opencv import cv2
    from edge.zones.page import ZonesPage, page_html

    if out.suffix not in {".yaml", ".yml", ".svg"}:
        raise SettingsError(f"--out: expected a file that ends in .yaml or .svg, received {out.name}")

    def save(given: Any) -> str:
        taken = sheet.taken(given, known)
        write_zones(out, taken, sheet)
        return f"Saved {counted(len(taken), 'zone')} to {out}"

    what = (
        "Zones are drawn on the part and follow it; what this picture shows is the part's box."
        if sheet.on == "part"
        else "Zones are drawn on the frame, in its pixels."
    )
    html = page_html(f"Zones of {name}", what)
    picture = bytes(cv2.imencode(".png", sheet.shown)[1])
    with ZonesPage(html, picture, sheet.page_zones(known), save, port) as page, stop_on_signals() as stop:
        output.print(f"draw the zones at {page.url} and save them; Ctrl-C ends it", soft_wrap=True)
        if open_page:
            webbrowser.open(page.url)
        stop.wait()
    output.print(f"{out}: {'written' if out.exists() else 'nothing was saved'}")
