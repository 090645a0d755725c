"""A device's packages are pinned by hashes, whole, and are those that were tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = {"requirements-device.lock": ["device"], "requirements-jetson.lock": ["device", "jetson"]}


def locked(name: str) -> dict[str, set[str]]:
    """Return each package of a lock file with its versions; every one must have a hash."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip()):
        match = re.match(r"([a-z0-9-]+)==(\S+)", entry)
        assert match, entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_device_s_lock_has_all_that_a_device_needs(name: str) -> None:
    """Each dependency of pyproject.toml and of the device's extras stands in the lock, with hashes; OpenCV does not."""
    extras = [entry for extra in LOCKS[name] for entry in PROJECT["optional-dependencies"][extra]]
    wanted = {re.split(r"[<>=!~;\[ ]", entry)[0] for entry in [*PROJECT["dependencies"], *extras]}
    found = locked(name)
    assert wanted <= set(found)
    assert not [package for package in found if "opencv" in package]
    assert "linewatch" not in found


def test_a_device_gets_the_versions_that_were_tested() -> None:
    """But for NumPy, which JetPack's OpenCV wants older, each version is one of requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    tested = {(match[1], match[2]) for match in re.finditer(r"(?m)^([a-z0-9-]+)==(\S+)", text)}
    names = {name for name, _ in tested}
    for package, versions in locked("requirements-device.lock").items():
        if package in names - {"numpy"}:
            assert {(package, version) for version in versions} <= tested, package


def test_an_altered_package_is_refused(tmp_path: Path) -> None:
    """With a hash that does not fit, nothing is installed."""
    entry = re.split(r"\n(?=\S)", (ROOT / "requirements-device.lock").read_text(encoding="utf-8"))
    typing = next(text for text in entry if text.startswith("typing-extensions=="))
    altered = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, typing)
    (tmp_path / "altered.lock").write_text(altered, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", tmp_path]
    done = subprocess.run([*pip, "-r", tmp_path / "altered.lock"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
