"""`python -m benchmarks.anomaly --data DIR --json F`: what learning from good parts finds on public sets, by piece.

    python -m benchmarks.anomaly --data DIR --json out/anomaly.json [--sets bottle,kolektor] [--beside PYTHON]

Every set is learned and judged by its protocol (protocols.py) with config/train.good-parts.yaml and the changes that
protocols.py names. With --beside, a Python that has anomalib, PaDiM and PatchCore learn and judge the same pictures in
the same turns. A set that is in the JSON file already, of the same recipe and pictures, is not done again. A run that
was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.anomaly.figures import Judged, counted, figures_of
from benchmarks.anomaly.ours import judge, levels_of
from benchmarks.anomaly.protocols import PROTOCOLS, Protocol, Turn
from edge.opencv import cv2
from edge.records import UInt8
from edge.yaml_settings import load_yaml
from trainer.anomaly.gathering import load_prepared
from trainer.datasets.dataset import Entry, Picture, dataset_sha256, read_manifest
from trainer.models.efficientnet_lite import PACKAGE
from trainer.recipe.good_parts_settings import GoodPartsRecipe

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = ROOT / "config" / "train.good-parts.yaml"
OURS, OTHERS = "linewatch", ("padim", "patchcore")
_SIDE_PX = 256  # of the pictures that anomalib is given, stretched, as its own defaults have them


def main() -> None:
    """Judge what is asked for, tell each figure as it is had, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [one.name for one in PROTOCOLS]
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets' folders")
    parser.add_argument("--sets", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--json", type=Path, required=True, help="the figures, kept as they are had")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "anomaly", help="folder for bundles and sets made")
    parser.add_argument("--beside", type=Path, help="a Python with anomalib, which runs beside")
    parser.add_argument("--only-table", action="store_true", help="print the table of what is in the JSON file")
    asked = parser.parse_args()
    unknown = sorted(set(asked.sets.split(",")) - set(names))
    if unknown:
        parser.error(f"no set {', '.join(unknown)}; there are {', '.join(names)}")
    for protocol in [] if asked.only_table else PROTOCOLS:
        if protocol.name in asked.sets.split(","):
            for method in (OURS, *(OTHERS if asked.beside else ())):
                _have(protocol, method, asked)
    print(table(_read(asked.json)))


def _read(path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kept


def _have(protocol: Protocol, method: str, asked: argparse.Namespace) -> None:
    """Judge a set by a method, unless that is known, and keep the figures in the file."""
    folder = protocol.folder(asked.data.resolve(), asked.work.resolve())
    entries = read_manifest(folder, need_masks=False)
    recipe = recipe_of(protocol)
    said = f"{method}{recipe.model_dump_json()}{protocol.words}{dataset_sha256(entries)}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    if _read(asked.json).get(protocol.name, {}).get(method, {}).get("digest") == digest:
        print(f"{protocol.name}, {method}: had already", flush=True)
        return
    began_s, turns = time.monotonic(), protocol.turns(entries)
    print(f"{protocol.name}, {method}: {len(turns)} turns, {len(entries)} pictures", flush=True)
    if method == OURS:
        judged = judge(recipe, entries, turns, Console(quiet=True))
    else:
        judged = _beside(method, recipe, entries, turns, asked)
    found = {
        "digest": digest,
        "protocol": protocol.words,
        "changes": dict(protocol.changes),
        "false_alarms": protocol.false_alarms,
        "must": dict(protocol.must),
        **figures_of(judged, protocol.false_alarms),
        "seconds": round(time.monotonic() - began_s, 1),
        "load": round(os.getloadavg()[0], 1),
        "scores": [[one.image, one.group, one.defective, round(one.score, 6)] for one in judged],
    }
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    kept = _read(asked.json)
    kept.setdefault(protocol.name, {})[method] = found
    unfinished = asked.json.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(asked.json)
    print(f"{protocol.name}, {method}: {_told(found)}", flush=True)


def recipe_of(protocol: Protocol) -> GoodPartsRecipe:
    """Return the shipped recipe with the protocol's changes."""
    shipped = load_yaml(RECIPE, GoodPartsRecipe).model_dump(mode="json")
    return GoodPartsRecipe.model_validate(shipped | dict(protocol.changes))


def _beside(
    method: str, recipe: GoodPartsRecipe, entries: Sequence[Entry], turns: Sequence[Turn], asked: argparse.Namespace
) -> list[Judged]:
    """Let anomalib learn and judge the turns of a set, on prepared pictures, all stretched to one size."""
    folder = asked.work / "beside"
    shutil.rmtree(folder, ignore_errors=True)
    pictures = {entry.image: load_prepared(entry, recipe) for entry in entries}
    for number, turn in enumerate(turns):
        own = folder / f"turn-{number}"
        own.mkdir(parents=True)
        for name, images in (("learned", turn.learned), ("judged", turn.judged)):
            np.save(own / f"{name}.npy", np.stack([_stretched(pictures[one].pixels) for one in sorted(images)]))
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None  # noqa: S101 - the fit needs it as well
    assert package.origin is not None  # noqa: S101 - it is a file
    weights = next((Path(package.origin).parent / "models").glob("*.pth"))
    shutil.copyfile(weights, folder / "backbone.pth")
    subprocess.run([str(asked.beside), "-m", "benchmarks.anomaly.beside", str(folder), method], check=True, cwd=ROOT)
    answers = []
    tops = [np.load(folder / f"turn-{number}" / "scores.npy") for number in range(len(turns))]
    unit = float(np.median(np.concatenate(tops))) or 1.0  # one for all turns, whose pixels are ranked together
    for number, turn in enumerate(turns):
        scores, maps = (np.load(folder / f"turn-{number}" / f"{name}.npy") for name in ("scores", "maps"))
        for image, score, levels in zip(sorted(turn.judged), scores, levels_of(list(maps), unit), strict=True):
            answers.append(_answered(pictures[image], float(score), levels))
    return answers


def _answered(picture: Picture, score: float, levels: UInt8) -> Judged:
    entry, truth = picture.entry, picture.truth
    defective = bool(entry.classes)
    if defective and not entry.masks:
        return Judged(entry.image, entry.group, defective, score)
    spread: UInt8 = cv2.resize(levels, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return counted(entry.image, entry.group, score, spread, truth == 1, defective=defective)


def _stretched(pixels: UInt8) -> UInt8:
    small: UInt8 = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return small.reshape(_SIDE_PX, _SIDE_PX, -1)


def _told(own: dict[str, Any]) -> str:
    words = [f"{key} {_cell(own.get(key))}" for key in ("auroc", "found", "aupro", "pixel_ap") if own.get(key)]
    return f"{', '.join(words)} ({own['seconds']} s, load {own['load']})"


def _cell(figure: Any) -> str:
    return f"{figure[0]:.3f} ({figure[1][0]:.3f} to {figure[1][1]:.3f})" if figure else "-"


def table(kept: dict[str, Any]) -> str:
    """Lay out the figures as a Markdown table."""
    lines = ["| set | by | AUROC | found | false alarms | AUPRO | pixel AP |", "|---|---|---|---|---|---|---|"]
    for name, own in kept.items():
        for method, figures in own.items():
            cells = [_cell(figures.get(key)) for key in ("auroc", "found", "aupro", "pixel_ap")]
            cells.insert(2, f"≤ {figures['false_alarms']:.0%}")
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
