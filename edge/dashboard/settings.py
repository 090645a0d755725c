"""The settings of the web process: a file of its own, or what a station's settings come to."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from edge.errors import SettingsError
from edge.parts.shifts import ShiftPlan, time_of_day, zone_of
from edge.publishers.broker_settings import BrokerSettings
from edge.settings import Settings, load_settings
from edge.yaml_settings import StrictModel, load_yaml, read_settings

PORT = 8080
LEVELS = 5
_LEVEL = r"(\+|[A-Za-z0-9][A-Za-z0-9_-]{0,63})"
_Filter = Annotated[str, Field(pattern=rf"^{_LEVEL}(/{_LEVEL}){{0,{LEVELS - 1}}}$")]
_Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9][A-Za-z0-9_-]{0,63}){4}$")]
_Address = Annotated[str, Field(pattern=r"^http://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}/?$")]
_SITES_AT_MOST = 100


class ListenSettings(StrictModel):
    """The address at which browsers find the pages. Beyond loopback only with `tls` and `users`."""

    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = PORT

    @property
    def loopback(self) -> bool:
        """Tell whether only programs of this device reach the pages."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host.lower().rstrip(".") == "localhost"


class PageTlsSettings(StrictModel):
    """The certificate that the pages are served with, and its key, PEM."""

    cert_file: Path
    key_file: Path


class HistorySettings(StrictModel):
    """The place of the history and its bounds: `days` at most, and about `megabytes` on the disk."""

    path: Path = Path("/var/lib/linewatch/dashboard.db")
    days: Annotated[float, Field(gt=0, le=3650)] = 90.0
    megabytes: Annotated[int, Field(ge=10, le=1_000_000)] = 4_000


class DashboardSettings(StrictModel):
    """Settings of the web process.

    `sites`: the stations that are heard, by the first levels of their topics; `+` stands for any. `users`: the file
    that `linewatch dashboard-user` keeps. `evidence`: for a station, by its five levels, the folder of its evidence. An
    address of another dashboard that has it will do. `evidence_key_file`: the key that both have in common.
    `try_config`: a station's settings, by which pictures are tried. `live`: for a station, where it serves live
    pictures (its `monitoring`). `answer_prefix`: as in the stations' settings. `shifts`, `time_zone`: when shifts
    begin. `stale_s`: silence after which a station's last word is not believed.
    """

    broker: BrokerSettings = BrokerSettings()
    sites: Annotated[tuple[_Filter, ...], Field(min_length=1, max_length=_SITES_AT_MOST)]
    listen: ListenSettings = ListenSettings()
    tls: PageTlsSettings | None = None
    users: Path = Path("/etc/linewatch/dashboard-users.json")
    history: HistorySettings = HistorySettings()
    evidence: Annotated[dict[_Place, str], Field(max_length=_SITES_AT_MOST)] = Field(default_factory=dict)
    evidence_key_file: Path | None = None
    try_config: Path | None = None
    live: Annotated[dict[_Place, _Address], Field(max_length=_SITES_AT_MOST)] = Field(default_factory=dict)
    answer_prefix: Annotated[str, Field(min_length=2, max_length=180)] | None = None
    shifts: Annotated[tuple[str, ...], Field(min_length=1, max_length=12)] = ("00:00",)
    time_zone: str = "UTC"
    stale_s: Annotated[float, Field(ge=1, le=3600)] = 15.0

    @model_validator(mode="after")
    def _shifts_can_be_read(self) -> DashboardSettings:
        zone_of(self.time_zone)
        for text in self.shifts:
            time_of_day(text)
        return self

    @property
    def shift_plan(self) -> ShiftPlan:
        """Tell which shift a moment belongs to."""
        return ShiftPlan(tuple(time_of_day(text) for text in self.shifts), zone_of(self.time_zone))

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots of the stations that are heard, as MQTT filters."""
        sites = (site.split("/") for site in self.sites)
        return tuple("/".join([*levels, *["+"] * (LEVELS - len(levels))]) + "/inspect/v1" for levels in sites)

    def listening_at(self, host: str | None, port: int | None) -> DashboardSettings:
        """Return the settings for another address, where one is given. Raises SettingsError."""
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        try:
            listen = ListenSettings.model_validate(self.listen.model_dump() | given)
        except ValidationError as error:
            raise SettingsError(f"--host: expected a name or an address, received {host!r:.80}") from error
        return self.model_copy(update={"listen": listen})

    def answers_at(self, root: str) -> str:
        """Return the prefix of the topics at which a station answers."""
        return f"{root}/answer/" if self.answer_prefix is None else f"{self.answer_prefix.removesuffix('/')}/"


def load_dashboard_settings(path: Path) -> DashboardSettings:
    """Read a file that has the key `sites`, or a station's settings. Raises SettingsError."""
    if not is_dashboard_file(path):
        return _of_station(load_settings(path), path.resolve())
    settings, home = load_yaml(path, DashboardSettings), path.resolve().parent
    broker = settings.broker
    if broker.tls is not None:
        broker = broker.model_copy(update={"tls": _at(home, broker.tls, "ca_file", "cert_file", "key_file")})
    return settings.model_copy(
        update={
            "broker": _at(home, broker, "password_file"),
            "tls": None if settings.tls is None else _at(home, settings.tls, "cert_file", "key_file"),
            "history": _at(home, settings.history, "path"),
            "users": home / settings.users,
            "try_config": settings.try_config and home / settings.try_config,
            "evidence_key_file": settings.evidence_key_file and home / settings.evidence_key_file,
            "evidence": {
                place: where if "://" in where else str(home / where) for place, where in settings.evidence.items()
            },
        }
    )


def is_dashboard_file(path: Path) -> bool:
    """Tell whether a file is one of the web process alone.

    Its proper reader tells of unreadable content.
    """
    try:
        text = read_settings(path)
    except SettingsError:
        return False
    return re.search(r"^[\"']?sites[\"']?\s*:", text, re.MULTILINE) is not None


def _of_station(settings: Settings, path: Path) -> DashboardSettings:
    """Return the settings for one station, whose history lies beside its store and users beside its settings."""
    line, report, kept = settings.line, settings.report, settings.evidence.folder
    place = line.root.removesuffix("/inspect/v1")
    return DashboardSettings(
        broker=settings.broker.model_copy(update={"client_id": None}),
        sites=(place,),
        users=path.with_name("dashboard-users.json"),
        try_config=path,
        history=HistorySettings(path=settings.store.path.with_name("dashboard.db")),
        evidence={} if kept is None else {place: str(kept)},
        live={} if settings.monitoring is None else {place: settings.monitoring.address_here},
        answer_prefix=settings.commands.answer_prefix,
        shifts=settings.shifts,
        time_zone=settings.time_zone,
        stale_s=max(10.0, 3 * min(report.health_every_s, report.sequence_every_s)),
    )


def _at(home: Path, model: Any, *names: str) -> Any:
    """Make the named paths of a part of the settings absolute, counted from the settings file's folder."""
    return model.model_copy(update={name: home / path for name in names if (path := getattr(model, name)) is not None})


def require_safe(settings: DashboardSettings, *, users: bool) -> None:
    """Refuse pages that others on the network could read or command. Raises SettingsError."""
    if settings.listen.loopback:
        return
    lacks = [*(["tls"] if settings.tls is None else []), *([] if users else ["users"])]
    if lacks:
        raise SettingsError(
            f"key listen.host: expected loopback (127.0.0.1), or beyond it tls and users, received "
            f"{settings.listen.host} without {' and '.join(lacks)}. Set tls.cert_file and tls.key_file, and add a user "
            "with: linewatch dashboard-user CONFIG add NAME --role operator"
        )
