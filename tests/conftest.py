"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
import sqlite3  # noqa: F401 - before TensorFlow, whose own SQLite would serve the tests of the store instead
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

ROOT = Path(__file__).resolve().parent.parent

# Speed is for benchmarks to claim: a busy machine makes no test fail.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")

# Without job control a shell lets what it starts with & ignore Ctrl-C; tests send it to themselves and their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Keras reads this once, when it is first imported: no test may find weights that somebody has downloaded before.
_KERAS_HOME = tempfile.TemporaryDirectory(prefix="linewatch-keras-")
os.environ["KERAS_HOME"] = _KERAS_HOME.name


@pytest.fixture(scope="session", autouse=True)
def _no_users_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what session fixtures cache out of the user's own cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each module a cache of its own; its variables and its current directory end with it."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.clear()
    os.environ.update(before)
    os.chdir(folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real pictures and recordings, or skip: they are not part of the project."""
    folder = Path(os.environ.get("LINEWATCH_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "phone_msd" / "manifest.csv").is_file():
        pytest.skip(f"real data: no phone_msd at {folder}; set LINEWATCH_DATA to the folder that holds it")
    return folder
