"""The settings of the web process: a file of its own, or a station's; and where it refuses to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.dashboard.settings import load_dashboard_settings, require_safe
from edge.errors import SettingsError
from tests.conftest import ROOT

EVERYWHERE = "0.0.0.0"  # noqa: S104 - where it is refused


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "dashboard.yaml"
    path.write_text(text)
    return path


def test_a_station_s_settings_are_enough() -> None:
    """The station's broker and topics; the history lies beside its store, users beside its settings, on loopback."""
    settings = load_dashboard_settings(ROOT / "config" / "line.yaml")
    assert settings.roots == ("enterprise/site/area/line/cell/inspect/v1",)
    assert settings.listen.host == "127.0.0.1"
    assert settings.history.path.name == "dashboard.db"
    assert settings.users == ROOT / "config" / "dashboard-users.json"


def test_a_file_of_its_own_hears_sites(tmp_path: Path) -> None:
    """The first levels are enough; paths count from the file."""
    settings = load_dashboard_settings(
        written(tmp_path, "sites: [acme/ulm, +/+/+/l2]\nhistory: {path: h.db}\nusers: u.json\nbroker: {port: 1884}\n")
    )
    assert settings.roots == ("acme/ulm/+/+/+/inspect/v1", "+/+/+/l2/+/inspect/v1")
    assert (settings.history.path, settings.users) == (tmp_path / "h.db", tmp_path / "u.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sites: []\n", "key sites"),
        ("sites: [acme/#]\n", "key sites.0"),
        ("sites: ['a/b/c/d/e/f']\n", "key sites.0"),
        ("sites: [acme]\nlisten: {port: 99999}\n", "key listen.port"),
        ("sites: [acme]\nusers_file: x\n", "key users_file: no such key"),
        ("sites: [acme]\nevidence: {ulm: /var}\n", "key evidence"),
        ("sites: [acme]\nshifts: ['25:00']\n", "expected times of day"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, told: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(SettingsError, match=told) as error:
        load_dashboard_settings(written(tmp_path, text))
    assert "dashboard.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("listen", "tls", "users", "safe"),
    [
        ("127.0.0.1", False, False, True),
        ("localhost", False, False, True),
        ("'[::1]'", False, False, True),
        (EVERYWHERE, False, False, False),
        (EVERYWHERE, True, False, False),
        (EVERYWHERE, False, True, False),
        (EVERYWHERE, True, True, True),
        ("localhost.evil.example", False, False, False),
    ],
)
def test_others_on_the_network_see_it_only_with_tls_and_users(
    tmp_path: Path, listen: str, *, tls: bool, users: bool, safe: bool
) -> None:
    """Beyond loopback both must be there, and the error says which is not."""
    more = "tls: {cert_file: c.pem, key_file: k.pem}\n" if tls else ""
    settings = load_dashboard_settings(written(tmp_path, f"sites: [acme]\nlisten: {{host: {listen}}}\n{more}"))
    if safe:
        require_safe(settings, users=users)
    else:
        with pytest.raises(SettingsError, match="expected loopback"):
            require_safe(settings, users=users)
