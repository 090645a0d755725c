"""The `convert` command: `convert BUNDLE --to …` builds; `plan`, `inspect` and `compare` are verbs beside it."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from typer.core import TyperGroup

from edge.errors import DependencyError, LinewatchError, StoreError

_HELP = """Turn a trained bundle into one that a line can run.

The model is translated, compared with the original on the bundle's golden pictures and on those of --data, and kept
only if it finds the same defects.

Example: convert scratch-phone-1.0.0 --to onnxruntime --data pictures

Other verbs, each with a --help of its own: `convert plan BUNDLE --for 10.3` prints what a TensorRT build would call;
`convert inspect FILE` says what a file is; `convert compare A B --data DIR` counts defects gained and lost. A bundle
whose name is a verb is reached as ./plan.

Exit codes: 0 converted; 2 wrong command line; 4 bundle or model cannot be used; 5 a picture cannot be read; 7 a package
is missing; 8 bundle or report cannot be written; 10 the dataset of --data cannot be used; 11 the converted model
differs too much, and the bundle is left as it was; 130 interrupted.
"""


class _BuildByDefault(TyperGroup):
    """Takes a command line that begins with none of the verbs for `build`: `convert BUNDLE --to …` needs no verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        verb = args[0] if args and args[0] in self.commands else None
        return super().parse_args(ctx, args if verb else ["build", *args])


app = typer.Typer(
    cls=_BuildByDefault, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


class Target(str, Enum):
    """The backends that a bundle can be converted for."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class PrecisionOption(str, Enum):
    """The precisions of a build."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


BundleArgument = Annotated[Path, typer.Argument(help="folder written by `linewatch-train fit`", show_default=False)]
WorkspaceOption = Annotated[int | None, typer.Option(min=1, help="TensorRT: memory for its tactics, MB")]
BatchOption = Annotated[str, typer.Option(metavar="MIN,OPT,MAX", help="TensorRT: tiles at once")]


@app.command(help=_HELP)
def build(
    bundle: BundleArgument,
    to: Annotated[Target, typer.Option(help="backend to convert for", show_default=False)],
    precision: Annotated[PrecisionOption, typer.Option(help="arithmetic of the graph")] = PrecisionOption.FP32,
    data: Annotated[Path | None, typer.Option(help="further real pictures to compare on: any folder")] = None,
    batch: BatchOption = "1,4,4",
    workspace_mb: WorkspaceOption = None,
    max_changed_pixels: Annotated[
        float, typer.Option(min=0, max=1, help="largest allowed share of pixels whose class changes, 0-1")
    ] = 0.0005,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
) -> None:
    """Run `convert BUNDLE`; described to users by `_HELP`."""
    if to is Target.TENSORRT:
        _build_tensorrt(bundle, precision, _batch(batch), workspace_mb, json_file)
        return
    from converters.converting import convert_bundle
    from converters.onnx_from_keras import load_tools

    load_tools()  # seconds that --help need not wait for
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


def _build_tensorrt(
    path: Path, precision: PrecisionOption, batch: tuple[int, int, int], workspace_mb: int | None, report: Path | None
) -> None:
    """Build an engine on this device. `build_engine` calls back with (step, done, total) as it goes on."""
    try:
        from converters.tensorrt.building import EngineOptions, build_engine
    except ImportError as error:
        raise _no_tensorrt(error) from error
    from edge.bundle import load_bundle

    console = Console(stderr=True)
    options = EngineOptions(precision=precision.value, batch=batch, workspace_mb=workspace_mb)
    with console.status("Building") as status:
        built = build_engine(
            load_bundle(path), options, lambda step, done, total: status.update(f"{step}: {done} of {total}")
        )
    if report is not None:
        report.write_text(json.dumps(built.report(), indent=1) + "\n", encoding="utf-8")
    Console().print(f"Wrote {built.plan_path}")


@app.command(epilog="Example: `convert plan scratch-phone-1.0.0 --for 10.3`")
def plan(
    bundle: BundleArgument,
    version: Annotated[str, typer.Option("--for", help="TensorRT 8.6, 10.3, 10.13, 10.16 or 11.4", show_default=False)],
    precision: Annotated[PrecisionOption, typer.Option(help="arithmetic of the engine")] = PrecisionOption.FP16,
    batch: BatchOption = "1,4,4",
    workspace_mb: WorkspaceOption = None,
) -> None:
    """Print, without TensorRT, the exact calls that a build would make there."""
    try:
        from converters.tensorrt.planning import planned_calls
    except ImportError as error:
        raise _no_tensorrt(error) from error
    from edge.bundle import load_bundle

    for call in planned_calls(load_bundle(bundle), version, precision.value, _batch(batch), workspace_mb):
        Console(soft_wrap=True, highlight=False, markup=False).print(call)


def _no_tensorrt(error: ImportError) -> DependencyError:
    return DependencyError(
        f"TensorRT engines are built on the device that runs them, and an import failed there: {error}. "
        "TensorRT comes with JetPack: run `convert` with the device's own Python"
    )


def _batch(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"--batch: expected MIN,OPT,MAX such as 1,4,8, received {text!r}")
    least, usual, most = (int(part) for part in parts)
    if not 1 <= least <= usual <= most <= 256:
        raise typer.BadParameter(f"--batch: expected 1 ≤ MIN ≤ OPT ≤ MAX ≤ 256, received {text!r}")
    return least, usual, most


def _table(comparison: Any) -> Table:
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
