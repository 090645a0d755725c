"""A whole line beside a PLC: `linewatch run` as a process, a server of pymodbus on loopback, one bad part in ten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge.settings import SHIPPED_BUNDLE
from tests.brokers import HOST, Mosquitto, Subscriber, free_port, wait_for
from tests.conftest import ROOT
from tests.edge.outputs.machine_line import MAX_AGE_MS, PARTS, SIMULATED
from tests.edge.outputs.plc import Plc
from tests.edge.station.test_run import ROOT_TOPIC, bodies, running

OK, NG, NO_READ, GATE, READY = range(5)
COUNT, ALIVE = 0, 1
BITS = {"OK": (1, 0, 0), "NG": (0, 1, 0), "NO_READ": (0, 0, 1)}


def write_line(folder: Path, plc: Plc, broker: Mosquitto) -> Path:
    """Write the settings of a simulated line with one bad part in ten, beside a PLC."""
    given = {
        "camera": {"source": "simulated", "simulated": {**SIMULATED, "defective_share": 0.1}, "max_age_ms": MAX_AGE_MS},
        "bundle": str(SHIPPED_BUNDLE),
        "engine": {"backend": "simulated"},
        "parts": {"trigger": "software", **PARTS},
        "store": {"path": "outbox.db"},
        "broker": {"host": broker.host, "port": broker.port},
        "machine": {
            "link": "modbus",
            "modbus": {"host": HOST, "port": plc.port, "timeout_ms": 10_000},
            "tolerance_ms": 1000,
        },
        "outputs": {
            "good": {"rule": "ok", "at": f"coil {OK}"},
            "bad": {"rule": "ng", "at": f"coil {NG}"},
            "unread": {"rule": "no_read", "at": f"coil {NO_READ}"},
            "gate": {"rule": "pulse", "at": f"coil {GATE}", "verdicts": ["ng"], "after_ms": 1500, "width_ms": 40},
            "ready": {"rule": "ready", "at": f"coil {READY}"},
            "count": {"rule": "result_counter", "at": f"register {COUNT}"},
            "alive": {"rule": "heartbeat", "at": f"register {ALIVE}"},
        },
    }
    (folder / "line.yaml").write_text(yaml.safe_dump(given))
    return folder / "line.yaml"


def read_at_each_count(plc: Plc) -> list[tuple[int, tuple[int, ...]]]:
    """Return what a PLC that waits for the counter reads: the count, and the three bits at that moment."""
    coils, read = dict.fromkeys(range(64), 0), []
    last = 0
    for _, code, address, values in list(plc.writes):
        if code in {5, 15}:
            coils |= {address + k: value for k, value in enumerate(values)}
        elif address <= COUNT < address + len(values) and values[COUNT - address] != last:
            last = values[COUNT - address]
            read.append((last, (coils[OK], coils[NG], coils[NO_READ])))
    return read


@contextmanager
def watched(plc: Plc, within_s: float = 10.0) -> Iterator[Callable[[], bool]]:
    """Be the PLC's program: when the heartbeat has not changed for so long, make safe. Yield whether it did."""
    fired, stop = threading.Event(), threading.Event()

    def program() -> None:
        last, since_s = plc.register(ALIVE), time.monotonic()
        while not stop.wait(0.05):
            now = plc.register(ALIVE)
            if now != last:
                last, since_s = now, time.monotonic()
            elif last and time.monotonic() - since_s > within_s:
                for coil in (OK, NG, NO_READ, GATE, READY):
                    plc.set_coil(coil, False)
                fired.set()

    thread = threading.Thread(target=program, daemon=True)
    thread.start()
    try:
        yield fired.is_set
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Plc, Subscriber, Path]]:
    """Switch on a PLC and a broker."""
    with Plc() as plc, Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT_TOPIC}/#") as subscriber:
        yield plc, subscriber, write_line(tmp_path, plc, broker)


def test_the_ng_coil_follows_each_verdict(line: tuple[Plc, Subscriber, Path]) -> None:
    """At each count the PLC reads what MQTT says of that part; two beats come in a second. The end leaves it low.

    Of counts that come faster than a busy machine writes them the PLC reads the last.
    """
    plc, subscriber, config = line
    with running(config) as process:
        wait_for(lambda: plc.register(COUNT) >= 40)
        wait_for(lambda: len(bodies(subscriber, "event/result")) >= 40)
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    verdicts = [body["verdict"] for body in bodies(subscriber, "event/result")]
    read = [one for one in read_at_each_count(plc) if one[0]]
    counts = [count for count, _ in read]
    assert counts == sorted(set(counts))
    read = [(count, bits) for count, bits in read if count <= len(verdicts)]
    assert [bits for _, bits in read] == [BITS[verdicts[count - 1]] for count, _ in read]
    assert {BITS["OK"], BITS["NG"]} <= {bits for _, bits in read}
    beats = [at_ns for at_ns, value in plc.history(3, ALIVE) if value]
    gaps = sorted((later - earlier) / 1e9 for earlier, later in pairwise(beats))
    assert gaps[len(gaps) // 2] > 0.4  # not faster; a busy machine's heart is slower
    assert not any(plc.coil(number) for number in range(8))


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stopped_or_killed_line_is_known_by_its_heart(
    line: tuple[Plc, Subscriber, Path], how: signal.Signals
) -> None:
    """No beat comes after it, but for those on their way, and the PLC's program leaves nothing high."""
    plc, _, config = line
    with running(config) as process, watched(plc) as made_safe:
        wait_for(lambda: plc.register(COUNT) >= 5 and plc.register(ALIVE) >= 4 and plc.coil(READY))
        assert not made_safe()
        os.kill(process.pid, how)
        at_ns = time.monotonic_ns()
        wait_for(made_safe)
        assert not any(plc.coil(number) for number in range(8))
        assert max(at for at, _ in plc.history(3, ALIVE)) - at_ns <= 8e9


def test_a_plc_reads_a_station_that_is_the_server(tmp_path: Path) -> None:
    """At each count that it reads, the bits in the same answer are those of MQTT. A stopped station answers nothing."""
    port = free_port()
    with Plc() as unused, Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT_TOPIC}/#") as subscriber:
        given = yaml.safe_load(write_line(tmp_path, unused, broker).read_text())
        given["machine"]["modbus"] = {"role": "server", "host": HOST, "port": port}
        for place, name in enumerate(("count", "good", "bad", "unread", "alive")):
            given["outputs"][name]["at"] = f"register {place}"
        (tmp_path / "line.yaml").write_text(yaml.safe_dump(given))
        read: dict[int, tuple[int, ...]] = {}
        with running(tmp_path / "line.yaml") as process, ModbusTcpClient(HOST, port=port, timeout=10, retries=0) as plc:

            def look() -> int:
                try:
                    count, *bits, beat = plc.read_holding_registers(0, count=5, device_id=1).registers
                except ModbusException:
                    return 0
                if count and any(bits):  # none is up while a busy station stands still
                    read.setdefault(count, tuple(bits))
                return beat if len(read) >= 15 else 0

            def silent() -> bool:
                try:
                    plc.read_holding_registers(0, count=5, device_id=1)
                except ModbusException:
                    return True
                return False

            wait_for(look)
            process.send_signal(signal.SIGSTOP)
            wait_for(silent)
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= max(read))
        verdicts = [body["verdict"] for body in bodies(subscriber, "event/result")]
        assert read == {count: BITS[verdicts[count - 1]] for count in read}


def test_without_the_package_the_line_says_what_to_install(line: tuple[Plc, Subscriber, Path]) -> None:
    """It ends with the exit code of what is not installed, and names the package."""
    _, _, config = line
    code = f"import sys; sys.modules['pymodbus'] = None; sys.argv[1:] = ['run', {str(config)!r}]; "
    code += "from edge.cli.commands import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 7
    assert "pip install pymodbus" in done.stderr


def test_a_plc_that_goes_is_an_alarm_and_comes_back(line: tuple[Plc, Subscriber, Path]) -> None:
    """Parts are judged meanwhile, and the PLC reads the right count again."""
    plc, subscriber, config = line
    with running(config):
        wait_for(lambda: plc.register(COUNT) >= 3)
        plc.stop()
        wait_for(lambda: any(b["alarm"] == "output-lost" for b in bodies(subscriber, "event/alarm")))
        before = len(bodies(subscriber, "event/result"))
        wait_for(lambda: len(bodies(subscriber, "event/result")) >= before + 5)
        plc.start()
        wait_for(lambda: plc.register(COUNT) > before)
        told = lambda: [b for b in bodies(subscriber, "event/alarm") if b["alarm"] == "output-lost"]  # noqa: E731
        wait_for(lambda: any(b["transition"] == "cleared" for b in told()))
