"""`linewatch reinspect --ray`: the same rows wherever they are made, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge.reinspecting.nodes import NodeFacts, differing
from edge.reinspecting.shards import shards_in
from tests.conftest import ROOT
from tests.edge.reinspecting.archive import but_seconds, reinspect, rows, run_json, write_archive, write_bundles
from tests.ray_nodes import LIMIT_S, descendants, until

STARTS = 5
FACTS = NodeFacts({"linewatch": "0.1.0", "python": "3.11.7", "onnxruntime": "1.31.1"}, {"/b": "abc"}, "123")
NO_RAY = "import sys; sys.modules['ray'] = None; from edge.cli.commands import main; main()"
CLUSTER = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.cluster_utils import Cluster
how = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=how)
second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "become another version":
        from ray._raylet import GcsClient
        store = GcsClient(address=cluster.address)
        about = store.internal_kv_get(b"CLUSTER_METADATA", b"cluster").decode()
        about = about.replace(ray.__version__, "2.9.9").encode()
        store.internal_kv_put(b"CLUSTER_METADATA", about, True, b"cluster")
        print("done", flush=True)
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        print("done", flush=True)
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive, bundles, and the rows that a start without Ray makes."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "archive", 40)
    write_bundles(folder)
    assert reinspect(folder / "archive", "--bundle", folder / "bright", "--out", folder / "plain")[0] == 5
    return folder


def words(place: Path, out: Path, *more: str) -> list[str]:
    """Return the command, in a process of its own."""
    given = [str(place / "archive"), "--bundle", str(place / "bright"), "--out", str(out), *more]
    return [sys.executable, "-m", "edge", "reinspect", *given]


def finished(command: list[str]) -> tuple[int, str]:
    """Run a command to its end; return its exit code, and what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=LIMIT_S)
    return done.returncode, done.stdout + done.stderr


def has_shards(out: Path, count: int = 1) -> bool:
    """Tell whether results have so many shards."""
    return len(shards_in(out / "results")) >= count


def killed_half_way(command: list[str], out: Path) -> None:
    """Kill -9 a driver once the first shard is there.

    Ray gives a node 30 s to start, which a busy machine may take.
    """
    for _ in range(STARTS):
        with subprocess.Popen(command, cwd=ROOT) as started:
            until(lambda: has_shards(out), started)
            started.send_signal(signal.SIGKILL)
        if has_shards(out):
            return
    pytest.fail("no start made a shard")


@pytest.mark.timeout(1800)
def test_what_ray_began_goes_on_without_it_and_the_rows_are_the_same(place: Path, tmp_path: Path) -> None:
    """A driver is killed half-way, and one process does the rest: each picture once, all columns but `seconds`."""
    killed_half_way(words(place, tmp_path / "out", "--ray", "local", "--engines", "1"), tmp_path / "out")
    by_ray = rows(tmp_path / "out")
    assert len(run_json(tmp_path / "out")["nodes"]) == 1
    code, told = reinspect(*words(place, tmp_path / "out")[4:])
    assert code == 5, told
    after = rows(tmp_path / "out")
    assert but_seconds(after.values()) == but_seconds(rows(place / "plain").values())
    assert {picture: after[picture] for picture in by_ray} == by_ray
    assert run_json(tmp_path / "out")["complete"] is True


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_same_command_goes_on_with_ray(place: Path, tmp_path: Path) -> None:
    """A kill -9 half-way and the very same command again: each picture once."""
    command = words(place, tmp_path / "out", "--ray", "local", "--engines", "1")
    killed_half_way(command, tmp_path / "out")
    code, told = finished(command)
    assert code == 5, told
    assert but_seconds(rows(tmp_path / "out").values()) == but_seconds(rows(place / "plain").values())


def test_without_ray_and_without_a_cluster_it_says_what_to_do(place: Path, tmp_path: Path) -> None:
    """Exit codes 7 and 3, and no row is made. A cluster that ended or never was is told at once."""
    command = words(place, tmp_path / "out", "--ray", "local")
    code, told = finished([sys.executable, "-c", NO_RAY, *command[3:]])
    assert code == 7, told
    assert "pip install ray[data]; or" in told
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        said = reinspect(*command[4:-1], address)
    assert said[0] == 3, said
    assert f"--ray {address}: no Ray cluster answers there" in said[1]
    assert "expected local, or HOST:PORT" in reinspect(*command[4:-1], "ray://somewhere:1")[1]
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_it_says_what_to_install(place: Path, tmp_path: Path) -> None:
    """Exit code 7, and no folder is made."""
    code, told = finished([sys.executable, "-c", NO_RAY.replace("ray", "pyarrow"), *words(place, tmp_path / "out")[3:]])
    assert code == 7, told
    assert "pip install pyarrow; or" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (replace(FACTS, versions={**FACTS.versions, "linewatch": "0.2.0"}), "linewatch 0.2.0, here 0.1.0"),
        (replace(FACTS, versions={**FACTS.versions, "python": "3.10.1"}), "python 3.10.1, here 3.11.7"),
        (replace(FACTS, versions={"linewatch": "0.1.0", "python": "3.11.7"}), "onnxruntime not installed, here 1.31.1"),
        (replace(FACTS, bundles={"/b": "not there (No such file)"}), "the bundle /b is not there (No such file)"),
        (replace(FACTS, picture="one that cannot be read"), "the first picture is one that cannot be read, here 123"),
        (replace(FACTS, problem="no such folder"), "no such folder"),
        (replace(FACTS, versions={**FACTS.versions, "ray": "2.1"}), ""),
        (FACTS, ""),
    ],
)
def test_a_machine_that_would_judge_otherwise_is_told(other: NodeFacts, told: str) -> None:
    """Versions of what judges, bundle, pictures, the folder of results; other packages may differ."""
    assert differing(FACTS, other).startswith(told)
    assert bool(differing(FACTS, other)) is bool(told)


@contextmanager
def cluster() -> Iterator[tuple[str, Callable[[str], None], int]]:
    """Run a cluster of two nodes on this machine; yield its address, what makes something happen, and its process."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None

        def happen(what: str) -> None:
            print(what, file=nodes.stdin, flush=True)
            assert nodes.stdout is not None
            while nodes.stdout.readline().strip() != "done":
                assert nodes.poll() is None

        while ":" not in (address := nodes.stdout.readline().strip()):
            assert nodes.poll() is None
        try:
            yield address, happen, nodes.pid
        finally:
            nodes.stdin.close()
            nodes.wait(LIMIT_S)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_killed_worker_and_a_killed_node_cost_no_row(place: Path, tmp_path: Path) -> None:
    """Shards that they had begun are judged again by others, and each picture has one row."""
    with cluster() as (address, happen, process):
        command = words(place, tmp_path / "out", "--ray", address)
        with subprocess.Popen(command, cwd=ROOT) as started:
            until(lambda: has_shards(tmp_path / "out"), started)
            for worker in descendants(process, b"ray::MapWorker")[:1]:
                os.kill(worker, signal.SIGKILL)
            happen("kill")
            assert started.wait(LIMIT_S) == 5
    assert but_seconds(rows(tmp_path / "out").values()) == but_seconds(rows(place / "plain").values())
    assert len(run_json(tmp_path / "out")["nodes"]) == 2


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_cluster_of_another_version_and_too_many_engines_are_refused(place: Path, tmp_path: Path) -> None:
    """Exit code 3, both versions are named, and no row is made."""
    with cluster() as (address, happen, _):
        command = words(place, tmp_path / "out", "--ray", address)
        code, told = finished([*command, "--engines", "3"])
        assert code == 3, told
        assert "the cluster has room for 2 with 1 CPUs" in told
        happen("become another version")
        code, told = finished(command)
        assert code == 3, told
        assert "another version of Ray or of Python" in told
        assert "2.9.9" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
def test_what_listens_and_is_no_cluster_is_told(place: Path, tmp_path: Path) -> None:
    """Exit code 3 after a while, where Ray itself would wait without end."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        code, told = finished(words(place, tmp_path / "out", "--ray", address))
    assert code == 3, told
    assert "does not answer as a Ray cluster" in told
