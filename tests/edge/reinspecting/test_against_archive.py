"""`linewatch reinspect --against`: two bundles judge each picture, and what differs is told three times alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.edge.cli.test_inspect import Page
from tests.edge.reinspecting.archive import (
    COLUMNS,
    but_seconds,
    reinspect,
    rows,
    run_json,
    write_archive,
    write_bundles,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Judge an archive by two bundles, the second of which sees no scratch."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "archive", 90)
    write_bundles(folder)
    return folder


@pytest.fixture(scope="module")
def told(place: Path) -> str:
    """Return what the command says."""
    words = ("--bundle", place / "bright", "--against", place / "blind", "--out", place / "out")
    code, said = reinspect(place / "archive", *words)
    assert code == 5, said
    return said


def test_what_changes_is_told_as_a_table(told: str) -> None:
    """Each scratch is lost, none is gained; what neither could read changes nothing."""
    assert "91 pictures compared, 60 verdicts would differ (NG → OK: 60); scratch: 0 gained, 60 lost" in told
    assert [line.split("│")[1:4] for line in told.splitlines() if "NG " in line and "│" in line] == [
        [" NG             ", " OK          ", " 60       "]
    ]


@pytest.mark.usefixtures("told")
def test_each_picture_has_a_row_of_both(place: Path) -> None:
    """The second bundle's rows are those that it gives alone, with what differs beside them."""
    reinspect(place / "archive", "--bundle", place / "blind", "--out", place / "alone")
    reinspect(place / "archive", "--bundle", place / "bright", "--out", place / "former")
    both, alone, former = rows(place / "out", "against"), rows(place / "alone"), rows(place / "former")
    assert but_seconds({key: row[key] for key in COLUMNS} for row in both.values()) == but_seconds(alone.values())
    assert but_seconds(rows(place / "out").values()) == but_seconds(former.values())
    for picture, row in both.items():
        assert row["former_verdict"] == former[picture]["verdict"]
        assert row["lost"] == (former[picture]["defects"] or [])
        assert row["gained"] == []
        assert row["differs"] is (former[picture]["verdict"] == "NG")


@pytest.mark.usefixtures("told")
def test_the_page_shows_the_fifty_that_differ_most_and_loads_nothing(place: Path) -> None:
    """Each of them twice, side by side; the sums are those of the JSON file."""
    page = Page(place / "out" / "against.html")
    assert page.dangers == []
    assert len(page.pictures) == 2 * 50
    sums = json.loads((place / "out" / "against.json").read_text(encoding="utf-8"))
    assert sums["verdicts"] == [{"former": "NG", "new": "OK", "count": 60}]
    assert sums["classes"] == {"scratch": {"gained": 0, "lost": 60}}


@pytest.mark.usefixtures("told")
def test_a_second_bundle_is_part_of_what_the_rows_depend_on(place: Path) -> None:
    """Without it, or with another, the folder is refused; a shard of one bundle alone is judged anew by both."""
    words = (place / "archive", "--bundle", place / "bright", "--out", place / "out")
    assert reinspect(*words)[0] == 3
    assert reinspect(*words, "--against", place / "bright")[0] == 3
    assert run_json(place / "out")["identity"]["against"]["bundle"]
    before = rows(place / "out", "against")
    # as a kill between both leaves it; and as somebody does who removes a damaged shard
    for folder in ("results", "against"):
        next((place / "out" / folder).glob("*.parquet")).unlink()
        assert reinspect(*words, "--against", place / "blind")[0] == 5
        after = rows(place / "out", "against")
        assert but_seconds(after.values()) == but_seconds(before.values())
        assert after.keys() == rows(place / "out").keys()
