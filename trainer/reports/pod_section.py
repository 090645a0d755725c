"""The report's section on how small a defect is found, as `linewatch-train pod` noted it in the manifest."""

from __future__ import annotations

from typing import Any

from edge.bundle import Bundle
from edge.web.page import Html, Section, note, paragraph, table
from edge.wording import command
from trainer.recipe.good_parts_settings import learned_from_good_parts

_TITLE = "How small a defect is found"


def pod_section(bundle: Bundle) -> Section:
    """Say from which size on each class is found, or how to find it out."""
    # a model of good parts knows none of the simulated ones
    data = " DATA, with clean pictures that it did not learn from" if learned_from_good_parts(bundle.manifest) else ""
    how = f"Measure it: {command('linewatch-train', 'pod', bundle.path)}{data}"
    noted = bundle.manifest.pod
    if not bundle.finds:
        why = "It was measured with another model or at other thresholds." if noted else "It was not measured yet."
        return Section(_TITLE, [paragraph(f"{why} {how}", soft=True)])
    clean = noted["clean"]
    rows = [[name, *(_cells(figures)), figures.get("reason") or ""] for name, figures in noted["classes"].items()]
    unit = "px" if noted["mm_per_px"] is None else "mm"
    headers = ["class", "drawn", "contrast", f"a90, {unit}", f"a90/95, {unit}", "why not"]
    blocks: list[Html] = [note(name, text) for name, text in _told(noted["classes"])]
    blocks.append(table(headers, rows, named=2))
    words = (
        f"Measured {noted['measured_at'][:10]} on {noted['on']}; {clean['flagged']} of {clean['parts']} clean parts "
        "were flagged. a90: the size found with 90 % probability; a90/95: its upper bound at 95 % confidence. "
        "docs/probability-of-detection.md says how."
    )
    return Section(_TITLE, [*blocks, paragraph(words, soft=True)])


def _told(classes: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(name, str(figures["sentence"])) for name, figures in classes.items() if "sentence" in figures]


def _cells(figures: dict[str, Any]) -> list[str]:
    in_mm = figures.get("a90_mm") is not None
    sizes = [figures.get(f"{key}_{'mm' if in_mm else 'px'}") for key in ("a90", "a90_95")]
    shape, contrast = figures.get("shape"), figures.get("contrast")
    return [
        shape or "-",
        "-" if contrast is None else f"{contrast:g}",
        *("-" if s is None else f"{s:.3g}" for s in sizes),
    ]
