"""The table of a grid: a row per combination, seeds averaged; for a terminal, in Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from trainer.comparing.grid import SEED, Run
from trainer.comparing.rows import RunFigures, as_row

NOTHING = "(answering nothing)"


def _figures(outcomes: Sequence[RunFigures]) -> list[str]:
    """Name the columns of figures, in the order of the first run that has them."""
    axes = {axis for outcome in outcomes for axis, _ in outcome.run.labels} | {"failure", "stopped"}
    return list(dict.fromkeys(key for outcome in outcomes for key in as_row(outcome) if key not in axes))


def _averaged(outcomes: Sequence[RunFigures]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Group runs that differ in the seed only: (labels, figures as text), mean ± standard deviation over seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for outcome in outcomes:
        labels = tuple(label for axis, label in outcome.run.labels if axis != SEED)
        groups.setdefault(labels, []).append(as_row(outcome))
    return [(labels, {key: _text(key, rows) for key in _figures(outcomes)}) for labels, rows in groups.items()]


def _with_empty(outcomes: Sequence[RunFigures]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Add to `_averaged` what answering nothing would have scored on the same pictures, as its last row."""
    rows = _averaged(outcomes)
    judged = [o.report["empty_baseline"] for o in outcomes if o.report and "empty_baseline" in o.report]
    if judged:
        each = [as_row(RunFigures(Run((), {}), report, None, "")) for report in judged]
        nothing = [row for place, row in enumerate(each) if row not in each[:place]]  # runs share a split, mostly
        labels = (NOTHING, *[""] * len(outcomes[0].run.labels))[: len(_axes(outcomes))]
        rows.append((labels, {key: _text(key, nothing) for key in _figures(outcomes)}))
    return rows


def _text(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        if all(row.get("stopped") for row in rows):
            return "stopped"
        return "failed" if any(row["failure"] for row in rows) else "-"
    digits = 1 if key == "minutes" else 3
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    lacking = f" ({len(values)} of {len(rows)})" if len(values) < len(rows) else ""
    return f"{np.mean(values):.{digits}f}{spread}{lacking}"


def _axes(outcomes: Sequence[RunFigures]) -> list[str]:
    return [axis for axis, _ in outcomes[0].run.labels if axis != SEED]


def tables(outcomes: Sequence[RunFigures], width: int) -> list[Table]:
    """Lay the grid out for a terminal of `width` characters: a row per combination, seeds averaged."""
    rows = [(labels, list(figures.values())) for labels, figures in _with_empty(outcomes)]
    return laid_out(_axes(outcomes), _figures(outcomes), rows, width)


def laid_out(
    axes: Sequence[str], columns: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[str]]], width: int
) -> list[Table]:
    """Lay rows out, each with its labels, one of each of `axes`, and its cells, one of each of `columns`.

    Columns that do not fit beside each other go on in a further table, so that none is cut.
    """
    of_labels = sum(_width([axis, *(labels[k] for labels, _ in rows)]) for k, axis in enumerate(axes)) + 1
    parts: list[list[int]] = []
    left = 0
    for place, column in enumerate(columns):
        own = _width([column, *(cells[place] for _, cells in rows)])
        if own > left:
            parts.append([])
            left = width - of_labels
        parts[-1].append(place)
        left -= own
    made = []
    for part in parts:
        shown = Table()
        for name in (*axes, *(columns[place] for place in part)):
            shown.add_column(name, no_wrap=True)
        for labels, cells in rows:
            shown.add_row(*labels, *(cells[place] for place in part))
        made.append(shown)
    return made


def _width(cells: Sequence[str]) -> int:
    """Return the characters that a column takes, with a blank on either side and its line."""
    return max(len(cell) for cell in cells) + 3


def markdown(outcomes: Sequence[RunFigures]) -> str:
    """Lay the grid out as a Markdown table, as in a thesis."""
    rows = [(labels, list(figures.values())) for labels, figures in _with_empty(outcomes)]
    return in_markdown([*_axes(outcomes), *_figures(outcomes)], rows)


def in_markdown(head: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Write rows, each with its labels and its cells, as a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join([*labels, *cells])} |" for labels, cells in rows]
    return "\n".join(lines) + "\n"


def as_csv(outcomes: Sequence[RunFigures]) -> str:
    """Write a row for each run, as `as_row` gives it."""
    rows = [as_row(outcome) for outcome in outcomes]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
