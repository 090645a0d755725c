"""The fewest nodes that have to stay as they are, judged by the found defects alone.

`minimal` is QuickXplain (Junker, 2004), which halves the candidates. So k pins among n nodes take about k log2(n / k)
measurements in place of n. It assumes that more pins never do harm.

Every measurement is kept in a file beside the bundle, under what it depends on. So an interrupted search goes on where
it stood.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edge.bundle import Bundle, sha256_of
from edge.errors import StoreError
from edge.files import replacing

Verdict = Callable[[frozenset[str]], list[str]]  # pins → what is wrong with them, in words; nothing where all is well


def minimal(
    fails: Callable[[frozenset[str]], bool], kept: frozenset[str], groups: Sequence[frozenset[str]]
) -> set[str]:
    """Return the nodes of as few groups as must be added to `kept` for `fails` to be false.

    `fails(kept | all groups)` must be false. The order of the groups decides among equals: later ones are preferred.
    """
    return _minimal(fails, kept, list(groups), changed=True)


def _minimal(
    fails: Callable[[frozenset[str]], bool], kept: frozenset[str], groups: list[frozenset[str]], *, changed: bool
) -> set[str]:
    if not groups or (changed and not fails(kept)):
        return set()
    if len(groups) == 1:
        return set(groups[0])
    middle = len(groups) // 2
    first, second = groups[:middle], groups[middle:]
    of_second = _minimal(fails, kept.union(*first), second, changed=True)
    of_first = _minimal(fails, kept | of_second, first, changed=bool(of_second))
    return of_first | of_second


def search_file(bundle: Bundle, precision: str) -> Path:
    """Return where a search keeps its measurements: beside the bundle, whose files stay as they are meanwhile."""
    folder = bundle.path.resolve()
    return folder.with_name(f"{folder.name}.{precision}-search.json")


def measured_about(bundle: Bundle, pictures: Sequence[Path], max_changed_share: float) -> list[str]:
    """Name what a measurement depends on: the model, the manifest's classes and steps, the pictures, the limit."""
    manifest = bundle.manifest.model_dump_json(include={"classes", "tile", "preparing"})
    return [sha256_of(bundle.onnx_path), manifest, str(max_changed_share), *map(sha256_of, pictures)]


class Measurements:
    """Verdicts by pins, kept in `file`; one that depends on something else (`about`) does not count.

    A file that cannot be read is as good as none: all it holds can be measured again.
    """

    def __init__(self, file: Path, about: Iterable[str]) -> None:
        self._file = file
        self._about = hashlib.sha256("\n".join(about).encode()).hexdigest()
        self._known: dict[str, list[str]] = {}
        self.reused = 0
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["about"] == self._about:
                self._known = {str(key): [str(each) for each in found] for key, found in stored["found"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def get(self, pins: frozenset[str], measure: Verdict) -> list[str]:
        """Return what is known of `pins`, or measure it and keep it. Raises StoreError."""
        key = hashlib.sha256("\n".join(sorted(pins)).encode()).hexdigest()
        if key in self._known:
            self.reused += 1
            return self._known[key]
        self._known[key] = measure(pins)
        self._write()
        return self._known[key]

    def forget(self) -> None:
        """Remove the file: the search has come to its end."""
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            with replacing(self._file) as unfinished:
                unfinished.write_text(json.dumps({"about": self._about, "found": self._known}) + "\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"{self._file} cannot be written: {error}. The search for pins keeps its measurements there. "
                "Free some space or mend the folder's permissions"
            ) from error
