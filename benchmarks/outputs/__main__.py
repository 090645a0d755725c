"""`python -m benchmarks.outputs`: how long a verdict takes to a machine, and how exact a pulse is; a table and JSON.

The simulated line sends ten parts in a second past the simulated engine. Beside the station stands a PLC, over Modbus
TCP or OPC UA (signed and encrypted). Its own process notes when each signal comes. All read one clock. Three screens of
a dashboard are open in a browser all the time. The browser, which is another computer's, yields to the others. After a
third of the parts the broker is killed, after another the disk of the store is filled. Then both come back, and waiting
events are sent, while a few parts more are measured on their own. A full disk needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml
from playwright.sync_api import sync_playwright

from benchmarks.outputs.figures import AFTER_MS, FROM, PULSE_MS, judged
from benchmarks.outputs.plc import COILS, HOST, NODES, REGISTERS
from benchmarks.proof.machine import small_disk
from benchmarks.proof.setting import BUNDLE, ROOT, Broker, free_port, wait_for
from benchmarks.screens import CHROMIUM

PARTS = 2000
LINKS = ("modbus", "opcua")
SCREENS = ("wall", "", "alarms")
PHASES = ("three screens", "and no broker", "and no disk")
BACK = "broker and disk back"
_DISK_MB = 40
_BROWSER_NICE = 10
_PLACE = {"enterprise": "bench", "site": "s", "area": "a", "line": "l", "cell": "c"}


def make_certificate(folder: Path, name: str) -> Path:
    """Make a certificate and its key with openssl, and return the certificate."""
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    names = f"subjectAltName=URI:urn:{name},DNS:localhost"
    more = ["-subj", f"/CN={name}", "-addext", names, "-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *more]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.pem"


def machine_of(link: str, port: int, folder: Path) -> dict[str, Any]:
    """Return the settings of the link and of the signals."""
    places = {name: f"coil {place}" for place, name in COILS.items()}
    places |= {name: f"register {place}" for place, name in REGISTERS.items()}
    own: dict[str, Any] = {"host": HOST, "port": port}
    if link == "opcua":
        places = {name: f"ns=2;s={name}" for name in NODES}
        own = {
            "url": f"opc.tcp://{HOST}:{port}",
            "certificate": str(make_certificate(folder, "station")),
            "private_key": str(folder / "station.key"),
            "peer_certificate": str(folder / "plc.pem"),
        }
    gate = {"verdicts": ["ok", "ng", "no_read"], "after_ms": AFTER_MS, "width_ms": 20}
    rules: dict[str, dict[str, Any]] = {
        "good": {"rule": "ok"},
        "bad": {"rule": "ng"},
        "unread": {"rule": "no_read"},
        "gate": {"rule": "pulse", **gate},
        "count": {"rule": "result_counter"},
        "alive": {"rule": "heartbeat"},
    }
    return {
        "machine": {"link": link, link: own, "tolerance_ms": PULSE_MS},
        "outputs": {name: {**rule, "at": places[name]} for name, rule in rules.items()},
    }


def write_settings(folder: Path, link: str, port: int, broker: int, disk: Path) -> Path:
    """Write the settings of a station whose barrier opens ten parts in a second; every other part is bad."""
    simulated = {"fps": 40, "frames_per_part": 4, "width": 160, "height": 120, "defective_share": 0.5}
    given = {
        "line": _PLACE,
        "camera": {"source": "simulated", "simulated": simulated, "max_age_ms": 3000},
        "bundle": str(BUNDLE),
        "engine": {"backend": "simulated"},
        "parts": {"trigger": "software", "timeout_ms": 3000},
        "store": {"path": str(disk / "outbox.db")},
        "broker": {"host": HOST, "port": broker},
        "alarms": [{"id": "rejects", "measure": "ng", "text": "look"}],
        **machine_of(link, port, folder),
    }
    (folder / "line.yaml").write_text(yaml.safe_dump(given))
    return folder / "line.yaml"


@contextmanager
def program(*words: str, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a program of Python beside this one; it has ended afterwards."""
    with ExitStack() as scope:
        errors = None if log is None else scope.enter_context(log.open("w"))
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        scope.callback(process.wait, 30)
        scope.callback(process.kill)
        yield process


@contextmanager
def three_screens(folder: Path, broker: int) -> Iterator[None]:
    """Open three screens of a dashboard of this station in a browser."""
    port = free_port()
    given = {
        "broker": {"host": HOST, "port": broker},
        "sites": ["/".join(_PLACE.values())],
        "listen": {"port": port},
        "users": str(folder / "users.json"),
        "history": {"path": str(folder / "history.db")},
    }
    (folder / "dashboard.yaml").write_text(yaml.safe_dump(given))
    with (
        program("edge", "dashboard", str(folder / "dashboard.yaml"), log=folder / "dashboard.log"),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        for screen in SCREENS:
            page = context.new_page()

            def there(page: Any = page, screen: str = screen) -> bool:
                try:
                    return bool(page.goto(f"http://{HOST}:{port}/{screen}").ok)
                except Exception:  # noqa: BLE001 - the dashboard does not listen yet
                    return False

            wait_for(there, "the dashboard")
        for one in psutil.Process().children(recursive=True):
            if "chrom" in one.name():
                one.nice(_BROWSER_NICE)
        yield
        browser.close()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return


def phases_of(parts: int) -> dict[str, tuple[int, int]]:
    """Return the first part of each phase and the one behind its last; those after the trouble come on top."""
    third = parts // len(PHASES)
    ends = [*(third * k for k in range(1, len(PHASES))), parts, parts + third // 2]
    return dict(zip((*PHASES, BACK), pairwise([0, *ends]), strict=True))


def watch(
    station: subprocess.Popen[str], phases: dict[str, tuple[int, int]], broker: Broker, disk: Path
) -> dict[str, Any]:
    """Make the trouble of each phase when its first part is decided; return what the station wrote at its end."""
    assert station.stdout is not None  # noqa: S101 - a pipe
    ahead = [(name, begin) for name, (begin, _) in phases.items()][1:]
    for line in station.stdout:
        if line.startswith("{"):
            told: dict[str, Any] = json.loads(line)
            return told
        if not ahead or int(line) < ahead[0][1]:
            continue
        name, _ = ahead.pop(0)
        if name == BACK:
            (disk / "filler").unlink()
            broker.start()
        elif name == PHASES[1]:
            broker.kill()
        else:
            fill(disk / "filler")
        print(f"{line.strip()} parts; {name}", file=sys.stderr, flush=True)
    raise SystemExit(f"the station ended early: {station.wait(30)}")


def measured(link: str, parts: int) -> dict[str, Any]:
    """Return the figures of one link."""
    port, phases = free_port(), phases_of(parts)
    with ExitStack() as scope:
        folder = Path(scope.enter_context(tempfile.TemporaryDirectory(prefix="outputs-")))
        disk = scope.enter_context(small_disk(folder, _DISK_MB))
        broker = scope.enter_context(Broker())
        certificate = [str(make_certificate(folder, "plc"))] if link == "opcua" else []
        plc = scope.enter_context(program("benchmarks.outputs.plc", link, str(port), *certificate))
        assert plc.stdout is not None  # noqa: S101 - a pipe
        if plc.stdout.readline().strip() != "ready":
            raise SystemExit("the PLC did not start")
        config = write_settings(folder, link, port, broker.port, disk)
        scope.enter_context(three_screens(folder, broker.port))
        station = scope.enter_context(
            program("benchmarks.outputs.station", str(config), str(phases[BACK][1]), log=folder / "station.log")
        )
        load = os.getloadavg()[0]
        told = watch(station, phases, broker, disk)
        came, _ = plc.communicate()
        loads = {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
        return {**loads, **judged(link, phases, parts, told, json.loads(came))}


def table(link: str, told: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"{link:30} {'parts':>6} {'p50':>8} {'p99':>8} {'worst':>8}  ms"
    for phase, figures in told["latency"].items():
        for name in FROM if phase == "all of it" else list(FROM)[:1]:
            row = figures[name]
            label = name if phase == "all of it" else f"  {phase}"
            yield f"{label:30} {row['count']:6} {_ms(row['p50'])} {_ms(row['p99'])} {_ms(row['worst'])}"
    row = told["pulses"]["off its time"]
    yield f"{'pulse off its time':30} {row['count']:6} {_ms(row['p50'])} {_ms(row['p99'])} {_ms(row['worst'])}"
    late = {name: value for name, value in told["pulses"].items() if name != "off its time"}
    yield "pulses " + ", ".join(f"{name}: {value}" for name, value in late.items())
    mark = "yes" if told["reached"] else "NO"
    yield f"p99 after the verdict ≤ {told['target_added_p99_ms']:g} ms, each pulse within 5 ms or told: {mark}"


def _ms(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.2f'):>8}"


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and write; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=PARTS, help="of each link, ten in a second")
    parser.add_argument("--only", choices=LINKS, help="measure this link alone")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    asked = parser.parse_args(words)
    told = {}
    for link in LINKS:
        if asked.only in {None, link}:
            told[link] = measured(link, asked.parts)
            print("\n".join(table(link, told[link])), flush=True)
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"cores": os.cpu_count(), "parts": asked.parts, "links": told}
        asked.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not all(each["reached"] for each in told.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
