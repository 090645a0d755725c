"""Certificates, keys and passwords: read before each attempt to connect, private, and never in plain text unsaid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import SettingsError
from edge.publishers.broker_settings import BrokerSettings, TlsSettings
from edge.publishers.client_id import default_client_id, machine_id
from edge.publishers.mqtt import MqttPublisher
from edge.publishers.network import Reload
from edge.records import Acknowledged, Connected, SessionLost
from edge.settings import load_settings, readable_secrets
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.certificates import make_authority, make_certificate
from tests.conftest import ROOT
from tests.edge.contracts.test_publishers import WILL, Listener, message
from tests.edge.station.test_run import bodies, running, status, write_line


def tls_broker(folder: Path, ca: Path, port: int, name: str = "server") -> Mosquitto:
    """Return a broker that speaks TLS on `port` with a new certificate of an authority."""
    folder.mkdir(exist_ok=True)
    pem, key = make_certificate(folder, ca, name, "IP:127.0.0.1")
    how = f"listener {port} 127.0.0.1\ncafile {ca}\ncertfile {pem}\nkeyfile {key}"
    return Mosquitto(folder, config=how)


def test_a_renewed_authority_is_read_before_the_next_attempt(tmp_path: Path) -> None:
    """A broker that comes back with a certificate of another authority is trusted once the file names that one."""
    port, trusted = free_port(), tmp_path / "trusted.pem"
    old, new = make_authority(tmp_path, "old"), make_authority(tmp_path, "new")
    trusted.write_bytes(old.read_bytes())
    settings = BrokerSettings.model_validate({"port": port, "tls": {"ca_file": trusted}})
    with MqttPublisher(settings, "line", WILL) as publisher:
        listener = Listener(publisher)
        with tls_broker(tmp_path / "a", old, port):
            listener.connected()
        with tls_broker(tmp_path / "b", new, port):
            wait_for(lambda: listener.times(SessionLost) and "certificate verify failed" in str(listener.events))
            trusted.write_bytes(new.read_bytes())
            wait_for(lambda: listener.times(Connected) == 2)
            assert isinstance(listener.answer(publisher.send(message())), Acknowledged)


def test_a_file_that_cannot_be_used_just_now_is_told_and_read_again(tmp_path: Path) -> None:
    """A password file that is gone for a while costs the attempts meanwhile, and each says why; then it connects."""
    secret = tmp_path / "secret"
    secret.write_text("any\n")
    secret.chmod(0o600)
    broker = Mosquitto(tmp_path)
    settings = BrokerSettings.model_validate({"port": broker.port, "username": "line", "password_file": secret})
    with MqttPublisher(settings, "line", WILL) as publisher:
        listener = Listener(publisher)
        listener.wait(lambda event: isinstance(event, SessionLost))
        secret.rename(tmp_path / "away")
        told = listener.wait(lambda event: isinstance(event, SessionLost) and "password_file" in event.reason)
        assert "No such file" in str(told)
        (tmp_path / "away").rename(secret)
        with broker:
            listener.connected()


def test_a_reload_connects_anew_and_a_bad_file_costs_nothing(tmp_path: Path) -> None:
    """With good files the connection is made anew, by a farewell; with a bad one the old connection stays."""
    port, ca = free_port(), make_authority(tmp_path)
    pem, key = make_certificate(tmp_path, ca, "line")
    reload = Reload()
    tls = {"ca_file": ca, "cert_file": pem, "key_file": key}
    settings = BrokerSettings.model_validate({"port": port, "tls": tls})
    with tls_broker(tmp_path / "a", ca, port), MqttPublisher(settings, "line", WILL, reload=reload) as publisher:
        listener = Listener(publisher)
        listener.connected()
        before = len(listener.events)  # a busy machine may have shaken hands more than once
        good = pem.read_bytes()
        pem.write_text("no certificate")
        reload.set()
        wait_for(lambda: publisher._network._read == reload.asked)
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)
        assert not [event for event in listener.events[before:] if isinstance(event, SessionLost)]
        pem.write_bytes(good)
        reload.set()
        wait_for(lambda: listener.times(Connected) == 2)
        (lost,) = [event for event in listener.events[before:] if isinstance(event, SessionLost)]
        assert lost.ours
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)


def takes(port: int, password: str) -> bool:
    """Tell whether a broker takes the user `line` with a password now."""
    told = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-u", "line", "-P", password, "-t", "asked", "-n"]
    return subprocess.run(told, check=False, capture_output=True, timeout=60).returncode == 0


def test_sighup_reloads_a_running_line_and_ends_nothing(tmp_path: Path) -> None:
    """After SIGHUP the line connects with the new password, says no offline, and goes on."""
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "line", "old"], check=True)
    secret.write_text("old")
    secret.chmod(0o640)
    with Mosquitto(tmp_path, config=f"password_file {passwords}\nallow_anonymous true") as broker:
        config = write_line(tmp_path, broker.port)
        plain, account = config.read_text(), f"username: line, password_file: {secret}, keepalive_s:"
        assert "keepalive_s:" in plain
        config.write_text(plain.replace("keepalive_s:", account))
        wait_for(lambda: takes(broker.port, "old"))
        with Subscriber(broker.port) as desk, running(config) as line:
            wait_for(lambda: "online" in status(desk))
            subprocess.run(["mosquitto_passwd", "-b", passwords, "line", "new"], check=True)
            secret.write_text("new")
            assert broker._process is not None
            broker._process.send_signal(signal.SIGHUP)
            wait_for(lambda: takes(broker.port, "new"))
            line.send_signal(signal.SIGHUP)
            wait_for(lambda: bodies(desk, "state/counters")[-1]["connections_lost"] == 0 and len(status(desk)) >= 3)
            before = len(bodies(desk, "event/result"))
            wait_for(lambda: len(bodies(desk, "event/result")) > before)
            assert "offline" not in status(desk)
            assert line.poll() is None


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
@pytest.mark.parametrize("what", ["key_file", "password_file"])
def test_a_secret_that_everybody_may_read_or_write_is_refused(tmp_path: Path, what: str, mode: int) -> None:
    """Key and password files are for the service's user; one open to others names mode and remedy."""
    ca = make_authority(tmp_path)
    secret = tmp_path / "ca.key"
    secret.chmod(mode)
    settings = {"tls": {"ca_file": ca, "cert_file": ca, "key_file": secret}}
    if what == "password_file":
        secret.write_text("a password\n")
        settings = {"username": "line", "password_file": secret}  # type: ignore[dict-item] # per test
    publisher = MqttPublisher(BrokerSettings.model_validate(settings), "line", WILL)
    with pytest.raises(SettingsError, match=rf"{what}.*mode 0{mode:o}.*chmod 0640"):
        publisher.__enter__()
    secret.chmod(0o640)
    publisher.__enter__()
    publisher.__exit__(None, None, None)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal and wait. Here the key is named, and how to write one without a password."""
    ca = make_authority(tmp_path)
    locked = tmp_path / "locked.key"
    how = ["openssl", "pkey", "-in", tmp_path / "ca.key", "-aes256", "-passout", "pass:hunter2", "-out", locked]
    subprocess.run(how, check=True)
    locked.chmod(0o600)
    with pytest.raises(SettingsError, match=r"key_file: expected a key without a password.*openssl pkey"):
        TlsSettings(ca_file=ca, cert_file=ca, key_file=locked).context()


@pytest.mark.parametrize("what", ["ca_file", "cert_file", "key_file", "password_file"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    """A pipe to which nobody writes would hold up every attempt to connect, and a device would never end."""
    ca, odd = make_authority(tmp_path), tmp_path / "odd"
    make(odd)
    tls = {"ca_file": ca, "cert_file": ca, "key_file": ca.with_suffix(".key")}
    settings = {"tls": tls | {what: odd}} if what in tls else {"username": "line", "password_file": odd}
    publisher = MqttPublisher(BrokerSettings.model_validate(settings), "line", WILL)
    with pytest.raises(SettingsError, match=rf"broker\..*{what}: expected a readable file.*\(it is no file\)"):
        publisher.__enter__()


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_password_file_is_refused(tmp_path: Path, content: str) -> None:
    """A file that was made and not written is no password."""
    secret = tmp_path / "secret"
    secret.write_text(content)
    secret.chmod(0o600)
    with pytest.raises(SettingsError, match="it is empty"):
        BrokerSettings.model_validate({"username": "a", "password_file": secret}).read_password()


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"host": "broker.example"}, "messages go to broker.example in plain text"),
        ({"host": "10.1.2.3", "username": "a", "password": "pw-4711"}, "messages and the password go to 10.1.2.3"),
        ({"host": "broker.example", "tls": {}}, None),
        ({"host": "localhost"}, None),
        ({"host": "127.0.0.1"}, None),
        ({"host": "127.8.9.1"}, None),
        ({"host": "::1"}, None),
        ({"host": "localhost.example"}, "plain text"),
    ],
)
def test_plain_text_to_another_machine_is_a_warning(settings: dict[str, object], warns: str | None) -> None:
    """Loopback needs no TLS; traffic that leaves the machine does, and the warning shows no password."""
    told = BrokerSettings.model_validate(settings).plaintext_warning
    assert (told is None) == (warns is None)
    assert warns is None or warns in str(told)
    assert "pw-4711" not in str(told)


def test_check_and_run_warn_of_plain_text_and_of_settings_that_everybody_may_read(tmp_path: Path) -> None:
    """Both say so on stderr, and go on."""
    config = write_line(tmp_path, 1883)
    config.write_text(
        config.read_text().replace("broker: {", "broker: {host: broker.invalid, username: a, password: x, ")
    )
    config.chmod(0o644)
    command = [sys.executable, "-m", "edge", "check", "--offline", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    told = " ".join(done.stderr.split())
    assert "messages and the password go to broker.invalid in plain text" in told
    assert "holds a secret (broker.password) and every user of this device may read it" in told
    assert readable_secrets(load_settings(config), config) is not None
    config.chmod(0o640)
    assert readable_secrets(load_settings(config), config) is None


def test_tls_can_be_required(tmp_path: Path) -> None:
    """With require_tls settings without TLS are refused, to loopback too; with it they are as they were."""
    config = tmp_path / "line.yaml"
    config.write_text("broker: {require_tls: true}\n")
    with pytest.raises(SettingsError, match="expected the key tls, for require_tls is true"):
        load_settings(config)
    config.write_text("broker: {require_tls: true, tls: {}}\n")
    assert load_settings(config).broker.address == ("127.0.0.1", 8883)


def test_the_default_client_id_is_of_topics_device_and_machine(tmp_path: Path) -> None:
    """Each of the three makes another id; the same three make the same. The machine's own id cannot be read from it."""
    ids = {
        default_client_id(root, device, machine)
        for root in ("a/b/c/d/e/inspect/v1", "a/b/c/d/f/inspect/v1")
        for device in ("linewatch", "jetson")
        for machine in ("m1", "m2")
    }
    assert len(ids) == 8
    assert all(name.startswith("linewatch-") and len(name) == 23 for name in ids)
    assert default_client_id("a", "b") == default_client_id("a", "b", machine_id())
    assert machine_id() not in default_client_id("a", "b")
    (tmp_path / "id").write_text("4711\n")
    assert machine_id([tmp_path / "absent", tmp_path / "id"]) == "4711"
    assert machine_id([tmp_path / "absent"]) == os.uname().nodename
