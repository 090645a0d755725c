"""`linewatch bench-engine`: how fast an engine is on this machine."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge.cli.console import output, progress_bar
from edge.wording import counted

_LARGEST = 256


class Backend(str, Enum):
    """The engines whose speed can be measured."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        name="bench-engine", epilog="Example: `linewatch bench-engine my-bundle --backend tensorrt --batch 1,2,4`"
    )(bench_engine)


def bench_engine(
    bundle: Annotated[Path, typer.Argument(help="the bundle whose model is run")],
    config: Annotated[
        Path | None, typer.Option("--config", help="a line's settings, for its engine", readable=False)
    ] = None,
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

    sizes = [int(size) for size in batch.split(",") if re.fullmatch(r"\s*[0-9]{1,4}\s*", size)]
    if len(sizes) != len(batch.split(",")) or not all(1 <= size <= _LARGEST for size in sizes):
        raise typer.BadParameter(f"--batch: expected numbers from 1 to {_LARGEST} such as 1,2,4, received {batch:.200}")
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
    with progress_bar(lambda: len(ways(settings)) * len(sizes), "measuring") as advance:
        for timing in bench(settings, load_bundle(bundle), sizes, seconds):
            timings.append(timing)
            advance()
            figures = (f"{timing.median_ms:.2f}", f"{timing.p95_ms:.2f}", f"{timing.tiles_per_s:.1f}")
            table.add_row(timing.engine, str(timing.batch), *figures)
    output.print(table)
    output.print(f"fastest at {counted(max(sizes), 'tile')}: {fastest(timings).engine}")
    if json_file:
        from edge.files import write_text

        rows = [timing.as_dict() for timing in timings]
        write_text(json_file, json.dumps({"bundle": str(bundle), "timings": rows}, indent=1) + "\n")
