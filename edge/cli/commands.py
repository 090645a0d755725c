"""The `linewatch` command."""

from __future__ import annotations

import json
import logging
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge import __version__
from edge.cli import alarm_commands
from edge.errors import BundleError, EngineError, LinewatchError, PublishError, SourceError

INTERRUPTED = 130

app = typer.Typer(
    name="linewatch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Surface inspection for a production line: camera to coverage, defects and alarms over MQTT.\n\n"
        "Exit codes: 0 done, 2 wrong command line, 3 settings, 4 bundle, 5 camera or recording, 6 inference, "
        "7 something is not installed, 8 disk, 9 broker, 12 a picture is NG (inspect), 13 no line runs that could "
        "obey, or it refused, 130 interrupted."
    ),
)
errors = Console(stderr=True, soft_wrap=True, highlight=False)
output = Console(soft_wrap=True, highlight=False)

ConfigArgument = Annotated[Path, typer.Argument(help="the line's settings, YAML; see config/line.yaml")]
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="a bundle, in place of the settings' own")]


class Pace(str, Enum):
    """How fast a recording is replayed."""

    MAX = "max"
    REAL = "real"


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a clean stop; a second one ends the process as usual."""
    stop = threading.Event()

    def ask(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn(text: str) -> None:
    errors.print(f"[yellow]warning[/]: {text}", markup=True)


def _load(config: Path, bundle: Path | None) -> tuple[Any, Any]:
    from edge.bundle import load_bundle
    from edge.settings import load_settings, require_bundle, settings_warnings

    settings = load_settings(config)
    loaded = load_bundle(require_bundle(settings, bundle))
    for warning in settings_warnings(settings, loaded):
        _warn(warning)
    return settings, loaded


@app.command(epilog="Example: `linewatch run config/line.yaml`")
def run(config: ConfigArgument, bundle: BundleOption = None) -> None:
    """Inspect a live camera until stopped: results and alarms go to the broker, through the outbox."""
    from edge.app import run_line

    settings, loaded = _load(config, bundle)
    with stop_on_signals() as stop:
        result = run_line(settings, loaded, stop, store=settings.store.path, live=True)
    counts = result.counts
    errors.print(
        f"stopped after {counts.frames} frames: {counts.ok} OK, {counts.ng} NG, {counts.no_read} NO_READ; "
        f"{_grades_of(counts.grades)}{result.outbox.pending} messages wait in the outbox"
    )
    if not stop.is_set() and counts.ended_early:
        raise SourceError(counts.ended_early)


@app.command(
    epilog="Example: `linewatch replay line.mp4 --bundle my-bundle --config config/line.yaml --events events.jsonl`"
)
def replay(
    recording: Annotated[Path, typer.Argument(metavar="VIDEO|FOLDER", help="a video, a picture, or a folder of them")],
    config: Annotated[Path, typer.Option("--config", help="the line's settings, YAML")],
    events: Annotated[Path, typer.Option("--events", help="write one result per line of JSON here")],
    bundle: BundleOption = None,
    maps: Annotated[Path | None, typer.Option("--maps", help="write each frame's defect map here, as PNG")] = None,
    pace: Annotated[Pace, typer.Option("--pace", help="as fast as it can, or at the recording's own speed")] = Pace.MAX,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="also send to the settings' broker, as the line; without it nothing leaves the machine"
        ),
    ] = False,
) -> None:
    """Take a recording through the very same pipeline, in the recording's own time, with a store of its own."""
    from edge.app import make_recording, run_line
    from edge.cameras.pacing import PacedCamera
    from edge.observers.replay_files import EventsFile, MapsFolder
    from edge.publishers.memory import MemoryPublisher

    settings, loaded = _load(config, bundle)
    camera = make_recording(settings.camera.name, recording)
    started_s = time.monotonic()
    with ExitStack() as scope:
        store = Path(scope.enter_context(tempfile.TemporaryDirectory(prefix="linewatch-replay-"))) / "outbox.db"
        file = scope.enter_context(EventsFile(events))
        folder = MapsFolder(maps) if maps else None
        advance = scope.enter_context(_progress_bar(lambda: camera.total))
        stop = scope.enter_context(stop_on_signals())

        def keep(decided: Any) -> None:
            file.write(decided.body)
            if folder and decided.defect_map is not None and decided.inspection.frame is not None:
                folder.write(decided.inspection.frame, decided.defect_map.classes_per_pixel())
            advance()

        result = run_line(
            settings,
            loaded,
            stop,
            store=store,
            live=False,
            camera=PacedCamera(camera) if pace is Pace.REAL else camera,
            publisher=None if publish else MemoryPublisher(),
            watchers=[keep],
        )
    counts, seconds = result.counts, time.monotonic() - started_s
    output.print(
        f"{counts.frames} frames in {seconds:.1f} s ({counts.tiles / seconds:.1f} tiles/s): {counts.ok} OK, "
        f"{counts.ng} NG, {counts.no_read} NO_READ; alarms: {counts.alarms_raised} raised, "
        f"{counts.alarms_cleared} cleared; {_grades_of(counts.grades)}results: {events}"
    )
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)
    if counts.ended_early:
        raise SourceError(f"{counts.ended_early}. The results up to there are in {events}")
    if counts.unreadable:
        raise SourceError(f"{counts.unreadable} pictures could not be read; their results in {events} are NO_READ")
    if counts.engine_errors:
        raise EngineError(f"inference failed on {counts.engine_errors} frames; their results in {events} are NO_READ")
    if left := result.outbox.pending + result.outbox.parked:
        raise PublishError(
            f"{left} messages did not reach the broker at {settings.broker.address[0]}:{settings.broker.address[1]}; "
            f"the results are in {events}. Start the broker and replay again"
        )


def _grades_of(grades: Any) -> str:
    """Say how many were of which grade, before what else is said; nothing without grades."""
    return f"{grades}; " if grades.counts else ""


@contextmanager
def _progress_bar(total: Callable[[], int], what: str = "frames") -> Iterator[Callable[[], None]]:
    """Show what is done of `total()`, which is known once the recording is open; nothing where nobody watches."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.update(task, advance=1, total=total() or None)


@app.command(epilog="Example: `linewatch check config/line.yaml`")
def check(config: ConfigArgument, bundle: BundleOption = None) -> None:
    """Verify settings and bundle, and replay the bundle's golden frames on this machine."""
    from edge.app import make_engine
    from edge.inspection.golden import CHANGED_PIXELS_AT_MOST, check_golden

    settings, loaded = _load(config, bundle)
    manifest = loaded.manifest
    output.print(f"settings {config}: valid")
    output.print(f"bundle {manifest.name} {manifest.version}: {len(manifest.files)} files verified")
    engine_settings = settings.engine.without_simulation()
    with make_engine(engine_settings, loaded) as engine:
        results = check_golden(loaded, engine)
    table = Table("golden frame", "prepared", "pixels changed", "defects lost", "gained", "")
    for result in results:
        table.add_row(
            result.image,
            "same" if result.prepared_same else "differs",
            f"{result.changed_pixels:.4%}",
            str(result.defects_lost),
            str(result.defects_gained),
            "[green]passed[/]" if result.passed else "[red]failed[/]",
        )
    output.print(table)
    if not results:
        raise BundleError(
            f"{loaded.path} has no golden frames. Convert it again: convert {loaded.path} --to onnxruntime"
        )
    if not all(result.prepared_same for result in results):
        _warn("this OpenCV prepares pixels a little differently from the one that the bundle was converted with")
    if failed := [result.image for result in results if not result.passed]:
        raise BundleError(
            f"{loaded.path} does not see here what it saw when it was converted, on {', '.join(failed)}: expected no "
            f"defect lost or gained and at most {CHANGED_PIXELS_AT_MOST:.2%} of pixels changed. Convert it again here"
        )


@app.command(epilog="Example: `linewatch inspect pictures --bundle my-bundle --report report.html --mm-per-px 0.05`")
def inspect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="pictures, or folders of them")],
    report: Annotated[Path, typer.Option("--report", help="write the report here: one HTML file with its pictures")],
    bundle: BundleOption = None,
    config: Annotated[Path | None, typer.Option("--config", help="a line's settings: region, limits, engine")] = None,
    mm_per_px: Annotated[
        float | None, typer.Option("--mm-per-px", max=1000, help="size of a pixel on the part, mm")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write one row per picture here")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write pictures and defects here")] = None,
    overlays: Annotated[Path | None, typer.Option("--overlays", help="write each picture, drawn on, here")] = None,
    picture_px: Annotated[
        int, typer.Option("--picture-px", min=0, max=8192, help="longer side of the report's pictures; 0 = none")
    ] = 1100,
) -> None:
    """Inspect pictures with a bundle and write a report. Without limits in the settings no defect is tolerated.

    The exit code is the worst that happened: 0 every picture is OK, 12 at least one is NG, 5 one could not be read or
    shows no product, 6 inference failed on one.
    """
    from edge.app import make_engine
    from edge.bundle import load_bundle
    from edge.files import write_text
    from edge.inspection.inference import Inference
    from edge.inspection.inspector import Inspector, inspect_pictures, pictures_at
    from edge.inspection.report import HtmlReport, OverlaysFolder, as_csv, figures, write_inspection
    from edge.settings import Settings, effective_thresholds, require_bundle

    if mm_per_px is not None and not mm_per_px > 0:
        raise typer.BadParameter(f"--mm-per-px: expected a size above 0 mm, received {mm_per_px}")
    if config:
        settings, loaded = _load(config, bundle)
    else:
        settings = Settings()
        loaded = load_bundle(require_bundle(settings, bundle))
    asked = settings.inspect if mm_per_px is None else settings.inspect.model_copy(update={"mm_per_px": mm_per_px})
    paths = pictures_at(images)
    folder = OverlaysFolder(overlays, loaded.classes) if overlays else None
    with ExitStack() as scope:
        page = scope.enter_context(HtmlReport(report, loaded, asked, picture_px))
        # the simulated engine answers for the simulated camera alone
        onnx = settings.engine.without_simulation()
        engine = scope.enter_context(make_engine(onnx, loaded))
        inference = Inference(engine, effective_thresholds(settings, loaded), loaded.manifest.tile.overlap_px)
        stop = scope.enter_context(stop_on_signals())
        advance = scope.enter_context(_progress_bar(lambda: len(paths)))
        inspected = inspect_pictures(paths, Inspector(inference, loaded, asked), stop)
        rows = write_inspection(inspected, page, overlays=folder, each=advance)
        totals = page.totals
        left = len(paths) - totals.pictures
        page.write(f"Interrupted: {left} of {len(paths)} pictures were not inspected." if left else "")
    if csv_file:
        write_text(csv_file, as_csv(rows, [entry.name for entry in loaded.classes]))
    if json_file:
        write_text(json_file, json.dumps(figures(totals, rows, loaded), indent=1) + "\n")
    for row in rows:
        if row["verdict"] == "NO_READ":
            _warn(escape(f"{row['picture']}: {row['reason']}"))
    output.print(
        f"{totals.pictures} pictures: {totals.ok} OK, {totals.ng} NG, {totals.no_read} NO_READ; "
        f"{_grades_of(totals.grades)}report: {report}"
    )
    if left:
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(totals.exit_code)


class Backend(str, Enum):
    """The engines whose speed can be measured."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


@app.command(name="bench-engine", epilog="Example: `linewatch bench-engine my-bundle --backend tensorrt --batch 1,2,4`")
def bench_engine(
    bundle: Annotated[Path, typer.Argument(help="the bundle whose model is run")],
    config: Annotated[Path | None, typer.Option("--config", help="a line's settings, for its engine")] = None,
    backend: Annotated[Backend | None, typer.Option("--backend", help="in place of the settings' own")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="in place of the settings' own")] = None,
    batch: Annotated[str, typer.Option("--batch", metavar="N,N,…", help="tiles at once")] = "1,2,4",
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=600, help="of measuring, per row")] = 2.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the engine on this machine: median and 95th percentile per batch size, and tiles per second.

    For TensorRT, copied and mapped memory, with and without CUDA graphs, are compared: `engine.memory` and
    `engine.cuda_graphs` in the settings.
    """
    from pydantic import ValidationError

    from edge.bundle import load_bundle
    from edge.cli.bench_engine import bench, fastest, ways
    from edge.settings import EngineSettings, load_settings

    sizes = [int(size) for size in batch.split(",") if size.strip().isdecimal()]
    if len(sizes) != len(batch.split(",")):
        raise typer.BadParameter(f"--batch: expected numbers such as 1,2,4, received {batch}")
    own = load_settings(config).engine.without_simulation() if config else EngineSettings()
    asked = {"backend": backend and backend.value, "precision": precision}
    try:
        settings = EngineSettings.model_validate(
            own.model_dump() | {name: value for name, value in asked.items() if value}
        )
    except ValidationError as error:
        told = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise typer.BadParameter(f"--backend, --precision: {told}") from error
    table = Table("engine", "tiles at once", "median ms", "95 % ms", "tiles/s", title_justify="left")
    timings = []
    with _progress_bar(lambda: len(ways(settings)) * len(sizes), "measuring") as advance:
        for timing in bench(settings, load_bundle(bundle), sizes, seconds):
            timings.append(timing)
            advance()
            figures = (f"{timing.median_ms:.2f}", f"{timing.p95_ms:.2f}", f"{timing.tiles_per_s:.1f}")
            table.add_row(timing.engine, str(timing.batch), *figures)
    output.print(table)
    output.print(f"fastest at {max(sizes)} tiles: {fastest(timings).engine}")
    if json_file:
        from edge.files import write_text

        rows = [timing.as_dict() for timing in timings]
        write_text(json_file, json.dumps({"bundle": str(bundle), "timings": rows}, indent=1) + "\n")


@app.command(epilog="Example: `linewatch demo --headless --frames 120 --summary summary.json`")
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="show nothing while running")] = False,
    frames: Annotated[int, typer.Option("--frames", min=0, help="end by itself after so many frames; 0 = never")] = 0,
    summary: Annotated[Path | None, typer.Option("--summary", help="write what it came to here, as JSON")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="another seed, other parts")] = 7,
) -> None:
    """Inspect a simulated line with the shipped model and a broker of its own, and compare with the truth."""
    from edge.cli.demo import run_demo

    with stop_on_signals() as stop:
        result = run_demo(stop, headless=headless, frames=frames, seed=seed, console=output)
    if summary:
        from edge.files import write_text

        write_text(summary, json.dumps(result, indent=1) + "\n")
    output.print_json(data=result)


@app.command(epilog="Example: `linewatch simulate --video line.mp4 --frames 240`")
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


alarm_commands.add_to(app)


@app.command()
def version() -> None:
    """Print the version."""
    output.print(__version__)


def main() -> None:
    """Run the command; our errors end it with a message and their exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    run_command(app)


def run_command(command: typer.Typer) -> None:
    """Run a typer command line so that no error of ours, nor Ctrl-C, ends in a traceback."""
    try:
        command()
    except LinewatchError as error:
        errors.print(f"error: {error}", markup=False, style="red")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
