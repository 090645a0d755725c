"""The runs of a comparison by Ray: on the cores of this machine, or on those of a cluster.

One training over several machines is not supported: each run is one task on one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge.clusters import LOCAL, nodes_with
from edge.wording import counted
from trainer.comparing.cluster import RayWish, cluster, look_at_nodes, resources
from trainer.comparing.grid import Run
from trainer.comparing.halving import carry_out_by_halving, require_epochs
from trainer.comparing.tasks import Work, carry_out_in_tasks

__all__ = ["RayWish", "carry_out_on_ray"]


def carry_out_on_ray(runs: Sequence[Run], data: Path, out: Path, wish: RayWish, console: Console) -> None:
    """Carry out each run in its folder below `out`; a run that fails twice is left with its reason.

    Raises DependencyError where Ray is missing or a node differs. Raises SettingsError where no cluster answers or no
    node has what a run needs.
    """
    data, out = data.resolve(), out.resolve()
    if wish.halving:
        require_epochs(runs)
    with cluster(wish) as ray:
        cpus, gpus = resources(ray, wish)
        if wish.address != LOCAL:
            look_at_nodes(ray, nodes_with(ray, cpus, gpus), data, out)
        nodes = counted(sum(bool(node["Alive"]) for node in ray.nodes()), "node")
        console.print(f"on {nodes} of Ray {ray.__version__}; each run is given {cpus:g} CPUs and {gpus:g} GPUs")
        work = Work(runs, data, out, cpus, gpus)
        if wish.halving:
            carry_out_by_halving(work, console)
        else:
            carry_out_in_tasks(ray, work, console)
