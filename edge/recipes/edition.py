"""An edition: the settings and bundles that a station judges by, as they were read at once from its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import Bundle
from edge.errors import BundleError, SettingsError
from edge.recipes.engines import key_of
from edge.redacting import redacted
from edge.settings import Settings

# A running station takes these anew; all else is opened once, at its start.
CHANGEABLE = frozenset(
    {
        "bundle",
        "inspect",
        "recipes",
        "recipe",
        "keep_recipes",
        "reload",
        "parts.timeout_ms",
        "parts.wait_ms",
        "parts.frames_per_view",
        "parts.ng_frames",
    }
)
_CAMERAS = frozenset({"camera", "cameras"})  # two forms of the same
_NOTHING = object()


@dataclass(frozen=True)
class Edition:
    """Settings and their bundles, by path. `number`: of the run, from 0; none is given twice."""

    number: int
    settings: Settings
    bundles: Mapping[Path | None, Bundle]

    def bundles_of(self, recipe: str) -> list[Bundle]:
        """Return the bundles of a recipe's views, each once."""
        views = self.settings.station_recipes[recipe].views.values()
        return [self.bundles[path] for path in dict.fromkeys(view.bundle for view in views)]

    def judges_as(self, other: Edition, recipe: str) -> bool:
        """Tell whether a recipe judges as in another edition: by the same models, limits and rules for parts."""
        return recipe in other.settings.station_recipes and self._way(recipe) == other._way(recipe)

    def _way(self, recipe: str) -> tuple[Any, ...]:
        settings = self.settings
        entry = settings.station_recipes[recipe]
        views = {
            name: (view.model_copy(update={"bundle": None}), entry.inspect(name), key_of(self.bundles[view.bundle]))
            for name, view in entry.views.items()
        }
        return views, settings.parts


Read = Callable[[], tuple[Settings, Mapping[Path | None, Bundle]]]


def require_changeable(former: Edition, new: Edition, recipe: str) -> None:
    """Raise SettingsError or BundleError where a running station cannot take an edition. `recipe`: the one in force."""
    if fixed := list(differences(former.settings, new.settings)):
        key, before, now = fixed[0]
        more = f" So it is with {', '.join(each[0] for each in fixed[1:6])}." if len(fixed) > 1 else ""
        raise SettingsError(
            f"key {key}: expected {before}, which the station runs with, received {now}. It cannot change while the "
            f"station runs: restart the station to take it.{more}"
        )
    known = new.settings.station_recipes
    require_recipe(new, recipe)
    drains = new.settings.swap == "drain_first"
    if drains and not all(former.judges_as(new, name) for name in known if name in former.settings.station_recipes):
        raise SettingsError(
            "key swap: expected side_by_side to change what judges, received drain_first, which has room for one "
            "model at a time: the former one could not come back. Restart the station to take it"
        )
    _require_depths(former, new)


def require_recipe(new: Edition, recipe: str) -> None:
    """Raise SettingsError where an edition lacks a recipe, the one in force."""
    known = new.settings.station_recipes
    if recipe not in known:
        raise SettingsError(
            f"key recipes: expected {recipe}, which is in force, received {', '.join(known)}. Change the recipe first"
        )


def _require_depths(former: Edition, new: Edition) -> None:
    """Raise BundleError where a bundle expects another depth of pictures: cameras are opened with one."""
    for name, camera in new.settings.station_cameras.items():
        depths = [
            {
                camera.depth(edition.bundles[entry.views[name].bundle])
                for entry in edition.settings.station_recipes.values()
                if name in entry.views
            }
            for edition in (former, new)
        ]
        if depths[0] and depths[1] and depths[0] != depths[1]:
            told = [", ".join(str(depth) for depth in sorted(each, key=str)) for each in depths]
            raise BundleError(
                f"the bundles for the camera {name}: expected a depth of {told[0]} bits, with which the camera was "
                f"opened, received {told[1]}. Restart the station to take them"
            )


def differences(former: Settings, new: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield each key that differs and cannot change while a station runs, with what it was and what it is."""
    before, now = _fixed(former), _fixed(new)
    for key in dict.fromkeys([*before, *now]):
        old, young = before.get(key, _NOTHING), now.get(key, _NOTHING)
        if old != young:
            yield key if new.cameras else _short(key), _told(old), _told(young)
    if former.broker.password != new.broker.password:  # which is not told
        yield "broker.password", "the former one", "another one"


def _fixed(settings: Settings) -> dict[str, Any]:
    """Return every value that is opened once, by its key."""
    dumped = settings.model_dump(mode="json", exclude=set(_CAMERAS))
    cameras = settings.cameras or {settings.camera.name: settings.camera}
    dumped["cameras"] = {name: camera.model_dump(mode="json", exclude={"name"}) for name, camera in cameras.items()}
    return {key: value for key, value in _flat(dumped, ()) if not _changeable(key)}


def _short(key: str) -> str:
    """Return the key of the only camera as the short form writes it."""
    first, _, rest = key.partition(".")
    return f"camera.{rest.partition('.')[2]}" if first == "cameras" else key


def _flat(value: Any, path: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))
    else:
        yield ".".join(path), value


def _changeable(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)


def _told(value: Any) -> str:
    return "nothing" if value is _NOTHING or value is None else redacted(str(value))[:100]
