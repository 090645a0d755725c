"""`linewatch-train fit`: a dataset and a recipe → a bundle.

An epoch's batches depend on the seed and the epoch alone, and everything else that training remembers is in the
checkpoint, so a resumed run goes on as if it had not been stopped. With `max_minutes` the schedule follows the clock
where that is faster than the steps: a slower machine still anneals, and then two runs are not the same to the bit.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edge.bundle import Bundle
from edge.errors import DatasetError, DependencyError, LinewatchError, StoreError
from edge.opencv import cv2
from edge.records import Float32, UInt8
from trainer.augmenting import CropSampler, warp
from trainer.bundling import Trained, write_bundle
from trainer.datasets import Entry, Picture, class_names, dataset_sha256, load_picture, read_manifest
from trainer.settings import TrainSettings
from trainer.splitting import Part, split

TRAINING = "training"
CHECKPOINT = "checkpoint.npz"
LOG = "log.csv"
RECIPE = "recipe.json"
PARTS = "parts.json"
_AHEAD = 6
_COLLAPSED_EPOCHS = 4


class InterruptedTrainingError(LinewatchError):
    """Ctrl-C: the last whole epoch is kept and can be resumed."""

    exit_code = 130


@dataclass
class _Run:
    """What training remembers beside its variables."""

    epoch: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    best_dice: float = -1.0
    best_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)


def fit(settings: TrainSettings, data: Path, out: Path, console: Console, *, resume: bool = False) -> Bundle:
    """Train on the dataset folder `data` and write the bundle `out`.

    Raises DatasetError, StoreError, InterruptedTrainingError.
    """
    _check_target(out, settings, resume=resume)
    entries = read_manifest(data)
    names = class_names(entries)
    if not names:
        raise DatasetError(f"{data}: every picture is clean; expected masks of at least one class of defect")
    unknown = sorted({*settings.classes, *settings.sampling.class_weights} - set(names))
    if unknown:
        raise DatasetError(
            f"{data} has no class {', '.join(unknown)}, which the recipe names; it has {', '.join(names)}"
        )
    parts = split(entries, settings.split.test, settings.split.validation, settings.seed)
    counts = {part: sum(p == part for p in parts.values()) for part in ("train", "validation", "test")}
    console.print(
        f"{len(entries)} pictures, classes {', '.join(names)}: {counts['train']} to learn from, "
        f"{counts['validation']} to choose by, {counts['test']} held out"
    )
    _begin_run(out, settings, parts, dataset_sha256(entries), resume=resume)
    pictures = _load(entries, parts, names, settings, console)
    trainer = _Trainer(settings, names, pictures, out, console)
    started = datetime.now(timezone.utc)
    trainer.train(resume=resume)
    trained = Trained(
        model=trainer.inference_model(),
        names=names,
        validation=pictures["validation"],
        started=started,
        figures={
            "epochs": trainer.run.epoch,
            "best_epoch": trainer.run.best_epoch,
            "steps": trainer.run.steps,
            "seconds": round(trainer.run.elapsed_s, 1),
            "crop_dice": trainer.run.best_dice,
        },
    )
    return write_bundle(settings, out, entries, parts=parts, trained=trained, console=console)


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
        had = _read_recipe(out)
        wanted = settings.model_dump(mode="json")
        differing = sorted(key for key in wanted | had if wanted.get(key) != had.get(key))
        if differing:
            raise StoreError(
                f"{out} was begun with another recipe: {', '.join(differing)} differ. Give the recipe that it was "
                "begun with, or train anew in another folder"
            )


def _read_recipe(out: Path) -> dict[str, Any]:
    try:
        recipe: dict[str, Any] = json.loads((out / TRAINING / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{out / TRAINING / RECIPE} cannot be read: {error}. Train anew in another folder") from error
    return recipe


def _begin_run(out: Path, settings: TrainSettings, parts: dict[str, Part], data_sha256: str, *, resume: bool) -> None:
    """Note recipe, data and split of a run that begins; refuse to go on with other data, which would be split anew."""
    folder = out / TRAINING
    noted = json.dumps({"dataset_sha256": data_sha256, "parts": parts}, indent=1, sort_keys=True) + "\n"
    try:
        if resume and (folder / PARTS).read_text(encoding="utf-8") != noted:
            raise DatasetError(
                f"The dataset is not the one that {out} was begun with: expected the same pictures, masks and groups. "
                "What it learned from could be held out now; train anew in another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PARTS).write_text(noted, encoding="utf-8")
        recipe = json.dumps(settings.model_dump(mode="json"), indent=1) + "\n"
        (folder / RECIPE).write_text(recipe, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written or read: {error.strerror}. Name another folder") from error


def _load(
    entries: Sequence[Entry], parts: dict[str, Part], names: Sequence[str], settings: TrainSettings, console: Console
) -> dict[Part, list[Picture]]:
    """Read and prepare what is learned from and chosen by; pictures held out are only checked for being there."""
    pictures: dict[Part, list[Picture]] = {"train": [], "validation": []}
    wanted = [entry for entry in entries if parts[entry.image] != "test"]
    with progress_bar(console) as progress:
        for entry in progress.track(wanted, description="reading"):
            picture = load_picture(entry, names, settings.preparing, settings.channels)
            pictures[parts[entry.image]].append(picture)
    return pictures


class _Trainer:
    def __init__(
        self,
        settings: TrainSettings,
        names: Sequence[str],
        pictures: dict[Part, list[Picture]],
        out: Path,
        console: Console,
    ) -> None:
        keras = _import_keras(settings.seed)
        from trainer.losses import make_loss
        from trainer.models import build_for_training

        self.settings, self.names, self.pictures, self.console = settings, names, pictures, console
        self.run = _Run()
        self._folder = out / TRAINING
        self.net = build_for_training(settings.model, settings.channels, len(names), settings.sampling.crop_px)
        o = settings.optimizer
        self._optimizer = keras.optimizers.AdamW(o.learning_rate, weight_decay=o.weight_decay, clipnorm=None)
        self._optimizer.build(self.net.trainable_variables)
        self._loss = make_loss(settings.loss, settings.model, len(names))
        self._averages = [value.copy() for value in self.net.get_weights()]
        self.best_weights = [value.copy() for value in self._averages]
        weights = [settings.sampling.class_weights.get(name, 1.0) for name in names]
        self._sampler = CropSampler(pictures["train"], weights, settings.sampling, settings.augmentation)
        self._validation = validation_crops(pictures["validation"], settings.sampling.crop_px, len(names))
        self._step = self._compile()
        self._collapsed = dict.fromkeys(names, 0)

    def _compile(self) -> Any:
        import tensorflow as tf

        net, loss, optimizer = self.net, self._loss, self._optimizer
        clip_norm = self.settings.optimizer.clip_norm

        def step(pixels: Any, truth: Any) -> Any:
            with tf.GradientTape() as tape:
                value = loss(net(pixels, training=True), truth)
            gradients, _ = tf.clip_by_global_norm(tape.gradient(value, net.trainable_variables), clip_norm)
            optimizer.apply(gradients, net.trainable_variables)
            return value

        return tf.function(step, reduce_retracing=True)

    def inference_model(self) -> Any:
        """Return the keras.Model of the best epoch's averaged weights, as a bundle keeps it."""
        from trainer.models import for_inference

        s = self.settings
        self.net.set_weights(self.best_weights)
        return for_inference(self.net, s.model, (s.tile.height, s.tile.width, s.channels), len(self.names))

    def progress(self) -> float:
        """Tell how far the schedule is, 0-1: by steps or, if that is further, by the clock."""
        s = self.settings
        by_steps = self.run.steps / (s.epochs * s.sampling.steps_per_epoch)
        by_clock = self.run.elapsed_s / (s.max_minutes * 60) if s.max_minutes else 0.0
        return min(1.0, max(by_steps, by_clock))

    def _learning_rate(self) -> float:
        o = self.settings.optimizer
        warm = min(1.0, (self.run.steps + 1) / o.warm_up_steps) if o.warm_up_steps else 1.0
        return float(o.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * self.progress()))))

    def train(self, *, resume: bool) -> None:
        """Run epochs until the schedule is over or nothing gets better."""
        s = self.settings
        if resume:
            self._restore()
        self._announce()
        patience = s.early_stopping_epochs
        try:
            with progress_bar(self.console) as bar:
                task = bar.add_task("training", total=1000, completed=round(1000 * self.progress()))
                while self.progress() < 1 and self.run.epoch - self.run.best_epoch < patience:
                    self._epoch(partial(self._show, bar, task))
        except KeyboardInterrupt as error:
            kept = "The epochs before it are kept; go on with --resume" if self.run.epoch else "Nothing is kept"
            raise InterruptedTrainingError(f"Interrupted in epoch {self.run.epoch + 1}. {kept}") from error
        if self.run.epoch - self.run.best_epoch >= patience:
            self.console.print(f"stopped early: nothing got better in {patience} epochs")

    def _show(self, bar: Progress, task: TaskID, text: str) -> None:
        bar.update(task, completed=round(1000 * self.progress()), description=text)

    def _announce(self) -> None:
        s = self.settings
        steps = s.epochs * s.sampling.steps_per_epoch
        limit = f", at most {s.max_minutes:g} minutes" if s.max_minutes else ""
        parameters = sum(int(np.prod(v.shape)) for v in self.net.trainable_variables)
        self.console.print(f"{s.model.family}: {parameters:,} parameters; {s.epochs} epochs, {steps} steps{limit}")

    def _epoch(self, show: Callable[[str], None]) -> None:
        s, run = self.settings, self.run
        losses: list[float] = []
        began_s, before_s = time.monotonic(), run.elapsed_s
        generator = np.random.default_rng([s.seed, run.epoch])
        with _drawn_ahead(self._sampler, generator, s.sampling.steps_per_epoch) as batches:
            for pixels, truth in batches:
                self._optimizer.learning_rate.assign(self._learning_rate())
                loss = float(self._step(pixels, truth))
                if not np.isfinite(loss):
                    raise DatasetError(
                        f"The loss is {loss} at step {run.steps + 1} (epoch {run.epoch + 1}). The weights of epoch "
                        f"{run.epoch} are kept; lower optimizer.learning_rate, or check the pictures, and use --resume"
                    )
                losses.append(loss)
                run.steps += 1
                run.elapsed_s = before_s + time.monotonic() - began_s
                self._average()
                show(f"epoch {run.epoch + 1}  loss {np.mean(losses[-20:]):.3f}  validation dice {run.best_dice:.3f}")
                if s.max_minutes and run.elapsed_s >= s.max_minutes * 60:
                    break
        dice = self._validate()
        run.elapsed_s = before_s + time.monotonic() - began_s
        run.epoch += 1
        known = [value for value in dice.values() if value is not None]
        mean = float(np.mean(known)) if known else 0.0
        if mean > run.best_dice:
            run.best_dice, run.best_epoch = mean, run.epoch
            self.best_weights = [value.copy() for value in self._averages]
        row = {"epoch": run.epoch, "steps": run.steps, "seconds": round(run.elapsed_s, 1)}
        run.rows.append(
            {**row, "loss": float(np.mean(losses)), "dice": mean, **{f"dice_{k}": v or 0.0 for k, v in dice.items()}}
        )
        self._save()
        words = "  ".join(f"{name} {value:.3f}" for name, value in dice.items() if value is not None)
        minutes = f"{run.elapsed_s / 60:5.1f} min"
        self.console.print(f"epoch {run.epoch:3d}  {minutes}  loss {np.mean(losses):.3f}  dice {mean:.3f}  ({words})")

    def _average(self) -> None:
        # Early on the average must follow quickly, or it would remember the random start.
        decay = min(self.settings.optimizer.average_decay, (1 + self.run.steps) / (10 + self.run.steps))
        pairs = zip(self._averages, self.net.weights, strict=True)
        self._averages = [decay * average + (1 - decay) * variable.numpy() for average, variable in pairs]

    def _validate(self) -> dict[str, float | None]:
        """Pooled Dice per class of the averaged weights on the validation crops; warns when a class goes black."""
        pixels, truths = self._validation
        own = self.net.get_weights()
        self.net.set_weights(self._averages)
        answers = np.concatenate(
            [
                _leading(self.net(pixels[i : i + 8], training=False).numpy(), self.settings)
                for i in range(0, len(pixels), 8)
            ]
        )
        self.net.set_weights(own)
        dice: dict[str, float | None] = {}
        for class_id, name in enumerate(self.names, start=1):
            answer, truth = answers == class_id, truths == class_id
            dice[name] = float(2 * (answer & truth).sum() / (answer.sum() + truth.sum())) if truth.any() else None
            self._collapsed[name] = 0 if answer.any() or not truth.any() else self._collapsed[name] + 1
            if self._collapsed[name] == _COLLAPSED_EPOCHS:
                self.console.print(
                    f"[yellow]warning[/]: {name} has not been answered at all for {_COLLAPSED_EPOCHS} epochs. If that "
                    "lasts, raise its weight in sampling.class_weights, sampling.defect_share or loss.dice"
                )
        return dice

    def _save(self) -> None:
        arrays = {f"variable{i}": v.numpy() for i, v in enumerate(self.net.variables)}
        arrays |= {f"optimizer{i}": v.numpy() for i, v in enumerate(self._optimizer.variables)}
        arrays |= {f"average{i}": v for i, v in enumerate(self._averages)}
        arrays |= {f"best{i}": v for i, v in enumerate(self.best_weights)}
        temporary = self._folder / "checkpoint.tmp.npz"
        try:
            np.savez(temporary, run=np.array(json.dumps(asdict(self.run))), **arrays)
            temporary.replace(self._folder / CHECKPOINT)
            with (self._folder / LOG).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(self.run.rows[0]))
                writer.writeheader()
                writer.writerows(self.run.rows)
        except OSError as error:
            raise StoreError(
                f"The checkpoint of epoch {self.run.epoch} cannot be written to {self._folder}: {error.strerror}. Free "
                "some space and go on with --resume"
            ) from error

    def _restore(self) -> None:
        try:
            self._read_checkpoint()
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise StoreError(
                f"{self._folder / CHECKPOINT} cannot be read: {error}. Remove the folder and train anew"
            ) from error
        self.console.print(f"resumed after epoch {self.run.epoch}, {self.run.elapsed_s / 60:.1f} minutes")

    def _read_checkpoint(self) -> None:
        with np.load(self._folder / CHECKPOINT, allow_pickle=False) as saved:
            self.run = _Run(**json.loads(str(saved["run"])))
            for kind, variables in (("variable", self.net.variables), ("optimizer", self._optimizer.variables)):
                for i, variable in enumerate(variables):
                    variable.assign(saved[f"{kind}{i}"])
            self._averages = [saved[f"average{i}"] for i in range(len(self._averages))]
            self.best_weights = [saved[f"best{i}"] for i in range(len(self.best_weights))]


def _leading(logits: Float32, settings: TrainSettings) -> UInt8:
    """Return the class id per pixel, uint8 [N, H, W], at a threshold of one half (or the leading softmax channel)."""
    leading = logits.argmax(axis=-1)
    ids: UInt8 = (
        leading if settings.model.has_background else np.where(logits.max(axis=-1) > 0, leading + 1, 0)
    ).astype(np.uint8)
    return ids


def validation_crops(pictures: Sequence[Picture], crop_px: int, class_count: int) -> tuple[Float32, UInt8]:
    """Cut the crops that choose the best epoch: around up to three defects per class and picture, and one elsewhere.

    float32 [N, S, S, C] (0-255) and uint8 [N, S, S]; always the same ones.
    """
    generator = np.random.default_rng(0)
    pixels, truths = [], []
    for picture in pictures:
        height, width = picture.truth.shape
        centres = [(int(generator.integers(width)), int(generator.integers(height)))]
        for class_id in range(1, class_count + 1):
            _, _, stats, middles = cv2.connectedComponentsWithStats(
                (picture.truth == class_id).view(np.uint8), connectivity=8
            )
            largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:3] + 1
            centres += [(int(x), int(y)) for x, y in middles[largest]]
        for x, y in centres:
            # whole crops where the picture is large enough
            middle_x = min(max(x, crop_px // 2), max(width - crop_px // 2, width // 2))
            middle_y = min(max(y, crop_px // 2), max(height - crop_px // 2, height // 2))
            shift = np.array([[1.0, 0.0, middle_x - crop_px / 2], [0.0, 1.0, middle_y - crop_px / 2]])
            crop, truth = warp(picture, shift, crop_px)
            pixels.append(crop)
            truths.append(truth)
    return np.stack(pixels).astype(np.float32), np.stack(truths)


@contextmanager
def _drawn_ahead(
    sampler: CropSampler, generator: np.random.Generator, count: int
) -> Iterator[Iterator[tuple[Float32, UInt8]]]:
    """Draw `count` batches in a thread of their own, a few ahead; a failure there is raised here."""
    ahead: queue.Queue[tuple[Float32, UInt8] | BaseException] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def draw() -> None:
        for _ in range(count):
            if stop.is_set():
                return
            try:
                item: tuple[Float32, UInt8] | BaseException = sampler.batch(generator)
            except BaseException as error:  # noqa: BLE001 - handed over to the caller
                item = error
            while not stop.is_set():
                try:
                    ahead.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue

    def batches() -> Iterator[tuple[Float32, UInt8]]:
        for _ in range(count):
            item = ahead.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=draw, name="crops", daemon=True)
    thread.start()
    try:
        yield batches()
    finally:
        stop.set()
        thread.join()


def progress_bar(console: Console) -> Progress:
    """Make a bar that shows what is done, what is left and how long it takes; nothing where nobody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _import_keras(seed: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError as error:
        raise DependencyError(
            f"Training needs TensorFlow, and an import failed: {error}. Install it with: pip install 'linewatch[train]'"
        ) from error
    keras.utils.set_random_seed(seed)
    return keras
