"""One set from its recipe to its figures, by the commands that a user would type. What is done is not done again."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results.sets import PictureSet
from edge.bundle import MANIFEST, load_bundle

ROOT = Path(__file__).resolve().parent.parent.parent
_BUNDLE = "bundle"


def command(*words: str | Path) -> str:
    """Run one of the project's commands, show it, and return it as it would be typed."""
    program, *rest = map(str, words)
    print("$", shlex.join([program, *rest]), flush=True)
    subprocess.run([str(Path(sys.executable).with_name(program)), *rest], check=True, cwd=ROOT)
    return shlex.join([program, *rest])


@dataclass(frozen=True)
class Ran:
    """A set that was run: its folder, what `report` wrote as JSON (`figures`), and what conversion came to."""

    picture_set: PictureSet
    folder: Path
    figures: dict[str, Any]
    conversion: dict[str, Any]

    @property
    def bundle(self) -> Path:
        """What was trained."""
        return self.folder / _BUNDLE

    @property
    def training(self) -> dict[str, Any]:
        """What the manifest says of the training."""
        return dict(load_bundle(self.bundle).manifest.training)


def run(picture_set: PictureSet, data: Path, out: Path) -> Ran:
    """Train, convert and judge one set under `out`; a run that was stopped goes on where it was.

    The folder is named after the recipe's and the dataset's contents, so that another recipe begins anew.
    """
    recipe, pictures = ROOT / picture_set.recipe, data / picture_set.folder
    digest = hashlib.sha256(recipe.read_bytes() + (pictures / "manifest.csv").read_bytes()).hexdigest()[:8]
    folder = out / f"{picture_set.name}-{digest}"
    bundle, page, conversion = folder / _BUNDLE, folder / "report.html", folder / "conversion.json"
    if not (bundle / MANIFEST).is_file():
        begun = ["--resume"] if (bundle / "training" / "checkpoint.npz").is_file() else []
        command("linewatch-train", "fit", picture_set.recipe, "--data", pictures, "--out", bundle, *begun)
    if not conversion.is_file():
        command("convert", bundle, "--to", "onnxruntime", "--json", conversion)
    if not page.is_file():
        tolerance = [] if picture_set.tolerance_px is None else ["--tolerance-px", str(picture_set.tolerance_px)]
        command("linewatch-train", "report", bundle, pictures, "--out", page, *tolerance)
    figures = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return Ran(picture_set, folder, figures, json.loads(conversion.read_text(encoding="utf-8")))
