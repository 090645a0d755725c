from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.precision.search import Measurements, minimal
from edge.errors import StoreError


@given(st.integers(1, 40), st.data())
def test_exactly_what_is_needed_is_found(count: int, data: st.DataObject) -> None:
    """For any set of needed nodes the search returns that set, however the nodes are ordered."""
    names = [f"n{i}" for i in range(count)]
    needed = frozenset(data.draw(st.sets(st.sampled_from(names))))
    found = minimal(lambda pins: not needed <= pins, frozenset(), [frozenset({name}) for name in names])
    assert found == needed


@given(st.integers(1, 6), st.integers(30, 200))
def test_the_search_takes_far_fewer_measurements_than_there_are_nodes(needed: int, count: int) -> None:
    """Among n nodes k needed ones cost at most about 2 k (log2(n / k) + 1) questions, QuickXplain's bound."""
    names = [f"n{i}" for i in range(count)]
    wanted = frozenset(names[:: count // needed][:needed])
    asked = []

    def fails(pins: frozenset[str]) -> bool:
        asked.append(pins)
        return not wanted <= pins

    assert minimal(fails, frozenset(), [frozenset({name}) for name in names]) == wanted
    k = len(wanted)
    assert len(asked) <= 2 * k * (math.log2(count / k) + 1) + 2 * k + 1


def test_groups_come_and_go_whole() -> None:
    """The whole group stays if one node of it is needed; a node kept anyway costs nothing."""
    groups = [frozenset({"a", "b"}), frozenset({"c", "d"}), frozenset({"e"})]
    assert minimal(lambda pins: "c" not in pins, frozenset({"x"}), groups) == {"c", "d"}
    assert minimal(lambda pins: "x" not in pins, frozenset({"x"}), groups) == set()


def test_a_search_goes_on_where_it_stood(tmp_path: Path) -> None:
    """A measurement is not taken again after an interruption, unless something that it depends on has changed."""
    file = tmp_path / "search.json"
    asked: list[frozenset[str]] = []

    def measure(pins: frozenset[str]) -> list[str]:
        asked.append(pins)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ["1 scratch defects lost"] if "a" not in pins else []

    first = Measurements(file, ["model 1"])
    assert first.get(frozenset(), measure) == ["1 scratch defects lost"]
    assert first.get(frozenset({"a", "b"}), measure) == []
    with pytest.raises(KeyboardInterrupt):
        first.get(frozenset({"a"}), measure)
    again = Measurements(file, ["model 1"])
    assert again.get(frozenset({"b", "a"}), measure) == []
    assert again.get(frozenset(), measure) == ["1 scratch defects lost"]
    assert (len(asked), again.reused) == (3, 2)
    assert again.get(frozenset({"a"}), measure) == []
    other = Measurements(file, ["model 2"])
    other.get(frozenset({"a"}), measure)
    assert (len(asked), other.reused) == (5, 0)
    other.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"about": 1, "found": []}', "\xff\xfe"])
def test_a_damaged_file_of_measurements_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    """The search begins anew, whatever stands there, and writes a file that can be read."""
    file = tmp_path / "search.json"
    file.write_text(text)
    assert Measurements(file, ["m"]).get(frozenset({"a"}), lambda _: []) == []
    assert json.loads(file.read_text())["found"]


def test_measurements_that_cannot_be_kept_are_a_store_error(tmp_path: Path) -> None:
    """A folder that is gone ends the search with a StoreError that names the file."""
    with pytest.raises(StoreError, match=r"search\.json cannot be written"):
        Measurements(tmp_path / "gone" / "search.json", ["m"]).get(frozenset(), lambda _: [])
