"""The Ray cluster that carries runs out: joined, or begun here; what its nodes have, and whether they are alike."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge import __version__
from edge.errors import DependencyError, SettingsError
from edge.installing import how_to_install
from trainer.training.hardware import cores

LOCAL = "local"
_ANSWERS_WITHIN_S = 10.0


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
    """Join the cluster, or begin one here for as long as this lasts; its dashboard stays off."""
    try:
        import ray  # edge has switched off that it tells its makers of it
    except ImportError as error:
        raise DependencyError(f"--ray needs Ray: {error}. {how_to_install('ray[data]', extra='ray')}") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": None}
    if wish.address == LOCAL:
        os.environ.setdefault("RAY_worker_niceness", "0")  # else runs would give way to all that a desktop does
        here: dict[str, Any] = {"address": LOCAL, "include_dashboard": False, "num_cpus": _cpus_here(wish)}
    else:
        _require_somebody(wish.address)
        here = {"address": wish.address}
    try:
        ray.init(**(quiet | here))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise DependencyError(
            f"No Ray cluster can be joined at {wish.address}: {first_line(error)}. Expected the address of a head of "
            f"Ray {ray.__version__}, such as 10.0.0.5:6379, or --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _cpus_here(wish: RayWish) -> int:
    return max(cores(), int(-(-(wish.cpus or 0) // 1)))


def _require_somebody(address: str) -> None:
    """See at once that somebody listens: Ray itself would ask for minutes. Raises DependencyError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or not port.isdigit() or not host:
        return  # Ray knows more forms of an address, and says what is wrong with them
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise DependencyError(
            f"No Ray cluster answers at {address}: {error}. Begin one with: ray start --head --port=6379; "
            "or give --ray local"
        ) from error


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
    if not any(own.get("CPU", 0) >= cpus and own.get("GPU", 0) >= gpus for own in owned):
        has = ", ".join(f"{own.get('CPU', 0):g} CPUs and {own.get('GPU', 0):g} GPUs" for own in owned)
        raise SettingsError(
            f"No node has the {cpus:g} CPUs and {gpus:g} GPUs that each run is to be given: received {has}. "
            "Give less with --cpus-per-run and --gpus-per-run"
        )
    return cpus, gpus


def look_at_nodes(ray: Any, data: Path, out: Path) -> None:
    """See that every node has our versions, and dataset and folder by the same paths. Raises DependencyError."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = facts(str(data), str(out))
    look = ray.remote(facts)
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        asked = look.options(num_cpus=0, scheduling_strategy=there).remote(str(data), str(out))
        try:
            theirs = ray.get(asked)
        except ray.exceptions.RayError as error:
            raise DependencyError(
                f"The node {node['NodeManagerAddress']} cannot run Linewatch {__version__}: {first_line(error)}. "
                "Install the same version on every node"
            ) from error
        differing = [f"{key} is {theirs[key]}, here {value}" for key, value in ours.items() if theirs[key] != value]
        if differing:
            raise DependencyError(
                f"The node {node['NodeManagerAddress']} differs: {'; '.join(differing)}. Expected the same on each"
            )


def facts(data: str, out: str) -> dict[str, str]:
    """Tell of the machine that this runs on what must be alike on all of them."""
    found = {"Linewatch": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    try:
        found["TensorFlow"] = version("tensorflow")
    except PackageNotFoundError:
        found["TensorFlow"] = "not installed"
    for path in (Path(data) / "manifest.csv", Path(out) / "grid.json"):
        found[str(path)] = "readable" if os.access(path, os.R_OK) else "not readable"
    return found
