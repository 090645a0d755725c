"""One set from its recipe to its figures, by the commands that a user would type. A finished one is not done again."""

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
from edge.yaml_settings import load_yaml
from trainer.datasets.dataset import dataset_sha256, read_manifest
from trainer.recipe.settings import TrainSettings

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
        """Return the folder of the bundle that was trained."""
        return self.folder / _BUNDLE

    @property
    def training(self) -> dict[str, Any]:
        """Return the manifest's figures of the training."""
        return dict(load_bundle(self.bundle).manifest.training)

    @property
    def date(self) -> str:
        """The day on which the training began, as the manifest has it."""
        return str(load_bundle(self.bundle).manifest.provenance[0]["at"])[:10]


def digest(recipe: Path, pictures: Path) -> str:
    """Return eight hex digits of what a recipe says and a dataset's folder holds; comments change nothing."""
    settings = load_yaml(recipe, TrainSettings)
    said = settings.model_dump_json(exclude_unset=True) + dataset_sha256(read_manifest(pictures, need_masks=False))
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def run(picture_set: PictureSet, data: Path, out: Path) -> Ran:
    """Train, convert and judge one set under `out`; a run that was stopped goes on where it was.

    The folder is named after what the recipe says and what the dataset holds. So another of them begins anew, and
    another comment does not. Later changes of the code are not looked at: remove the folder to train with them.
    """
    recipe, pictures = ROOT / picture_set.recipe, data / picture_set.folder
    folder = out / f"{picture_set.name}-{digest(recipe, pictures)}"
    bundle, page, conversion = folder / _BUNDLE, folder / "report.html", folder / "conversion.json"
    if not (bundle / MANIFEST).is_file():
        begun = ["--resume"] if (bundle / "training" / "checkpoint.npz").is_file() else []
        command("linewatch-train", "fit", picture_set.recipe, "--data", pictures, "--out", bundle, *begun)
    if not conversion.is_file():
        command("convert", bundle, "--to", "onnxruntime", "--yes", "--json", conversion)
    if not page.is_file():
        tolerance = [] if picture_set.tolerance_px is None else ["--tolerance-px", str(picture_set.tolerance_px)]
        command("linewatch-train", "report", bundle, pictures, "--out", page, *tolerance)
    figures = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return Ran(picture_set, folder, figures, json.loads(conversion.read_text(encoding="utf-8")))
