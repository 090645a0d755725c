"""The table of states: what it allows, that it is whole, and that its diagram is the one in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product

import pytest

from edge.alarms.drawing import diagrams
from edge.alarms.states import (
    TABLE,
    Condition,
    Guard,
    Service,
    Shelving,
    Stimulus,
    Suppression,
    next_state,
    traits_of,
)
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "alarms.md"
LATCHED = "latched_acknowledged"
PLAIN = traits_of(latch=False, needs_ack=True)
LATCHING = traits_of(latch=True, needs_ack=True)
SILENT = traits_of(latch=False, needs_ack=False)


@pytest.mark.parametrize(
    ("traits", "path"),
    [
        (PLAIN, [("raise", "active"), ("acknowledge", "acknowledged"), ("return", "normal")]),
        (PLAIN, [("raise", "active"), ("return", "returned"), ("acknowledge", "normal")]),
        (PLAIN, [("raise", "active"), ("return", "returned"), ("raise", "active")]),
        (PLAIN, [("raise", "active"), ("acknowledge", "acknowledged"), ("re-alarm", "active")]),
        (LATCHING, [("raise", "active"), ("return", "latched"), ("reset", "returned"), ("acknowledge", "normal")]),
        (LATCHING, [("raise", "active"), ("return", "latched"), ("acknowledge", LATCHED), ("reset", "normal")]),
        (LATCHING, [("raise", "active"), ("acknowledge", "acknowledged"), ("return", LATCHED), ("raise", "active")]),
        (SILENT, [("raise", "acknowledged"), ("re-alarm", "acknowledged"), ("return", "normal")]),
    ],
)  # fmt: skip
def test_the_ways_of_the_standard(traits: frozenset[Guard], path: list[tuple[str, str]]) -> None:
    """ISA-18.2's ways from normal and back, with and without acknowledgement, latch and repetition."""
    state: object = Condition.NORMAL
    for stimulus, to in path:
        assert isinstance(state, Condition)
        state = next_state(state, Stimulus(stimulus), traits)
        assert state is Condition(to)


@pytest.mark.parametrize(
    ("state", "stimulus"),
    [
        (Condition.NORMAL, Stimulus.ACKNOWLEDGE),
        (Condition.NORMAL, Stimulus.RETURN),
        (Condition.ACKNOWLEDGED, Stimulus.ACKNOWLEDGE),
        (Condition.ACTIVE, Stimulus.RESET),
        (Condition.ACTIVE, Stimulus.RAISE),
        (Condition.RETURNED, Stimulus.RETURN),
        (Shelving.UNSHELVED, Stimulus.UNSHELVE),
        (Shelving.TIMED, Stimulus.RETURN),
        (Suppression.SUPPRESSED, Stimulus.SUPPRESS),
        (Service.IN_SERVICE, Stimulus.PUT_BACK),
    ],
)
def test_what_the_table_does_not_list_leads_nowhere(
    state: Condition | Shelving | Suppression | Service, stimulus: Stimulus
) -> None:
    """An active alarm is not reset, and one that is not shelved is not taken from a shelf."""
    assert next_state(state, stimulus, LATCHING) is None


def test_no_state_and_stimulus_lead_two_ways() -> None:
    """For every alarm that there may be at most one row holds, and every state can be reached and left."""
    for row, latch, needs_ack in product(TABLE, (False, True), (False, True)):
        traits = traits_of(latch=latch, needs_ack=needs_ack)
        fitting = [
            other
            for other in TABLE
            if (other.state, other.stimulus) == (row.state, row.stimulus) and traits.issuperset(other.guards)
        ]
        assert len(fitting) <= 1
        assert all(type(other.to) is type(other.state) for other in fitting)
    for region in (Condition, Shelving, Suppression, Service):
        for state in region:
            assert any(row.to is state and row.state is not state for row in TABLE), state
            assert any(row.state is state and row.to is not state for row in TABLE), state


def test_the_documentation_shows_this_very_table() -> None:
    """`make alarm-diagram` writes docs/alarms.md's diagrams from the table, and they are as it would write them."""
    page = PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- the table, drawn -->\n(.*?)<!-- end of the table -->", page, re.DOTALL)
    assert shown is not None
    assert shown[1] == diagrams()
    before = PAGE.stat().st_mtime_ns
    written = subprocess.run(
        [sys.executable, "-m", "edge.alarms.drawing", "--check", str(PAGE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (written.returncode, PAGE.stat().st_mtime_ns) == (0, before), written.stderr
    for row in TABLE:
        assert f"{row.state.value} --> {row.to.value} : {row.stimulus.value}" in shown[1]
