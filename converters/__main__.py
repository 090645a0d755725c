"""The `convert` command: `convert BUNDLE --to …` builds; `plan`, `inspect` and `compare` are verbs beside it."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from typer.core import TyperGroup

from edge.cli.console import VersionOption
from edge.cli.terminal import Terminal, lines, log_to_stderr
from edge.errors import ConversionError, DependencyError, LinewatchError, StoreError
from edge.wording import counted

if TYPE_CHECKING:  # imported where it is used, so that --help does not wait for ONNX
    from converters.foreign.expectations import ModelFlags
    from converters.tensorrt.building import EngineOptions

_HELP = """Turn a trained bundle into one that a line can run.

The model is translated, compared with the original on the bundle's golden pictures and on those of --data, and kept
only if it finds the same defects. --precision fp16 or int8 then decides on real pictures, on this CPU, which nodes have
to stay in FP32. A bare .keras or .onnx file becomes a bundle with what is given as --tile, --classes and so on.

Example: convert scratch-phone-1.0.0 --to onnxruntime --data pictures

Example: convert scratch-phone-1.0.0 --to tensorrt --precision fp16 --batch 1,4,8

Example: convert unet.onnx --to onnxruntime --tile 512x512 --classes oil,scratch --background 0 --activation softmax
--input-range 0,1 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --colour rgb --data pictures

Other verbs, each with a --help of its own: `convert plan BUNDLE --for 10.3` prints what a TensorRT build would call;
`convert inspect FILE` says what a file is; `convert compare A B --data DIR` counts defects gained and lost; `convert
merge-data MODEL.onnx` merges weights that lie beside it. A bundle whose name is a verb is reached as ./plan.

Exit codes: 0 converted; 2 wrong command line; 3 a YAML, TensorRT version or batch that cannot be; 4 bundle or model
cannot be used, or has no real pictures; 5 a picture cannot be read; 6 inference or a TensorRT build failed; 7 a
package is missing; 8 bundle or report cannot be written, or another conversion runs; 10 the dataset of --data cannot
be used; 11 the converted model differs too much, and the bundle is left as it was; 130 interrupted. An interrupted
search for FP16 or INT8 goes on where it stood.
"""
_INTERRUPTED = 130


class _BuildByDefault(TyperGroup):
    """Takes a command line that begins with none of the verbs for `build`: `convert BUNDLE --to …` needs no verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        of_all = args and (args[0] in self.commands or args[0] == "--version")
        return super().parse_args(ctx, args if of_all else ["build", *args])


app = typer.Typer(
    cls=_BuildByDefault, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


@app.callback()
def _options(_version: VersionOption = False) -> None:
    pass


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
LevelOption = Annotated[int, typer.Option(min=0, max=5, help="TensorRT: how long it may look for faster tactics, 0-5")]
BatchOption = Annotated[str, typer.Option(metavar="MIN,OPT,MAX", help="TensorRT: tiles at once")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="write the figures to this file; - is the output")]
_BARE = "A bare .keras or .onnx file"


@app.command(help=_HELP)
def build(
    bundle: Annotated[
        Path, typer.Argument(help="folder written by `linewatch-train fit`, or a .keras or .onnx", show_default=False)
    ],
    to: Annotated[Target, typer.Option(help="backend to convert for", show_default=False)],
    precision: Annotated[PrecisionOption, typer.Option(help="arithmetic of the graph")] = PrecisionOption.FP32,
    data: Annotated[Path | None, typer.Option(help="further real pictures to compare on: any folder")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="real pictures whose ranges decide FP16 and INT8; default: golden and --data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write a converted copy here; the bundle itself stays")] = None,
    batch: BatchOption = "1,4,4",
    workspace_mb: WorkspaceOption = None,
    builder_level: LevelOption = 3,
    max_changed_pixels: Annotated[
        float, typer.Option(min=0, max=1, help="largest allowed share of pixels whose class changes, 0-1")
    ] = 0.0005,
    json_file: JsonOption = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="what the original answered, an .npz: proved against that", rich_help_panel=_BARE),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="overlay sheet of what the net sees; default: beside the bundle")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="go on where the net finds no defect, or nearly all defective")
    ] = False,
    tile: Annotated[str | None, typer.Option(metavar="WxH", help="tile size, px", rich_help_panel=_BARE)] = None,
    classes: Annotated[
        str | None, typer.Option(help="defect classes in order, by commas, no background", rich_help_panel=_BARE)
    ] = None,
    thresholds: Annotated[
        str | None, typer.Option(help="probability per class, or one for all; default: 0.5", rich_help_panel=_BARE)
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="of neighbouring tiles, px; default: 0", rich_help_panel=_BARE)
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 (grey) or 3, where the net does not state it", rich_help_panel=_BARE)
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="frames of a sequence; default: 1", rich_help_panel=_BARE)
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="px per answered cell; default: the net's", rich_help_panel=_BARE)
    ] = None,
    min_area: Annotated[
        float | None, typer.Option(min=0, help="smallest defect, px; default: 0", rich_help_panel=_BARE)
    ] = None,
    name: Annotated[str | None, typer.Option(help="of the bundle; default: the file's", rich_help_panel=_BARE)] = None,
    input_range: Annotated[
        str | None, typer.Option(metavar="LO,HI", help="black and white: 0,1 or -1,1 or 0,255", rich_help_panel=_BARE)
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="subtracted, in the net's colour order", rich_help_panel=_BARE)
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="divided by, in the net's colour order", rich_help_panel=_BARE)
    ] = None,
    colour: Annotated[
        str | None, typer.Option("--colour", "--color", help="rgb, bgr or grey", rich_help_panel=_BARE)
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="nhwc or nchw, where the sizes do not tell", rich_help_panel=_BARE)
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="sigmoid or softmax of logits, none", rich_help_panel=_BARE)
    ] = None,
    background: Annotated[
        int | None, typer.Option(min=0, help="the answer's channel that is no defect", rich_help_panel=_BARE)
    ] = None,
    output: Annotated[str | None, typer.Option(help="which answer is meant, of several", rich_help_panel=_BARE)] = None,
    preparing: Annotated[
        Path | None, typer.Option(help="YAML with the key preparing, as in a recipe", rich_help_panel=_BARE)
    ] = None,
) -> None:
    """Run `convert BUNDLE`; described to users by `_HELP`."""
    sizes = _batch(batch)
    said = {
        "tile": tile,
        "classes": classes,
        "overlap": overlap,
        "channels": channels,
        "frames": frames,
        "stride": stride,
        "min_area": min_area,
        "name": name,
        "colour": colour,
        "layout": layout,
        "activation": activation,
        "background": background,
        "output": output,
        "preparing": preparing,
        "thresholds": _numbers("--thresholds", thresholds),
        "input_range": _numbers("--input-range", input_range),
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
    }
    if to is Target.TENSORRT:
        _require_tensorrt()
    from converters.flow import Order, run
    from converters.reporting import print_outcome

    flags = _model_flags({key: value for key, value in said.items() if value is not None})
    order = Order(
        to=to.value,
        precision=precision.value,
        data=data,
        calibration=calibration,
        out=out,
        max_changed_share=max_changed_pixels,
        flags=flags,
        reference=reference,
        sheet=sheet,
        confirm=lambda doubt: yes or _asked(doubt),
    )
    outcome = run(bundle, order, _progress)
    report = outcome.report
    console = _output(json_file)
    print_outcome(outcome, console, Terminal(soft_wrap=False, stderr=True))
    if to is Target.TENSORRT:
        from converters.tensorrt.building import EngineOptions

        options = EngineOptions(precision.value, sizes, workspace_mb, builder_level)
        report |= _build_tensorrt(outcome.bundle.path, options, console)
    _write_json(json_file, report)


def _model_flags(said: dict[str, Any]) -> ModelFlags:
    """Return the flags of a bare model. Raises BadParameter naming the one that cannot be."""
    from pydantic import ValidationError

    from converters.foreign.expectations import ModelFlags

    try:
        return ModelFlags.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        expected = str(first["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
        raise typer.BadParameter(f"--{key.replace('_', '-')}: {expected}, received {said.get(key)!r}") from error


def _asked(doubt: str) -> bool:
    """Ask whoever sits there; nobody there is no yes."""
    return sys.stdin.isatty() and sys.stderr.isatty() and typer.confirm(f"{doubt}. Go on all the same?", err=True)


def _build_tensorrt(path: Path, options: EngineOptions, output: Console) -> dict[str, Any]:
    """Build an engine on this device. `build_engine` calls back with (step, done, total) as it goes on."""
    from converters.tensorrt.building import build_engine
    from edge.bundle import load_bundle
    from edge.inspection.golden import require_golden

    bundle = load_bundle(path)
    require_golden(bundle, f"a TensorRT engine in {options.precision}")
    with Terminal(soft_wrap=False, stderr=True).status("Building") as status:
        built = build_engine(bundle, options, lambda step, done, total: status.update(f"{step}: {done} of {total}"))
    output.print(
        f"Replayed {counted(built.golden, 'golden frame')} on it: no defect was lost or gained", soft_wrap=True
    )
    output.print(f"Wrote {built.plan_path}", soft_wrap=True)
    return {"engine": built.report()}


@app.command(epilog="Example: `convert plan scratch-phone-1.0.0 --for 10.3`")
def plan(
    bundle: BundleArgument,
    version: Annotated[str, typer.Option("--for", help="TensorRT 8.6, 10.3, 10.13, 10.16 or 11.4", show_default=False)],
    precision: Annotated[PrecisionOption, typer.Option(help="arithmetic of the engine")] = PrecisionOption.FP16,
    batch: BatchOption = "1,4,4",
    workspace_mb: WorkspaceOption = None,
    builder_level: LevelOption = 3,
) -> None:
    """Print, without TensorRT, the exact calls that a build would make there.

    Exit codes: 0 printed, 2 wrong command line, 3 an unknown version, 4 the bundle lacks the graph of this precision.
    """
    from converters.tensorrt.building import EngineOptions
    from converters.tensorrt.planning import planned_calls
    from edge.bundle import load_bundle

    options = EngineOptions(precision.value, _batch(batch), workspace_mb, builder_level)
    for call in planned_calls(load_bundle(bundle), version, options):
        Terminal().print(call)


@app.command("merge-data", epilog="Example: `convert merge-data model.onnx`")
def merge_data(
    model: Annotated[Path, typer.Argument(help="an .onnx with weights in a file beside it", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="the one file; default: NAME.merged.onnx")] = None,
) -> None:
    """Merge an ONNX graph and the weights in a file beside it, as PyTorch writes them, into one file.

    Exit codes: 0 merged; 2 wrong command line; 4 nothing to merge, or missing or cut-off weights; 8 an unwritable file.
    """
    from converters.foreign.external_data import merge_data as merge

    Terminal().print(f"Wrote {merge(model, out)}")


@app.command(epilog="Example: `convert inspect scratch-phone-1.0.0/engines/fp16.plan`")
def inspect(
    file: Annotated[Path, typer.Argument(help="a bundle, an .onnx, .keras or .plan file", show_default=False)],
    json_file: JsonOption = None,
) -> None:
    """Say what a file is, without loading it: versions, GPU, precision, shapes, hashes.

    Exit codes: 0 known, 2 wrong command line, 4 none of these, or damaged.
    """
    from converters.file_facts import facts
    from converters.reporting import print_facts

    found = facts(file)
    print_facts(found, _output(json_file))
    _write_json(json_file, found)


@app.command(epilog="Example: `convert compare glass-1.0.0 glass-1.0.0@openvino:bf16 --data pictures`")
def compare(
    a: Annotated[str, typer.Argument(help="PATH[@ENGINE[:PRECISION]] of a bundle or a model", show_default=False)],
    b: Annotated[str, typer.Argument(help="what it is compared with", show_default=False)],
    data: Annotated[Path, typer.Option(help="real pictures: a folder, a dataset or a video", show_default=False)],
    every: Annotated[int, typer.Option(min=1, help="only each so many-th picture or frame")] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="end with 11 if a defect was lost or gained")] = False,
    max_changed_pixels: Annotated[
        float, typer.Option(min=0, max=1, help="with --strict: share of pixels that may change their class, 0-1")
    ] = 0.0005,
    json_file: JsonOption = None,
) -> None:
    """Count defects lost and gained, coverage that differs, and pixels that changed their class.

    ENGINE is onnxruntime, openvino, tensorrt or keras; PRECISION is fp32, bf16, fp16 or int8, as the engine has it.

    Exit codes: 0 compared; 2 wrong command line; 4 an unusable side; 5 no pictures; 6 failed inference. 7 is a missing
    package, 11 a difference with --strict.
    """
    from converters.comparing_files import compare as compare_files
    from converters.comparing_files import operand
    from converters.reporting import print_difference

    difference = compare_files(operand(a), operand(b), data, _progress, every)
    print_difference(difference, _output(json_file))
    _write_json(json_file, difference.as_dict())
    if strict and (failures := difference.total.failures(max_changed_pixels)):
        raise ConversionError(f"{b} differs from {a}: {'; '.join(failures)}")


def _progress(items: Iterable[Any], words: str) -> Iterable[Any]:
    # a search judges dozens of choices: their bars come and go on one line
    return track(items, words, console=Terminal(soft_wrap=False, stderr=True), transient=words.startswith("Searching"))


def _output(json_file: Path | None) -> Console:
    """Return where tables go: not among the JSON, where that goes to the output."""
    return Terminal(soft_wrap=False, stderr=json_file is not None and str(json_file) == "-")


def _write_json(path: Path | None, report: dict[str, Any]) -> None:
    text = json.dumps(report, indent=1) + "\n"
    if path is not None and str(path) == "-":
        sys.stdout.write(text)
    elif path is not None:
        path.write_text(text, encoding="utf-8")


def _require_tensorrt() -> None:
    """Say what is missing before anything long begins."""
    try:
        import tensorrt  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise DependencyError(
            f"TensorRT engines are built on the device that runs them, and `import tensorrt` failed here: {error}. "
            "TensorRT comes with JetPack: run `convert` with the device's own Python. "
            "Here, `convert plan` shows what a build would call"
        ) from error


def _batch(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(re.fullmatch(r"\s*[0-9]{1,4}\s*", part) for part in parts):
        raise typer.BadParameter(f"--batch: expected MIN,OPT,MAX such as 1,4,8, received {text!r}")
    least, usual, most = (int(part) for part in parts)
    if not 1 <= least <= usual <= most <= 256:
        raise typer.BadParameter(f"--batch: expected 1 ≤ MIN ≤ OPT ≤ MAX ≤ 256, received {text!r}")
    return least, usual, most


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{flag}: expected numbers by commas such as 0.6,0.5, received {text!r}") from error


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Take SIGTERM, which systemd and `kill` send, like Ctrl-C: what was begun is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str] | None) -> None:
    """Run the command. Raises KeyboardInterrupt where it was ended by a signal, of which typer makes an exit code."""
    try:
        app(arguments, prog_name="convert")
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            raise KeyboardInterrupt from leaving
        raise


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error becomes its message and its exit code."""
    console = Terminal(stderr=True)
    log_to_stderr(logging.WARNING)
    try:
        with _told_to_end():
            _run(arguments)
    except (LinewatchError, OSError) as error:
        console.print(lines(*f"convert: {error}".split("\n")))
        sys.exit(error.exit_code if isinstance(error, LinewatchError) else StoreError.exit_code)
    except KeyboardInterrupt:
        console.print("convert: interrupted; the bundle was left as it was")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
