"""The checkpoint of a stopped training: one file, replaced as a whole, and the log beside it."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import StoreError
from edge.files import replacing
from edge.records import Float32
from trainer.training.stepping import Stepper

TRAINING = "training"
CHECKPOINT = "checkpoint.npz"
LOG = "log.csv"
LAST_GOOD = "last-good.weights.h5"
_PROBE = "writable.tmp"


@dataclass
class Run:
    """Training's memory beside its variables.

    `stage`: how many stages have begun, the last one at `stage_steps`. `rows`: log.csv's, one per epoch; None where
    there was nothing to measure.
    """

    epoch: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    best_dice: float = -1.0
    best_epoch: int = 0
    stage: int = 0
    stage_steps: int = 0
    rows: list[dict[str, float | None]] = field(default_factory=list)


def check_writable(folder: Path) -> None:
    """Write and remove a file in `folder`, which is made where it is absent. Raises StoreError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROBE).write_bytes(bytes(4096))
        (folder / _PROBE).unlink()
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror}. Name another folder with --out, or free some space"
        ) from error


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin where the disk has no `needed` bytes left. Raises StoreError."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"{folder} has {free / 1e6:.0f} MB left; checkpoints of this model need {needed / 1e6:.0f} MB. Free some "
            "space or name another folder with --out"
        )


def room_needed(stepper: Stepper) -> int:
    """Return the bytes of two checkpoints: a new one is whole before the old one goes."""
    return 2 * sum(int(value.nbytes) for value in _arrays(stepper, stepper.averages).values())


def save(folder: Path, run: Run, stepper: Stepper, best_weights: list[Float32]) -> None:
    """Write the checkpoint and the log of all epochs. Raises StoreError."""
    try:
        with replacing(folder / CHECKPOINT) as unfinished, unfinished.open("wb") as whole:
            np.savez(whole, run=np.array(json.dumps(asdict(run))), **_arrays(stepper, best_weights))
        with (folder / LOG).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(run.rows[0]))
            writer.writeheader()
            writer.writerows(run.rows)
    except OSError as error:
        raise StoreError(
            f"The checkpoint of epoch {run.epoch} cannot be written to {folder}: {error.strerror}. Free some "
            "space and go on with --resume"
        ) from error


def read_run(folder: Path) -> Run:
    """Read what training remembers, without its variables. Raises StoreError."""
    with _reading(folder) as saved:
        return Run(**json.loads(str(saved["run"])))


def restore(folder: Path, stepper: Stepper) -> list[Float32]:
    """Set network, optimizer and averages to the checkpoint's; return the best weights. Raises StoreError."""
    with _reading(folder) as saved:
        for kind, variables in (("variable", stepper.net.variables), ("optimizer", stepper.optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(saved[f"{kind}{i}"])
        count = len(stepper.net.weights)
        stepper.averages = [saved[f"average{i}"] for i in range(count)]
        return [saved[f"best{i}"] for i in range(count)]


def read_best(path: Path) -> list[Float32]:
    """Read the best epoch's weights from a checkpoint, in the order of `net.get_weights()`. Raises StoreError."""
    with _reading(path.parent, path.name) as saved:
        return [saved[f"best{i}"] for i in range(sum(name.startswith("best") for name in saved.files))]


def save_last_good(folder: Path, stepper: Stepper, best_weights: list[Float32]) -> Path | None:
    """Keep the averaged weights as Keras's `load_weights` reads them; None if there is no room for that either.

    The last step's are not among them: they are what led to a loss that is no number. The best epoch's weights are the
    good ones where the average holds a value that is no number.
    """
    path = folder / LAST_GOOD
    proven = stepper.proven
    stepper.net.set_weights(proven if all(np.isfinite(value).all() for value in proven) else best_weights)
    try:
        stepper.net.save_weights(path)
    except OSError:
        return None  # the error that brought us here is the one to tell
    return path


@contextmanager
def _reading(folder: Path, name: str = CHECKPOINT) -> Iterator[Any]:
    """Open a checkpoint; any fault of it becomes a StoreError."""
    path = folder / name
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            yield saved
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} cannot be read: {error}. Remove the folder and train anew") from error


def _arrays(stepper: Stepper, best_weights: list[Float32]) -> dict[str, Any]:
    arrays = {f"variable{i}": v.numpy() for i, v in enumerate(stepper.net.variables)}
    arrays |= {f"optimizer{i}": v.numpy() for i, v in enumerate(stepper.optimizer.variables)}
    arrays |= {f"average{i}": v for i, v in enumerate(stepper.averages)}
    return arrays | {f"best{i}": v for i, v in enumerate(best_weights)}
