"""An estimate of a dataset's memory, from a few of its pictures before all of them are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.errors import DatasetError
from edge.wording import counted
from trainer.datasets.dataset import Entry, Picture, load_picture
from trainer.recipe.settings import TrainSettings

_SAMPLE = 6
# Batches, the network and its gradients need room as well.
_SHARE = 0.8


def check_memory(entries: Sequence[Entry], names: Sequence[str], settings: TrainSettings, free: int | None) -> None:
    """Refuse a dataset that would not fit in the `free` bytes of memory, before hours are spent on reading it.

    Says nothing where a system does not tell what is free (None). Raises DatasetError with the estimate, and what would
    help.
    """
    if free is not None:
        check_fits(len(entries), estimate_bytes(entries, names, settings), free)


def check_fits(pictures: int, needed: int, free: int) -> None:
    """Compare an estimate in bytes with the memory that is left. Raises DatasetError."""
    if needed > _SHARE * free:
        raise DatasetError(
            f"{counted(pictures, 'picture takes', 'pictures take')} about {needed / 1e9:.1f} GB of memory when "
            f"prepared, and {free / 1e9:.1f} "
            f"GB are left, of which {_SHARE:.0%} may be used. Give fewer or smaller pictures, channels: 1, or a "
            "machine with more memory"
        )


def estimate_bytes(entries: Sequence[Entry], names: Sequence[str], settings: TrainSettings) -> int:
    """Estimate what all pictures take in memory, from up to six of them evenly spread."""
    places = np.unique(np.linspace(0, len(entries) - 1, min(_SAMPLE, len(entries))).round().astype(int))
    sizes = [bytes_of(load_picture(entries[place], names, settings.preparing, settings.channels)) for place in places]
    return round(float(np.mean(sizes)) * len(entries))


def bytes_of(picture: Picture) -> int:
    """Return what a picture takes: pixels, truth, and the 8-byte place of each defect pixel for drawing crops."""
    return int(picture.pixels.nbytes + picture.truth.nbytes + 8 * np.count_nonzero(picture.truth))
