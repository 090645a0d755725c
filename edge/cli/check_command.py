"""`linewatch check`: settings, bundle, golden frames, and what else a line needs, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.console import BundleOption, ConfigArgument, load_station, output, warn, warn_of_secrets
from edge.errors import BundleError
from edge.printable import printable
from edge.wording import command, counted

# Measures by which a single bad part is to raise an alarm.
_OF_ONE_PART = frozenset({"ng", "grade", "coverage", "count", "area_mm2", "length_mm"})


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

    Store, disk, clock, permissions, secrets, broker and camera are each tried. A line that runs is not disturbed, but
    for a camera that only one program may open. The exit code is that of the first that a line could not use.
    """
    from edge.app import make_limited_engine

    settings, bundles = load_station(config, bundle)
    warn_of_secrets(settings, config)
    output.print(f"settings {config}: valid")
    for told in slow_alarms(settings):
        warn(told)
    for loaded in {id(each): each for each in bundles.values()}.values():
        manifest = loaded.manifest
        output.print(f"bundle {manifest.name} {manifest.version}: {counted(len(manifest.files), 'file')} verified")
        with make_limited_engine(settings.engine.without_simulation(), loaded) as engine:
            _replay_golden(loaded, engine, settings.engine)
    for error in (trial.error for trial in _tried(_parts(settings, bundles, config, offline=offline))):
        if error is not None:
            raise error


def _parts(settings: Any, bundles: Any, config: Path, *, offline: bool) -> dict[str, Callable[[], str]]:
    """Return what is to be tried, by its name: store, device, secrets, broker, each camera, each view's speed."""
    from edge.cli.device_trials import try_clock, try_disk, try_permissions
    from edge.cli.machine_trial import try_machine
    from edge.cli.picture_trials import has_places, try_places, try_quality
    from edge.cli.trials import CameraTrial, try_barrier, try_belt, try_secrets, try_store, try_to_connect, try_view

    cameras = {name: CameraTrial() for name in settings.station_cameras}
    several, recipes = len(cameras) > 1, settings.station_recipes
    views = {
        f"speed{' ' + camera if several else ''}{' ' + recipe if len(recipes) > 1 else ''}": (
            settings.of_view(camera, recipe),
            cameras[camera],
        )
        for recipe, entry in recipes.items()
        for camera in entry.views
    }
    speeds: dict[str, Callable[[], str]] = {
        name: partial(try_view, one, bundles[one.bundle], camera) for name, (one, camera) in views.items()
    }
    places: dict[str, Callable[[], str]] = {
        name.replace("speed", "zones", 1): partial(try_places, one, bundles[one.bundle], camera)
        for name, (one, camera) in views.items()
        if has_places(one)
    }
    if offline:
        return {**places, **speeds}
    belt = settings.parts.presence.belt if settings.parts.trigger == "presence" else None
    own = {camera: next(one for one, seen in views.values() if seen is trial) for camera, trial in cameras.items()}
    return {
        "store": lambda: try_store(settings.store.path),
        "disk": lambda: try_disk(settings),
        "clock": lambda: try_clock(settings.store.path),
        "permissions": lambda: try_permissions(settings, config),
        "secrets": lambda: try_secrets(settings),
        "broker": lambda: try_to_connect(settings),
        **({"trigger": lambda: try_barrier(settings)} if settings.parts.trigger == "software" else {}),
        **({} if belt is None else {"belt": lambda: try_belt(belt)}),
        **({} if settings.machine is None else {"machine": lambda: try_machine(settings)}),
        **{
            f"camera{' ' + name if several else ''}": partial(trial, own[name], bundles[own[name].bundle])
            for name, trial in cameras.items()
        },
        **{
            f"quality{' ' + name if several else ''}": partial(try_quality, own[name], trial)
            for name, trial in cameras.items()
            if own[name].camera.quality is not None
        },
        **places,
        **speeds,
    }


def slow_alarms(settings: Any) -> list[str]:
    """Name the alarms of frames or parts whose delay is longer than a part can last: one bad part never raises them."""
    if not settings.parts.exist:
        return []
    lasts_ms = settings.parts.timeout_ms
    return [
        f"alarms.{rule.id}.on_delay_ms is {rule.on_delay_ms}, and a part lasts {lasts_ms} ms at most: one bad part "
        "may never raise it. Set on_delay_ms: 0, or count parts with frames: {at_least: N, of: M}"
        for rule in settings.alarms
        if rule.measure in _OF_ONE_PART and rule.on_delay_ms > (lasts_ms if rule.per == "frame" else 0)
    ]


def _tried(parts: dict[str, Callable[[], str]]) -> list[Any]:
    """Try each thing, print what came of it at once, and return all of it."""
    from edge.cli.device_trials import Warned
    from edge.cli.trials import tried

    trials = []
    for name, part in parts.items():
        trial = tried(name, part)
        trials.append(trial)
        failed = trial.error is not None
        # an error is told in full at the end, where it is the first
        mark = Text("failed", style="red") if failed else Text("ok", style="green")
        if isinstance(trial.found, Warned):
            mark = Text("warning", style="yellow")
        output.print(Text.assemble(f"{name}: ", mark, ", ", printable(trial.found)))
    return trials


def _replay_golden(loaded: Any, engine: Any, asked: Any) -> None:
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
    chosen = f"{asked.backend} {asked.precision}"
    other = "auto" not in chosen and chosen != "onnxruntime fp32"
    require_passed(loaded, results, f"the engine {chosen}" if other else "")
