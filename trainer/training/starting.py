"""`fit --from`: the weights of an earlier training to begin with, and which pictures they have learned from.

Weights remember. Pictures that they were trained on cannot be held out afterwards, so a split that would do so is
refused. The hashes of all pictures that they know go on into the bundle.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import SPLIT, sha256_of
from edge.errors import DatasetError, SettingsError, StoreError
from trainer.datasets.dataset import Entry, content_sha256
from trainer.datasets.splitting import Split
from trainer.training.checkpointing import CHECKPOINT, TRAINING, read_best

# Of a run that began with weights: the pictures that these know, `split` and `sha256` of each.
BEFORE = "learned-before.csv"
# Of each run: classes, split and data.
PARTS = "parts.json"
_NAMED = 5


@dataclass(frozen=True)
class Start:
    """Weights in `path`. `learned`: sha256 of each picture that they know → its part; None where that is not known.

    `classes`: what they answer, in id order; None where that is not known.
    """

    path: Path
    sha256: str
    learned: dict[str, str] | None
    classes: tuple[str, ...] | None

    @property
    def noted(self) -> dict[str, str]:
        """Return a bundle's note of it."""
        return {"file": self.path.name, "sha256": self.sha256}


def find_start(path: Path) -> Start:
    """Find the weights at `path`: a `.weights.h5` file, a checkpoint, or a folder that `fit` wrote. Raises StoreError.

    A folder stands for the kept epoch of its checkpoint; a whole run's, for that of its first part.
    """
    candidates = [path / TRAINING / CHECKPOINT, path / CHECKPOINT] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None or not file.name.endswith((".weights.h5", ".npz")):
        raise StoreError(
            f"No weights to begin with at {path}: expected a folder that fit wrote, with {TRAINING}/{CHECKPOINT}, or a "
            "file that ends in .weights.h5, such as last-good.weights.h5"
        )
    try:
        return Start(file, sha256_of(file), _learned(file), _classes(file))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise StoreError(
            f"What lies beside {file} cannot be read: {error}. Copy the folder of that run again"
        ) from error


def _learned(file: Path) -> dict[str, str] | None:
    """Read what stands beside the weights, or in the bundle around them."""
    found: dict[str, str] = {}
    known = False
    for folder in (file.parent, file.parent.parent):
        for name in (SPLIT, BEFORE):
            if (folder / name).is_file():
                known = known or name == SPLIT
                with (folder / name).open(newline="", encoding="utf-8") as opened:
                    for row in csv.DictReader(opened):
                        # a picture that one file says was learned from was, whatever another says
                        if row["split"] != "test" and found.get(row["sha256"]) != "train":
                            found[row["sha256"]] = row["split"]
    return found if known else None


def _classes(file: Path) -> tuple[str, ...] | None:
    """Read what stands beside the weights or, of a run's last part, in the folder around them."""
    for path in (file.parent / PARTS, file.parent.parent / PARTS):
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if "classes" in noted:
            return tuple(noted["classes"])
    return None


def check_start(start: Start, names: Sequence[str], entries: Sequence[Entry], parts: Mapping[str, Split]) -> None:
    """Refuse weights of other classes, and a split that judges by what they have learned from.

    Raises SettingsError, DatasetError.
    """
    if start.classes is not None and start.classes != tuple(names):
        raise SettingsError(
            f"{start.path} was trained on the classes {', '.join(start.classes)}; this dataset has {', '.join(names)}. "
            "Begin without --from"
        )
    learned = start.learned or {}
    wrong = []
    for entry in entries:
        now, before = parts[entry.image], learned.get(content_sha256(entry.path)) if learned else None
        if (now == "test" and before) or (now == "validation" and before == "train"):
            wrong.append(entry.image)
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DatasetError(
            f"The weights in {start.path} were trained on pictures that would judge them now: "
            f"{', '.join(wrong[:_NAMED])}{more}. Give the split and the seed of the run that they are from, or begin "
            "without --from"
        )


def write_before(folder: Path, start: Start) -> None:
    """Note in a run's folder what the weights that it begins with have learned from."""
    with (folder / BEFORE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "sha256"))
        writer.writerows((part, sha256) for sha256, part in (start.learned or {}).items())


def begin_with(start: Start, net: Any, family: str) -> None:
    """Give a keras.Model, as `build_for_training` makes it, the weights. Raises SettingsError where they do not fit."""
    try:
        if start.path.suffix == ".npz":
            net.set_weights(read_best(start.path))
        else:
            net.load_weights(start.path)
    except StoreError:
        raise
    except Exception as error:  # h5py's, zipfile's and Keras's own kinds
        from trainer.models.pretrained import in_plain_words

        raise SettingsError(
            f"{start.path} does not hold the weights of this recipe's {family}: {in_plain_words(error)}. "
            "Give the keys of `model` and `channels` that they were trained with, or begin without --from"
        ) from error
