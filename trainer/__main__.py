"""The `linewatch-train` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge.__main__ import run_command
from edge.recording import write_text
from edge.yaml_settings import load_yaml

app = typer.Typer(
    name="linewatch-train",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Train a model from pictures with masks, and judge it on pictures that it never saw.\n\n"
        "Exit codes: 0 done, 2 wrong command line, 3 recipe, 4 bundle, 7 something is not installed, 8 disk, "
        "10 dataset, 130 interrupted (go on with --resume)."
    ),
)
console = Console(soft_wrap=True, highlight=False)

BundleArgument = Annotated[Path, typer.Argument(help="a bundle")]


@app.command(epilog="Example: `linewatch-train fit config/train.phone.yaml --data phone_msd --out phone-bundle`")
def fit(
    config: Annotated[Path, typer.Argument(help="the recipe, YAML; see config/train.phone.yaml")],
    data: Annotated[Path, typer.Option("--data", help="the dataset: a folder with manifest.csv")],
    out: Annotated[Path, typer.Option("--out", help="the bundle to write: a folder that is empty or absent")],
    resume: Annotated[bool, typer.Option("--resume", help="go on after the last whole epoch")] = False,
) -> None:
    """Train, fit thresholds and smallest areas on validation pictures, and write a bundle."""
    from trainer.fitting import fit as run_fit
    from trainer.settings import TrainSettings

    bundle = run_fit(load_yaml(config, TrainSettings), data, out, console, resume=resume)
    training, validation = bundle.manifest.training, bundle.manifest.validation
    console.print(
        f"{out}: best epoch {training['best_epoch']} of {training['epochs']}, {training['seconds'] / 60:.1f} minutes"
    )
    for entry in bundle.classes:
        found = validation[entry.name]
        console.print(
            f"  {entry.name}: threshold {entry.threshold:g}, from {entry.min_area_px:g} px on; on validation "
            f"{found['missed']} of {found['shown']} pictures missed, {found['false']} falsely flagged"
        )
        if found["shown"] and found["missed"] == found["shown"]:
            console.print(
                f"[yellow]warning[/]: {entry.name} was found on no validation picture; this model cannot be used for "
                "it. Train longer, or raise its weight in sampling.class_weights"
            )
    console.print(
        f"Those thresholds were chosen on {training['pictures']['validation']} pictures, so these figures flatter. "
        f"Judge on the {training['pictures']['test']} held out: "
        f"linewatch-train evaluate {out} {data} --json figures.json"
    )


@app.command(epilog="Example: `linewatch-train evaluate phone-bundle phone_msd --json figures.json`")
def evaluate(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    json_file: Annotated[Path, typer.Option("--json", help="write the figures here")],
    include_training: Annotated[
        bool, typer.Option("--include-training", help="also judge on pictures that were learned from")
    ] = False,
) -> None:
    """Judge a bundle on whole pictures, beside what an all-empty mask would score."""
    from trainer.evaluating import evaluate as run_evaluate
    from trainer.evaluating import tables

    evaluation = run_evaluate(bundle, data, console, include_training=include_training)
    write_text(json_file, json.dumps(evaluation.report | {"per_picture": evaluation.pictures}, indent=1) + "\n")
    report = evaluation.report
    console.print(f"{report['pictures']} pictures judged; {report['excluded_pictures']} left out: learned from")
    for table in tables(report):
        console.print(table)


@app.command(name="held-out", epilog="Example: `linewatch-train held-out phone-bundle --data phone_msd --out held-out`")
def held_out(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Option("--data", help="the dataset that it was trained on")],
    out: Annotated[Path, typer.Option("--out", help="an empty or absent folder")],
) -> None:
    """Copy the pictures that a bundle held out, with their masks, to replay or evaluate them."""
    from trainer.holding_out import copy_held_out

    console.print(f"{copy_held_out(bundle, data, out)} pictures copied to {out}")


@app.command(epilog="Example: `linewatch-train models --tile 256 --json`")
def models(
    tile: Annotated[int, typer.Option("--tile", min=8, max=4096, help="side of a square tile, px")] = 128,
    channels: Annotated[int, typer.Option("--channels", min=1, max=3, help="1 = grey, 3 = colour")] = 1,
    classes: Annotated[int, typer.Option("--classes", min=1, max=255, help="how many kinds of defects")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON on standard output")] = False,
) -> None:
    """List the families of networks with what each costs, at its defaults."""
    from trainer.listing import facts, table

    found = facts(channels, classes, tile, console)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        console.print(table(found, tile))


@app.command(epilog="Example: `linewatch-train ship phone-bundle --out to-device/phone`")
def ship(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("--out", help="the bundle to write, or to replace")],
) -> None:
    """Copy a converted bundle without what only a workstation reads."""
    from trainer.shipping import ship as run_ship

    shipped = run_ship(bundle, out)
    size = sum((out / name).stat().st_size for name in shipped.manifest.files)
    console.print(f"{out}: {len(shipped.manifest.files)} files, {size / 1e6:.2f} MB")


def main() -> None:
    """Run the command; our errors end it with a message and their exit code."""
    run_command(app)


if __name__ == "__main__":
    main()
