"""The facts of a machine that rows depend on; two machines that differ would judge otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.bundle import MANIFEST, sha256_of
from edge.errors import LinewatchError
from edge.reinspecting.listed import Listed
from edge.reinspecting.reading import Reader
from edge.reinspecting.storage import UnreachableError
from edge.reinspecting.versions import versions
from edge.reinspecting.working import Task

# These packages decide how a picture is decoded and judged; others may differ.
_DECIDING = ("linewatch", "python", "opencv", "numpy", "onnxruntime", "openvino", "tensorrt", "pyarrow")


@dataclass(frozen=True)
class NodeFacts:
    """The facts of a machine. `bundles`: the hash of each one's manifest by path. `picture`: of one, or "" for none."""

    versions: Mapping[str, str]
    bundles: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""
    problem: str = ""


def looked_at(task: Task, first: Listed | None) -> NodeFacts:
    """Look at this machine: versions, bundles, a picture, and the folder of results."""
    stations = [task.station, *([] if task.against is None else [task.against])]
    bundles = {path: _hash_of(path) for station in stations for path in station.bundles}
    problem = picture = ""
    try:
        picture = _hash_of_picture(task.source, first)
    except LinewatchError as error:
        picture = f"one that cannot be read: {error}"
    try:
        if task.turn.stopping:
            problem = f"{task.turn.folder} has another turn there"
    except LinewatchError as error:
        problem = str(error)
    return NodeFacts(versions(), bundles, picture, problem)


def require_reachable(source: str, first: Listed | None) -> None:
    """Read a picture on this machine. Raises UnreachableError where it is not the picture that is at fault.

    No machine differs then from the others: this one has no credentials either, or no network.
    """
    try:
        _hash_of_picture(source, first)
    except UnreachableError:
        raise
    except LinewatchError:  # its row tells
        return


def differing(own: NodeFacts, other: NodeFacts) -> str:
    """Say in what another machine differs from this one, so that it would judge otherwise; nothing if in nothing."""
    told = [
        f"{name} {other.versions.get(name, 'not installed')}, here {own.versions.get(name, 'not installed')}"
        for name in _DECIDING
        if own.versions.get(name) != other.versions.get(name)
    ]
    told += [
        f"the bundle {path} is {found}, here {own.bundles.get(path)}"
        for path, found in other.bundles.items()
        if own.bundles.get(path) != found
    ]
    if own.picture != other.picture:
        told.append(f"the first picture is {other.picture}, here {own.picture}")
    told += [other.problem] if other.problem else []
    return "; ".join(told)


def _hash_of(bundle: str) -> str:
    try:
        return sha256_of(Path(bundle) / MANIFEST)[:12]
    except OSError as error:
        return f"not there ({error.strerror})"


def _hash_of_picture(source: str, first: Listed | None) -> str:
    if first is None:
        return ""
    reader = Reader(source)
    if first.kind in {"frame", "video"}:
        return hashlib.sha256(reader.frame(first).tobytes()).hexdigest()[:12]
    return hashlib.sha256(reader.content(first)).hexdigest()[:12]
