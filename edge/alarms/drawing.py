"""The table of states as pictures: `make alarm-diagram` puts them into docs/alarms.md."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.alarms.states import TABLE, Condition, Service, Shelving, State, Suppression

# The names of states in the diagram; the standard's where they are longer than ours.
_TITLES: dict[State, str] = {
    Condition.NORMAL: "normal",
    Condition.ACTIVE: "active (unacknowledged)",
    Condition.ACKNOWLEDGED: "acknowledged (active)",
    Condition.RETURNED: "returned (unacknowledged)",
    Condition.LATCHED: "latched (unacknowledged)",
    Condition.LATCHED_ACKNOWLEDGED: "latched (acknowledged)",
    Shelving.UNSHELVED: "unshelved",
    Shelving.ONE_SHOT: "shelved once",
    Shelving.TIMED: "shelved for a time",
    Suppression.UNSUPPRESSED: "unsuppressed",
    Suppression.SUPPRESSED: "suppressed",
    Service.IN_SERVICE: "in service",
    Service.OUT_OF_SERVICE: "out of service",
}


def diagram(region: type[Condition | Shelving | Suppression | Service]) -> str:
    """Draw one region of the table as a Mermaid state diagram, which GitHub shows as a picture."""
    states = [state for state in _TITLES if isinstance(state, region)]
    lines = ["stateDiagram-v2"]
    lines += [f"    {state.value} : {_TITLES[state]}" for state in states]
    lines.append(f"    [*] --> {states[0].value}")
    for row in TABLE:
        if isinstance(row.state, region):
            guards = f" [{', '.join(guard.value for guard in row.guards)}]" if row.guards else ""
            lines.append(f"    {row.state.value} --> {row.to.value} : {row.stimulus.value}{guards}")
    return "\n".join(lines) + "\n"


def diagrams() -> str:
    """Return the diagrams of all regions as they stand in docs/alarms.md, from one marker to the other."""
    regions: tuple[tuple[str, type[Condition | Shelving | Suppression | Service]], ...] = (
        ("Condition", Condition),
        ("Shelf", Shelving),
        ("Suppression", Suppression),
        ("Service", Service),
    )
    return "\n".join(f"**{title}**\n\n```mermaid\n{diagram(region)}```\n" for title, region in regions)


_FROM, _TO = "<!-- the table, drawn -->\n", "<!-- end of the table -->"


def _write_page(path: Path, *, check: bool) -> str:
    """Put the diagrams between their marks on a page, or only look whether they are; say what is wrong."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(_FROM)
    _, mark, after = rest.partition(_TO)
    if not mark:
        return f"{path} has no place for the table: expected the lines {_FROM.strip()} and {_TO}"
    drawn = f"{before}{_FROM}{diagrams()}{_TO}{after}"
    if drawn != page and check:
        return f"{path} does not show the table as it is. Run: make alarm-diagram"
    if drawn != page:
        path.write_text(drawn, encoding="utf-8")
    return ""


if __name__ == "__main__":
    *_options, _page = sys.argv[1:]
    sys.exit(_write_page(Path(_page), check="--check" in _options) or None)
