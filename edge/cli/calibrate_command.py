"""`linewatch calibrate`: how a camera's pixels lie on the part's surface, in mm; and whether that still holds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.console import output, warn
from edge.errors import DriftError, SettingsError, SourceError, TargetError
from edge.wording import counted

if TYPE_CHECKING:
    from edge.calibration.by_hand import KnownLength
    from edge.calibration.finding import Found
    from edge.calibration.fitting import Sighting
    from edge.calibration.record import Calibration, CameraIdentity
    from edge.calibration.targets import Target
    from edge.settings import CameraSettings, Settings

_NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]{1,6})?"
_POINT = re.compile(rf"({_NUMBER}),({_NUMBER})=({_NUMBER}),({_NUMBER})")
_LENGTH = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})=({_NUMBER})")
_BY_HAND = ("points", "lengths")


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch calibrate config/line.yaml camera --target chessboard:9x6:10mm`")(calibrate)


def calibrate(
    config: Annotated[
        Path | None, typer.Argument(help="the line's settings, YAML; see config/line.yaml", readable=False)
    ] = None,
    camera: Annotated[str | None, typer.Argument(help="which of the settings' cameras")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="chessboard:9x6:10mm, charuco:…, circles:…, acircles:…")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option("--picture", help="of the target, in place of the camera; several for the lens")
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", min=1, max=50, help="how many to take of the camera")] = 1,
    point: Annotated[
        list[str] | None, typer.Option("--point", metavar="X,Y=X_MM,Y_MM", help="a point, px, and where it is, mm")
    ] = None,
    points: Annotated[
        Path | None, typer.Option("--points", help="a CSV of points: x_px, y_px, x_mm, y_mm", readable=False)
    ] = None,
    length: Annotated[
        list[str] | None, typer.Option("--length", metavar="X1,Y1,X2,Y2=MM", help="two points, px, and their distance")
    ] = None,
    picked_px: Annotated[
        float, typer.Option("--picked-px", min=0.05, max=50, help="how well points and lengths were picked")
    ] = 1.0,
    residual_px: Annotated[
        float, typer.Option("--residual-px", min=0.01, max=20, help="of a target, above which nothing is believed")
    ] = 1.0,
    lens: Annotated[str | None, typer.Option("--lens", help="which lens is on the camera, in your words")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="write the calibration, or the drawing, here")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write what was found here")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="compare the target with the calibration there is")] = False,
    drift: Annotated[
        float, typer.Option("--drift", min=0.0001, max=0.5, help="of a length, above which --verify says drifted")
    ] = 0.01,
    print_target: Annotated[
        str | None, typer.Option("--print-target", help="draw this target for printing, as SVG to --out")
    ] = None,
) -> None:
    """Calibrate a camera: lens and perspective from a target that lies where parts lie, in mm.

    Without --picture the camera is asked. In place of a target, four points (--point) or two lengths (--length) will
    do. The result goes into a file of its own, which the view's settings name: `calibration: FILE`. With --verify the
    same target is looked at again; exit code 16 says that the calibration drifted. See docs/calibration.md.
    """
    if print_target is not None:
        _print(print_target, out)
        return
    asked = _Asked.of(config, camera, lens, out)
    size, how = _how(asked, target, picture or [], pictures, _known(point or [], points), _lengths(length or []))
    if verify:
        _verify(asked, how, size, drift, json_file)
        return
    made = _made(asked, how, size, picked_px, residual_px)
    _keep(asked, made, how, json_file)


@dataclass(frozen=True)
class _Asked:
    """Of which camera: its settings, the settings' file, and where the calibration is or will be."""

    config: Path
    settings: Settings
    camera: CameraSettings
    identity: CameraIdentity
    path: Path

    @staticmethod
    def of(config: Path | None, name: str | None, lens: str | None, out: Path | None) -> _Asked:
        from edge.settings import identity_of_camera, load_settings

        if config is None or name is None:
            raise typer.BadParameter("expected CONFIG and CAMERA, or --print-target; received neither")
        settings = load_settings(config, calibrated=False)
        own = settings.station_cameras
        if name not in own:
            raise SettingsError(f"Expected a camera of {', '.join(own)}; received {name!r}")
        identity = identity_of_camera(own[name], lens)
        return _Asked(config, settings, own[name], identity, out or _path_of(config, settings, name))


def _path_of(config: Path, settings: Settings, name: str) -> Path:
    """Return the calibration that the camera's views name, or the one that they will. Raises SettingsError."""
    named = {
        path
        for recipe in settings.station_recipes.values()
        if name in recipe.views and (path := recipe.inspect(name).calibration) is not None
    }
    if len(named) > 1:
        raise SettingsError(
            f"The views of {name} name several calibrations, {', '.join(map(str, sorted(named)))}: say which with --out"
        )
    return named.pop() if named else config.resolve().parent / "calibration" / f"{name}.json"


@dataclass(frozen=True)
class _How:
    """By what: a target in pictures, points, or lengths."""

    target: Target | None = None
    found: tuple[Found, ...] = ()
    points: Sighting | None = None
    lengths: tuple[KnownLength, ...] = ()


def _how(
    asked: _Asked,
    target: str | None,
    paths: list[Path],
    count: int,
    points: Sighting | None,
    lengths: tuple[KnownLength, ...],
) -> tuple[tuple[int, int], _How]:
    """Return the pictures' width and height, and what is known of them. Raises LinewatchError."""
    from edge.calibration.record import read_calibration
    from edge.calibration.targets import parse_target

    by_hand = {"points": points, "lengths": lengths or None}
    named = [name for name, given in by_hand.items() if given is not None]
    if target in _BY_HAND and target not in named:
        raise typer.BadParameter(f"--target {target}: expected --{target[:-1]}, four or more of them; received none")
    if len(named) + (target is not None and target not in _BY_HAND) > 1:
        raise typer.BadParameter("expected one of --target, --point (or --points) and --length; received several")
    if named:
        return _size(asked, paths), _How(points=points, lengths=lengths)
    if target is None:
        if not asked.path.exists():
            raise typer.BadParameter("expected --target, such as chessboard:9x6:10mm, --point or --length")
        target = read_calibration(asked.path).target  # the same again
        if target in _BY_HAND:
            raise typer.BadParameter(f"the calibration there is was made of {target}; expected --target, or them again")
    wanted = parse_target(target)
    if paths:
        size, found = _in_pictures(asked, wanted, paths)
    else:
        from edge.cli.calibrate_live import sighted

        size, found = sighted(asked.camera, _depth(asked.settings, asked.camera), wanted, count)
    return size, _How(wanted, tuple(found))


def _in_pictures(asked: _Asked, target: Target, paths: list[Path]) -> tuple[tuple[int, int], list[Found]]:
    from edge.calibration.finding import find_target

    found: list[Found] = []
    size: tuple[int, int] | None = None
    for path in paths:
        pixels = _read(asked, path)
        own = (int(pixels.shape[1]), int(pixels.shape[0]))
        if size not in {None, own}:
            raise TargetError(f"{path} has {own[0]} x {own[1]} px; expected the first picture's size, {size}")
        size = own
        try:
            found.append(find_target(target, pixels))
        except TargetError as error:
            raise TargetError(f"{path}: {error}") from error
    assert size is not None  # noqa: S101 - there is a picture
    return size, found


def _read(asked: _Asked, path: Path) -> Any:
    from edge.pictures import as_frame_of, read_decoded

    pixels = as_frame_of(path, read_decoded(path), _depth(asked.settings, asked.camera))
    expected = asked.camera.expected_px
    if expected is not None and (pixels.shape[1], pixels.shape[0]) != expected:
        raise SourceError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} px; expected the camera's, {expected[0]} x {expected[1]}"
        )
    return pixels


def _depth(settings: Settings, camera: CameraSettings) -> int | None:
    """Return how many bits of 16 count. The settings say it, else the bundle of one of the camera's views."""
    from edge.bundle import load_bundle
    from edge.errors import BundleError

    for recipe in settings.station_recipes.values():
        view = recipe.views.get(camera.name)
        if camera.depth_bits is None and view is not None and view.bundle is not None:
            try:
                return camera.depth(load_bundle(view.bundle))
            except BundleError:  # to calibrate, none is needed
                continue
    return camera.depth_bits


def _size(asked: _Asked, paths: list[Path]) -> tuple[int, int]:
    """Return the camera's width and height: of a picture, by the settings, or of a frame."""
    if paths:
        pixels = _read(asked, paths[0])
        return int(pixels.shape[1]), int(pixels.shape[0])
    if asked.camera.expected_px is not None:
        return asked.camera.expected_px
    from edge.cli.calibrate_live import first_frame

    pixels = first_frame(asked.camera, _depth(asked.settings, asked.camera))
    return int(pixels.shape[1]), int(pixels.shape[0])


def _known(given: list[str], path: Path | None) -> Sighting | None:
    """Return the points of the command line, or of a table; None without any."""
    import numpy as np

    from edge.calibration.fitting import Sighting

    if path is not None and given:
        raise typer.BadParameter("expected --point or --points, received both")
    if path is not None:
        rows = _of_table(path)
    else:
        rows = [_numbers(_POINT, text, "--point: expected X,Y=X_MM,Y_MM, such as 100,80=0,0") for text in given]
    if not rows:
        return None
    values = np.array(rows, np.float64)
    return Sighting(values[:, :2], values[:, 2:])


def _of_table(path: Path) -> list[list[float]]:
    from edge.pictures.tables import read_table

    columns = ("x_px", "y_px", "x_mm", "y_mm")
    rows = []
    for row in read_table(path, columns).rows:
        texts = [row.values.get(name, "").strip() for name in columns]
        if not all(re.fullmatch(_NUMBER, text) for text in texts):
            raise SettingsError(f"{path}: expected numbers for {', '.join(columns)}, received {', '.join(texts)[:100]}")
        rows.append([float(text) for text in texts])
    if not rows:
        raise SettingsError(f"{path}: expected four points or more, received none")
    return rows


def _lengths(given: list[str]) -> tuple[KnownLength, ...]:
    from edge.calibration.by_hand import KnownLength

    lengths = []
    for text in given:
        x1, y1, x2, y2, mm = _numbers(_LENGTH, text, "--length: expected X1,Y1,X2,Y2=MM, such as 100,80,540,80=44")
        lengths.append(KnownLength((x1, y1), (x2, y2), mm))
    return tuple(lengths)


def _numbers(pattern: re.Pattern[str], text: str, told: str) -> list[float]:
    found = pattern.fullmatch(text.replace(" ", ""))
    if found is None:
        raise typer.BadParameter(f"{told}; received {text[:80]!r}")
    return [float(each) for each in found.groups()]


def _made(asked: _Asked, how: _How, size: tuple[int, int], picked_px: float, residual_px: float) -> Calibration:
    from edge.calibration.by_hand import POINTS_AT_LEAST, fit_lengths, fit_points
    from edge.calibration.calibrating import Origin, calibrate_by_points, calibrate_by_target

    origin = Origin(asked.identity, datetime.now(timezone.utc))
    if how.target is not None:
        return calibrate_by_target(how.target, how.found, size, origin, residual_px)
    if how.points is not None:
        fit = fit_points(how.points, size, picked_px)
        assumed = picked_px if len(how.points.px) == POINTS_AT_LEAST else None
        return calibrate_by_points(fit, how.points, "points", origin, assumed)
    return calibrate_by_points(
        fit_lengths(how.lengths, size, picked_px), _ends(how.lengths), "lengths", origin, picked_px
    )


def _ends(lengths: tuple[KnownLength, ...]) -> Sighting:
    """Return the ends of lengths, each length's own as 0 and its mm: that is what was known of them."""
    import numpy as np

    from edge.calibration.fitting import Sighting

    px = np.array([end for each in lengths for end in (each.start_px, each.end_px)], np.float64)
    mm = np.array([end for each in lengths for end in ((0.0, 0.0), (each.length_mm, 0.0))], np.float64)
    return Sighting(px, mm)


def _keep(asked: _Asked, made: Calibration, how: _How, json_file: Path | None) -> None:
    """Write what was found, and say it."""
    from edge.calibration.drift import forget_check
    from edge.calibration.record import write_calibration
    from edge.files import write_text

    told = _told(made, how)
    write_calibration(asked.path, made)
    forget_check(asked.path)
    if json_file is not None:
        body = {**told, "file": str(asked.path), "sha256": made.sha256}
        write_text(json_file, json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    what = f"{counted(made.pictures, 'picture')} of {made.target}" if how.target else f"{made.target} by hand"
    output.print(f"{asked.path}: {asked.camera.name}, {made.size_px[0]} x {made.size_px[1]} px, from {what}")
    lens = "lens without distortion" if not made.fitted else f"lens with {', '.join(made.fitted)}"
    picked = "" if made.assumed_px is None else " (as picked, for these tell no residual)"
    output.print(
        f"{made.mm_per_px:.5g} mm per px in the picture's centre ({told['mm_per_px_least']:.5g} to "
        f"{told['mm_per_px_most']:.5g}); residual {made.residual_px:.3g} px{picked}, {made.scale.residual_mm:.3g} mm; "
        f"{lens}"
    )
    if made.turned_deg is not None and abs(made.turned_deg) > 135:
        output.print(f"the target lies upside down, turned by {made.turned_deg:.0f}°: no length depends on it")
    for each in how.found[:1]:
        if each.advice:
            warn(each.advice)
    _say_where(asked)


def _say_where(asked: _Asked) -> None:
    named = asked.settings.station_recipes.values()
    views = [recipe.inspect(asked.camera.name) for recipe in named if asked.camera.name in recipe.views]
    if any(view.calibration is None for view in views):
        instead = " in place of mm_per_px" if any(view.mm_per_px for view in views) else ""
        output.print(f"name it in the view's settings{instead}: inspect: {{calibration: {_beside(asked)}}}")


def _beside(asked: _Asked) -> str:
    home = asked.config.resolve().parent
    path = asked.path.resolve()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _told(made: Calibration, how: _How) -> dict[str, Any]:
    import numpy as np

    width, height = made.size_px
    sizes = [made.scale.mm_per_px_at(np.array([x, y])) for x in (0, width / 2, width) for y in (0, height / 2, height)]
    slopes = np.linalg.norm(made.scale.slopes_at(np.array([width / 2, height / 2])), axis=0)
    return {
        "camera": made.camera.name,
        "target": made.target,
        "size_px": list(made.size_px),
        "pictures": made.pictures,
        "points": len(made.points),
        "residual_px": made.residual_px,
        "worst_px": made.worst_px,
        "residual_mm": made.scale.residual_mm,
        "assumed_px": made.assumed_px,
        "mm_per_px": made.mm_per_px,
        "mm_per_px_at": [width / 2, height / 2],
        "mm_per_px_along_x": float(slopes[0]),
        "mm_per_px_along_y": float(slopes[1]),
        "mm_per_px_least": min(sizes),
        "mm_per_px_most": max(sizes),
        "lens": {name: getattr(made.scale.lens, name) for name in ("k1", "k2", "x", "y", "p1", "p2")},
        "fitted": list(made.fitted),
        "share": how.found[0].share if how.found else None,
        "turned_deg": made.turned_deg,
        "advice": [each.advice for each in how.found if each.advice],
    }


def _verify(asked: _Asked, how: _How, size: tuple[int, int], limit: float, json_file: Path | None) -> None:
    """Compare a target with the calibration, keep the answer, and end with exit code 16 where it does not hold."""
    from edge.calibration.drift import Check, length_error, write_check
    from edge.calibration.record import read_calibration
    from edge.files import write_text

    kept = read_calibration(asked.path)
    if misfit := kept.misfit(size) or kept.other_camera(asked.identity):
        raise SettingsError(f"{asked.path}: {misfit}")
    if how.lengths:
        raise typer.BadParameter("--verify: expected a target or points, received lengths")
    seen = how.found[0].sighting if how.found else how.points
    assert seen is not None  # noqa: S101 - a target, points or lengths
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    check = Check(kept.sha256, now, length_error(kept, seen), limit)
    write_check(asked.path, check)
    if json_file is not None:
        body = {"file": str(asked.path), "error": check.error, "limit": limit, "drifted": check.drifted, "at": now}
        write_text(json_file, json.dumps(body, indent=1) + "\n")
    if check.drifted:
        raise DriftError(
            f"{asked.path}: the calibration of {asked.camera.name} drifted: {check.told}. A running line reads NO_READ "
            "and raises calibration-drifted. Lay the target where parts lie; if it lay there, calibrate again"
        )
    output.print(f"{asked.path}: the calibration of {asked.camera.name} holds: {check.told}")


def _print(spec: str, out: Path | None) -> None:
    from edge.calibration.printing import as_svg
    from edge.calibration.targets import parse_target
    from edge.files import write_text

    if out is None:
        raise typer.BadParameter("--print-target: expected --out FILE.svg as well")
    target = parse_target(spec)
    write_text(out, as_svg(target))
    output.print(f"{out}: {target.spec} on A4. Print it at 100 %, measure its ruler, and glue it on a flat plate")
