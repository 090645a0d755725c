"""Passwords and tokens of broker and camera, and all that leaves a line: none of them is in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app as linewatch_app
from edge.errors import SettingsError
from edge.publishers.broker_settings import BrokerSettings
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.certificates import make_authority, make_certificate
from tests.edge.cli.test_check import BUNDLE
from tests.edge.station.test_run import ROOT_TOPIC, bodies
from tests.hostile.test_cameras import answering
from tests.hostile.test_running_stores import BY_MODE, line, linewatch, stopped

# Each piece by itself would be a secret told: of the password, of the user that is a token, of path and query.
PIECES = ("hunter2", "s3cr", "Zuckerhut", "tok-4711", "9f8e7d6c5b4a39281706", "qqqq-query", "Br0ker", "geheim")
CAMERA = "rtsp://tok-4711:hunter2%40s3cr%2FZuckerhut@127.0.0.1:{port}/live/9f8e7d6c5b4a39281706?token=qqqq-query"
BROKER_PASSWORD = "Br0ker:geheim"  # noqa: S105 - the test's own


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a password file for mosquitto with one user, `line`, who may do anything, and `desk`."""
    file = tmp_path_factory.mktemp("users") / "passwords"
    file.touch()
    for user, password in (("line", BROKER_PASSWORD), ("desk", "any")):
        subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True, capture_output=True)
    file.chmod(0o644)
    return file


@contextmanager
def secretive(folder: Path, users: Path, reply: bytes | None, password: str = BROKER_PASSWORD) -> Iterator[Path]:
    """Write the settings of a line that has secrets; its broker runs, and its camera answers `reply`."""
    with ExitStack() as parts:
        camera = parts.enter_context(answering(reply))
        # the last of two counts
        config = f"allow_anonymous false\npassword_file {users}"
        broker = parts.enter_context(Mosquitto(folder, config=config))
        settings = folder / "line.yaml"
        settings.write_text(
            f"bundle: {BUNDLE}\ncamera: {{source: '{CAMERA.format(port=camera)}', max_age_ms: 1000}}\n"
            f"engine: {{backend: onnxruntime}}\nstore: {{path: outbox.db}}\n"
            f"broker: {{port: {broker.port}, username: line, password: '{password}'}}\n"
            "report: {health_every_s: 0.5}\n"
        )
        settings.chmod(0o600)
        (folder / "port").write_text(str(broker.port))
        yield settings


def told_in(text: str | bytes) -> list[str]:
    """Return the pieces of secrets that are in a text, also in another case."""
    lower = (text if isinstance(text, str) else text.decode("utf-8", "replace")).lower()
    return [piece for piece in PIECES if piece.lower() in lower]


@pytest.mark.parametrize(
    "reply",
    [b"RTSP/1.0 401 Unauthorized\r\nCSEQ\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b""],
    ids=["refused", "another service", "hung up on"],
)
def test_no_secret_leaves_a_line_whose_camera_fails(tmp_path: Path, users: Path, reply: bytes) -> None:
    """Not by the broker, the log, `status`, `alarms`, `journal`, its export, `check`, nor in what lies in the store."""
    with secretive(tmp_path, users, reply) as config:
        port = int((tmp_path / "port").read_text())
        with Subscriber(port, "#", user="desk") as desk:
            with line(config) as process:
                wait_for(lambda: [body for body in bodies(desk, "event/alarm") if body["alarm"] == "camera-lost"])
                told = {verb: linewatch(verb, config) for verb in ("status", "alarms", "journal")}
                told["check"] = linewatch("check", config)
                told["export"] = linewatch("journal", config, "--export", tmp_path / "journal.csv")
                assert stopped(process) == 0
            wait_for(lambda: bodies(desk, "status")[-1]["reason"] == "stopped")
            heard = [f"{m.topic} {m.payload!r} {m.properties}" for m in list(desk.messages)]
    assert len(heard) > 10
    assert any(f"{ROOT_TOPIC}/event/alarm" in each for each in heard)
    assert [each for each in heard if told_in(each)] == []
    assert {verb: code for verb, (code, _) in told.items()} == {
        "status": 0, "alarms": 0, "journal": 0, "check": 5, "export": 0,
    }  # fmt: skip
    assert {verb: told_in(text) for verb, (_, text) in told.items() if told_in(text)} == {}
    assert "camera-lost" in told["alarms"][1]
    written = {file.name: told_in(file.read_bytes()) for file in tmp_path.iterdir() if file.is_file()}
    assert {name for name, pieces in written.items() if pieces} == {"line.yaml"}, written
    assert {"log", "outbox.db", "journal.csv"} <= written.keys()


def test_no_secret_is_told_where_the_broker_refuses(tmp_path: Path, users: Path) -> None:
    """A wrong password is refused in words, by `check` (9) and in the log of the line. It is shown in neither."""
    with secretive(tmp_path, users, None, password="geheim-Br0ker") as config:  # noqa: S106 - the test's own
        code, told = linewatch("check", config)
        assert "broker: failed" in told, told
        assert "Not authorized" in told
        assert (told_in(told), "Traceback" in told) == ([], False)
        assert code == 9
        with line(config) as process:
            wait_for(lambda: "Not authorized" in (tmp_path / "log").read_text())
            _, status = linewatch("status", config)
            assert stopped(process) == 0
        assert told_in(status + (tmp_path / "log").read_text()) == []


@contextmanager
def tls_broker(folder: Path, *, demands_certificate: bool = False) -> Iterator[Mosquitto]:
    """Run a broker behind TLS, with the authority ca.pem in `folder`."""
    authority = make_authority(folder)
    certificate, key = make_certificate(folder, authority, "server", "DNS:localhost,IP:127.0.0.1")
    port = free_port()
    whole = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\ncafile {authority}\ncertfile {certificate}\n"
        f"keyfile {key}\nrequire_certificate {str(demands_certificate).lower()}\n"
    )
    with Mosquitto(folder, whole_config=whole, port=port) as broker:
        yield broker


def settings_with(folder: Path, broker: str) -> Path:
    """Write settings of a simulated line with a broker."""
    (folder / "line.yaml").write_text(
        f"bundle: {BUNDLE}\ncamera: {{source: simulated, max_age_ms: 60000}}\nstore: {{path: outbox.db}}\n"
        f"broker: {broker}\n"
    )
    return folder / "line.yaml"


# The broker's settings beside its port, whether the broker demands a certificate of us, and what `check` comes to.
BY_TLS = {
    "the right authority": ("tls: {ca_file: ca.pem}", False, 0, "lets this device in"),
    "another authority": ("tls: {ca_file: other.pem}", False, 9, "certificate verify failed"),
    "the system's authorities": ("tls: {}", False, 9, "certificate verify failed"),
    "plain text": ("keepalive_s: 5", False, 9, "the broker at 127.0.0.1"),
    "no certificate of ours": ("tls: {ca_file: ca.pem}", True, 9, "the broker at 127.0.0.1"),
    "a certificate of ours": ("tls: {ca_file: ca.pem, cert_file: d.pem, key_file: d.key}", True, 0, "device in"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a failed handshake open
@pytest.mark.parametrize(("broker", "demands", "code", "says"), BY_TLS.values(), ids=BY_TLS)
def test_check_by_tls(tmp_path: Path, broker: str, demands: bool, code: int, says: str) -> None:
    """The right authority and certificate let in; all else is refused in words, with 9."""
    make_authority(tmp_path, "other")
    with tls_broker(tmp_path, demands_certificate=demands) as running:
        make_certificate(tmp_path, tmp_path / "ca.pem", "d")[1].chmod(0o600)
        config = settings_with(tmp_path, f"{{port: {running.port}, {broker}}}")
        done = CliRunner().invoke(linewatch_app, ["check", str(config)])
    told = " ".join((done.output + str(done.exception)).split())
    assert says in told
    assert (getattr(done.exception, "exit_code", done.exit_code), "Traceback" in told) == (code, False), told


UNREADABLE = {
    "a password file": ("check", "{username: line, password_file: secret}", "broker.password_file"),
    "a key": ("run", "{tls: {ca_file: ca.pem, cert_file: ca.pem, key_file: secret}}", "broker.tls"),
    "an authority": ("run", "{tls: {ca_file: secret}}", "broker.tls"),
}


@pytest.mark.parametrize(("verb", "broker", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_secrets_that_this_user_may_not_read(tmp_path: Path, verb: str, broker: str, says: str) -> None:
    """A file that others may read is refused with its key, its path and 3; nothing of it is told."""
    make_authority(tmp_path)
    (tmp_path / "secret").write_text(BROKER_PASSWORD)
    (tmp_path / "secret").chmod(0o200)
    code, told = linewatch(verb, settings_with(tmp_path, broker), before=BY_MODE)
    assert (code, "Traceback" in told) == (3, False), told
    assert says in told
    assert "Permission denied" in told
    assert told_in(told) == []


# A password file's content, and its reading.
CONTENTS: dict[str, tuple[bytes, str | None]] = {
    "a line": (b"geheim\n", None),
    "a line of Windows": (b"geheim\r\n", None),
    "a byte order mark": (b"\xef\xbb\xbfgeheim\r\n", None),
    "no line's end": (b"geheim", None),
    "two lines": (b"geheim\nsecond\n", "it is not one line of text"),
    "a line that is empty before it": (b"\ngeheim\n", "it is not one line of text"),
    "a remark before it": (b"# password\ngeheim\n", "it is not one line of text"),
    "a zero byte": (b"ge\x00heim", "it is not one line of text"),
    "an escape": (b"\x1b[2Jgeheim", "it is not one line of text"),
    "a tab at its end": (b"geheim\t\n", "it is not one line of text"),
    "a key in PEM": (b"-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----\n", "it is not one line of text"),
    "UTF-16 without a mark": ("geheim".encode("utf-16-le"), "it is not one line of text"),
    "UTF-16": ("geheim".encode("utf-16"), "it is no UTF-8 text"),
    "half a pair": (b"geheim\xed\xa0\x80", "it is no UTF-8 text"),
    "spaces": (b"   \n", "it is empty"),
    "a mark alone": (b"\xef\xbb\xbf", "it is empty"),
    "10,001 characters": (b"geheim" + b"x" * 9_995, "more than 10000 characters"),
}


@pytest.mark.parametrize(("content", "says"), CONTENTS.values(), ids=CONTENTS)
def test_what_a_password_file_holds(tmp_path: Path, content: bytes, says: str | None) -> None:
    """The password is its one line, whoever wrote the file; any other content is refused and not shown."""
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    settings = BrokerSettings(username="line", password_file=tmp_path / "secret")
    if says is None:
        assert settings.read_password() == "geheim"
        return
    with pytest.raises(SettingsError, match=says) as refused:
        settings.read_password()
    assert told_in(str(refused.value)) == []
