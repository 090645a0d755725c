"""The `linewatch-train` command."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from edge.bundle import Bundle
from edge.cli.console import VersionOption, run_app
from edge.cli.terminal import Terminal, log_to_stderr, warn
from edge.files import check_place, write_bytes, write_text
from edge.wording import command, counted
from edge.yaml_settings import load_yaml
from trainer.importing.command import export_app, import_app

app = typer.Typer(
    name="linewatch-train",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Train a model from pictures with masks, and judge it on pictures that it never saw.\n\n"
        "Exit codes: 0 done, 1 some runs of compare failed, 2 wrong command line, 3 recipe, 4 bundle, 5 picture, "
        "6 TensorFlow failed, 7 something is not installed, 8 disk, 10 dataset, 130 interrupted (go on with --resume)."
    ),
)
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
console = Terminal()


@app.callback()
def _options(_version: VersionOption = False) -> None:
    pass


BundleArgument = Annotated[Path, typer.Argument(help="a bundle")]


@app.command(epilog="Example: `linewatch-train fit config/train.phone.yaml --data phone_msd --out phone-bundle`")
def fit(
    config: Annotated[Path, typer.Argument(help="the recipe, YAML; docs/recipes.md lists those of config/")],
    data: Annotated[Path, typer.Option("--data", help="the dataset: a folder with manifest.csv")],
    out: Annotated[Path, typer.Option("--out", help="the bundle to write: a folder that is empty or absent")],
    resume: Annotated[bool, typer.Option("--resume", help="go on after the last whole epoch")] = False,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="begin with these weights: a bundle that fit wrote, or a .weights.h5 file of one"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="where prepared pictures are kept [default: the user's cache folder]")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="prepare all pictures anew, and keep none")] = False,
) -> None:
    """Train, fit thresholds and smallest areas on validation pictures, and write a bundle.

    A recipe with `learn: good-parts` learns from the good pictures alone (class ok, good or Free). It needs no mask and
    no defective picture, and takes neither --resume nor --from.
    """
    from trainer.datasets.dataset_cache import default_cache_folder
    from trainer.fitting import fit as run_fit
    from trainer.recipe.good_parts_settings import learns_from_good_parts
    from trainer.recipe.settings import TrainSettings
    from trainer.training.final_training import presumption_asked_for

    if learns_from_good_parts(config):
        if resume or start is not None:
            raise typer.BadParameter(
                "a fit on good parts takes minutes and is begun anew: leave out --resume and --from"
            )
        _fit_good_parts(config, data, out)
        return
    if resume and start is not None:
        raise typer.BadParameter("expected --resume or --from, received both: --resume goes on with its own weights")
    kept_in = None if no_cache else cache or default_cache_folder()
    recipe = load_yaml(config, TrainSettings)
    bundle = run_fit(recipe, data, out, console, resume=resume, cache=kept_in, start=start, recipe=config)
    training = bundle.manifest.training
    more = training.get("finish", {}).get("epochs", 0)
    then = f", then {more} more with the validation pictures" if more else ""
    console.print(
        f"{out}: kept epoch {training['best_epoch']} of {training['epochs'] - more}{then}, "
        f"{training['seconds'] / 60:.1f} minutes"
    )
    _tell_thresholds(bundle)
    chosen_on = counted(training["pictures"]["validation"], "picture")
    chosen = f"Those thresholds were chosen on {chosen_on}, so these figures flatter"
    if presumption_asked_for(bundle.manifest):
        chosen = "These figures are of the weights before the last part"
    console.print(
        f"{chosen}. Judge on the {training['pictures']['test']} held out: "
        f"{command('linewatch-train', 'evaluate', out, data, '--json', 'figures.json')}"
    )


def _fit_good_parts(config: Path, data: Path, out: Path) -> None:
    from trainer.anomaly.fitting import fit_good_parts
    from trainer.recipe.good_parts_settings import GoodPartsRecipe

    bundle = fit_good_parts(load_yaml(config, GoodPartsRecipe), data, out, console)
    console.print(
        f"{out}: learned from {counted(bundle.manifest.training['pictures']['train'], 'good picture')} in "
        f"{bundle.manifest.training['seconds'] / 60:.1f} minutes. Now convert it: "
        f"{command('convert', out, '--to', 'onnxruntime')}"
    )


@app.command(epilog="Example: `linewatch-train teach good-parts-bundle --data new-good-parts`")
def teach(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Option("--data", help="further parts: a folder with manifest.csv")],
) -> None:
    """Teach a bundle that learned from good parts what further ones look like; its size stays. Convert it afterwards.

    Good pictures that the line flagged falsely are taught so too: import them as ok. Defects that are marked by a mask
    are learned beside the good parts of the same folder. Defective pictures without a mask take no part.
    """
    from trainer.anomaly.teaching import teach as run_teach

    run_teach(bundle, data, console)
    console.print(f"{bundle}: taught. Now convert it: {command('convert', bundle, '--to', 'onnxruntime')}")


def _tell_thresholds(bundle: Bundle) -> None:
    """Say what was fitted for each class, and warn of what cannot be used."""
    from trainer.training.final_training import presumption_asked_for

    validation = bundle.manifest.validation
    asked_for = presumption_asked_for(bundle.manifest)
    for entry in bundle.classes:
        found = validation[entry.name]
        console.print(
            f"  {entry.name}: threshold {entry.threshold:g}, from {entry.min_area_px:g} px on; on validation "
            f"{found['missed']} of {counted(found['shown'], 'picture')} missed, {found['false']} falsely flagged"
        )
        if found["presumed"] and asked_for:
            console.print("    presumed, as the recipe asks: what was fitted would suit other weights")
        elif found["presumed"] and not found["shown"]:
            warn(
                console,
                f"no validation picture shows {entry.name}, so its threshold and smallest area are "
                "not fitted but presumed; label more pieces with it, for fit or fit-thresholds",
            )
        elif found["presumed"]:
            warn(
                console,
                f"{entry.name} was not found on validation pictures before they were learned from, "
                "so its threshold and smallest area are not fitted but presumed; only what is held out can show "
                "whether this model can be used for it",
            )
        elif found["shown"] and found["missed"] == found["shown"]:
            warn(
                console,
                f"{entry.name} was found on no validation picture; this model cannot be used for "
                "it. Train longer, or raise its weight in sampling.class_weights",
            )


@app.command(epilog="Example: `linewatch-train evaluate phone-bundle phone_msd --json figures.json`")
def evaluate(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    json_file: Annotated[Path, typer.Option("--json", help="write the figures here")],
    include_training: Annotated[
        bool, typer.Option("--include-training", help="also judge on pictures that were learned from")
    ] = False,
    tolerance_px: Annotated[
        float | None,
        typer.Option("--tolerance-px", min=0, max=100, help="also F1 of thin lines, right within so many pixels"),
    ] = None,
    ranking: Annotated[
        bool, typer.Option("--ranking/--no-ranking", help="average precision and ROC, for a second pass of the model")
    ] = True,
) -> None:
    """Judge a bundle on whole pictures, beside what an all-empty mask would score.

    Pictures that it learned from are left out. The last line says how well defective pictures are told from good ones:
    `picture_auroc` and `found_at_false_alarms` of the file.
    """
    from trainer.evaluation.evaluating import Wanted, tables, told_apart
    from trainer.evaluation.evaluating import evaluate as run_evaluate

    check_place(json_file)
    wanted = Wanted(include_training=include_training, tolerance_px=tolerance_px, ranking=ranking)
    evaluation = run_evaluate(bundle, data, console, wanted=wanted)
    write_text(json_file, json.dumps(evaluation.report | {"per_picture": evaluation.pictures}, indent=1) + "\n")
    report = evaluation.report
    console.print(
        f"{counted(report['pictures'], 'picture')} judged; {report['excluded_pictures']} left out: learned from"
    )
    for table in tables(report):
        console.print(table)
    if words := told_apart(report):
        console.print(words)


@app.command(epilog="Example: `linewatch-train pod phone-bundle --json pod.json --plot pod.png`")
def pod(
    bundle: BundleArgument,
    data: Annotated[
        Path | None,
        typer.Argument(help="a dataset whose clean pictures are drawn onto; without it, simulated parts"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write each defect that was judged here")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="draw the curves here, PNG")] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="what stands for a class: scratch=line or pore=spot")
    ] = None,
    contrast: Annotated[
        list[float] | None,
        typer.Option("--contrast", min=1, max=255, help="grey levels; the first counts most [default: 40, 20, 10]"),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="drawn defects darken")] = False,
    size_px: Annotated[
        tuple[float, float] | None,
        typer.Option("--size-px", help="least and largest size [default: 6 128, in prepared px]"),
    ] = None,
    width_px: Annotated[
        float | None, typer.Option("--width-px", min=0.2, max=1000, help="of lines [default: 2, in prepared px]")
    ] = None,
    mm_per_px: Annotated[float | None, typer.Option("--mm-per-px", help="how large a pixel is: also in mm")] = None,
    product: Annotated[str, typer.Option("--product", help="of the simulated line: glass, disc or tile")] = "glass",
    each: Annotated[int, typer.Option("--each", min=1, max=10_000, help="drawn in each orientation and ninth")] = 20,
    parts: Annotated[int, typer.Option("--parts", min=1, max=100_000, help="clean parts, at most")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, max=1_000_000, help="draw others")] = 0,
    note: Annotated[bool, typer.Option("--note/--no-note", help="note the result in the bundle's manifest")] = True,
) -> None:
    """Measure how small a defect is found: probability of detection over size, as non-destructive testing states it."""
    from trainer.pod.asking import asked_for, on_what
    from trainer.pod.running import measure_pod, note_in_manifest, sentences
    from trainer.pod.showing import draw_curves, hits_as_csv, tables

    for place in (json_file, csv_file, plot):
        if place is not None:
            check_place(place)
    asked = asked_for(contrast, size_px, width_px, dark=dark, each=each, parts=parts, seed=seed)
    measured = measure_pod(bundle, on_what(data, product, shape or [], mm_per_px), asked, console)
    if json_file is not None:
        write_text(json_file, json.dumps(measured.report, indent=1) + "\n")
    if csv_file is not None:
        write_text(csv_file, hits_as_csv(measured.trials))
    if plot is not None:
        write_bytes(plot, draw_curves(measured.summaries, mm_per_px), make_folder=True)
    for table in tables(measured.summaries, mm_per_px):
        console.print(table)
    clean = measured.report["clean"]
    if clean["parts"]:
        console.print(f"{clean['flagged']} of {counted(clean['parts'], 'clean part')} flagged")
    for line in sentences(measured):
        console.print(line)
    if note:
        note_in_manifest(bundle, measured)


@app.command("refit", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def refit() -> None:
    """Say what the command is called now."""
    raise typer.BadParameter("refit is called fit-thresholds now: linewatch-train fit-thresholds BUNDLE DATA")


@app.command(
    name="fit-thresholds",
    epilog="Example: `linewatch-train fit-thresholds phone-bundle further-phones --miss-cost 3`",
)
def fit_thresholds(
    bundle: BundleArgument,
    data: Annotated[
        Path | None, typer.Argument(help="a dataset of further pictures: a folder with manifest.csv")
    ] = None,
    folds: Annotated[
        Path | None, typer.Option("--folds", help="in place of DATA: what compare --folds wrote, whose folds chose")
    ] = None,
    miss_cost: Annotated[
        float | None, typer.Option("--miss-cost", min=0, help="of a missed picture; default: the recipe's")
    ] = None,
    false_cost: Annotated[
        float | None, typer.Option("--false-cost", min=0, help="of one falsely flagged; default: the recipe's")
    ] = None,
) -> None:
    """Fit thresholds and smallest areas anew on pictures that the bundle does not know; convert it again afterwards."""
    from trainer.bundling.fit_thresholds import fit_thresholds_again
    from trainer.comparing.over_folds import thresholds_over_folds

    if 0 in {miss_cost, false_cost}:
        raise typer.BadParameter("expected costs above 0, received 0")
    if folds is not None and (data is not None or miss_cost is not None or false_cost is not None):
        raise typer.BadParameter("expected --folds alone: the folds chose on their own pictures, by the recipe's costs")
    if folds is not None:
        fitted = thresholds_over_folds(bundle, folds)
    elif data is not None:
        fitted = fit_thresholds_again(bundle, data, console, miss_cost=miss_cost, false_cost=false_cost)
    else:
        raise typer.BadParameter("expected DATA, a dataset of further pictures, or --folds")
    _tell_thresholds(fitted)
    step = fitted.manifest.provenance[-1]
    chosen_on = "picture of the folds" if folds is not None else "further picture"
    if step["kept"]:
        console.print(
            f"No {chosen_on} shows {', '.join(step['kept'])}: thresholds, areas and counts are those of before"
        )
    pictures = counted(step["pictures"], chosen_on, chosen_on.replace("picture", "pictures"))
    console.print(
        f"Those thresholds were chosen on {pictures}, which can judge no more. "
        f"Now convert the bundle: {command('convert', bundle, '--to', 'onnxruntime')}"
    )


@app.command(epilog="Example: `linewatch-train report phone-bundle phone_msd --out report.html`")
def report(
    bundle: BundleArgument,
    data: Annotated[Path | None, typer.Argument(help="a dataset to judge on; without it only the training")] = None,
    out: Annotated[
        Path, typer.Option("--out", help="the page to write, .html; figures and pictures go beside it")
    ] = Path("report.html"),
    include_training: Annotated[
        bool, typer.Option("--include-training", help="also judge on pictures that were learned from")
    ] = False,
    tolerance_px: Annotated[
        float, typer.Option("--tolerance-px", min=0, max=100, help="F1 of thin lines: right within so many pixels")
    ] = 2.0,
    ranking: Annotated[
        bool, typer.Option("--ranking/--no-ranking", help="PR and ROC curves, for a second pass of the model")
    ] = True,
) -> None:
    """Write a page on a bundle: figures, curves, worst pictures, training, and what to change."""
    from trainer.evaluation.evaluating import Wanted
    from trainer.reports.reporting import report as write_report

    wanted = Wanted(include_training=include_training, tolerance_px=tolerance_px, ranking=ranking)
    written = write_report(bundle, data, out, console, wanted)
    for finding in written.findings:
        warn(console, finding.words)
    if written.verdict is not None:
        console.print(f"training, {written.verdict.kind}: {written.verdict.evidence}. {written.verdict.remedy}")
    console.print(
        f"{written.page}: open it in a browser; figures in {written.figures}, "
        f"{counted(len(written.pictures), 'picture')}"
    )


@app.command(name="held-out", epilog="Example: `linewatch-train held-out phone-bundle --data phone_msd --out held-out`")
def held_out(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Option("--data", help="the dataset that it was trained on")],
    out: Annotated[Path, typer.Option("--out", help="an empty or absent folder")],
) -> None:
    """Copy the pictures that a bundle held out, with their masks, to replay or evaluate them."""
    from trainer.evaluation.holding_out import copy_held_out

    console.print(f"{counted(copy_held_out(bundle, data, out), 'picture')} copied to {out}")


@app.command(epilog="Example: `linewatch-train models --tile 256 --json`")
def models(
    tile: Annotated[int, typer.Option("--tile", min=8, max=4096, help="side of a square tile, px")] = 128,
    channels: Annotated[int, typer.Option("--channels", min=1, max=3, help="1 = grey, 3 = colour")] = 1,
    classes: Annotated[int, typer.Option("--classes", min=1, max=255, help="how many kinds of defects")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON on standard output")] = False,
) -> None:
    """List the families of networks with what each costs, at its defaults."""
    from trainer.reports.listing import facts, table

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
    from trainer.bundling.shipping import ship as run_ship

    shipped = run_ship(bundle, out)
    size = sum((out / name).stat().st_size for name in shipped.manifest.files)
    console.print(f"{out}: {counted(len(shipped.manifest.files), 'file')}, {size / 1e6:.2f} MB")


@app.command(epilog="Example: `linewatch-train compare config/train.steel.yaml --data steel --out out/folds --folds 5`")
def compare(
    config: Annotated[Path, typer.Argument(help="the grid, YAML; see config/grid.steel.yaml; or one recipe")],
    data: Annotated[Path, typer.Option("--data", help="the dataset: a folder with manifest.csv")],
    out: Annotated[Path, typer.Option("--out", help="a folder for the runs and the table; goes on where it was")],
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, max=20, help="cross-validate: each run once for each fold of the groups"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=20, help="each combination so often, with other seeds")
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS|local", help="let Ray carry the runs out, there or here")
    ] = None,
    cpus: Annotated[
        float | None, typer.Option("--cpus-per-run", min=0.5, help="with --ray [default: all cores of this machine]")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus-per-run", min=0, help="with --ray [default: 1 where there is any]")
    ] = None,
    halving: Annotated[
        bool, typer.Option("--halving", help="with --ray: stop the weakest early, by their validation pictures")
    ] = False,
) -> None:
    """Train and judge every combination of a grid, and print one table. A grid that was stopped goes on."""
    from trainer.comparing.comparing import compare as run_compare
    from trainer.comparing.grid import read_grid
    from trainer.comparing.on_ray import RayWish

    if ray is None and (halving or cpus is not None or gpus is not None):
        raise typer.BadParameter("expected --ray ADDRESS|local beside --halving, --cpus-per-run and --gpus-per-run")
    wish = None if ray is None else RayWish(ray, cpus, gpus, halving)
    run_compare(read_grid(config, seeds), data, out, console, folds=folds, wish=wish)


@app.command(epilog="Example: `linewatch-train preparing config/train.glass.yaml picture.jpg --out sheet.png`")
def preparing(
    config: Annotated[Path, typer.Argument(help="a recipe or any YAML with `preparing:`, or a bundle")],
    image: Annotated[Path, typer.Argument(help="a picture")],
    out: Annotated[Path, typer.Option("--out", help="the sheet to write, .png or .jpg")],
) -> None:
    """Draw what each preparing step makes of a picture, with its size, mean and standard deviation."""
    from rich.table import Table

    from edge.errors import ProductNotFoundError
    from edge.pictures import read_picture
    from edge.preparing import depth_bits
    from trainer.datasets.contact_sheets import write_sheet
    from trainer.reports.preparing_sheet import draw, load_steps, walk

    steps = load_steps(config)
    seen, missing = walk(read_picture(image, depth_bits(steps)), steps)
    write_sheet(out, draw(seen))
    table = Table("step", "size, px", "channels", "mean", "std", "ms")
    for stage in seen:
        pixels = stage.pixels
        figures = (f"{pixels.mean():.1f}", f"{pixels.std():.1f}", f"{stage.milliseconds:.1f}")
        table.add_row(stage.name, stage.size, str(pixels.shape[2]), *figures)
    console.print(table)
    console.print(f"sheet: {out}")
    if missing is not None:
        raise ProductNotFoundError(f"{image}: the product was not found: {missing}. The sheet shows the steps before")


@app.command(epilog="Example: `linewatch-train tiles panels --tile 320 --out panel-tiles`")
def tiles(
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    tile: Annotated[int, typer.Option("--tile", min=8, max=4096, help="side of a tile, px")],
    out: Annotated[Path, typer.Option("--out", help="the dataset to write: a folder that is empty or absent")],
    overlap: Annotated[int, typer.Option("--overlap", min=0, help="of neighbouring tiles, px")] = 0,
    config: Annotated[Path | None, typer.Option("--config", help="prepare by this recipe or bundle first")] = None,
    defective_only: Annotated[bool, typer.Option("--defective-only", help="leave clean tiles out")] = False,
) -> None:
    """Cut the pictures of a dataset, and their masks alike, into tiles: a dataset again, in the same groups."""
    from trainer.datasets.cutting import cut_dataset
    from trainer.datasets.dataset import read_manifest
    from trainer.fitting import progress_bar
    from trainer.reports.preparing_sheet import load_steps

    if overlap >= tile:
        raise typer.BadParameter(f"--overlap: expected 0 to {tile - 1} px, received {overlap}")
    steps = load_steps(config) if config else ()
    entries = read_manifest(data)
    with progress_bar(console) as bar:
        counts = cut_dataset(
            entries,
            out,
            tile_px=tile,
            overlap_px=overlap,
            steps=steps,
            keep_clean=not defective_only,
            progress=lambda all_of_them: bar.track(all_of_them, description="cutting"),
        )
    left_out = f"; {counts.skipped} clean ones left out" if counts.skipped else ""
    console.print(
        f"{out}: {counted(counts.pictures, 'picture')} cut into {counted(counts.tiles, 'tile')} of {tile} px, "
        f"{counts.defective} of them defective{left_out}"
    )


@app.command(name="split", epilog="Example: `linewatch-train split phone_msd --config config/train.phone.yaml`")
def show_split(
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    config: Annotated[Path, typer.Option("--config", help="the recipe, YAML")],
    out: Annotated[
        Path | None, typer.Option("--out", help="also write image, class, group and part as CSV here")
    ] = None,
) -> None:
    """Show how a recipe would split a dataset, by class and group, without training."""
    from trainer.datasets.dataset import class_names, read_manifest
    from trainer.datasets.recipe_classes import require_known_classes
    from trainer.datasets.split_manifest import write_split
    from trainer.datasets.splitting import split_dataset, split_table
    from trainer.recipe.marked_recipes import load_marked_recipe

    settings = load_marked_recipe(config, "fit says how many good pictures it learns from")
    entries = read_manifest(data, need_masks=False)
    require_known_classes(settings, class_names(entries), data, config)
    parts = split_dataset(entries, settings.split, settings.seed, console)
    console.print(split_table(entries, parts))
    if out is not None:
        write_split(out, entries, parts)


@app.command(epilog="Example: `linewatch-train audit phone_msd --report audit.html --config config/train.phone.yaml`")
def audit(
    data: Annotated[Path, typer.Argument(help="a dataset: a folder with manifest.csv")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="also look at this bundle's split: leaks, changed files")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="also look at how this recipe would split")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="write a page with pictures here, HTML")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all findings here")] = None,
) -> None:
    """Look for broken, doubtful and leaking labels before a model learns them.

    Ends with 0, or with 10 where something is found that training would refuse.
    """
    from trainer.auditing.audit import audit as run_audit
    from trainer.auditing.audit import refuse_broken, tables
    from trainer.auditing.audit_page import audit_page
    from trainer.recipe.marked_recipes import load_marked_recipe

    settings = None if config is None else load_marked_recipe(config, "leave --config out")
    for place in (report, json_file):
        if place is not None:
            check_place(place)
    found = run_audit(data, console, bundle=bundle, settings=settings, recipe=config)
    for table in tables(found):
        console.print(table)
    if report is not None:
        write_text(report, audit_page(found))
        console.print(f"{report}: the findings with pictures")
    if json_file is not None:
        write_text(json_file, json.dumps(found.report(), indent=1) + "\n")
    refuse_broken(found)
    console.print(f"Nothing that training would refuse; {counted(found.count('doubtful'), 'doubtful finding')}")


@app.command(epilog="Example: `linewatch-train augmentations config/train.phone.yaml --data phone_msd --out sheet.png`")
def augmentations(
    config: Annotated[Path, typer.Argument(help="the recipe, YAML")],
    data: Annotated[Path, typer.Option("--data", help="a dataset: a folder with manifest.csv")],
    out: Annotated[Path, typer.Option("--out", help="the sheet to write, PNG or JPEG")],
    count: Annotated[int, typer.Option("--count", min=1, max=400, help="how many crops to show")] = 24,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="draw others; default: the recipe's")] = None,
) -> None:
    """Show crops as training sees them, each beside what it was made from, with the defects outlined."""
    from trainer.recipe.marked_recipes import load_marked_recipe
    from trainer.reports.augmentation_sheet import write_augmentation_sheet

    settings = load_marked_recipe(config, "its `copies` are drawn within the ranges that it states")
    shown = write_augmentation_sheet(settings, data, out, count=count, seed=settings.seed if seed is None else seed)
    console.print(f"{out}: {counted(shown, 'crop')}")


def main() -> None:
    """Run the command; our errors end it with a message and their exit code."""
    log_to_stderr(logging.WARNING)
    run_app(app)


if __name__ == "__main__":
    main()
