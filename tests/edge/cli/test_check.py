"""`linewatch check` tries what a line needs and says of each what it found.

It ends with what a line could not use.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.bundle import load_bundle
from edge.cli.check_command import slow_alarms
from edge.cli.trials import CameraTrial, tried, try_barrier, try_belt, try_secrets, try_store, try_to_connect
from edge.errors import LinewatchError, PublishError, SettingsError, SourceError, StoreError
from edge.settings import Settings, load_settings
from tests.brokers import Mosquitto, free_port
from tests.conftest import ROOT
from tests.edge.station.test_run import running

BUNDLE = ROOT / "edge" / "bundles" / "simulated-glass"
CAMERA = "{source: simulated, name: top, simulated: {fps: 10}, max_age_ms: 60000}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Start a broker that lets anybody in."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as started:
        yield started


def write(folder: Path, port: int, **parts: str) -> Path:
    """Write settings that are well but for `parts`."""
    given = {
        "bundle": str(BUNDLE),
        "camera": CAMERA,
        "store": "{path: outbox.db}",
        "broker": f"{{port: {port}}}",
        **{name: part.replace("PORT", str(port)) for name, part in parts.items()},
    }
    config = folder / "line.yaml"
    config.write_text("".join(f"{name}: {part}\n" for name, part in given.items()))
    return config


def check(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "edge", "check", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=200)


def _try_store(settings: Settings) -> str:
    return try_store(settings.store.path)


def _try_camera(settings: Settings) -> str:
    return CameraTrial()(settings, load_bundle(BUNDLE))


def test_a_line_that_is_well_says_so_part_by_part(tmp_path: Path, broker: Mosquitto) -> None:
    """Store, secrets, broker, camera and speed, each with what was found; nothing is left behind."""
    done = check(write(tmp_path, broker.port))
    assert done.returncode == 0, done.stderr + done.stdout
    said = " ".join(done.stdout.split())
    for words in (
        r"store: ok, .*outbox\.db will be made; [\d.]+ GB free",
        r"secrets: ok, no password, no TLS",
        rf"broker: ok, 127\.0\.0\.1:{broker.port} lets this device in",
        r"camera: ok, top: \d+ x \d+ px, [\d.]+ frames/s",
        r"speed: ok, [\d.]+ frames/s here, \d+ ms for one; max_age_ms allows 60000; the camera gives [\d.]+: ",
    ):
        assert re.search(words, said), (words, said)
    assert [path.name for path in tmp_path.iterdir()] == ["line.yaml"]


TROUBLED = [
    ("{broker: {port: CLOSED}}", try_to_connect, PublishError, "cannot be reached"),
    ("{broker: {host: nowhere.invalid}}", try_to_connect, PublishError, "cannot be reached"),
    pytest.param(
        *("{broker: {port: PORT, tls: {}}}", try_to_connect, PublishError, "cannot be reached"),
        # paho does not close the socket of a handshake that failed
        marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    ),
    ("{broker: {username: u, password_file: absent}}", try_secrets, SettingsError, "absent"),
    ("{broker: {tls: {ca_file: absent.pem}}}", try_secrets, SettingsError, r"absent\.pem"),
    ("{store: {path: /dev/null/outbox.db}}", _try_store, StoreError, "Not a directory"),
    ("{store: {path: /proc/outbox.db}}", _try_store, StoreError, "takes no file"),
    ("{store: {path: line.yaml}}", _try_store, StoreError, "line.yaml"),
    ("{camera: {source: nowhere.mp4}}", _try_camera, SourceError, "Nothing at"),
    ("{camera: {source: line.yaml, kind: file}}", _try_camera, SourceError, "line.yaml"),
    ("{camera: {}}", _try_camera, SettingsError, "expected a device"),
]


@pytest.mark.parametrize(("text", "trial", "error", "says"), TROUBLED)
def test_what_a_line_could_not_use_is_told(
    text: str,
    trial: Callable[[Settings], str],
    error: type[LinewatchError],
    says: str,
    tmp_path: Path,
    broker: Mosquitto,
) -> None:
    """Each part that fails is an error of its own kind, with its reason."""
    config = tmp_path / "line.yaml"
    config.write_text(text.replace("CLOSED", str(free_port())).replace("PORT", str(broker.port)))
    settings = load_settings(config)
    with pytest.raises(error, match=says):
        trial(settings)
    assert isinstance(tried("it", lambda: trial(settings)).error, error)


def test_all_is_tried_though_the_first_fails(tmp_path: Path, broker: Mosquitto) -> None:
    """Store, camera and speed fail at once: each is told, and the exit code is the first one's."""
    config = write(
        tmp_path, broker.port, store="{path: /proc/outbox.db}", camera="{source: nowhere.mp4, max_age_ms: 10}"
    )
    done = check(config)
    assert done.returncode == 8, done.stderr + done.stdout
    assert "takes no file" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    for name, came in {
        "store": "failed",
        "secrets": "ok",
        "broker": "ok",
        "camera": "failed",
        "speed": "failed",
    }.items():
        assert re.search(rf"^{name}: {came}", done.stdout, re.MULTILINE), name
    assert "every frame would be NO_READ" in " ".join(done.stdout.split())


def test_a_broker_that_refuses_says_why(tmp_path: Path) -> None:
    """A broker that knows nobody names its reason, and it is no timeout."""
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o644)
    # the last of two counts
    config = f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}"
    with (
        Mosquitto(tmp_path, config=config) as broker,
        pytest.raises(PublishError, match="refuses this device: Not authorized"),
    ):
        try_to_connect(load_settings(write(tmp_path, broker.port)))


def test_offline_tries_the_model_alone(tmp_path: Path) -> None:
    """Without camera, broker and store it still verifies the bundle and says how fast this machine is."""
    config = write(tmp_path, free_port(), camera="{source: nowhere.mp4}", store="{path: /proc/outbox.db}")
    done = check(config, "--offline")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "passed" in done.stdout
    assert re.search(r"speed: ok, [\d.]+ frames/s here", done.stdout)
    assert not re.search(r"^(store|secrets|broker|camera):", done.stdout, re.MULTILINE)


def test_a_running_line_is_not_disturbed(tmp_path: Path, broker: Mosquitto) -> None:
    """Checked while it runs, a line keeps its connection, its store and its place at the broker."""
    config = write(tmp_path, broker.port)
    with running(config) as line:
        done = check(config)
        assert done.returncode == 0, done.stderr + done.stdout
        assert "is a store" in done.stdout
        line.terminate()
        _, stderr = line.communicate(timeout=120)
    assert line.returncode == 0, stderr
    assert "No broker" not in stderr


@pytest.mark.parametrize(
    ("key", "said", "named"),
    [
        (
            "alarms",
            "[{id: worn, measure: count, class: scrach, raise_at: 1, text: t}]",
            "key alarms.worn.class",
        ),
        ("inspect", "{limits: {scrach: {}}}", "key inspect.limits.scrach"),
        (
            "inspect",
            "{grades: [{name: A, value_factor: 1, limits: {scrach: {}}}, {name: B, value_factor: 0}]}",
            "key inspect.grades.A.limits.scrach",
        ),
    ],
)
def test_a_misspelt_class_is_an_error(tmp_path: Path, key: str, said: str, named: str) -> None:
    """In an alarm, a limit and a grade: exit code 3 with the key and the class that is meant, no warning."""
    ended = check(write(tmp_path, free_port(), **{key: said}), "--offline")
    told = " ".join(ended.stderr.split())
    assert ended.returncode == 3, ended.stderr
    assert named in told
    assert "did you mean scratch?" in told


def test_each_camera_of_a_station_is_tried_by_its_name(tmp_path: Path, broker: Mosquitto) -> None:
    """config/station.yaml as it is shipped, but for the broker's port and the store: it is well."""
    text = (ROOT / "config/station.yaml").read_text(encoding="utf-8")
    for shipped, own in (
        ("port: 1883", f"port: {broker.port}"),
        ("../out/station.db", str(tmp_path / "outbox.db")),
        ("../edge/bundles", str(ROOT / "edge/bundles")),
        ("max_age_ms: 1000", "max_age_ms: 60000"),
    ):
        assert shipped in text
        text = text.replace(shipped, own)
    config = tmp_path / "station.yaml"
    config.write_text(text, encoding="utf-8")
    done = check(config)
    assert done.returncode == 0, done.stderr + done.stdout
    told = [
        line.split(":")[0] for line in done.stdout.splitlines() if re.match(r"[a-z ]+: (ok|warning|failed), ", line)
    ]
    station = ["store", "disk", "clock", "permissions", "secrets", "broker", "trigger"]
    assert told == [*station, "camera top", "camera side", "speed top", "speed side"]
    assert "camera top: ok, top: 640 x 480 px" in " ".join(done.stdout.split())
    assert "warning" not in done.stderr.lower().replace("warning: messages", "")


ONE_PART = "parts: {trigger: mqtt, timeout_ms: 800}\n"
SLOW = [
    ("{id: a, measure: ng, on_delay_ms: 1, text: t}", "alarms.a.on_delay_ms is 1"),
    ("{id: a, measure: ng, text: t}", ""),
    ("{id: a, measure: ng, per: frame, on_delay_ms: 800, text: t}", ""),
    ("{id: a, measure: ng, per: frame, on_delay_ms: 801, text: t}", "is 801, and a part lasts 800 ms at most"),
    ("{id: a, measure: count, raise_at: 1, on_delay_ms: 5000, text: t}", "one bad part may never raise it"),
    ("{id: a, measure: no_read, on_delay_ms: 5000, text: t}", ""),  # this is not about one bad part
    ("{id: a, measure: camera, camera: [lost], on_delay_ms: 5000, text: t}", ""),
]


@pytest.mark.parametrize(("alarm", "says"), SLOW)
def test_an_alarm_that_one_bad_part_never_raises_is_warned_of(alarm: str, says: str, tmp_path: Path) -> None:
    """A delay longer than a part can last; of parts any delay, for a part is a moment. Without parts none is told."""
    config = tmp_path / "line.yaml"
    config.write_text(f"{ONE_PART}alarms: [{alarm}]\n")
    told = slow_alarms(load_settings(config))
    assert len(told) == bool(says)
    assert says in "".join(told)
    config.write_text(f"alarms: [{alarm}]\n")
    assert slow_alarms(load_settings(config)) == []


def test_the_warning_is_printed_and_the_line_is_well(tmp_path: Path) -> None:
    """On stderr, with what to set; the exit code stays 0."""
    config = write(tmp_path, 9, parts="{trigger: camera}", alarms=f"[{SLOW[0][0]}]")
    done = check(config, "--offline")
    assert done.returncode == 0, done.stderr
    assert "Set on_delay_ms: 0, or count parts with frames" in " ".join(done.stderr.split())


def test_a_belt_that_was_not_learned_is_told(tmp_path: Path) -> None:
    """By its name, with the command that makes it."""
    with pytest.raises(SettingsError, match="Make it with: linewatch learn-belt"):
        try_belt(tmp_path / "belt.npz")


def test_a_light_barrier_without_a_simulated_camera_is_told_before_the_start() -> None:
    """`run` would refuse it, so `check` does: a real camera passes no simulated barrier."""
    parts = {"trigger": "software"}
    with pytest.raises(SettingsError, match="software is the light barrier of simulated cameras"):
        try_barrier(Settings.model_validate({"camera": {"source": "/dev/video0"}, "parts": parts}))
    assert "simulated belt" in try_barrier(Settings.model_validate({"camera": {"source": "simulated"}, "parts": parts}))
