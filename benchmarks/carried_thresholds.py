"""Gives a bundle the thresholds and smallest areas of another one of the same classes.

    python -m benchmarks.carried_thresholds out/glass-begun out/simulated-glass --area scratch=38

`make model-glass` gives those of the first part of a training to the second part, but for areas that are stated.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from edge import __version__
from edge.bundle import load_bundle
from edge.errors import LinewatchError
from trainer.bundling.fit_thresholds import set_thresholds


def carry(source: Path, target: Path, areas_px: Mapping[str, float]) -> None:
    """Set the thresholds of the bundle `target`, which is to be converted again, to those of the bundle `source`.

    `areas_px`: smallest areas of some classes, instead of those of `source`. The manifest calls all of them presumed,
    since its own weights were not fitted with them. The counts beside them are those of `source`. Raises BundleError,
    StoreError, ValueError for a class that `source` has not.
    """
    given = load_bundle(source, need_onnx=False)
    unknown = sorted(set(areas_px) - {entry.name for entry in given.classes})
    if unknown:
        raise ValueError(f"{source} has no class {', '.join(unknown)}")
    values = {
        entry.name: {
            **given.manifest.validation.get(entry.name, {}),
            "threshold": entry.threshold,
            "min_area_px": areas_px.get(entry.name, entry.min_area_px),
            "presumed": True,
        }
        for entry in given.classes
    }
    step = {
        "step": "carry_thresholds",
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "linewatch": __version__,
        "from": f"{given.manifest.name} {given.manifest.version}",
        "areas_px": dict(areas_px),
    }
    set_thresholds(load_bundle(target, need_onnx=False), values, step, ())


def _an_area(text: str) -> tuple[str, float]:
    name, _, area = text.partition("=")
    return name, float(area)


def main() -> None:
    """Read the two folders and the areas from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--area", type=_an_area, action="append", default=[], metavar="CLASS=PX")
    given = parser.parse_args()
    try:
        carry(given.source, given.target, dict(given.area))
    except (LinewatchError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
