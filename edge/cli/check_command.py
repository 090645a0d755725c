"""`linewatch check`: settings, bundle and golden frames, on this machine."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.console import BundleOption, ConfigArgument, load_line, output, warn
from edge.errors import BundleError


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch check config/line.yaml`")(check)


def check(config: ConfigArgument, bundle: BundleOption = None) -> None:
    """Verify settings and bundle, and replay the bundle's golden frames on this machine."""
    from edge.app import make_limited_engine
    from edge.inspection.golden import check_golden, require_passed

    settings, loaded = load_line(config, bundle)
    manifest = loaded.manifest
    output.print(f"settings {config}: valid")
    output.print(f"bundle {manifest.name} {manifest.version}: {len(manifest.files)} files verified")
    engine_settings = settings.engine.without_simulation()
    with make_limited_engine(engine_settings, loaded) as engine:
        results = check_golden(loaded, engine)
    table = Table("golden frame", "prepared", "pixels changed", "defects lost", "gained", "")
    for result in results:
        table.add_row(
            result.image,
            "same" if result.prepared_same else "differs",
            f"{result.changed_pixels:.4%}",
            str(result.defects_lost),
            str(result.defects_gained),
            Text("passed", style="green") if result.passed else Text("failed", style="red"),
        )
    output.print(table)
    if not results:
        raise BundleError(
            f"{loaded.path} has no golden frames. Convert it again: convert {loaded.path} --to onnxruntime"
        )
    if not all(result.prepared_same for result in results):
        warn("this OpenCV prepares pixels a little differently from the one that the bundle was converted with")
    require_passed(loaded, results)
