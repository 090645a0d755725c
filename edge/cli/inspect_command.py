"""`linewatch inspect`: pictures, and a report of them."""

from __future__ import annotations

import json
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.console import (
    INTERRUPTED,
    BundleOption,
    grades_of,
    load_station,
    output,
    progress_bar,
    stop_on_signals,
    warn,
)
from edge.errors import SettingsError
from edge.wording import counted

if TYPE_CHECKING:
    from edge.inspection.report import PictureTotals


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        epilog="Example: `linewatch inspect pictures --bundle my-bundle --report report.html --mm-per-px 0.05`"
    )(inspect)


def only_bundle(folder: Path) -> Path:
    """Return the one bundle that `folder` is or holds. Raises SettingsError where there is none, or several."""
    from edge.bundle import MANIFEST  # with it comes OpenCV, which may be missing

    found = [path.parent for path in sorted([folder / MANIFEST, *folder.glob(f"*/{MANIFEST}")]) if path.is_file()]
    if len(found) == 1:
        return found[0]
    received = f"several: {', '.join(map(str, found))}" if found else "none"
    raise SettingsError(
        f"No bundle is named: expected --bundle, or one bundle in {folder.resolve()}, received {received}. "
        "--bundle demo takes the shipped model, which has seen simulated pictures only"
    )


def show(report: Path) -> None:
    """Open a page in the user's browser, or say where it is."""
    if not webbrowser.open(report.resolve().as_uri()):
        warn(f"no browser can be started here; the report is {report.resolve()}")


def inspect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="pictures, or folders of them")],
    report: Annotated[
        Path | None, typer.Option("--report", help="write the report here: one HTML file with its pictures")
    ] = None,
    bundle: BundleOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="a line's settings: region, limits, engine", readable=False)
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="of the settings' cameras, this one")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="of the settings' recipes, this one")] = None,
    mm_per_px: Annotated[
        float | None, typer.Option("--mm-per-px", max=1000, help="size of a pixel on the part, mm")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write one row per defect here")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write pictures and defects here")] = None,
    overlays: Annotated[Path | None, typer.Option("--overlays", help="write each picture, drawn on, here")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the report in the browser")] = False,
    picture_px: Annotated[
        int, typer.Option("--picture-px", min=0, max=8192, help="longer side of the report's pictures; 0 = none")
    ] = 1100,
) -> None:
    """Inspect pictures with a bundle and write a report, a table or both. Without limits no defect is tolerated.

    Without --bundle it takes that of the settings or, without settings, the only one in this folder. The shipped model
    has seen simulated pictures only: it is taken where --bundle demo or the settings ask for it.

    The exit code is the worst that happened. 0: every picture is OK. 12: at least one is NG. 5: one could not be read
    or shows no product. 6: inference failed on one.
    """
    from edge.app import proven_engine
    from edge.bundle import load_bundle
    from edge.files import write_text
    from edge.inspection.inference import Inference
    from edge.inspection.inspector import FileReading, Inspector, inspect_pictures, pictures_at
    from edge.inspection.report import HtmlReport, OverlaysFolder, PictureTotals, as_csv, figures, write_inspection
    from edge.quality.learning import open_gate
    from edge.settings import SHIPPED_BUNDLE, Settings, effective_thresholds, require_bundle

    if mm_per_px is not None and not mm_per_px > 0:
        raise typer.BadParameter(f"--mm-per-px: expected a size above 0 mm, received {mm_per_px}")
    _require_output(report, csv_file, json_file, overlays, open_page=open_page)
    if config:
        station, bundles = load_station(config, bundle)
        settings = station.of_view(camera, recipe)
        loaded = bundles[settings.bundle]
    else:
        settings = Settings()
        loaded = load_bundle(require_bundle(settings, bundle or only_bundle(Path())))
    if loaded.path.resolve() == SHIPPED_BUNDLE.resolve():
        warn("this is the shipped model: it has seen simulated pictures only. Name your own with --bundle")
    asked = _scaled(settings.inspect, mm_per_px)
    paths = pictures_at(images, warn)
    camera_of = settings.camera
    reading = FileReading(camera_of.depth(loaded), camera_of.watched_files(), open_gate(camera_of.quality))
    folder = OverlaysFolder(overlays, loaded.classes) if overlays else None
    with ExitStack() as scope:
        page = scope.enter_context(HtmlReport(report, loaded, asked, picture_px)) if report else None
        totals = page.totals if page else PictureTotals()
        # the simulated engine answers for the simulated camera alone
        onnx = settings.engine.without_simulation()
        engine = scope.enter_context(proven_engine(onnx, loaded))
        inference = Inference(engine, effective_thresholds(settings.inspect, loaded), loaded.manifest.tile.overlap_px)
        stop = scope.enter_context(stop_on_signals())
        advance = scope.enter_context(progress_bar(lambda: len(paths)))
        inspected = inspect_pictures(paths, Inspector(inference, loaded, asked), stop, reading)
        rows = write_inspection(inspected, page or totals, overlays=folder, each=advance)
        left = len(paths) - totals.pictures
        if page:
            early = f"Interrupted: {left} of {counted(len(paths), 'picture was', 'pictures were')} not inspected."
            page.write(early if left else "")
    if csv_file:
        write_text(csv_file, as_csv(rows, [entry.name for entry in loaded.classes]))
    if json_file:
        write_text(json_file, json.dumps(figures(totals, rows, loaded), indent=1) + "\n")
    _tell(rows, totals, report)
    if open_page and report:
        show(report)
    if left:
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(totals.exit_code)


def _require_output(*outputs: Path | None, open_page: bool) -> None:
    """Refuse to inspect for nothing, and to open a report that is not written; the first output is the report."""
    if not any(outputs):
        raise typer.BadParameter(
            "expected --report, --csv, --json or --overlays, the name of what to write; received none"
        )
    if open_page and outputs[0] is None:
        raise typer.BadParameter("--open: expected --report beside it, the page to open; received none")


def _tell(rows: list[dict[str, Any]], totals: PictureTotals, report: Path | None) -> None:
    """Say what was told of the pictures, which could not be read, and what it came to."""
    for told in dict.fromkeys(told for row in rows for told in row["told"]):
        of = [row["picture"] for row in rows if told in row["told"]]
        warn(f"{counted(len(of), 'picture')}, {of[0]} the first: {told}")
    for row in rows:
        if row["verdict"] == "NO_READ":
            warn(f"{row['picture']}: {row['reason']}")
    output.print(
        f"{counted(totals.pictures, 'picture')}: {totals.ok} OK, {totals.ng} NG, {totals.no_read} NO_READ; "
        f"{grades_of(totals.grades)}{f'report: {report}' if report else ''}".rstrip("; ")
    )


def _scaled(inspect_by: Any, mm_per_px: float | None) -> Any:
    """Return a view's settings with the pixel's size of the command line, if any: two scales are refused."""
    if mm_per_px is not None and inspect_by.calibration is not None:
        raise typer.BadParameter("--mm-per-px: the settings name a calibration; which of them holds is not guessed")
    return inspect_by if mm_per_px is None else inspect_by.model_copy(update={"mm_per_px": mm_per_px})
