"""The check of a calibration: the same target again, and the lengths that it shows now.

The answer is kept beside the calibration, in NAME.check.json, so that a running line hears of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.calibration.fitting import Sighting
from edge.calibration.record import Calibration
from edge.errors import SettingsError, StoreError
from edge.files import write_text
from edge.strict_json import read_json

SCHEMA = "linewatch/calibration-check/1"
_AGAIN = "Make it with: linewatch calibrate CONFIG CAMERA --verify"
_POINTS = 80  # of a target; all pairs of more take long and tell no more
_LOOK_NS = 1_000_000_000


@dataclass(frozen=True)
class Check:
    """The error of a calibration. `error`: the largest error of a length, as a share of it; `limit`: of it.

    `calibration`: its sha256. `at`: when, UTC.
    """

    calibration: str
    at: str
    error: float
    limit: float

    @property
    def drifted(self) -> bool:
        """Tell whether it was off by more than the limit."""
        return not self.error <= self.limit

    @property
    def told(self) -> str:
        """Say what was found."""
        return f"lengths on the target are off by up to {self.error:.2%}; {self.limit:.2%} is allowed"


def length_error(calibration: Calibration, seen: Sighting) -> float:
    """Return the largest error of a length between two points of a target anywhere on the plane, as a share.

    Only of lengths of at least half the target: of short ones a hundredth of a pixel is much.
    """
    chosen = np.unique(np.linspace(0, len(seen.px) - 1, min(_POINTS, len(seen.px))).astype(int))
    found_mm, known_mm = calibration.scale.points_mm(seen.px[chosen]), seen.mm[chosen]
    one, other = np.triu_indices(len(chosen), 1)
    known = np.linalg.norm(known_mm[one] - known_mm[other], axis=1)
    found = np.linalg.norm(found_mm[one] - found_mm[other], axis=1)
    long = known >= known.max() / 2
    error = np.abs(found[long] / known[long] - 1).max()
    return float(error) if np.isfinite(error) else float("inf")


def check_path(calibration: Path) -> Path:
    """Return where the last check of a calibration's file is kept."""
    return calibration.with_name(f"{calibration.stem}.check.json")


def write_check(calibration: Path, check: Check) -> None:
    """Keep a check beside its calibration's file. Raises StoreError."""
    body = {"schema": SCHEMA, **asdict(check), "error": min(check.error, 1e9), "drifted": check.drifted}
    write_text(check_path(calibration), json.dumps(body, indent=1) + "\n")


def forget_check(calibration: Path) -> None:
    """Take away the check of a former calibration, which may be the same to the byte. Raises StoreError."""
    path = check_path(calibration)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror or error}. Remove it by hand") from error


def read_check(calibration: Path) -> Check | None:
    """Return the last check of a calibration's file; None where there was none. Raises SettingsError for no check."""
    path = check_path(calibration)
    try:
        given = read_json(path)
        check = Check(str(given["calibration"]), str(given["at"]), float(given["error"]), float(given["limit"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path} is no check of a calibration: {error}. {_AGAIN}") from error
    if given.get("schema") != SCHEMA:
        raise SettingsError(f"{path} is no check of a calibration: expected the schema {SCHEMA}. {_AGAIN}")
    return check


class DriftWatch:
    """Looks now and then at what the last check of a calibration's file said."""

    def __init__(self, calibration: Path, sha256: str) -> None:
        self._path = calibration
        self._sha256 = sha256
        self._looked_ns: int | None = None
        self._told = ""

    def told(self, now_ns: int) -> str:
        """Say so if the calibration was found off; else nothing. The file is looked at once a second at most."""
        if self._looked_ns is None or not 0 <= now_ns - self._looked_ns < _LOOK_NS:
            self._looked_ns = now_ns
            self._told = self._look()
        return self._told

    def _look(self) -> str:
        try:
            check = read_check(self._path)
        except SettingsError as error:
            return str(error)
        if check is None or check.calibration != self._sha256 or not check.drifted:
            return ""
        return f"the calibration drifted: {check.told} (checked {check.at}). Calibrate again"
