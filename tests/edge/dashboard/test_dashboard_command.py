"""`linewatch dashboard` and `dashboard-user` as programs: what they answer, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import free_port, wait_for
from tests.certificates import make_authority, make_certificate
from tests.conftest import ROOT

PASSWORD = "a long enough one"  # noqa: S105 - of a user that a test makes


def settings(folder: Path, text: str = "") -> Path:
    """Write settings for a broker that is not there."""
    path = folder / "dashboard.yaml"
    path.write_text(
        f"sites: [acme]\nbroker: {{port: {free_port()}}}\nhistory: {{path: history.db}}\nusers: users.json\n{text}"
    )
    return path


def run(*words: str | Path, code: int = 0, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run a verb to its end, and look at its exit code."""
    command = [sys.executable, "-m", "edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, input=said, timeout=120, check=False, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done


@contextmanager
def serving(config: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the dashboard until it answers; make sure that it is gone afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "edge", "dashboard", str(config), "--port", str(port), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(port))
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def test_without_a_broker_it_serves_and_says_so_and_ends_in_order(tmp_path: Path) -> None:
    """Pages answer and name the broker that is not there. SIGTERM ends it at once with 0, though a stream is open."""
    with serving(settings(tmp_path)) as (process, url):
        page = urllib.request.urlopen(url, timeout=120).read().decode()  # noqa: S310 - our own
        assert "No station has spoken yet" in page
        wait_for(lambda: "cannot be reached" in urllib.request.urlopen(f"{url}/wall", timeout=120).read().decode())  # noqa: S310
        stream = urllib.request.urlopen(f"{url}/live/wall", timeout=120)  # noqa: S310 - our own
        assert stream.readline().startswith(b"data: ")
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "there are no users: everybody on this device may look, and nobody may command" in stderr
    assert "Traceback" not in stderr


def test_what_is_in_use_is_told(tmp_path: Path) -> None:
    """A port of another program: exit code 8, and which. A history of another dashboard: likewise."""
    config = settings(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("dashboard", config, "--port", str(port), code=8)
        assert f"No page can be served at 127.0.0.1:{port}" in done.stderr
    with serving(config):
        done = run("dashboard", config, "--port", "0", code=8)
        assert "is in use by another dashboard" in done.stderr


def test_wrong_settings_and_an_open_door_are_refused(tmp_path: Path) -> None:
    """Exit code 3: no file, no TLS beyond loopback, a certificate that is none."""
    assert "No settings at" in run("dashboard", tmp_path / "none.yaml", code=3).stderr
    config = settings(tmp_path)
    assert "expected loopback" in run("dashboard", config, "--host", "0.0.0.0", code=3).stderr  # noqa: S104 - refused
    (tmp_path / "c.pem").write_text("no certificate")
    config = settings(tmp_path, "tls: {cert_file: c.pem, key_file: c.pem}\n")
    assert (
        "key tls.key_file: expected a file for the service's user only"
        in run("dashboard", config, "--port", "0", code=3).stderr
    )
    (tmp_path / "c.pem").chmod(0o600)
    assert "key tls: expected readable PEM files" in run("dashboard", config, "--port", "0", code=3).stderr


@pytest.mark.parametrize("host", ["", "a b", "x" * 300, "127.0.0.1/", "\x1b[31m "])
def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    """As in the settings: exit code 3, in one line that steers no terminal."""
    done = run("dashboard", settings(tmp_path), "--host", host, code=3)
    assert done.stderr.startswith("error: --host: expected a name or an address, received")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    """As for the broker: OpenSSL's own question would wait at a terminal that nobody looks at."""
    make_authority(tmp_path)
    locked = tmp_path / "locked.key"
    how = ["openssl", "pkey", "-in", tmp_path / "ca.key", "-aes256", "-passout", "pass:hunter2", "-out", locked]
    subprocess.run(how, check=True)
    locked.chmod(0o600)
    config = settings(tmp_path, "tls: {cert_file: ca.pem, key_file: locked.key}\n")
    said = run("dashboard", config, "--port", "0", code=3).stderr
    assert f"key tls.key_file: expected a key without a password, received {locked}" in said


def test_users_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    """It serves, nobody is let in by the file, and whoever started it sees why."""
    config = settings(tmp_path)
    (tmp_path / "users.json").write_text('{"users": [')
    (tmp_path / "users.json").chmod(0o600)
    with serving(config) as (process, _):
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "it is no file of users" in stderr
    assert "there are no users" not in stderr


NO_PASSWORDS: list[tuple[Callable[[Path], object], str]] = [
    (os.mkfifo, "received 0"),  # to which nobody writes
    (Path.mkdir, "Is a directory"),
    (lambda path: path.symlink_to("/dev/zero"), "received 10001"),
    (lambda path: path.write_bytes(b"\xff" * 12), "expected a readable text file"),
]


@pytest.mark.parametrize(("make", "says"), NO_PASSWORDS, ids=[says for _, says in NO_PASSWORDS])
def test_what_is_no_password_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    """No pipe is waited for, no device is read without end, and standard input may be closed."""
    make(tmp_path / "password")
    add = ("dashboard-user", settings(tmp_path), "add", "anna", "--password-file")
    assert says in run(*add, tmp_path / "password", code=3).stderr
    closed = ["sh", "-c", 'exec "$0" -m edge "$@" <&-', sys.executable, *map(str, add), "-"]
    done = subprocess.run(closed, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert (done.returncode, "there is no standard input" in done.stderr) == (3, True), done.stderr


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """Exit code 7, and the packages by name."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['starlette'] = sys.modules['uvicorn'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "edge", "dashboard", str(settings(tmp_path))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(blocked)},
    )
    assert done.returncode == 7, done.stderr
    assert "Install them with: pip install starlette uvicorn;" in done.stderr


def test_users_are_added_listed_and_removed(tmp_path: Path) -> None:
    """With the password from standard input or a file; a poor one, or nobody to remove, is refused with 3."""
    config = settings(tmp_path)
    add = ("dashboard-user", config, "add")
    run(*add, "anna", "--role", "operator", "--password-file", "-", said=f"{PASSWORD}\n")
    (tmp_path / "password").write_text(PASSWORD)
    run(*add, "vera", "--password-file", tmp_path / "password")
    assert "Expected a password of 10 to 200" in run(*add, "b", "--password-file", "-", code=3, said="short\n").stderr
    assert run("dashboard-user", config, "list").stdout.split() == ["anna", "operator", "vera", "viewer"]
    run("dashboard-user", config, "remove", "anna")
    run("dashboard-user", config, "remove", "anna", code=3)
    assert [user["name"] for user in json.loads((tmp_path / "users.json").read_text())["users"]] == ["vera"]


def test_beyond_loopback_it_serves_with_tls_and_users(tmp_path: Path) -> None:
    """On every address of the device, by HTTPS alone: who has not logged in gets the log-in page and nothing else."""
    authority = make_authority(tmp_path)
    certificate, key = make_certificate(tmp_path, authority, "localhost")
    config = settings(tmp_path, f"tls: {{cert_file: {certificate}, key_file: {key}}}\n")
    run("dashboard-user", config, "add", "anna", "--password-file", "-", said=f"{PASSWORD}\n")
    with serving(config, "--host", "0.0.0.0") as (_, url):  # noqa: S104 - what is tested
        context = ssl.create_default_context(cafile=str(authority))
        address = url.replace("http://127.0.0.1", "https://localhost")
        with urllib.request.urlopen(f"{address}/wall", timeout=120, context=context) as answer:  # noqa: S310 - our own
            assert answer.url == f"{address}/login?back=/wall"
            assert 'name="password"' in answer.read().decode()
            assert answer.headers["strict-transport-security"]
        with pytest.raises(OSError, match=r"."):
            urllib.request.urlopen(f"{url}/wall", timeout=10)  # noqa: S310 - without TLS nothing answers
