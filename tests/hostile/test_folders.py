"""Folders that are no folders of pictures: whole disks, what the kernel makes up, and what never ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from edge.opencv import cv2
from edge.pictures.folders import list_files, list_pictures
from tests.brokers import free_port, wait_for
from tests.conftest import ROOT
from tests.edge.cli.test_check import BUNDLE


def test_a_folder_without_end_is_refused(tmp_path: Path) -> None:
    """Beyond so many entries, those of subfolders included, a folder is refused in words; at the bound it is listed."""
    for number in range(30):
        (tmp_path / f"{number % 3}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 3}" / f"{number}.png").touch()
    assert len(list_files(tmp_path, (".png",), entries_at_most=33).files) == 30
    with pytest.raises(SourceError, match=r"holds more than 32 files and folders; expected a folder of pictures"):
        list_files(tmp_path, (".png",), entries_at_most=32)


def test_what_the_kernel_makes_up_is_not_entered(tmp_path: Path, part_png: Path) -> None:
    """A link to /proc among pictures costs one line, and no file of it is opened."""
    (tmp_path / "a.png").write_bytes(part_png.read_bytes())
    (tmp_path / "kernel").symlink_to("/proc")
    listing = list_pictures(tmp_path)
    assert [file.name for file in listing.files] == ["a.png"]
    assert [(left.path.name, left.reason) for left in listing.left_out] == [("kernel", "made up by the kernel")]


@pytest.fixture
def part_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a picture."""
    path = tmp_path_factory.mktemp("picture") / "part.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 38, np.uint8))
    return path


@contextmanager
def listing_all(*verb: str) -> Iterator[subprocess.Popen[str]]:
    """Run a verb and yield it as soon as it has a folder of the disk open."""
    command = [sys.executable, "-m", "edge", *verb]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(lambda: process.poll() is not None or _reads_a_folder(process.pid), 120)
            yield process
        finally:
            process.kill()


def _reads_a_folder(pid: int) -> bool:
    """Tell whether a process has a folder open in which Python has no business."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(descriptor))  # noqa: PTH115 - as the kernel writes it
    return any(name.startswith(("/etc/", "/usr/")) and "python" not in name and Path(name).is_dir() for name in found)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("verb", ["run", "replay", "inspect"])
def test_a_whole_disk_is_left_at_once(tmp_path: Path, verb: str, how: signal.Signals) -> None:
    """`source: /`, `replay /` and `inspect /` hear a signal while they list, and end as each does that is stopped."""
    config = tmp_path / "line.yaml"
    config.write_text(
        f"bundle: {BUNDLE}\ncamera: {{source: /, max_age_ms: 60000}}\nstore: {{path: outbox.db}}\n"
        f"broker: {{port: {free_port()}}}\n"
    )
    given = {
        "run": ["run", str(config)],
        "replay": ["replay", "/", "--config", str(config), "--events", str(tmp_path / "events")],
        "inspect": ["inspect", "/", "--bundle", str(BUNDLE), "--report", str(tmp_path / "report.html")],
    }[verb]
    with listing_all(*given) as process:
        assert process.poll() is None, process.stdout and process.stdout.read()
        process.send_signal(how)
        told, _ = process.communicate(timeout=120)
    assert "Traceback" not in told
    assert "left out of /" not in told  # it is said once all is listed
    expected = {"run": {0}, "replay": {130}, "inspect": {130, -how}}[verb]
    assert process.returncode in expected, told
