"""`linewatch reinspect --ray ADDRESS` on nodes as people start them; Ctrl-C, and what must be there on each node."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge.opencv import cv2
from edge.reinspecting.shards import shards_in
from tests.bright_bundle import part
from tests.conftest import ROOT
from tests.edge.reinspecting.archive import but_seconds, reinspect, rows, run_json, write_archive, write_bundles
from tests.ray_nodes import can_hide, descendants, finished, head, in_terminal, node, none_left, stopped, until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SLOW = 3000  # pictures: the last of them comes long after the first


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive of some pictures and one of many, bundles, and the rows that a start without Ray makes."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "archive", 40)
    (folder / "many").mkdir()
    cv2.imwrite(str(folder / "many" / "0.png"), part(64, 64, (5, 20, 20, 6)))
    for number in range(1, SLOW):
        os.link(folder / "many" / "0.png", folder / "many" / f"{number}.png")
    write_bundles(folder)
    assert reinspect(folder / "archive", "--bundle", folder / "bright", "--out", folder / "plain")[0] == 5
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Run a cluster of one node; yield its address."""
    with head() as found:
        yield found


def words(place: Path, archive: str, out: Path, *more: str) -> list[str]:
    """Return the command."""
    given = [str(place / archive), "--bundle", str(place / "bright"), "--out", str(out), *more]
    return [sys.executable, "-m", "edge", "reinspect", *given]


def test_a_cluster_judges_what_is_named_from_where_the_command_is_given(
    place: Path, address: str, tmp_path: Path
) -> None:
    """Relative names mean the same on every node, wherever its Ray was started; the rows are those without Ray."""
    with node(address):
        more = ["--bundle", "bright", "--out", str(tmp_path / "out"), "--ray", address]
        code, said = finished([sys.executable, "-m", "edge", "reinspect", "archive", *more], cwd=place)
    assert code == 5, said
    assert "E " not in said.replace("NO_READ", "")  # nothing of Ray's own log
    assert but_seconds(rows(tmp_path / "out").values()) == but_seconds(rows(place / "plain").values())
    assert len(run_json(tmp_path / "out")["nodes"]) == 2


@pytest.mark.parametrize(
    ("hidden", "told"), [("bright", "the bundle"), ("archive", "picture is one that cannot be read")]
)
def test_a_node_that_lacks_something_is_named_and_nothing_is_judged(
    hidden: str, told: str, place: Path, address: str, tmp_path: Path
) -> None:
    """Exit code 7; the node is told by host, address and id. Without it the same command does its work."""
    if not can_hide(place / hidden):
        pytest.skip("no file system can be mounted here")
    command = words(place, "archive", tmp_path / "out", "--ray", address)
    with node(address, hidden=place / hidden):
        code, said = finished(command)
    assert code == 7, said
    flat = " ".join(said.split())
    assert re.search(r"error: the node \S+ \([0-9a-f.:]+, [0-9a-f]{8}\): ", flat), flat
    assert told in flat
    assert "Expected the same on each node" in flat
    assert not shards_in(tmp_path / "out" / "results")
    until(lambda: finished(command)[0] == 5)  # Ray takes half a minute to notice that a node was killed


def test_a_node_without_linewatch_is_named(place: Path, address: str, tmp_path: Path) -> None:
    """Exit code 7, and what its Python says."""
    if not can_hide(ROOT / "edge"):
        pytest.skip("no file system can be mounted here")
    with node(address, hidden=ROOT / "edge"):
        code, said = finished(words(place, "archive", tmp_path / "out", "--ray", address))
    assert code == 7, said
    assert "Linewatch cannot be run there" in " ".join(said.split())
    assert "No module named 'edge" in " ".join(said.split())


@pytest.mark.parametrize("where", ["local", "address"])
@pytest.mark.parametrize("how", ["Ctrl-C once", "Ctrl-C twice", "SIGTERM"])
def test_what_is_stopped_leaves_good_rows_and_no_process(
    how: str, where: str, place: Path, address: str, tmp_path: Path
) -> None:
    """Exit code 130; nothing of the command lives on; a foreign cluster does, and does the rest."""
    command = words(place, "many", tmp_path / "out", "--ray", address if where == "address" else "local")
    with in_terminal([*command, "--engines", "1"]) as started:
        until(lambda: shards_in(tmp_path / "out" / "results"), started)
        below = descendants(started.pid)
        code, said = stopped(started, how)
    assert code == 130, said
    assert where == "address" or none_left(below)
    until(lambda: none_left(below))
    before = rows(tmp_path / "out")
    assert 0 < len(before) < SLOW
    code, said = finished(command if where == "address" else command[:-2])
    assert code == 0, said
    after = rows(tmp_path / "out")
    assert len(after) == SLOW
    assert {picture: after[picture] for picture in before} == before


def test_what_kills_every_worker_is_not_tried_for_ever(place: Path, tmp_path: Path) -> None:
    """Exit code 6 and the pictures once a shard's worker has died six times; rows that are written stay."""
    command, out = words(place, "many", tmp_path / "out", "--ray", "local", "--engines", "1"), tmp_path / "out"
    tries = 0
    with in_terminal(command) as started:
        while started.poll() is None:
            until(lambda before=tries: _tries(out) > before, started)
            tries = _tries(out)
            for worker in descendants(started.pid, b"ray::MapWorker"):
                with suppress(OSError):
                    os.kill(worker, signal.SIGKILL)
        said, _ = started.communicate()
    assert started.returncode == 6, said
    assert "dies: it was tried 6 times" in " ".join(said.split())
    assert "Traceback" not in said
    assert reinspect(*command[4:-4])[0] == 0
    assert len(rows(tmp_path / "out")) == SLOW


def _tries(out: Path) -> int:
    """Return how often a shard was begun of which no row came."""
    tries = 0
    for note in out.glob(".*shard*.begun.tmp"):
        with suppress(FileNotFoundError):
            tries += note.stat().st_size
    return tries
