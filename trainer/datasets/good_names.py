"""Classes of defects whose names say that nothing is wrong: what they count as, before figures are believed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge.wording import command
from trainer.datasets.class_naming import sounds_good


def words_on_good_names(names: Iterable[str], data: Path) -> list[str]:
    """Say of each class of defects that sounds good what it counts as, and the remedy. `data`: the dataset folder."""
    return [
        f"the class {name} sounds as if nothing were wrong, and counts as a defect: clean are ok, good and Free alone. "
        f"If it means good parts: {command('linewatch-train', 'import', 'manifest', data, '--rename', name + '=ok')} "
        "--out NEW"
        for name in sorted(set(names))
        if sounds_good(name)
    ]
