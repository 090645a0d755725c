"""A table of when parts were opened and closed fits its station, or is refused. Its omissions are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.cli.console import units_of
from edge.cli.given_recordings import trigger_of
from edge.errors import SettingsError
from edge.settings import Settings
from edge.station.counts import LineCounts

HEAD = "part_id,product,opened_ns,closed_ns,defective,classes\n"
VIEWS = {"camera": {"bundle": "b"}}
SETTINGS = Settings.model_validate(
    {
        "recipes": {"phone-a": {"views": VIEWS}, "phone-b": {"views": VIEWS}},
        "recipe": "phone-a",
        "parts": {"trigger": "mqtt"},
    }
)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "received a table without any part"),
        ("x,phone-c,0,100,no,\n", "expected as product one of the recipes phone-a, phone-b, received phone-c"),
    ],
)
def test_a_table_that_does_not_fit_the_station_is_refused(rows: str, says: str, tmp_path: Path) -> None:
    """No part at all, or parts of a recipe that the station lacks, would make a replay that says nothing."""
    table = tmp_path / "parts.csv"
    table.write_text(HEAD + rows)
    with pytest.raises(SettingsError, match=says):
        trigger_of(SETTINGS, table, None)
    table.write_text(HEAD + "x,phone-b,0,100,no,\n,,150,250,no,\n")
    assert trigger_of(SETTINGS, table, None) is not None


def test_ng_frames_of_no_part_are_told() -> None:
    """A defect that no part's window holds is in no result: the end of a run says that it was seen."""
    counts = LineCounts(frames=10, parts=2, stray_ng=1)
    assert units_of(SETTINGS, counts) == "2 parts in 10 frames (1 NG frame of no part)"
    assert units_of(SETTINGS, LineCounts(frames=10, parts=2)) == "2 parts in 10 frames"
