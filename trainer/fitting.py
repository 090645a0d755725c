"""`linewatch-train fit`: a dataset and a recipe → a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console

from edge.bundle import SPLIT, Bundle
from edge.cli.terminal import warn
from edge.errors import DatasetError, StoreError
from edge.wording import command, counted
from trainer.auditing.shrinking import shrunk_to_edge
from trainer.bundling.bundle import Trained, write_bundle
from trainer.datasets.cells import labelled_whole
from trainer.datasets.dataset import (
    RESERVED,
    Entry,
    Picture,
    check_classes,
    check_files,
    class_names,
    dataset_sha256,
    load_picture,
    read_judged,
    read_manifest,
)
from trainer.datasets.dataset_cache import load_cached
from trainer.datasets.good_names import words_on_good_names
from trainer.datasets.memory import check_memory
from trainer.datasets.recipe_classes import require_known_classes
from trainer.datasets.split_manifest import write_split
from trainer.datasets.splitting import Split, split_dataset
from trainer.evaluation.sample_size import what_can_be_shown
from trainer.recipe.settings import TrainSettings, stored_recipe
from trainer.training.batches import Batches
from trainer.training.checkpointing import CHECKPOINT, TRAINING, check_writable
from trainer.training.final_training import FOLDER as LAST_PART
from trainer.training.final_training import first_part, train_finally
from trainer.training.hardware import (
    available_bytes,
    describe,
    import_keras,
    layer_precision,
    make_strategy,
    on_one_processor,
)
from trainer.training.starting import BEFORE, PARTS, Start, begin_with, check_start, find_start, write_before
from trainer.training.training_loop import InterruptedTrainingError, TrainingLoop, announce, progress_bar

__all__ = ["InterruptedTrainingError", "fit", "progress_bar"]

RECIPE = "recipe.json"
_NAMED_KEYS = 6


def fit(
    settings: TrainSettings,
    data: Path,
    out: Path,
    console: Console,
    *,
    resume: bool = False,
    cache: Path | None = None,
    start: Path | None = None,
    recipe: Path | None = None,
) -> Bundle:
    """Train on the dataset folder `data` and write the bundle `out`. `cache`: where prepared pictures are kept.

    `start`: weights of an earlier training to begin with, see `training.starting.find_start`; not beside `resume`.
    `recipe`: the file that the settings were read from, for what is said of it. Raises DatasetError, SettingsError,
    StoreError, InterruptedTrainingError, all before training where possible.
    """
    _check_target(out, settings, resume=resume)
    begins_with = None if start is None else find_start(start)
    # either all defects have masks or none where labels alone will do: a mixture could be learned, and not judged
    entries = read_judged(data)[0] if _answers_whole_tiles(settings) else read_manifest(data)
    names = _checked_names(settings, data, entries, recipe)
    for words in words_on_good_names(names, data):
        warn(console, words)
    parts = split_dataset(entries, settings.split, settings.seed, console)
    counts = {part: sum(p == part for p in parts.values()) for part in ("train", "validation", "test")}
    console.print(
        f"{counted(len(entries), 'picture')}, classes {', '.join(names)}: {counts['train']} to learn from, "
        f"{counts['validation']} to choose by, {counts['test']} held out"
    )
    if begins_with is not None:
        check_start(begins_with, names, entries, parts)
        _tell_start(begins_with, console)
    check_writable(out / TRAINING)
    noted = {"dataset_sha256": dataset_sha256(entries), "parts": parts, "classes": names}
    began_with = _begin_run(out, settings, entries, noted, begins_with, resume=resume)
    # the network comes before the pictures: what is wrong with a device or a model shows in seconds
    trainable = _Trainable(settings, names, begins_with)
    hardware = describe(trainable.strategy)
    announce(settings, trainable.net, hardware, console)
    wanted = [entry for entry in entries if parts[entry.image] != "test"]
    check_memory(wanted, names, settings, available_bytes())
    held_out = [entry for entry in entries if parts[entry.image] == "test"]
    check_files(held_out, names, settings.preparing, settings.channels)  # or evaluation trips over them
    pictures = _load(wanted, parts, names, settings, console=console, cache=cache)
    started = datetime.now(timezone.utc)
    loop = trainable.loop(settings, pictures, out / TRAINING, console)
    loop.train(resume=resume)
    model = chooser = trainable.inference_model(loop.best_weights)
    runs, figures, cut = [loop.run], {}, loop.cut_by_clock
    if settings.final_training is not None:
        final = train_finally(
            settings,
            loop,
            pictures,
            names,
            folder=out / TRAINING,
            entries=entries,
            parts=parts,
            console=console,
            resume=resume,
        )
        model = trainable.inference_model(final.weights)
        runs.append(final.run)
        figures["finish"] = final.figures
        cut = cut or final.cut_by_clock
    only_sorts = _answers_whole_tiles(settings) and all((p.truth > 0).all() for own in pictures.values() for p in own)
    if only_sorts:
        console.print(
            "no picture is clean: the model sorts, and answers one of its classes for every tile. Give clean pictures "
            "(class ok) to tell good parts from bad ones"
        )
    trained = Trained(
        only_sorts=only_sorts,
        model=model,
        chooser=chooser,
        names=names,
        validation=pictures["validation"],
        known=[*pictures["train"], *pictures["validation"]],
        started=started,
        figures={
            "epochs": sum(run.epoch for run in runs),
            "best_epoch": loop.run.best_epoch,
            "steps": sum(run.steps for run in runs),
            "seconds": round(sum(run.elapsed_s for run in runs), 1),
            "cut_by_clock": cut,
            **figures,
            "crop_dice": loop.run.best_dice,
            "hardware": hardware,
            **({"began_with": began_with} if began_with else {}),
        },
    )
    bundle = write_bundle(settings, out, entries, parts=parts, trained=trained, console=console)
    for sentence in what_can_be_shown(entries, parts, names):
        console.print(sentence)
    return bundle


def _answers_whole_tiles(settings: TrainSettings) -> bool:
    """Tell whether a tile gets one answer: then a picture's label says all, and no mask is needed."""
    return settings.model.stride_px(settings.tile.height) == settings.tile.height


def _checked_names(
    settings: TrainSettings, data: Path, entries: Sequence[Entry], recipe: Path | None
) -> tuple[str, ...]:
    names = class_names(entries)
    if not names:
        raise DatasetError(f"{data}: every picture is clean; expected masks of at least one class of defect")
    if taken := [name for name in names if name.lower() in RESERVED]:
        raise DatasetError(
            f"{data}: {taken[0]} cannot be the name of a class of defects, since figures call something else so. "
            f"Rename it: {command('linewatch-train', 'import', 'manifest', data, '--rename', taken[0] + '=NAME')} "
            "--out NEW; the name ok makes it clean"
        )
    require_known_classes(settings, names, data, recipe)
    settings.loss.sum_of(names)  # a preset may not know so many classes
    return names


def _check_target(out: Path, settings: TrainSettings, *, resume: bool) -> None:
    checkpoint = out / TRAINING / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise StoreError(f"Nothing to resume: expected {checkpoint}. Run without --resume")
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out} is a file; expected a folder that is empty or absent")
    begun = {TRAINING} if not checkpoint.is_file() else set()  # a run that ended before its first epoch left nothing
    if not resume and out.exists() and {path.name for path in out.iterdir()} - begun:
        raise StoreError(f"{out} is not empty. Name another folder, remove it, or go on with --resume")
    if resume:
        had, wanted = _read_recipe(out), settings.model_dump(mode="json")
        if not (out / TRAINING / LAST_PART / CHECKPOINT).is_file():  # or the first part would go on under the last
            had["max_minutes"] = wanted["max_minutes"]  # it may be raised: no step is another one by it
        differing = _differences(had, wanted)
        if differing:
            more = f" and {len(differing) - _NAMED_KEYS} more" if len(differing) > _NAMED_KEYS else ""
            raise StoreError(
                f"{out} was begun with another recipe: {'; '.join(differing[:_NAMED_KEYS])}{more}. Give the recipe "
                f"that it was begun with, or leave --resume out and begin another folder with its "
                f"weights: {command('--from', out)}"
            )


def _differences(had: dict[str, Any], wanted: dict[str, Any], before: str = "") -> list[str]:
    """Say which keys of two recipes differ, and how."""
    found = []
    for key in sorted(had.keys() | wanted.keys()):
        old, new = had.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{before}{key}.")
        elif old != new:
            found.append(f"{before}{key} was {json.dumps(old)} and is {json.dumps(new)}")
    return found


def _read_recipe(out: Path) -> dict[str, Any]:
    """Read a run's recipe; keys that there were not yet when it was begun have the values that change nothing."""
    try:
        text = (out / TRAINING / RECIPE).read_text(encoding="utf-8")
        recipe: dict[str, Any] = json.loads(text)
        with suppress(ValidationError):  # a key that is there no more is told as a difference
            recipe = TrainSettings.model_validate_json(json.dumps(stored_recipe(recipe))).model_dump(mode="json")
    except (OSError, ValueError) as error:
        raise StoreError(f"{out / TRAINING / RECIPE} cannot be read: {error}. Train anew in another folder") from error
    return recipe


def _tell_start(start: Start, console: Console) -> None:
    console.print(f"begins with the weights in {start.path!s}")
    if start.learned is None:
        warn(
            console,
            "nothing beside them tells which pictures they learned from; if any of them are held "
            "out now, the figures flatter",
        )


def _begin_run(
    out: Path,
    settings: TrainSettings,
    entries: Sequence[Entry],
    noted: dict[str, Any],
    start: Start | None,
    *,
    resume: bool,
) -> dict[str, str] | None:
    """Note recipe, data, split and first weights of a run that begins; return what a resumed one began with.

    Refuses to go on with other data, which would be split anew.
    """
    folder = out / TRAINING
    try:
        if resume:
            before: dict[str, Any] = json.loads((folder / PARTS).read_text(encoding="utf-8"))
            if any(before.get(key) != noted[key] for key in ("dataset_sha256", "parts")):
                raise DatasetError(
                    f"The dataset is not the one that {out} was begun with: expected the same pictures, masks and "
                    "groups. What it learned from could be held out now; train anew in another folder"
                )
            return before.get("began_with")
        noted = noted | ({"began_with": start.noted} if start else {})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PARTS).write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        recipe = json.dumps(settings.model_dump(mode="json"), indent=1) + "\n"
        (folder / RECIPE).write_text(recipe, encoding="utf-8")
        write_split(folder / SPLIT, entries, noted["parts"])
        (folder / BEFORE).unlink(missing_ok=True)  # of a run that ended before its first epoch
        if start is not None:
            write_before(folder, start)
        return noted.get("began_with")
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} cannot be written or read: {error}. Name another folder") from error


def _load(
    entries: Sequence[Entry],
    parts: dict[str, Split],
    names: Sequence[str],
    settings: TrainSettings,
    *,
    console: Console,
    cache: Path | None,
) -> dict[Split, list[Picture]]:
    """Read and prepare what is learned from and chosen by.

    Raises DatasetError where all masks of a class are empty.
    """
    pictures: dict[Split, list[Picture]] = {"train": [], "validation": []}
    whole = _answers_whole_tiles(settings)
    shrunk: list[float] = []
    with progress_bar(console) as progress:
        for entry in progress.track(entries, description="reading"):
            if cache is None:
                picture = load_picture(entry, names, settings.preparing, settings.channels)
            else:
                picture = load_cached(entry, names, settings.preparing, settings.channels, cache)
            if settings.labels.shrink == "edge":
                picture, by_px = shrunk_to_edge(picture)
                shrunk += by_px
            pictures[parts[entry.image]].append(labelled_whole(picture, names) if whole else picture)
    if shrunk:
        wider = f"{counted(len(shrunk), 'defect')} drawn wider than the picture's edge"
        console.print(f"labels: {wider} shrunk, by {np.median(shrunk):.0f} px in the median")
    for warning in check_classes([*pictures["train"], *pictures["validation"]], names):
        warn(console, f"{warning}")
    return pictures


class _Trainable:
    """A recipe's network on its devices, with everything that trains it."""

    def __init__(self, settings: TrainSettings, names: Sequence[str], start: Start | None = None) -> None:
        import_keras(settings.seed, deterministic=settings.deterministic)
        from trainer.losses import make_loss
        from trainer.models import build_for_training
        from trainer.training.stepping import Stepper

        self._settings, self._names = settings, names
        self.strategy = make_strategy(settings)
        with self.strategy.scope(), layer_precision(settings.precision):
            self.net = build_for_training(settings.model, settings.channels, len(names), settings.sampling.crop_px)
        if start is not None:
            begin_with(start, self.net, settings.model.family)
        loss = make_loss(
            settings.loss, settings.model, names, by_numpy=not settings.xla and on_one_processor(self.strategy)
        )
        self._stepper = Stepper(settings, self.net, loss, self.strategy)

    def loop(
        self, settings: TrainSettings, pictures: dict[Split, list[Picture]], folder: Path, console: Console
    ) -> TrainingLoop:
        """Put the loop together that chooses, by the recipe `settings`; the crops that validate are cut here."""
        from trainer.models import stages
        from trainer.training.validating import Validation

        part = first_part(settings)
        return TrainingLoop(
            part,
            self._stepper,
            batches=Batches(part, self._names, pictures["train"]),
            validation=Validation(part, self._names, pictures["validation"]),
            stages=stages(part.model),
            folder=folder,
            console=console,
            goes_on=settings.final_training is not None,
        )

    def inference_model(self, weights: Sequence[Any]) -> Any:
        """Return the keras.Model with `weights`, in float32, as a bundle keeps it."""
        from trainer.models import for_inference

        s = self._settings
        self.net.set_weights(weights)
        return for_inference(self.net, s.model, (s.tile.height, s.tile.width, s.channels), len(self._names))
