"""The settings that a running station takes or refuses: each key is one or the other, as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import Bundle
from edge.errors import BundleError, SettingsError
from edge.preparing import PreparingSteps
from edge.recipes.edition import CHANGEABLE, Edition, differences, require_changeable
from edge.settings import Settings
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle."""
    return write_bright_bundle(tmp_path_factory.mktemp("edition") / "model")


def edition(bundle: Bundle, number: int = 0, **given: Any) -> Edition:
    """Return an edition of a station with one bundle."""
    settings = Settings.model_validate({"bundle": str(bundle.path), **given})
    return Edition(number, settings, {Path(bundle.path): bundle})


TAKEN: dict[str, dict[str, Any]] = {
    "limits": {"inspect": {"limits": {"scratch": {"max_count": 3}}}},
    "thresholds": {"inspect": {"thresholds": {"scratch": 0.7}}},
    "frames of a part": {"parts": {"frames_per_view": 3, "timeout_ms": 500}},
    "reload": {"reload": {"shadow_parts": 0}},
    "keep_recipes": {"keep_recipes": 7},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "line": ({"line": {"cell": "other"}}, "key line.cell: expected cell, which the station runs with, received other"),
    "camera": ({"camera": {"source": "/dev/video7"}}, "key camera.source: expected nothing"),
    "secret": ({"camera": {"source": "rtsp://anna:secret@cam/1"}}, "received rtsp://***@cam/1"),
    "trigger": ({"parts": {"trigger": "camera"}}, "key parts.trigger: expected every_frame"),
    "broker": ({"broker": {"host": "elsewhere"}}, "key broker.host"),
    "store": ({"store": {"path": "/tmp/other.db"}}, "key store.path"),  # noqa: S108 - a name
    "engine": ({"engine": {"batch": 8}}, "key engine.batch: expected 4, which the station runs with, received 8"),
    "swap": ({"swap": "drain_first"}, "key swap: expected side_by_side"),
    "several": ({"shifts": ["06:00"], "time_zone": "Europe/Berlin"}, "So it is with time_zone"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_judges_is_taken(what: str, bundle: Bundle) -> None:
    """Limits, thresholds and rules for parts change under a running station."""
    require_changeable(edition(bundle), edition(bundle, 1, **TAKEN[what]), "default")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_opened_once_is_refused(what: str, bundle: Bundle) -> None:
    """The error names the key, what the station runs with, what was received, and the restart; secrets are hidden."""
    given, told = REFUSED[what]
    with pytest.raises(SettingsError, match="restart the station") as refused:
        require_changeable(edition(bundle), edition(bundle, 1, **given), "default")
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_password_is_a_difference_that_is_not_told(bundle: Bundle) -> None:
    """It cannot change, and neither value is shown."""
    one, other = (
        edition(bundle, broker={"username": "u", "password": password, "tls": None}) for password in ("abc", "xyz")
    )
    told = list(differences(one.settings, other.settings))
    assert told == [("broker.password", "the former one", "another one")]


def test_two_forms_of_the_same_are_the_same(bundle: Bundle) -> None:
    """The long form of one recipe and one camera changes nothing but its spelling."""
    long = edition(bundle, 1, cameras={"camera": {}})
    assert list(differences(edition(bundle).settings, long.settings)) == []
    renamed = edition(bundle, 1, cameras={"top": {}})
    assert {key.split(".")[1] for key, _, _ in differences(long.settings, renamed.settings)} == {"camera", "top"}


def test_a_recipe_judges_alike_only_with_the_same_model_and_limits(tmp_path: Path, bundle: Bundle) -> None:
    """Another model under the same path, another limit and another rule for parts judge otherwise."""
    assert edition(bundle).judges_as(edition(bundle, 1, keep_recipes=5), "default")
    for what in ("limits", "thresholds", "frames of a part"):
        assert not edition(bundle).judges_as(edition(bundle, 1, **TAKEN[what]), "default")
    other = Bundle(bundle.path, write_bright_bundle(tmp_path / "other", white=280.0).manifest)
    assert not edition(bundle).judges_as(edition(other, 1), "default")


def test_where_memory_is_short_nothing_that_judges_changes(bundle: Bundle) -> None:
    """With drain_first the former model could not come back."""
    own = {"swap": "drain_first"}
    require_changeable(edition(bundle, **own), edition(bundle, 1, keep_recipes=3, **own), "default")
    with pytest.raises(SettingsError, match="one model at a time"):
        require_changeable(edition(bundle, **own), edition(bundle, 1, **own, **TAKEN["limits"]), "default")


def test_a_bundle_of_another_depth_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    """A camera is opened with the depth that its bundles expect."""
    written = write_bright_bundle(tmp_path / "deep")
    steps: PreparingSteps = ({"step": "depth", "bits": 12},)  # type: ignore[assignment]
    manifest = type(written.manifest).model_validate(written.manifest.model_dump(by_alias=True) | {"preparing": steps})
    with pytest.raises(BundleError, match="with which the camera was opened, received 12"):
        require_changeable(edition(bundle), edition(Bundle(bundle.path, manifest), 1), "default")


def test_the_page_names_every_key() -> None:
    """docs/recipes-at-the-line.md lists each key that a reload takes, and none that it takes among the others."""
    page = (ROOT / "docs" / "recipes-at-the-line.md").read_text()
    row = next(line for line in page.splitlines() if "everything else" in line)
    taken, kept = row.split("everything else")
    taken = taken.replace("`parts`: ", "")
    named = set(re.findall(r"`([a-z_.]+)`", taken))
    own = {key.removeprefix("parts.") for key in CHANGEABLE}
    assert named == own
    rest = {name.split(".")[0] for name in re.findall(r"`([a-z_.]+)`", kept)}
    assert rest <= set(Settings.model_fields) - {key for key in CHANGEABLE if "." not in key}
    assert len(rest) > 10
