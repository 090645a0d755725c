"""`linewatch-train held-out`: the pictures that a bundle never learned from, as a folder to replay or evaluate."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from edge.bundle import load_bundle
from edge.errors import DatasetError
from trainer.datasets.dataset import COLUMNS, IGNORE_MASK, content_sha256, read_manifest
from trainer.datasets.whole_folders import unwritable, whole_or_absent
from trainer.evaluation.evaluating import learned_from

_FILES = ("image", "mask", IGNORE_MASK)


def copy_held_out(bundle: Path, data: Path, out: Path) -> int:
    """Copy the pictures of `data` that `bundle` held out, their masks and rows, into `out`; return how many."""
    load_bundle(bundle, need_onnx=False)
    learned = learned_from(bundle)
    kept = [entry for entry in read_manifest(data, need_masks=False) if content_sha256(entry.path) not in learned]
    if not kept:
        raise DatasetError(f"{bundle} held out no picture of {data}; expected a split.test above 0 in its recipe")
    wanted = {entry.image for entry in kept}
    try:
        with whole_or_absent(out, "copying") as folder:
            with (data / "manifest.csv").open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or COLUMNS)
                rows = [row for row in reader if row["image"].strip() in wanted]
            for relative in sorted(
                {row[key].strip() for row in rows for key in _FILES if (row.get(key) or "").strip()}
            ):
                target = folder / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(data / relative, target)
            with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise unwritable(out, error) from error
    return len(kept)
