"""The file of a calibration: what was found, of which camera, and by what; a file that was altered is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.calibration.mapping import Lens, PlaneScale
from edge.errors import SettingsError
from edge.files import write_text
from edge.strict_json import read_json

SCHEMA = "linewatch/calibration/1"
AGAIN = "Make it with: linewatch calibrate CONFIG CAMERA"


@dataclass(frozen=True)
class SeenPoint:
    """One point of the target: its picture, from 1; its place there, px; its place on the target, mm."""

    picture: int
    x_px: float
    y_px: float
    x_mm: float
    y_mm: float


@dataclass(frozen=True)
class CameraIdentity:
    """The camera of a calibration: its name in the settings, its source where it is a live one, and its lens.

    `source`: without its secrets; None for recordings and simulated cameras. `lens_id`: as the settings or the command
    named it.
    """

    name: str
    source: str | None = None
    lens_id: str | None = None


@dataclass(frozen=True)
class Calibration:
    """The place of a view's pixels on the part's surface, and where that comes from.

    `target`: the target's description, `points` or `lengths`. `residual_px`: root mean square distance of the points
    from where the fit sees them; `assumed_px`: how well points were picked, where nothing tells it. `fitted`: the
    numbers of the lens that were fitted. `turned_deg`: how the target lay, where it tells.
    """

    camera: CameraIdentity
    scale: PlaneScale
    residual_px: float
    worst_px: float
    made_at: str
    target: str
    pictures: int
    points: tuple[SeenPoint, ...] = ()
    fitted: tuple[str, ...] = ()
    assumed_px: float | None = None
    turned_deg: float | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the pictures that it is of."""
        return self.scale.lens.size_px

    @property
    def mm_per_px(self) -> float:
        """The side of the pixel in the picture's centre, mm."""
        return self.scale.mm_per_px_at(np.array(self.size_px) / 2)

    @property
    def sha256(self) -> str:
        """Return its SHA-256, which tells it from every other one."""
        return _hash(_body(self))

    def misfit(self, size_px: tuple[int, int]) -> str:
        """Say so if it does not hold for a picture of this width and height; else nothing."""
        if size_px == self.size_px:
            return ""
        return (
            f"the frame has {size_px[0]} x {size_px[1]} px, and the calibration is of {self.size_px[0]} x "
            f"{self.size_px[1]}: no length is known. Set the camera back, or calibrate again"
        )

    def other_camera(self, camera: CameraIdentity) -> str:
        """Say so if it is of another camera, or was made with another lens; else nothing."""
        own = self.camera
        told = (("camera", own.name, camera.name), ("source", own.source, camera.source))
        for what, ours, theirs in (*told, ("lens", own.lens_id, camera.lens_id)):
            # a source or a lens that one of the two does not name tells nothing
            if ours != theirs and ours is not None and theirs is not None:
                return f"it is of the {what} {ours}, and the settings' is {theirs}"
        return ""


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration's file, and its folder. Raises StoreError, and then leaves the old file."""
    body = _body(calibration)
    write_text(path, json.dumps({**body, "sha256": _hash(body)}, indent=1, ensure_ascii=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration. Raises SettingsError for a file that is none, was altered, or is missing."""
    try:
        given = read_json(path)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no calibration. {AGAIN}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(given, dict) or given.get("schema") != SCHEMA:
        schema = given.get("schema") if isinstance(given, dict) else None
        if isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0] + "/"):
            raise SettingsError(
                f"{path} was written by another version of Linewatch: expected the schema {SCHEMA}, received "
                f"{schema!r:.60}. Take that version, or make the file again with: linewatch calibrate CONFIG CAMERA"
            )
        raise SettingsError(f"{path} is no calibration: expected the schema {SCHEMA}, received {schema!r:.60}. {AGAIN}")
    kept = given.pop("sha256", None)
    if kept != _hash(given):
        raise _damaged(path, "its content is not what its sha256 says, so it was damaged or changed by hand")
    try:
        return _of(given)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _body(calibration: Calibration) -> dict[str, Any]:
    told = asdict(calibration)
    scale = told.pop("scale")
    body = {
        "schema": SCHEMA,
        "size_px": list(scale["lens"].pop("size_px")),
        **told,
        "mm_per_px": calibration.mm_per_px,
        "residual_mm": scale["residual_mm"],
        "lens": scale["lens"],
        "plane": scale["plane"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(body))
    return plain


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _of(given: dict[str, Any]) -> Calibration:
    width, height = (int(side) for side in given["size_px"])
    lens = Lens((width, height), **{name: float(value) for name, value in given["lens"].items()})
    plane = tuple(float(each) for each in given["plane"])
    if len(plane) != 9 or min(width, height) < 1 or abs(np.linalg.det(np.array(plane).reshape(3, 3))) < 1e-12:
        raise ValueError("its plane or its size is none")
    points = tuple(SeenPoint(**each) for each in given["points"])
    return Calibration(
        camera=_camera_of(given["camera"]),
        scale=told_by(PlaneScale(lens, plane, float(given["residual_mm"])), points),
        residual_px=float(given["residual_px"]),
        worst_px=float(given["worst_px"]),
        made_at=str(given["made_at"]),
        target=str(given["target"]),
        pictures=int(given["pictures"]),
        points=points,
        fitted=tuple(str(each) for each in given["fitted"]),
        assumed_px=None if given["assumed_px"] is None else float(given["assumed_px"]),
        turned_deg=None if given["turned_deg"] is None else float(given["turned_deg"]),
    )


def told_by(scale: PlaneScale, points: Sequence[SeenPoint]) -> PlaneScale:
    """Return the same scale, which knows how far out its points tell the lens."""
    if not points:
        return scale
    places = scale.lens.normal(np.array([[each.x_px, each.y_px] for each in points]))
    return replace(scale, told_to=float(np.hypot(*places.T).max()))


def _camera_of(given: dict[str, Any]) -> CameraIdentity:
    source, lens_id = (None if given[name] is None else str(given[name]) for name in ("source", "lens_id"))
    return CameraIdentity(str(given["name"]), source, lens_id)


def _damaged(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is damaged: {why}. {AGAIN}")


def with_residual(scale: PlaneScale, residual_mm: float) -> PlaneScale:
    """Return the same scale with another residual, mm."""
    return replace(scale, residual_mm=residual_mm)
