"""A command ends with words and an exit code, never with a traceback, however its surroundings fail it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge import __version__
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
BUNDLE = ROOT / "edge" / "bundles" / "simulated-glass"
LINEWATCH = str(BIN / "linewatch")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write settings and a recording of eight frames."""
    folder = tmp_path_factory.mktemp("line")
    subprocess.run([LINEWATCH, "simulate", "--video", folder / "line.mp4", "--frames", "8"], check=True)
    (folder / "line.yaml").write_text(
        f"bundle: {BUNDLE}\ncamera: {{source: line.mp4}}\nstore: {{path: outbox.db}}\nengine: {{backend: auto}}\n"
    )
    return folder


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash with LINEWATCH as its program."""
    return subprocess.run(
        ["bash", "-c", command.replace("LINEWATCH", LINEWATCH)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("LINEWATCH version | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("LINEWATCH version > /dev/full", 8, "No space left on device"),
        ("LINEWATCH version >&-", 0, ""),
        ("LINEWATCH version >&- 2>&- <&-", 0, ""),
        ("LINEWATCH check nowhere.yaml 2>&-", 3, ""),
        ("LINEWATCH check nowhere.yaml 2>/dev/full", 3, ""),
        ("LINEWATCH --help >/dev/full", 8, "No space left on device"),
    ],
)
def test_an_output_that_is_closed_or_full(command: str, code: int, says: str, line: Path) -> None:
    """A reader that has enough ends the command quietly with 141; a full disk is told. None at all is no fault."""
    done = shell(command, line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert says in done.stderr


READ_ONLY = """
mount --make-rprivate /
mount --bind / / && mount -o remount,bind,ro /
for place in /tmp /var/tmp /usr/tmp /dev/shm; do
  [ -d $place ] && mount --bind $place $place && mount -o remount,bind,ro $place
done
cd FOLDER && exec COMMAND
"""


def test_a_replay_on_a_read_only_root_says_what_to_do(line: Path) -> None:
    """Without a place for a temporary store the replay ends with 8 and names TMPDIR; with one it works."""
    command = f"LINEWATCH replay line.mp4 --config line.yaml --events {{}} --bundle {BUNDLE}"
    script = READ_ONLY.replace("FOLDER", str(line)).replace("COMMAND", command.format("/dev/null"))
    done = _in_a_mount_namespace(script, line)
    assert done.returncode == 8, done.stderr
    assert "No temporary folder can be made" in done.stderr
    assert "TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_on_a_read_only_root_are_refused_by_name(line: Path) -> None:
    """The file that cannot be written is named."""
    command = f"LINEWATCH replay line.mp4 --config line.yaml --events events.jsonl --bundle {BUNDLE}"
    script = READ_ONLY.replace("FOLDER", str(line)).replace("exec COMMAND", "mount -t tmpfs none /mnt && exec COMMAND")
    done = _in_a_mount_namespace(script.replace("COMMAND", command), line, TMPDIR="/mnt")
    assert done.returncode == 8, done.stderr
    assert "events.jsonl cannot be written: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def _in_a_mount_namespace(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    as_root = "" if os.geteuid() == 0 else "--map-root-user"
    (folder / "script").write_text(script.replace("LINEWATCH", LINEWATCH))
    return shell(f"unshare {as_root} --mount bash {folder / 'script'}", folder, **environment)


def test_auto_works_without_home_and_without_an_account(line: Path) -> None:
    """A container's user has neither: the engines are measured at each start, and the log says so."""
    # by its number, which no account has, and with the rights of who runs the tests
    command = f"unshare --user --map-user=54321 --map-group=54321 {LINEWATCH} check line.yaml --offline"
    done = subprocess.run(
        ["env", "-i", f"PATH={os.environ['PATH']}", "bash", "-c", command],
        cwd=line,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "No home folder, so the next start measures again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["linewatch", "linewatch-train", "convert"])
def test_each_program_tells_its_version(program: str) -> None:
    """`--version` prints the version and nothing else."""
    done = subprocess.run([BIN / program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


@pytest.mark.parametrize(
    ("words", "file", "says"),
    [
        (("--video", "line.mp4"), "line.mp4", "line.mp4: 8 frames"),
        (("--dataset", "glass"), "glass/manifest.csv", "glass: 8 pictures"),
        (("--station", "station"), "station/parts.csv", "station: 8 frames of each camera, 0 whole parts"),
    ],
)
def test_simulate_shows_how_far_it_is(words: tuple[str, ...], file: str, says: str, tmp_path: Path) -> None:
    """A terminal sees a bar, and then what was written; a pipe sees the latter alone."""
    command = [LINEWATCH, "simulate", *words, "--frames", "8"]
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert piped.stdout.strip() == says
    assert (tmp_path / file).is_file()
    master, slave = pty.openpty()
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=slave):
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):
            while read := os.read(master, 4096):
                seen += read
    os.close(master)
    assert b"/8" in seen or b"/16" in seen
