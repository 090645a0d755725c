"""`linewatch check`: settings, bundle, golden frames, and what else a line needs, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.console import BundleOption, ConfigArgument, load_line, output, warn, warn_of_secrets
from edge.errors import BundleError
from edge.printable import printable
from edge.wording import command


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch check config/line.yaml`")(check)


def check(
    config: ConfigArgument,
    bundle: BundleOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="try neither camera nor broker, store and secrets; the model alone")
    ] = False,
) -> None:
    """Verify settings and bundle, replay the bundle's golden frames on this machine, and try what a line needs.

    Store, secrets, broker and camera are each tried, without disturbing a line that runs but for a camera that only
    one program may open. The exit code is that of the first that a line could not use.
    """
    from edge.app import make_limited_engine

    settings, loaded = load_line(config, bundle)
    warn_of_secrets(settings, config)
    manifest = loaded.manifest
    output.print(f"settings {config}: valid")
    output.print(f"bundle {manifest.name} {manifest.version}: {len(manifest.files)} files verified")
    with make_limited_engine(settings.engine.without_simulation(), loaded) as engine:
        _replay_golden(loaded, engine)
        trials = _tried(settings, loaded, engine, offline=offline)
    for error in (trial.error for trial in trials):
        if error is not None:
            raise error


def _tried(settings: Any, loaded: Any, engine: Any, *, offline: bool) -> list[Any]:
    """Try each thing, print what came of it at once, and return all of it."""
    from edge.cli.trials import CameraTrial, tried, try_secrets, try_speed, try_store, try_to_connect
    from edge.inspection.golden import golden_frame

    camera = CameraTrial()
    trials = []

    def speed() -> str:
        frame = camera.frame or golden_frame(loaded)
        if frame is None:
            return "no frame to measure on"
        return try_speed(settings, loaded, engine, frame, camera.frames_per_s)

    parts: dict[str, Callable[[], str]] = {
        "store": lambda: try_store(settings.store.path),
        "secrets": lambda: try_secrets(settings),
        "broker": lambda: try_to_connect(settings),
        "camera": lambda: camera(settings, loaded),
        "speed": speed,
    }
    for name, part in parts.items():
        if offline and name != "speed":
            continue
        trial = tried(name, part)
        trials.append(trial)
        failed = trial.error is not None
        # an error is told in full at the end, where it is the first
        mark = Text("failed", style="red") if failed else Text("ok", style="green")
        output.print(Text.assemble(f"{name}: ", mark, ", ", printable(trial.found)))
    return trials


def _replay_golden(loaded: Any, engine: Any) -> None:
    from edge.inspection.golden import check_golden, require_passed

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
            f"{loaded.path} has no golden frames. Convert it again: "
            f"{command('convert', loaded.path, '--to', 'onnxruntime', '--data', 'PICTURES')}"
        )
    if not all(result.prepared_same for result in results):
        warn("this OpenCV prepares pixels a little differently from the one that the bundle was converted with")
    require_passed(loaded, results)
