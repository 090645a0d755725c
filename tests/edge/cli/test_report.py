"""`linewatch report`: the same figures on the terminal, in HTML, CSV and JSON, beside a line that runs too."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import unicodedata
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge.outbox import Outbox
from edge.records import Verdict
from edge.records.ledger import CountDelta, WorstPart
from tests.edge.cli.test_inspect import EVIL, Page
from tests.edge.station.shift_store import EARLY, LATE, SETTINGS, entry, write_store
from tests.trainer.pages import code_blocks, page_commands

STEERS = "\x1b[2Jgone\u202e"


def linewatch(folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
    """Run the command in a folder as in a shell without a terminal; return what it printed."""
    command = [sys.executable, "-m", "edge", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=folder)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    for said in (done.stdout, done.stderr):
        assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in said.replace("\n", "")), repr(said)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()), done.stderr


def make(folder: Path) -> Path:
    """Make the settings of a line, and a folder for its store."""
    (folder / "config").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "config" / "line.yaml").write_text(SETTINGS.replace("outbox.db", "../out/outbox.db"))
    return folder / "out" / "outbox.db"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the settings of a line and the store of a shift."""
    path = tmp_path_factory.mktemp("report")
    write_store(make(path))
    return path


def rows(path: Path) -> dict[tuple[str, str, str, str], str]:
    """Return the values of a CSV by section, recipe, item and figure."""
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert {row["shift"] for row in found} == {EARLY}
    values = {(row["section"], row["recipe"], row["item"], row["figure"]): row["value"] for row in found}
    assert len(values) == len(found)
    return values


def test_the_page_of_the_documentation_is_what_the_command_does(folder: Path) -> None:
    """Each command of docs/report.md runs, and prints what stands there, in 80 columns."""
    printed = []
    for command in page_commands("report.md"):
        name, *words = command.split()
        assert name == "linewatch"
        printed.append(linewatch(folder, *words)[0])
    (shown,) = code_blocks("report.md", "text")
    assert shown.rstrip("\n") == printed[0]
    assert max(map(len, printed[0].splitlines())) <= 80
    for written in ("shift.html", "shift.csv", "shift.json"):
        assert (folder / "out" / written).stat().st_size > 0


def test_every_output_tells_the_same_figures(folder: Path) -> None:
    """By arithmetic: 1440 parts, of them 24 with a scratch (7, 67, …, 1387), 2 missed (499, 999), 15 stained.

    Stained are 5, 102, …, 1363, and none of them is scratched as well. 1414 of 1438 judged parts are 98.33 %.
    """
    options = ["--html", "out/a.html", "--csv", "out/a.csv", "--json", "out/a.json"]
    printed, _ = linewatch(folder, "report", "config/line.yaml", "--shift", "2026-01-30T06:00", *options)
    assert "all       1440  1414  24        2  98.33 %" in printed
    told = json.loads((folder / "out" / "a.json").read_text(encoding="utf-8"))
    total = told["total"]
    assert (total["parts"], total["ok"], total["ng"], total["no_read"], total["no_read_trigger"]) == (
        1440,
        1414,
        24,
        2,
        2,
    )
    assert total["yield"] == 1414 / 1438
    assert total["classes"] == {"scratch": {"ng": 24, "shown": 24}, "stain": {"ng": 0, "shown": 15}}
    assert total["grades"] == {"A": 1399, "B": 15, "scrap": 24}
    assert total["value"] == 1399 + 15 * 0.7
    assert [told["recipes"][recipe]["parts"] for recipe in ("phone-a", "phone-b")] == [1000, 440]
    assert told["time"] == {
        "up_ms": 24_360_000, "down_ms": {"bypass": 600_000, "camera-lost": 240_000}, "off_ms": 3_600_000,
    }  # fmt: skip
    values = rows(folder / "out" / "a.csv")
    for name, value in total.items():
        if not isinstance(value, dict):
            assert float(values["total", "", "", name]) == value
    for recipe, figures in told["recipes"].items():
        assert values["recipe", recipe, "", "ok"] == str(figures["ok"])
    assert values["total", "", "class:stain", "shown"] == "15"
    assert values["alarm", "", "rejects", "active_s"] == "1050.0"  # 4 min, 3.5 min, and 10 min until the end
    assert values["time", "", "bypass", "down_ms"] == "600000"
    assert values["worst", "phone-a", "1", "part_id"] == told["worst"][0]["part_id"] == "P-727"
    assert len(told["worst"]) == 24 + 15
    page = Page(folder / "out" / "a.html")
    assert not page.open
    assert not page.dangers
    for text in (
        "98.33 %",
        "97.53 % to 98.88 %",
        "1414",
        "P-727",
        "39.00 mm",
        "cleaning the lens",
        "anna, bert",
    ):
        assert text in page.text, text


def test_a_line_that_runs_is_not_held_up(tmp_path: Path) -> None:
    """The store is open and locked by a line. The running shift is read, and the line goes on to write."""
    store = make(tmp_path)
    with Outbox(store) as outbox:
        now = datetime.now(timezone.utc)
        (tmp_path / "config" / "line.yaml").write_text("store: {path: ../out/outbox.db}\n")
        shift = f"{now:%Y-%m-%d}T00:00+00:00"
        outbox.put(None, counts=[CountDelta(shift, "default", name, 3) for name in ("parts", "frames", "ok")])
        assert outbox.flush(120)
        printed, _ = linewatch(tmp_path, "report", "config/line.yaml", "--shift", "current")
        assert ", UTC, as of " in printed
        assert "Frames" in printed
        assert "100.00 %  43.85 % to 100.00 %" in printed  # 3 of 3: 1 / (1 + z² / 3)
        outbox.put(None, counts=[CountDelta(shift, "default", "parts", 1)])
        assert outbox.flush(120)


def test_a_shift_that_is_not_there_lists_those_that_are(folder: Path, tmp_path: Path) -> None:
    """Exit code 8 and the shifts of the store; 2 for what names no shift. A missing store is 8."""
    _, said = linewatch(folder, "report", "config/line.yaml", "--shift", "2026-01-30T07:00", code=8)
    assert (
        f"no shift that began at 2026-01-30T07:00. Expected current, or one of those that it has: {LATE}, {EARLY}"
        in said
    )
    _, said = linewatch(folder, "report", "config/line.yaml", "--shift", f"soon{STEERS}", code=2)
    assert "expected last, current or a beginning" in said
    make(tmp_path)
    _, said = linewatch(tmp_path, "report", "config/line.yaml", code=8)
    assert "No outbox at" in said


def test_names_from_outside_harm_neither_terminal_nor_page_nor_spreadsheet(tmp_path: Path) -> None:
    """Part ids, classes and users are text, however long: lines of 80 columns, no markup, no formula."""
    store, recipe = make(tmp_path), f"{EVIL}{STEERS}" + "x" * 150
    at = datetime(2026, 1, 30, 6, tzinfo=timezone.utc)
    worst = WorstPart(EARLY, recipe, "=HYPERLINK(1)", 1, at, Verdict.NG, STEERS, 0.5, EVIL, None, 9.0, "B")
    names = ["parts", "ng", f"class:{EVIL}", f"ng_class:{STEERS}", f"grade:{EVIL}", f"alarm:{EVIL}", f"odd{STEERS}"]
    with Outbox(store) as outbox:
        counts = [CountDelta(EARLY, recipe, name, 1) for name in names]
        counts.append(CountDelta(EARLY, recipe, f"down_ms:{STEERS}", 5))
        journal = [entry(5, "acknowledged", EVIL, user=EVIL), entry(6, "bypass_begin", user=STEERS, comment=EVIL * 4)]
        outbox.put(None, counts=counts, worst=[worst], journal=journal)
    options = ["--html", "out/a.html", "--csv", "out/a.csv", "--json", "out/a.json"]
    printed, _ = linewatch(tmp_path, "report", "config/line.yaml", *options)
    assert max(map(len, printed.splitlines())) <= 80
    page = Page(tmp_path / "out" / "a.html")
    assert not page.open
    assert not page.dangers
    assert EVIL in page.text
    assert "\x1b" not in page.text
    assert [value for key, value in rows(tmp_path / "out" / "a.csv").items() if key[3] == "part_id"] == [
        "'=HYPERLINK(1)"
    ]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["worst"][0]["part_id"] == "=HYPERLINK(1)"


def test_a_file_that_cannot_be_written_is_an_error(folder: Path) -> None:
    """Exit code 8 and its name; the shift was printed before."""
    _, said = linewatch(folder, "report", "config/line.yaml", "--html", "/proc/none/a.html", code=8)
    assert "/proc/none" in said
    assert "cannot be written" in said
