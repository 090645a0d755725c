"""The Ray cluster that carries runs out: joined, or begun here; its nodes' resources, and whether they are alike."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge import __version__, clusters
from edge.bundle import sha256_of
from edge.clusters import nodes_with, require_alike
from edge.errors import SettingsError
from edge.pictures.tables import read_table
from trainer.datasets.dataset import find_manifest
from trainer.training.hardware import cores


@dataclass(frozen=True)
class RayWish:
    """The cluster that is to carry out runs, and with what. `address`: of its head, or `local` for this machine.

    `cpus`, `gpus`: of each run; None: all cores of this machine, and one GPU where there is any. `halving`: end the
    weakest runs early.
    """

    address: str
    cpus: float | None = None
    gpus: float | None = None
    halving: bool = False


@contextmanager
def cluster(wish: RayWish) -> Iterator[Any]:
    """Join the cluster, or begin one here for as long as this lasts. Raises as `edge.clusters` does."""
    with clusters.cluster(wish.address, {"num_cpus": _cpus_here(wish)}) as ray:
        yield ray


def _cpus_here(wish: RayWish) -> int:
    return max(cores(), int(-(-(wish.cpus or 0) // 1)))


def first_line(error: BaseException) -> str:
    """Return what an error of Ray's says first; more is for its makers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def resources(ray: Any, wish: RayWish) -> tuple[float, float]:
    """Return the CPUs and GPUs that each run is given.

    Raises SettingsError where no node has as many: Ray would wait for one for ever.
    """
    owned = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    any_gpu = any(own.get("GPU", 0) >= 1 for own in owned)
    cpus = float(cores()) if wish.cpus is None else wish.cpus
    gpus = float(any_gpu) if wish.gpus is None else wish.gpus
    if not nodes_with(ray, cpus, gpus):
        has = ", ".join(f"{own.get('CPU', 0):g} CPUs and {own.get('GPU', 0):g} GPUs" for own in owned)
        raise SettingsError(
            f"No node has the {cpus:g} CPUs and {gpus:g} GPUs that each run is to be given: received {has}. "
            "Give less with --cpus-per-run and --gpus-per-run"
        )
    return cpus, gpus


def look_at_nodes(ray: Any, nodes: Sequence[Any], data: Path, out: Path) -> None:
    """See that nodes have our versions, and dataset and folder by the same paths. Raises DependencyError."""
    manifest = find_manifest(data)
    pictures = [data / row.values["image"] for row in read_table(manifest, ("image",)).rows[:1]]
    paths = (manifest, out / "grid.json", *pictures)
    own = facts(paths)

    def differing(other: dict[str, str]) -> str:
        return "; ".join(f"{key} is {other[key]}, here {value}" for key, value in own.items() if other[key] != value)

    require_alike(ray, nodes, (facts, paths), differing)


def facts(paths: Sequence[Path]) -> dict[str, str]:
    """Tell of the machine that this runs on what must be alike on all of them: versions, and files by their hashes."""
    found = {"Linewatch": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    try:
        found["TensorFlow"] = version("tensorflow")
    except PackageNotFoundError:
        found["TensorFlow"] = "not installed"
    return found | {str(path): _first_digits(path) for path in paths}


def _first_digits(path: Path) -> str:
    """Return the first digits of a file's SHA-256, or why it cannot be read."""
    try:
        return sha256_of(path)[:12]
    except OSError as error:
        return f"not readable ({error.strerror})"
