"""docs/backup.md: its commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edge.outbox import Outbox, OutboxReader
from tests.conftest import ROOT
from tests.edge.messages.test_messages import WRITER

PAGE = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def test_its_commands_move_a_station(tmp_path: Path) -> None:
    """The printed lines, typed as they stand, carry the example's store to another folder, under a new epoch."""
    settings = (ROOT / "config" / "line.yaml").read_text().replace("path: ../out/outbox.db", "path: outbox.db")
    (tmp_path / "line.yaml").write_text(settings)
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.put(None, journal=[WRITER.journal_entry("started")])
        epoch = outbox.epoch
    (commands,) = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    assert shutil.which("linewatch", path=environment["PATH"])
    for line in commands.splitlines():
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    with OutboxReader(tmp_path / "new" / "outbox.db") as store:
        assert store.epoch != epoch
        assert [row.entry.kind for row in store.journal_rows(9)] == ["started", "restored"]
