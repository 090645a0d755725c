"""The parts of a backup, and the place of each by the settings. Pure but for reading the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.dashboard.settings import is_dashboard_file, load_dashboard_settings
from edge.settings import Settings, load_settings

Kind = Literal["file", "lines", "sqlite"]


@dataclass(frozen=True)
class Part:
    """One part. `name`: in the archive. `what`: for people. `kind`: how it is copied whole while others write it."""

    name: str
    what: str
    kind: Kind


SETTINGS = Part("settings.yaml", "settings", "file")
STORE = Part("store.db", "store and journal", "sqlite")
INDEX = Part("evidence/index.db", "evidence index", "sqlite")
JUDGEMENTS = Part("evidence/judgements.jsonl", "judgements of evidence", "lines")
HISTORY = Part("dashboard.db", "history of the dashboard", "sqlite")
USERS = Part("dashboard-users.json", "users of the dashboard", "file")
# An archive holds these, and nothing else: no name in it leads anywhere else.
PARTS: Mapping[str, Part] = {part.name: part for part in (SETTINGS, STORE, INDEX, JUDGEMENTS, HISTORY, USERS)}


@dataclass(frozen=True)
class Places:
    """The places of the parts. `not_carried`: files that the settings name and that a backup leaves where they are."""

    of: Mapping[Part, Path]
    not_carried: tuple[str, ...] = ()
    root: str = ""
    device: str = ""


def places_of(config: Path, home: Path | None = None) -> Places:
    """Return where the parts of a station, or of a dashboard with a file of its own, lie. Raises SettingsError.

    `home`: the settings file as it will be, where `config` is only a copy beside it.
    """
    dashboard = load_dashboard_settings(config)
    pages = {HISTORY: dashboard.history.path, USERS: dashboard.users}
    if is_dashboard_file(config):
        tls, broker = dashboard.tls, dashboard.broker
        secrets = [
            *(() if tls is None else (tls.cert_file, tls.key_file)),
            *(dashboard.evidence_key_file, broker.password_file),
            *(() if broker.tls is None else (broker.tls.ca_file, broker.tls.cert_file, broker.tls.key_file)),
        ]
        left = tuple(dict.fromkeys(f"secret {path}" for path in secrets if path is not None))
        return Places({SETTINGS: home or config, **pages}, left, ", ".join(dashboard.sites))
    settings = load_settings(config)
    found: dict[Part, Path] = {SETTINGS: home or config, STORE: settings.store.path, **pages}
    if (folder := settings.evidence.folder) is not None:
        found |= {INDEX: folder / "index.db", JUDGEMENTS: folder / "judgements.jsonl"}
    return Places(found, _left(settings), settings.line.root, settings.line.device)


def _left(settings: Settings) -> tuple[str, ...]:
    """Name what the settings point to, and a backup does not carry."""
    views = [view for recipe in settings.station_recipes.values() for view in recipe.views.values()]
    tls = settings.broker.tls
    secrets = [settings.broker.password_file, *(() if tls is None else (tls.ca_file, tls.cert_file, tls.key_file))]
    named = [
        *(("bundle", view.bundle) for view in views),
        *(("secret", path) for path in secrets),
        ("belt", settings.parts.presence.belt if settings.parts.trigger == "presence" else None),
        ("pictures of evidence", settings.evidence.folder),
    ]
    return tuple(dict.fromkeys(f"{what} {path}" for what, path in named if path is not None))
