"""Settings that are meant to hurt, or that people write in good faith.

There is one table of each, with what is to come of it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras.camera_watch import WatchSettings
from edge.dashboard.settings import load_dashboard_settings
from edge.errors import SettingsError
from edge.settings import load_settings
from edge.yaml_settings import StrictModel, load_yaml


class Words(StrictModel):
    """One key of each kind."""

    switch: bool = False
    mode: Literal["auto", "off"] = "auto"
    both: bool | Literal["auto"] = "auto"
    name: str = ""
    names: tuple[str, ...] = ()
    path: Path | None = None
    number: int = 0
    share: float = 0.0
    maybe: float | None = 1.0
    inner: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    inners: tuple[dict[str, Any], ...] = ()


def load(tmp_path: Path, text: str) -> Words:
    """Load what a person wrote."""
    path = tmp_path / "line.yaml"
    path.write_text(text, encoding="utf-8")
    return load_yaml(path, Words)


TAKEN = [
    ("switch: on", "switch", True),
    ("switch: Off", "switch", False),
    ("switch: yes", "switch", True),
    ("switch: no", "switch", False),
    ("switch: true", "switch", True),
    ("mode: off", "mode", "off"),
    ("mode: 'off'", "mode", "off"),
    ("mode: OFF", "mode", "off"),
    ("mode: no", "mode", "off"),
    ("mode: false", "mode", "off"),
    ("both: off", "both", False),
    ("both: auto", "both", "auto"),
    ("name: no", "name", "no"),
    ("name: on", "name", "on"),
    ("name: 2026-01-01", "name", "2026-01-01"),
    ("name: 12:30:00", "name", "12:30:00"),
    ("name: 007", "name", "007"),
    ("name: =", "name", "="),
    ("name: 'true'", "name", "true"),
    ("number: 1_000", "number", 1000),
    ("number: 0x10", "number", 16),
    ("number: -5", "number", -5),
    ("share: 1e-3", "share", 0.001),
    ("share: .5", "share", 0.5),
    ("share: 3", "share", 3.0),
    ("maybe:", "maybe", None),
    ("maybe: ~", "maybe", None),
    ("inner: {on: 1}", "inner", {"on": 1}),
    ("inner: &a {x: 1, y: 2}\ninners: [{<<: *a, y: 3}]", "inners", ({"x": 1, "y": 3},)),
    ("inners: [&a {x: 1}, &b {y: 2}, {<<: [*a, *b], z: 3}]", "inners", ({"x": 1}, {"y": 2}, {"x": 1, "y": 2, "z": 3})),
    ("inners: [&b {<<: &a {x: 1}, x: 2}, {<<: *b}, {<<: *a}]", "inners", ({"x": 2}, {"x": 2}, {"x": 1})),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "value"), TAKEN)
def test_what_people_write_means_what_they_mean(text: str, key: str, value: object, tmp_path: Path) -> None:
    """On, off, yes and no are as each key wants them. A name that looks like a date stays a name; merge keys merge."""
    assert getattr(load(tmp_path, text), key) == value


def bomb(levels: int, width: int = 10) -> str:
    """Write a list of lists of lists, by aliases: `width` to the power of `levels` words."""
    lines = [f"  - &a0 [{', '.join(['lol'] * width)}]"]
    lines += [f"  - &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "inners:\n" + "\n".join(lines)


def merge_bomb(levels: int) -> str:
    """Write mappings that merge ten of the one before."""
    lines = ["  - &a0 {x: 1}"]
    lines += [f"  - &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}" for level in range(1, levels)]
    return "inners:\n" + "\n".join(lines)


REFUSED = [
    (bomb(9), "its aliases unfold to more than 2000000 characters"),
    (merge_bomb(9), "its aliases unfold to more than 2000000 characters"),
    (f"name: &a {'x' * 100_000}\ninners: [{', '.join(['{v: *a}'] * 100)}]", "its aliases unfold to more than"),
    ("inner: &a {a: *a}", "an alias stands inside what it names"),
    ("inner: &a {<<: *a}", "an alias stands inside what it names"),
    ("inner: {a: *unknown}", "undefined alias"),
    ("[" * 100_000, "is no valid YAML"),
    ("inner: " + "{a: " * 5_000, "is no valid YAML"),
    ("name: " + "x" * 1_000_001, "at most 1000000 characters, received more"),
    ("mode: true", "key mode: expected 'auto' or 'off'; received True"),
    ("mode: sometimes", "key mode: expected 'auto' or 'off'; received 'sometimes'"),
    ("number: yes", "key number: expected a number"),
    ("number: 010", "key number: expected a number without quotes; received '010'"),
    ("number: 12:30", "key number: expected a number"),
    ("number: true", "key number: expected a number; received True"),
    ("share: '0.5'", "expected a number without quotes"),
    ("share: .inf", "finite"),
    ("switch: perhaps", "key switch"),
    ("name: 7", "key name"),
    ("<<: {name: a}\n<<: {name: b}", "the key '<<' is given twice"),
    ("name: a\nname: b", "the key 'name' is given twice"),
    ("on: 1\non: 2", "the key 'on' is given twice"),
    ("inner: {<<: 3}", "is no valid YAML"),
    ("? [a, b]\n: c", "expected a word as key, received more"),
    ("5: c", "expected a word as key, received 5"),
    ("switch: !!bool perhaps", "is no valid YAML"),
    ("number: !!int ''", "is no valid YAML"),
    ("number: !!int three", "is no valid YAML"),
    ("name: !!timestamp soon", "is no valid YAML"),
    (f"number: {'9' * 5_000}", "expected a number of at most 64 characters, received more in line 1"),
    (f"number: 0x{'f' * 50_000}", "expected a number of at most 64 characters"),
    (f"inners: [0x{'f' * 50_000}]", "expected a number of at most 64 characters"),
    (f"number: !!int {':'.join(['59'] * 3_000)}", "expected a number of at most 64 characters"),
    (f"share: !!float {':'.join(['1'] * 300)}", "expected a number of at most 64 characters"),
    ("name: !!python/name:os.system ''", "is no valid YAML"),
    ("name: a\x00b", "is no valid YAML"),
    ('name: "a\\0b"', "key name: expected text, received the character '\\x00'"),
    ('name: "\\ud800"', "key name: expected text, received the character '\\ud800'"),
    ('inner: {"a\\0": 1}', "key inner: expected text, received the character"),
    ('inner: {a: "a\\0"}', "key inner: expected text, received the character"),
    ('names: [a, "\\0"]', "key names: expected text, received the character"),
    ('path: "a\\0b"', "key path: expected text, received the character"),
    ("name: a\n---\nname: b", "is no valid YAML"),
    ("\n".join(f"unknown{n}: 1" for n in range(100)), "and 80 more"),
    (f"? {'k' * 5_000}\n: 1", "no such key"),
    ("inner:\n\ta: 1", "Indent and separate by spaces, not by tabs"),
    ("inner:\t{a: 1}", "Indent and separate by spaces, not by tabs"),
    ("name: %d", "Put a text that begins so in quotes"),
    ("name: @home", "Put a text that begins so in quotes"),
    ("name: `x`", "Put a text that begins so in quotes"),
    ("name: a: b", "Put a text with a colon in quotes"),
    ("inner:\n\u00a0 a: 1", r"key \xa0 a: no such key"),
    ("inner: 5", "key inner: expected keys with values; received 5"),
    ("inner:", "key inner: expected keys with values; received nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_hostile_settings_are_refused_quickly_and_in_few_words(text: str, says: str, tmp_path: Path) -> None:
    """Nothing takes memory or minutes, nothing ends in a traceback, and no message repeats what was sent at length."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 12_000


IN_PLAIN_WORDS = [
    (
        "line: {cell: a/b}",
        "line.cell: expected a name of 1 to 64 letters",
    ),
    ("line: {cell: ''}", "line.cell: expected a name of 1 to 64 letters"),
    ("broker: {host: a b}", "broker.host: expected a name or address without spaces and slashes; received 'a b'"),
    ("broker: {host: 'mqtt://a'}", "broker.host: expected a name or address without spaces and slashes"),
    ("broker: {host: ''}", "broker.host: expected at least 1 character"),
    (
        "broker: {host: 'plant:1883'}",
        "broker.host: expected a name or an address without a port; write broker.port: 1883",
    ),
    (
        "broker: {host: '[::1]:1883'}",
        "broker.host: expected a name or an address without a port; write broker.port: 1883",
    ),
    ('broker: {host: "\\e[2J"}', "broker.host: expected a name or an address, received what cannot be printed"),
    (f"broker: {{username: {'x' * 20_000}}}", "broker.username: expected at most 10000 characters"),
    (f"broker: {{username: a, password: {'x' * 20_000}}}", "received something that is not shown here"),
    ("camera:", "key camera: expected keys with values; received nothing"),
]


@pytest.mark.parametrize(("text", "says"), IN_PLAIN_WORDS)
def test_what_is_expected_is_said_in_words(text: str, says: str, tmp_path: Path) -> None:
    """No pattern and no class name is shown to who sets up a line."""
    (tmp_path / "line.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "line.yaml")
    assert says in str(caught.value)
    assert not any(sign in str(caught.value) for sign in ("String should", "instance of", "^["))


def test_an_address_of_the_internet_s_version_6_may_stand_in_brackets(tmp_path: Path) -> None:
    """As in a URL."""
    (tmp_path / "line.yaml").write_text("broker: {host: '[::1]'}")
    assert load_settings(tmp_path / "line.yaml").broker.address == ("::1", 1883)


FILES: list[tuple[Callable[[Path], object], str]] = [
    (os.mkfifo, "received nothing"),  # to which nobody writes
    (Path.mkdir, "cannot be read: Is a directory"),
    (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    (lambda path: path.symlink_to("nowhere"), "expected a YAML file"),
    (lambda path: path.symlink_to("/dev/zero"), "at most 1000000 characters, received more"),
    (lambda path: path.symlink_to("/dev/null"), "received nothing"),
    (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read: Input/output error"),
    (lambda path: (path.touch(), os.truncate(path, 3_000_000_000)), "at most 1000000 characters, received more"),
    (lambda path: path.write_bytes("camera: {}".encode("utf-16")), "cannot be read as UTF-8 text"),
]


@pytest.mark.parametrize(("make", "says"), FILES, ids=[says for _, says in FILES])
@pytest.mark.parametrize("load_it", [load_settings, load_dashboard_settings])
def test_what_is_no_settings_file_is_refused_at_once(
    load_it: Callable[[Path], object], make: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    """No folder, pipe, device or endless file is waited for or read into memory; each has its own words."""
    make(tmp_path / "line.yaml")
    with pytest.raises(SettingsError, match=says):
        load_it(tmp_path / "line.yaml")


def test_settings_may_come_through_a_pipe() -> None:
    """Decrypted settings that come as `<(…)` of a shell are all read, however slowly."""
    sent = subprocess.Popen(
        ["sh", "-c", "printf 'camera: {source: simulated,'; sleep 0.5; echo ' name: a}'"], stdout=subprocess.PIPE
    )
    with sent:
        assert sent.stdout is not None
        assert load_settings(Path(f"/proc/self/fd/{sent.stdout.fileno()}")).camera.name == "a"


def test_a_camera_s_watch_may_be_switched_off_in_any_way(tmp_path: Path) -> None:
    """`watch: off`, as config/line.yaml says, is taken as it stands; so is false; keys still switch it on."""
    path = tmp_path / "line.yaml"
    for written, meant in (("off", "off"), ("'off'", "off"), ("false", "off"), ("no", "off"), ("auto", "auto")):
        path.write_text(f"camera: {{watch: {written}}}\n", encoding="utf-8")
        assert load_settings(path).camera.watch == meant
    path.write_text("camera: {watch: {}}\n", encoding="utf-8")
    assert isinstance(load_settings(path).camera.watch, WatchSettings)


def test_a_secret_is_hidden_also_where_its_address_is_cut_off(tmp_path: Path) -> None:
    """A long value is cut off before its password ends; the password is hidden all the same."""
    path = tmp_path / "line.yaml"
    path.write_text(
        f"camera: {{max_age_ms: [{'x' * 40}, 'rtsp://eye:hunter2{'0' * 60}@camera/1']}}\n", encoding="utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "hunter2" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abx:-[]{}&*<>'\"!|#%@`,? \n\t0179.~", max_size=60))
def test_any_text_is_settings_or_refused(text: str) -> None:
    """Loading a file ends in settings or in our own error, whatever it holds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SettingsError):
        load(Path(folder), text)
