"""`linewatch-train models`: every family of networks with what it costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from edge.errors import SettingsError
from trainer.recipe.model_settings import FAMILY_SETTINGS
from trainer.training.hardware import import_keras


def facts(channels: int, class_count: int, tile_px: int, console: Console) -> list[dict[str, Any]]:
    """Return the facts of each family at its defaults, as `trainer.models.ModelFacts` names them, and its summary.

    A family that cannot take tiles of `tile_px` has `unsuited`, saying why, in place of figures. Raises
    DependencyError without TensorFlow.
    """
    import_keras(0)
    from trainer.models import FAMILIES, describe

    found: list[dict[str, Any]] = []
    for name, family in track(FAMILIES.items(), "building", console=console, disable=not console.is_terminal):
        try:
            about = asdict(describe(FAMILY_SETTINGS[name](), channels, class_count, tile_px))
        except SettingsError as error:
            about = {"family": name, "unsuited": str(error)}
        found.append({**about, "summary": family.summary})
    return found


def table(found: list[dict[str, Any]], tile_px: int) -> Table:
    """Lay the facts out."""
    columns = ("family", "parameters", "GFLOP", "stride", "frames")
    laid = Table(*(Column(name, no_wrap=True) for name in columns), "what it is")
    laid.caption = f"GFLOP per tile of {tile_px} x {tile_px} px: 2 x multiplications of convolutions and products"
    for about in found:
        if "unsuited" in about:
            laid.add_row(about["family"], "-", "-", "-", "-", about["unsuited"])
            continue
        figures = [f"{about['parameters']:,}", f"{about['gflop_per_tile']:.3f}", str(about["stride_px"])]
        laid.add_row(about["family"], *figures, str(about["frames"]), about["summary"])
    return laid
