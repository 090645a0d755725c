"""The figures of all sets → docs/results.md. Measurements are kept in docs/results.json, set by set."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml

from benchmarks.results import folds, worst
from benchmarks.results.running import ROOT, Ran
from benchmarks.results.sets import SETS, SHIPPED, PictureSet, Target
from trainer.recipe.settings import TrainSettings, stored_recipe
from trainer.training.quiet_imports import import_quietly

DOCS = ROOT / "docs"
KEPT = "results.json"
_TILE_PX = 128
TRIED = Path(__file__).with_name("tried.yaml")

_INTRODUCTION = """# Results

Written by `make results DATA=DIR`. DIR holds public sets of pictures, none of which is part of this project. Each set
is learned by its recipe in `config/`, in at most 25 minutes on two cores, and converted. It is judged on whole pictures
that were held out by group, at the thresholds of the bundle. For each set the commands were

    linewatch-train fit config/train.SET.yaml --data DIR/FOLDER --out B
    convert B --to onnxruntime --yes
    linewatch-train report B DIR/FOLDER --out report.html

The worst cases are named below, and `out/results/worst.html`, written by the same command, shows them: no picture of
the sets is repeated here. An interval is the 95 % bootstrap interval over groups of pictures. For a share without any
error it is that of Clopper and Pearson. **It says how far another draw of pictures may lie from this one.** Beside each
figure stands what an answer without any defect would get.
"""


def entry(ran: Ran, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is kept of a set that was run."""
    training, report = ran.training, ran.figures["evaluation"]
    return {
        "date": ran.date,
        "minutes": round(training["seconds"] / 60, 1),
        "epochs": training["epochs"],
        "cores": training["machine"]["cores"],
        "finish_minutes": round(training["finish"]["seconds"] / 60, 1) if "finish" in training else None,
        "presumed": (stored_recipe(training["recipe"]).get("final_training") or {}).get("thresholds") == "presumed",
        "pictures": training["pictures"],
        "model": _model(training["recipe"], len(report["counts"]["shown"])),
        "conversion": _conversion(ran.conversion["comparison"]),
        "figures": [_figure(target, report) for target in ran.picture_set.targets],
        "classes": _classes(report),
        "passed": _passed_as_clean(report),
        "worst": worst.worst_of(ran.figures),
        "folder": ran.folder.name,
        "tables": found or {},
    }


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _conversion(comparison: dict[str, Any]) -> dict[str, Any]:
    """Return how many defects there were, and were lost and gained, over all classes."""
    return {
        "defects": comparison["defects"],
        "lost": sum(comparison["lost"].values()),
        "gained": sum(comparison["gained"].values()),
        "changed_share": comparison["changed_share"],
    }


def _passed_as_clean(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the share of defective pictures that are passed; None of what only sorts, which never answers nothing."""
    share = report["passed_pictures"]["all"]
    if report["labels_only"] or share is None:
        return None
    between = report["intervals"]["passed_pictures"]["all"]
    return {"share": share, "interval": between, "defective": report["counts"]["defective"]}


def _model(recipe: dict[str, Any], class_count: int) -> str:
    import_quietly(("tensorflow", "keras"))
    from trainer.models import describe

    settings = TrainSettings.model_validate(stored_recipe(recipe))
    facts = describe(settings.model, settings.channels, class_count, _TILE_PX)
    return f"{facts.family} of {facts.gflop_per_tile:.3f} GFLOP per tile of {_TILE_PX} px"


def _figure(target: Target, report: dict[str, Any]) -> dict[str, Any]:
    value = target.value(report)
    if value is None:
        raise SystemExit(f"The report has no {'.'.join(target.path)}, which is the target {target.title!r}")
    return {
        "title": target.title,
        "value": value,
        "interval": target.interval(report),
        "empty": target.value(report["empty_baseline"]),
    }


def _classes(report: dict[str, Any]) -> list[dict[str, Any]]:
    shown = report["counts"]["shown"]
    return [
        {
            "name": name,
            "iou": report["iou"].get(name),
            "dice": report["dice_nonempty"].get(name),
            "missed": report["counts"]["missed"][name],
            "shown": shown[name],
            "false": report["counts"]["false"][name],
            "others": report["pictures"] - shown[name],
        }
        for name in shown
    ]


def keep(docs: Path, name: str, one: dict[str, Any]) -> None:
    """Put a set's figures among those that are kept."""
    kept = read_kept(docs) | {name: one}
    ordered = {key: kept[key] for key in [*(each.name for each in SETS), "shipped", folds.KEPT] if key in kept}
    (docs / KEPT).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def read_kept(docs: Path) -> dict[str, Any]:
    """Return what is kept, by set."""
    path = docs / KEPT
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kept


def write(docs: Path) -> None:
    """Write the page from what is kept."""
    kept = read_kept(docs)
    parts = [_INTRODUCTION, _overview(kept)]
    parts += [_section(one, kept[one.name]) for one in SETS if one.name in kept]
    if "shipped" in kept:
        parts.append(_shipped(kept["shipped"]))
    parts += [folds.section(kept.get(folds.KEPT, {})), _tried()]
    (docs / "results.md").write_text("\n".join(parts), encoding="utf-8")


def missed(kept: dict[str, Any]) -> list[str]:
    """Name the targets that are not reached, and the sets that were not run."""
    told = [f"{one.name}: not run yet" for one in SETS if one.name not in kept]
    told += [
        f"{one.name}: {target.title} {target.words(figure['value'])}, expected {target.limit(target.must)}"
        for one in SETS
        for target, figure in zip(one.targets, kept.get(one.name, {}).get("figures", []), strict=False)
        if not target.reached(figure["value"], target.must)
    ]
    told += folds.missed(kept.get(folds.KEPT, {}))
    if "shipped" in kept:
        told += [
            f"shipped model: {target.title} {target.words(value)}, expected {target.limit(target.must)}"
            for target, value in zip(SHIPPED, (kept["shipped"]["found"], kept["shipped"]["false"]), strict=True)
            if not target.reached(value, target.must)
        ]
    return told


def _overview(kept: dict[str, Any]) -> str:
    lines = ["| set | figure | | 95 % | empty | must | aim |", "|---|---|---|---|---|---|---|"]
    for one in SETS:
        if one.name not in kept:
            lines.append(f"| {one.title} | not run yet | | | | | |")
            continue
        for place, (target, figure) in enumerate(zip(one.targets, kept[one.name]["figures"], strict=True)):
            lines.append(_row(one if place == 0 else None, target, figure))
    return "\n".join(lines) + "\n"


def _row(one: PictureSet | None, target: Target, figure: dict[str, Any]) -> str:
    value, interval, empty = figure["value"], figure["interval"], figure["empty"]
    title = f"[{one.title}](#{one.title.lower().replace(',', '').replace(' ', '-')})" if one else ""
    between = "" if interval is None else f"{target.words(interval[0])} to {target.words(interval[1])}"
    nothing = "" if empty is None else target.words(empty)
    must = f"{target.limit(target.must)} {'reached' if target.reached(value, target.must) else '**missed**'}"
    aim = f"{target.limit(target.aim)} {'reached' if target.reached(value, target.aim) else 'not yet'}"
    return f"| {title} | {target.title} | **{target.words(value)}** | {between} | {nothing} | {must} | {aim} |"


def _section(one: PictureSet, kept: dict[str, Any]) -> str:
    pictures, compared = kept["pictures"], kept["conversion"]
    told = (
        f"{kept['date']}: `{one.recipe}`, {kept['model']}. Trained {kept['minutes']:.1f} minutes "
        f"({kept['epochs']} epochs) on {_cores(kept['cores'])}, from {pictures['train']} pictures. "
        f"{pictures['validation']} {_validation(kept)}. {pictures['test']} were held out. "
        f"Converted: {compared['lost']} of "
        f"{compared['defects']} defects lost, {compared['gained']} gained, {compared['changed_share']:.4%} of the "
        "pixels changed."
    )
    text = f"""## {one.title}

{_wrapped(one.about)}

{_wrapped(told)}

| class | IoU | Dice where shown | missed | given to others |
|---|---|---|---|---|
"""
    for row in kept["classes"]:
        iou, dice = ("" if row[key] is None else f"{row[key]:.3f}" for key in ("iou", "dice"))
        others = f"{row['false']} of {row['others']}"
        text += f"| {row['name']} | {iou} | {dice} | {row['missed']} of {row['shown']} | {others} |\n"
    if passed := kept.get("passed"):
        text += "\n" + _wrapped(_passed(passed)) + "\n"
    if "worst" in kept:
        text += f"\n{worst.told(kept['worst'])}\n"
    for title, table in kept["tables"].items():
        text += f"\n{title}\n\n{table}\n"
    return text


def _validation(kept: dict[str, Any]) -> str:
    """Say what the validation pictures were for."""
    minutes = kept.get("finish_minutes")
    if not minutes:
        return "chose the best epoch, thresholds and smallest areas"
    learned = f"were learned from as well in the last {minutes:.1f} minutes"
    if kept.get("presumed"):
        return f"told how the first part went and {learned}. Thresholds and smallest areas are presumed"
    return f"chose thresholds and smallest areas, and {learned}"


def _passed(passed: dict[str, Any]) -> str:
    count = round(passed["share"] * passed["defective"])
    return (
        f"Passed as clean, nothing at all being answered: {count} of {passed['defective']} defective pictures, "
        f"{passed['share']:.1%}{_between(passed['interval'])}."
    )


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f" (95 %: {interval[0]:.1%} to {interval[1]:.1%})"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _shipped(kept: dict[str, Any]) -> str:
    found, false = (
        f"{target.title} {value:.1%}{_between(between)} (must be {target.limit(target.must)}, aim "
        f"{target.limit(target.aim)})"
        for target, value, between in zip(
            SHIPPED, (kept["found"], kept["false"]), kept.get("intervals", (None, None)), strict=True
        )
    )
    return f"""## The shipped model, which never saw a real picture

{kept["date"]}: `simulated-glass` was trained on simulated glass only (`make model-glass`). It knows scratches,
stains and chips, and has no word for oil. On `phone_msd`:

- {found}
- {false}

{kept["table"]}

The others that are given a scratch show oil, whose glints are as thin and as bright. All 22 drops are called stains;
so are mirrored lamps, lenses and keys. A stain of the set is a speck of four pixels at this size. Any drawn stain
is larger. Trainings differ more than this figure tells. With a level more, and with more drawn pictures, 24
and 30 of the 46 were given a scratch. An edge of something mirrored in the stained phones gave more than half of them.
The model that is shipped was chosen of three with these pictures known, so its figures are not blind. So was the
smallest area of a scratch, 38 px. Its other thresholds and areas come from drawn pictures alone.
"""


def _tried() -> str:
    rows: list[dict[str, str]] = yaml.safe_load(TRIED.read_text(encoding="utf-8")) or []
    lines = ["## What was tried", "", "| what | on | gain | cost | kept |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['measured_on']} | {row['gain']} | {row['cost']} | {row['kept']} |" for row in rows
    ]
    return "\n".join(lines) + "\n"
