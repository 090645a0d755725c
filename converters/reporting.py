"""The tables that `convert` prints for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from converters.comparing_files import Difference
from converters.comparison.comparing import Comparison
from converters.converting import Conversion
from converters.flow import Outcome
from converters.precision.half_precision import Half
from converters.precision.int8_precision import Quantised
from converters.precision.tensor_ranges import NodeReport
from edge.bundle import Bundle
from edge.wording import counted

_TROUBLED_AT_MOST = 20


def print_outcome(outcome: Outcome, console: Console, notes: Console) -> None:
    """Print how a model was understood, what it sees, the comparisons of every stage, and which files were written."""
    bundle = outcome.bundle
    for sentence in outcome.told:
        console.print(f"{sentence}.", soft_wrap=True, highlight=False, markup=False)
    if outcome.conversion is not None:
        _print_conversion(outcome.conversion, bundle, console)
    made = outcome.precision
    if made is not None:
        _print_precision(made, console)
        for name in made.files:
            console.print(f"Wrote {bundle.path / name}", soft_wrap=True)
    for precision, found in outcome.openvino.items():
        console.print(_comparison_table(f"OpenVINO {precision} compared with ONNX Runtime", found))
    if outcome.conversion is None and made is None:
        console.print(f"Wrote {bundle.path}", soft_wrap=True)
    if not bundle.manifest.golden:
        notes.print("The bundle has no golden pictures, so `linewatch check` cannot replay any on the device.")


def _print_conversion(conversion: Conversion, bundle: Bundle, console: Console) -> None:
    sight, found = conversion.sight, conversion.comparison
    table = Table("what the net sees", f"on {counted(sight.pictures, 'picture')}", title_justify="left")
    table.add_row("pixels that are defective", f"{sight.share:.2%}")
    table.add_row("defects per picture", f"{sight.total / max(1, sight.pictures):.2f} ({_words(sight.defects)})")
    for name, (least, greatest) in conversion.seen.items():
        table.add_row(f"probability of {name}", f"{least:.3f} to {greatest:.3f}")
    if conversion.sheet is not None:
        table.add_row("overlay sheet", str(conversion.sheet))
    console.print(table)
    if found is not None:
        console.print(_comparison_table(f"compared with {conversion.original}", found))
        if not found.defects:
            console.print(
                "This comparison proves nothing: there is not one defect on these pictures. Name some with defects by "
                "--data.",
                soft_wrap=True,
            )
    if conversion.reference is not None:
        told = conversion.reference
        console.print(
            f"The reference agrees on {counted(told['tiles'], 'tile')}; the largest difference of a probability is "
            f"{told['largest_difference']:.4f}.",
            soft_wrap=True,
        )
    elif conversion.original.endswith((" by Keras", " by ONNX Runtime")):
        console.print(
            "The graph computes what the flags say. Whether the net was trained so, the overlay sheet or --reference "
            "tells.",
            soft_wrap=True,
        )
    console.print(f"Wrote {bundle.onnx_path}", soft_wrap=True)


def _comparison_table(title: str, comparison: Comparison) -> Table:
    table = Table(title, "", title_justify="left")
    table.add_row("pictures, tiles", f"{comparison.pictures}, {comparison.tiles}")
    table.add_row("pixels whose class differs", f"{comparison.changed_pixels} ({comparison.changed_share:.4%})")
    table.add_row("defects, lost, gained", f"{comparison.defects}, {comparison.total_lost}, {comparison.total_gained}")
    table.add_row("largest difference of a score", f"{comparison.largest_score_difference:.4f}")
    return table


def _print_precision(made: Half | Quantised, console: Console) -> None:
    precision = made.plan.precision.upper()
    console.print(_comparison_table(f"{precision} compared with model.onnx", made.comparison))
    if isinstance(made, Half):
        troubled = [node for node in made.without_pins if node.overflows or node.not_finite or node.underflows > 0.01]
        if troubled:
            console.print(_trouble_table(troubled))
    reasons: dict[str, int] = {}
    for pin in made.plan.pinned:
        reason = pin.reason.partition(":")[0]
        reasons[reason] = reasons.get(reason, 0) + 1
    told = ", ".join(f"{count} ({reason})" for reason, count in reasons.items()) or "none"
    console.print(f"Nodes that stay in FP32: {told}. The search judged {made.measured} times ({made.reused} kept).")


def _trouble_table(nodes: list[NodeReport]) -> Table:
    table = Table("in FP16, without pins", "", "largest in FP32", "overflow", "underflow", "not finite")
    for node in nodes[:_TROUBLED_AT_MOST]:
        row = (f"{node.largest:.4g}", str(node.overflows), f"{node.underflows:.1%}", str(node.not_finite))
        table.add_row(node.node, node.operation, *row)
    if len(nodes) > _TROUBLED_AT_MOST:
        table.add_row(f"and {len(nodes) - _TROUBLED_AT_MOST} more, see --json")
    return table


def print_difference(difference: Difference, console: Console) -> None:
    """Print what two models say differently."""
    total = difference.total
    table = Table(difference.sides[0], difference.sides[1])
    table.add_row("pictures", str(total.pictures))
    table.add_row("pixels that changed class", f"{total.changed_pixels} ({total.changed_share:.4%})")
    table.add_row("defects in the first", str(total.defects))
    for word, counts in (("lost", total.lost), ("gained", total.gained)):
        table.add_row(f"defects {word}", ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "0")
    table.add_row("coverage difference, mean", f"{difference.mean_coverage_difference:.4%}")
    worst = difference.worst
    table.add_row("coverage difference, worst frame", f"{worst.coverage_difference:.4%} ({worst.name})")
    console.print(table)


def print_facts(found: dict[str, Any], console: Console) -> None:
    """Print what is known of a file; a bundle's contents as tables of their own."""
    table = Table(str(found["kind"]), str(found.get("file", "")), title_justify="left")
    inner: list[dict[str, Any]] = []
    for name, value in found.items():
        if name in {"kind", "file"}:
            continue
        if isinstance(value, dict) and any(isinstance(each, dict) and "kind" in each for each in value.values()):
            inner += [each for each in value.values() if isinstance(each, dict)]
        else:
            table.add_row(name, _words(value))
    console.print(table)
    for each in inner:
        print_facts(each, console)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
