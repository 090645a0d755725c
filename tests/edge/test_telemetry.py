"""Nothing leaves the machine that the settings do not send: measured where a name server and a cable count."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alone import run_alone
from tests.conftest import ROOT
from tests.edge.reinspecting.archive import write_archive, write_bundles

BIN = Path(sys.executable).parent
BUNDLE = ROOT / "edge" / "bundles" / "simulated-glass"
ASKS = """
import socket
try:
    socket.getaddrinfo("telemetry.example", 443)
except OSError:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("198.51.100.1", 9))
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render eight frames of the simulated line."""
    video = tmp_path_factory.mktemp("recording") / "line.mp4"
    subprocess.run([BIN / "linewatch", "simulate", "--video", video, "--frames", "8"], check=True)
    return video


def home_of(tmp_path: Path) -> Path:
    """Return an empty folder to be HOME."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_what_leaves_the_machine_is_counted(tmp_path: Path) -> None:
    """The proof below can fail: one question to the name server and one packet to outside are seen as such."""
    came = run_alone([sys.executable, "-c", ASKS], home_of(tmp_path))
    assert came.code == 0, came.stderr
    assert "telemetry.example" in came.questions
    assert came.packets > 0


VERBS = {
    "check": ["check", "CONFIG", "--offline", "--bundle", str(BUNDLE)],
    "replay": ["replay", "VIDEO", "--bundle", str(BUNDLE), "--config", "CONFIG", "--events", "OUT/events.jsonl"],
    "inspect": ["inspect", "VIDEO.pictures", "--bundle", str(BUNDLE), "--config", "CONFIG", "--report", "OUT/r.html"],
    "run": ["run", "CONFIG", "--bundle", str(BUNDLE)],
}


@pytest.mark.parametrize(("verb", "backend"), [*((verb, "onnxruntime") for verb in VERBS), ("replay", "openvino")])
def test_a_verb_asks_no_name_server_sends_nothing_and_writes_nothing_below_home(
    verb: str, backend: str, recording: Path, tmp_path: Path
) -> None:
    """Nothing leaves the machine and HOME stays as it was while a line is checked, replayed, inspected or run."""
    config = tmp_path / "line.yaml"
    # the user's cache remembers the choice of `auto` on a processor that leaves one
    precision = "fp32" if backend == "openvino" else "auto"
    engine = f"{{backend: {backend}, precision: {precision}}}"
    config.write_text(
        f"camera: {{source: {recording}}}\nengine: {engine}\nstore: {{path: outbox.db}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
    )
    pictures = Path(f"{recording}.pictures")
    if verb == "inspect" and not pictures.exists():
        subprocess.run([BIN / "linewatch", "simulate", "--dataset", pictures, "--frames", "2"], check=True)
    places = {"CONFIG": str(config), "VIDEO": str(recording), "OUT": str(tmp_path)}
    words = [_placed(word, places) for word in VERBS[verb]]
    came = run_alone([str(BIN / "linewatch"), *words], home_of(tmp_path))
    # inspect: a picture with a defect is 12; run: a recording that ends is no fault
    assert came.code in ({0, 12} if verb == "inspect" else {0}), came.stderr
    assert came.questions == []
    assert came.packets == 0
    assert came.home == []


# The other verbs, one after the other. The broker is not there, no line runs, and nobody looks at the pages.
OTHERS = """
exec >OUT/said 2>&1
until_said() { for _ in $(seq 600); do grep --quiet "$1" OUT/said && break; sleep 0.2; done; kill $!; wait $!; }
LINEWATCH run CONFIG --bundle BUNDLE & until_said "frames are read"
LINEWATCH learn-belt CONFIG camera --from PICTURES --out OUT/belt.npz --bundle BUNDLE
LINEWATCH simulate --video OUT/again.mp4 --frames 2
LINEWATCH bench-engine BUNDLE --batch 1 --seconds 0.2 --backend onnxruntime
LINEWATCH backup CONFIG OUT/backup.zip
LINEWATCH evidence CONFIG list
LINEWATCH status CONFIG; LINEWATCH alarms CONFIG; LINEWATCH journal CONFIG; LINEWATCH report CONFIG
LINEWATCH recipe CONFIG; LINEWATCH reload CONFIG; LINEWATCH challenge CONFIG; LINEWATCH watch CONFIG --once
echo "a long enough one" | LINEWATCH dashboard-user CONFIG add anna --password-file -
LINEWATCH dashboard CONFIG --port 0 & until_said "Ctrl-C ends it"
true
"""


@pytest.mark.soak
def test_no_other_verb_tells_anybody(recording: Path, tmp_path: Path) -> None:
    """Nor do those that ask, command, save and serve, with monitoring, evidence and the dashboard in use."""
    config, pictures = tmp_path / "line.yaml", tmp_path / "pictures"
    subprocess.run([BIN / "linewatch", "simulate", "--dataset", pictures, "--frames", "6"], check=True)
    config.write_text(
        f"camera: {{source: {recording}, loop: true}}\nstore: {{path: outbox.db}}\nbroker: {{port: 1}}\n"
        "engine: {backend: onnxruntime}\nmonitoring: {}\nevidence: {folder: evidence}\n"
    )
    places = {"LINEWATCH": str(BIN / "linewatch"), "CONFIG": str(config), "OUT": str(tmp_path), "BUNDLE": str(BUNDLE)}
    script = _placed(OTHERS, places | {"PICTURES": str(pictures / "images")})
    came = run_alone(["bash", "-c", script], home_of(tmp_path), timeout_s=600)
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert "shows enterprise/site/area/line/cell" in said
    made = ("again.mp4", "backup.zip", "dashboard-users.json", "outbox.db")
    assert [name for name in made if not (tmp_path / name).exists()] == [], said
    assert came.questions == []
    assert came.packets == 0
    assert came.home == []


def _placed(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        word = word.replace(name, place)
    return word


@pytest.mark.parametrize("package", ["edge", "trainer", "converters"])
def test_each_package_switches_telemetry_off_before_anything_else(package: str, tmp_path: Path) -> None:
    """The libraries' telemetry is off from the first import of any of our packages on, in children too."""
    code = f"import {package}.__main__, openvino, onnxruntime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    came = run_alone([sys.executable, "-c", code], home_of(tmp_path), cwd=ROOT)
    assert (came.code, came.stdout.strip()) == (0, "1"), came.stderr
    assert came.questions == []
    assert came.packets == 0
    assert came.home == []


CLOUD = """
import PACKAGE.__main__, requests
for place in ("http://169.254.169.254/metadata/instance", "http://metadata.google.internal/computeMetadata/v1"):
    try:
        requests.get(place, timeout=1)
    except requests.exceptions.ConnectionError:
        print("nowhere")
"""


@pytest.mark.parametrize("package", ["edge", "trainer"])
def test_no_cloud_is_asked_what_machine_this_is(package: str, tmp_path: Path) -> None:
    """Ray asks so at each start of a cluster, whatever it is told; the questions end at this machine."""
    code = CLOUD.replace("PACKAGE", package)
    came = run_alone([sys.executable, "-c", code], home_of(tmp_path), cwd=ROOT)
    assert (came.code, came.stdout.split()) == (0, ["nowhere", "nowhere"]), came.stderr
    assert came.questions == []
    assert came.packets == 0


@pytest.mark.soak
def test_a_ray_cluster_of_this_machine_tells_nobody(tmp_path: Path) -> None:
    """`reinspect --ray local` and all the processes that it starts send nothing beyond loopback."""
    (bundle, _), pictures = write_bundles(tmp_path), write_archive(tmp_path / "pictures", 6, unreadable=False)
    words = ["reinspect", str(pictures), "--bundle", str(bundle), "--out", str(tmp_path / "out"), "--ray", "local"]
    came = run_alone([sys.executable, "-m", "edge", *words], home_of(tmp_path), cwd=ROOT, timeout_s=600)
    assert came.code == 0, came.stderr
    assert came.questions == []
    assert came.packets == 0


@pytest.mark.soak
def test_training_and_converting_tell_nobody(tmp_path: Path) -> None:
    """From pictures to a converted bundle, with TensorFlow, ONNX and ONNX Runtime, nothing leaves the machine."""
    data, out = tmp_path / "data", tmp_path / "bundle"
    subprocess.run([BIN / "linewatch", "simulate", "--dataset", data, "--frames", "40"], check=True)
    recipe = tmp_path / "recipe.yaml"
    text = (ROOT / "config" / "train.glass.yaml").read_text(encoding="utf-8")
    text = re.sub(r"steps_per_epoch: \d+", "steps_per_epoch: 2", text)
    recipe.write_text(re.sub(r"(?m)^epochs: \d+", "epochs: 1", text))
    home = home_of(tmp_path)
    for words in (
        ["linewatch-train", "fit", str(recipe), "--data", str(data), "--out", str(out), "--no-cache"],
        ["convert", str(out), "--to", "onnxruntime", "--yes"],  # two steps learn nothing
        ["convert", str(out), "--to", "openvino", "--yes"],
    ):
        came = run_alone([str(BIN / words[0]), *words[1:]], home)
        assert came.code == 0, came.stderr
        assert came.questions == [], words
        assert came.packets == 0, words
