"""The `convert` command."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from converters.comparing import Comparison
from converters.onnx_from_keras import load_tools
from edge.errors import LinewatchError, StoreError

_HELP = """Turn a trained bundle into one that a line can run.

The model is translated, compared with the original on the bundle's golden pictures and on those of --data, and kept
only if it finds the same defects.

Example: convert scratch-phone-1.0.0 --to onnxruntime --data pictures

Exit codes: 0 converted; 2 wrong command line; 4 bundle or model cannot be used; 5 a picture cannot be read; 7 a package
is missing; 8 bundle or report cannot be written; 10 the dataset of --data cannot be used; 11 the converted model
differs too much, and the bundle is left as it was; 130 interrupted.
"""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


class Target(str, Enum):
    """The backends that a bundle can be converted for."""

    ONNXRUNTIME = "onnxruntime"


@app.command(help=_HELP)
def convert(
    bundle: Annotated[Path, typer.Argument(help="folder written by `linewatch-train fit`", show_default=False)],
    to: Annotated[Target, typer.Option(help="backend to convert for", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="further real pictures to compare on: any folder")] = None,
    max_changed_pixels: Annotated[
        float, typer.Option(min=0, max=1, help="largest allowed share of pixels whose class changes, 0-1")
    ] = 0.0005,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
) -> None:
    """Run `convert`; described to users by `_HELP`."""
    load_tools()  # seconds that --help need not wait for
    from converters.converting import convert_bundle

    console = Console(stderr=True)
    conversion = convert_bundle(
        bundle, data, max_changed_pixels, lambda pictures: track(pictures, "Comparing", console=console)
    )
    if json_file is not None:
        report = {**conversion.report(), "to": to.value, "max_changed_share": max_changed_pixels}
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    Console().print(_table(conversion.comparison))
    Console().print(f"Wrote {conversion.bundle.onnx_path}")
    if not conversion.bundle.manifest.golden:
        console.print("The bundle has no golden pictures, so `linewatch check` cannot replay any on the device.")


def _table(comparison: Comparison) -> Table:
    table = Table("compared with model.keras", "", title_justify="left")
    table.add_row("pictures, tiles", f"{comparison.pictures}, {comparison.tiles}")
    table.add_row("pixels whose class differs", f"{comparison.changed_pixels} ({comparison.changed_share:.4%})")
    table.add_row("defects, lost, gained", f"{comparison.defects}, {comparison.total_lost}, {comparison.total_gained}")
    table.add_row("largest difference of a score", f"{comparison.largest_score_difference:.4f}")
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error becomes its message and its exit code."""
    try:
        app(arguments, prog_name="convert")
    except (LinewatchError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"convert: {error}")
        sys.exit(error.exit_code if isinstance(error, LinewatchError) else StoreError.exit_code)


if __name__ == "__main__":
    main()
