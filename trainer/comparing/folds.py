"""The folds of a comparison: which pictures each of them judges, drawn once, written down, and never drawn otherwise.

Recipes are chosen by the folds. The pictures that the recipe's `split.test` holds out are in none of them. Every run is
judged on them as well, and nothing is chosen by them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SettingsError, StoreError
from edge.files import write_text
from trainer.comparing.grid import SEED, GridSettings, Run
from trainer.datasets.dataset import Entry
from trainer.datasets.splitting import fold_of_each
from trainer.recipe.settings import SplitSettings, TrainSettings

FOLDS = "folds.csv"
HELD_OUT = "held-out"
_FOLD = "fold-"
_COLUMNS = ("image", "class", "group", "part")


@dataclass(frozen=True)
class Folds:
    """`count` folds, drawn with `seed`. `of_image`: each picture's fold, from 0; None where all folds hold it out."""

    count: int
    seed: int
    of_image: dict[str, int | None]

    def judged(self, fold: int) -> frozenset[str]:
        """Name the pictures that a fold holds out and is judged by."""
        return frozenset(image for image, own in self.of_image.items() if own == fold)

    @property
    def held_out(self) -> frozenset[str]:
        """Name the pictures that no run learns from and nothing is chosen by."""
        return frozenset(image for image, own in self.of_image.items() if own is None)


def seed_of_folds(grid: GridSettings) -> int:
    """Return the seed that the folds are drawn with: the recipe's own, of its split or of all of it."""
    own = grid.recipe.get("split", {}).get(SEED)
    return int(grid.recipe.get(SEED, 0) if own is None else own)


def draw_folds(entries: Sequence[Entry], runs: Sequence[Run], count: int, seed: int) -> Folds:
    """Draw the folds that all runs share, stratified by class over groups. Raises SettingsError, DatasetError."""
    splits = [run.settings.split for run in runs if isinstance(run.settings, TrainSettings)]
    if len({(own.test, own.near_duplicates) for own in splits}) > 1:
        raise SettingsError(
            "The runs differ in split.test or split.near_duplicates, so that no folds suit all of them. Expected one "
            "value of each in `recipe`: leave them out of `vary`, or compare without --folds"
        )
    settings = splits[0] if splits else SplitSettings(test=0)
    plain = settings.model_copy(update={"folds": None, "fold": 0, "folds_of": "all", "seed": None})
    return Folds(count, seed, fold_of_each(entries, plain, seed, count, validated=bool(splits)))


def keep_folds(path: Path, folds: Folds, entries: Sequence[Entry]) -> None:
    """Write the folds down or, where that was done before, see that they are the same. Raises StoreError."""
    text = _as_csv(folds, entries)
    if not path.is_file():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise StoreError(
            f"{path} has other folds than this dataset gives now: pictures, groups or classes were changed. "
            "Name another folder"
        )


def _as_csv(folds: Folds, entries: Sequence[Entry]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in sorted(entries, key=lambda entry: entry.image):
        fold = folds.of_image[entry.image]
        part = HELD_OUT if fold is None else f"{_FOLD}{fold}"
        writer.writerow((entry.image, "+".join(entry.classes) or "clean", entry.group, part))
    return written.getvalue()


def read_folds(path: Path, seed: int = 0) -> Folds:
    """Read what `keep_folds` wrote. Raises StoreError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            parts = {row["image"]: row["part"] for row in csv.DictReader(file)}
        of_image = {image: None if part == HELD_OUT else int(part.removeprefix(_FOLD)) for image, part in parts.items()}
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {error}. Begin the comparison in another folder") from error
    return Folds(max((fold for fold in of_image.values() if fold is not None), default=-1) + 1, seed, of_image)
