"""`linewatch-train compare --ray ADDRESS` on nodes as people start them; Ctrl-C, and what each node must have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.ray_nodes import can_hide, descendants, finished, head, in_terminal, node, none_left, stopped, until
from tests.trainer.painted import RECIPE, write_painted

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

TINY = yaml.safe_load(RECIPE) | {"epochs": 1}
TINY["sampling"] = TINY["sampling"] | {"steps_per_epoch": 2}
LONG = TINY | {"epochs": 400, "early_stopping_epochs": 400}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures, and write a short recipe and a long one."""
    folder = tmp_path_factory.mktemp("ray")
    write_painted(folder / "painted", 48)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "long.yaml").write_text(yaml.safe_dump(LONG))
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Run a cluster of one node; yield its address."""
    with head() as found:
        yield found


def command(place: Path, recipe: str, out: Path, *more: str) -> list[str]:
    """Return the command."""
    words = [sys.executable, "-m", "trainer", "compare", str(place / recipe), "--data", str(place / "painted")]
    return [*words, "--out", str(out), "--cpus-per-run", "1", *more]


def test_a_node_that_lacks_the_dataset_is_named_and_the_cluster_does_the_work(
    place: Path, address: str, tmp_path: Path
) -> None:
    """Exit code 7, with the node's host, address and id; without that node the same command makes the table."""
    words = command(place, "tiny.yaml", tmp_path / "out", "--ray", address)
    if can_hide(place / "painted"):
        with node(address, hidden=place / "painted"):
            code, said = finished(words)
        assert code == 7, said
        flat = " ".join(said.split())
        assert "error: the node " in flat
        assert "manifest.csv is not readable (No such file or directory)" in flat
    until(lambda: finished(words)[0] == 0)  # Ray takes half a minute to notice that a node was killed
    (row,) = json.loads((tmp_path / "out" / "table.json").read_text())
    assert row["failure"] is None


@pytest.mark.parametrize(
    ("how", "where", "more"),
    [
        ("Ctrl-C once", "local", ()),
        ("Ctrl-C twice", "local", ("--halving",)),
        ("Ctrl-C once", "address", ("--halving",)),
        ("Ctrl-C twice", "address", ()),
        ("SIGTERM", "address", ()),
    ],
)
def test_what_is_stopped_leaves_no_process_and_goes_on_later(
    how: str, where: str, more: tuple[str, ...], place: Path, address: str, tmp_path: Path
) -> None:
    """Exit code 130; no training lives on, none counts as failed or weak; a foreign cluster lives on."""
    out = tmp_path / "out"
    words = command(place, "long.yaml", out, "--ray", address if where == "address" else "local", *more)
    log = out / "painted" / "bundle" / "training" / "log.csv"
    with in_terminal(words) as started:
        until(lambda: log.is_file() and len(log.read_text().splitlines()) > 1, started)
        below = [*descendants(started.pid), *_training(out)]
        code, said = stopped(started, how)
    assert code == 130, said
    assert where == "address" or none_left(below)
    until(lambda: none_left(below))
    assert not list(out.glob("*/failed.txt"))
    assert not list(out.glob("*/stopped.txt"))


def _training(out: Path) -> list[int]:
    """Return the processes that train below a folder, whoever started them."""
    return [process for process in descendants(1, b"trainer.comparing.one_run") if _tells(process, bytes(out))]


def _tells(process: int, words: bytes) -> bool:
    try:
        return words in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
