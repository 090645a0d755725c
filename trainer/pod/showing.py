"""The curves for eyes: a table for the terminal, and a plot as PNG bytes; and each defect for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from edge.errors import DependencyError
from edge.installing import how_to_install
from trainer.pod.curve import PROBABILITY, Curve
from trainer.pod.plan import NINTHS
from trainer.pod.summary import Summary
from trainer.pod.trials import Trial

_DOTS_PER_INCH = 110
_COLOURS = ("#1f4e79", "#c55a11", "#548235", "#7030a0", "#7f7f7f")


def tables(summaries: Sequence[Summary], mm_per_px: float | None) -> list[Table]:
    """Lay out one table for each class: by contrast, by orientation, by ninth, and of real defects."""
    return [_table(summary, mm_per_px) for summary in summaries]


def _table(summary: Summary, mm_per_px: float | None) -> Table:
    unit = "px" if mm_per_px is None else "mm"
    shape = {"line": f"lines {summary.width_px or 0:.3g} px wide, length", "spot": "spots, diameter", None: "real ones"}
    if not summary.whole.judged:
        shape[summary.shape] = "none drawn, none met"
    title = f"{summary.class_name}: {shape[summary.shape]} in {unit}"
    table = Table("which", "found", "a50", "a90", "a90/95", "why not", title=title, title_justify="left")
    rows = [(f"contrast {contrast:g}", c) for contrast, c in summary.by_contrast.items()]
    rows += [(f"{angle}°", c) for angle, c in summary.by_orientation.items()]
    rows += [(f"{NINTHS[ninth]} ninth", c) for ninth, c in summary.by_ninth.items()]
    rows += [] if summary.real is None else [("real", summary.real)]
    for name, c in rows:
        sizes = (c.a50, c.a90, c.a90_95)
        table.add_row(name, f"{c.found} of {c.judged}", *(_size(size, mm_per_px) for size in sizes), c.reason or "")
    return table


def _size(px: float | None, mm_per_px: float | None) -> str:
    return "-" if px is None else f"{px * (mm_per_px or 1):.3g}"


def hits_as_csv(trials: Iterable[Trial]) -> str:
    """Lay out each defect that was judged, for a fit of one's own; a real one has no contrast."""
    into = io.StringIO()
    writer = csv.writer(into, lineterminator="\n")
    writer.writerow(("class", "size_px", "contrast", "orientation_deg", "region", "found", "found_as_other_class"))
    for t in trials:
        contrast = "" if t.contrast is None else f"{t.contrast:g}"
        orientation = "" if t.orientation is None else t.orientation
        judged = (int(t.found), int(t.otherwise))
        writer.writerow((t.class_name, f"{t.size_px:.6g}", contrast, orientation, NINTHS[t.ninth], *judged))
    return into.getvalue()


def draw_curves(summaries: Sequence[Summary], mm_per_px: float | None) -> bytes:
    """Draw for each class the curves by contrast, and beside them a90 and a90/95 by orientation and ninth; PNG.

    Raises DependencyError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            f"Plots need matplotlib, and its import failed: {error}. {how_to_install('matplotlib', extra='train')}"
        ) from error
    rows = max(1, len(summaries))
    figure = Figure(figsize=(9.5, 3.4 * rows), dpi=_DOTS_PER_INCH, layout="constrained")
    for left, right, summary in zip(*figure.subplots(rows, 2, squeeze=False).T, summaries, strict=True):
        _draw_found(left, summary, mm_per_px)
        _draw_places(right, summary, mm_per_px)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    into = io.BytesIO()
    figure.savefig(into, format="png", metadata={"Software": None})
    return into.getvalue()


def _draw_found(axes: Any, summary: Summary, mm_per_px: float | None) -> None:
    scale, unit = mm_per_px or 1.0, "px" if mm_per_px is None else "mm"
    curves = {f"contrast {contrast:g}": c for contrast, c in summary.by_contrast.items()}
    if summary.real is not None:
        curves["real"] = summary.real
    for colour, (name, c) in zip(_COLOURS * len(curves), curves.items(), strict=False):
        if c.smallest is None or c.largest is None:
            continue
        sizes = np.exp(np.linspace(np.log(c.smallest), np.log(max(c.largest, 1.001 * c.smallest)), 200))
        words = f"{name}: {c.found} of {c.judged}"
        axes.plot(sizes * scale, [_chance(c, float(size)) for size in sizes], color=colour, label=words)
        for size, style in ((c.a90, "-"), (c.a90_95, ":")):
            if size is not None:
                axes.axvline(size * scale, ymax=PROBABILITY / 1.04, color=colour, linewidth=0.8, linestyle=style)
    axes.axhline(PROBABILITY, color="grey", linewidth=0.7)
    title = f"{summary.class_name}: found, by size (| a90, ⋮ a90/95)"
    axes.set(title=title, xlabel=unit, ylabel="share found", ylim=(0, 1.04), xscale="log")
    axes.legend(frameon=False, fontsize="small", loc="lower right")


def _chance(c: Curve, size: float) -> float:
    """Return the curve's chance.

    It is a step where it has no slope, and the share found of all where it has no curve.
    """
    chance = c.probability(size)
    if chance is not None:
        return chance
    return float(size >= c.a90) if c.a90 is not None else c.found / c.judged


def _draw_places(axes: Any, summary: Summary, mm_per_px: float | None) -> None:
    scale, unit = mm_per_px or 1.0, "px" if mm_per_px is None else "mm"
    places = {f"{angle}°": c for angle, c in summary.by_orientation.items()}
    places |= {NINTHS[ninth]: c for ninth, c in summary.by_ninth.items()}
    for place, c in enumerate(places.values()):
        if c.a90 is not None and c.a90_95 is not None:
            axes.plot([c.a90 * scale, c.a90_95 * scale], [place, place], color=_COLOURS[0], linewidth=3)
        elif c.found < c.judged and not c.lies_below:
            axes.text(0.02, place, "not known", va="center", color="#b3261e", transform=axes.get_yaxis_transform())
        elif c.judged:
            often = "all found" if c.found == c.judged else "nearly all found"
            axes.text(0.02, place, often, va="center", color="grey", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(places)), list(places), fontsize="x-small")
    axes.set(title="from a90 to a90/95, by place", xlabel=unit)
    axes.invert_yaxis()
