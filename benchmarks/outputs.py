"""`python -m benchmarks.outputs`: how long a verdict takes to a PLC, and how exact a pulse is; JSON.

The simulated line sends ten parts in a second past the simulated engine. No broker is there. A PLC, a pymodbus server
on loopback in a process of its own, notes when each write comes; both processes read one monotonic clock. What disk,
screens and OPC UA add is not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.app import StandIns, Watchers
from edge.app.station import open_station
from edge.observers.direct import DirectObserver
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult
from edge.settings import SHIPPED_BUNDLE, Settings, load_bundles

HOST, PARTS, PORT = "127.0.0.1", 2000, 15_020
AFTER_MS, WIDTH_MS, TOLERANCE_MS = 1500.0, 20.0, 5.0
ADDED_AT_MOST_MS = 10.0
COUNT, GATE = 0, 3


async def serve_plc(port: int) -> None:
    """Be a PLC until the standard input ends; then write down each write: moment, code, address, values."""
    serving: Any = importlib.import_module("pymodbus.server")
    simulating: Any = importlib.import_module("pymodbus.simulator")
    writes: list[tuple[int, int, int, list[int]]] = []

    async def note(code: int, _start: int, address: int, _count: int, _held: list[int], values: Any) -> None:
        if values is not None:
            writes.append((time.monotonic_ns(), code, address, [int(value) for value in values]))

    bits = [simulating.SimData(0, values=[False] * 16, datatype=simulating.DataType.BITS)]
    numbers = [simulating.SimData(0, count=16, datatype=simulating.DataType.REGISTERS)]
    device = simulating.SimDevice(1, simdata=(bits, bits, numbers, numbers), action=note)
    server = serving.ModbusTcpServer(device, address=(HOST, port))
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()
    print(json.dumps(writes), flush=True)


def settings_of(store: Path, port: int) -> Settings:
    """Return the settings of a station whose barrier opens ten parts in a second; every other part is bad."""
    simulated = {"fps": 40, "frames_per_part": 4, "width": 160, "height": 120, "defective_share": 0.5}
    gate = {"rule": "pulse", "verdicts": ["ok", "ng", "no_read"], "after_ms": AFTER_MS, "width_ms": WIDTH_MS}
    given = {
        "camera": {"source": "simulated", "simulated": simulated, "max_age_ms": 3000},
        "bundle": str(SHIPPED_BUNDLE),
        "engine": {"backend": "simulated"},
        "parts": {"trigger": "software", "timeout_ms": 3000},
        "store": {"path": str(store)},
        "machine": {"link": "modbus", "modbus": {"host": HOST, "port": port}, "tolerance_ms": TOLERANCE_MS},
        "outputs": {
            "good": {"rule": "ok", "at": "coil 0"},
            "bad": {"rule": "ng", "at": "coil 1"},
            "unread": {"rule": "no_read", "at": "coil 2"},
            "gate": {**gate, "at": f"coil {GATE}"},
            "count": {"rule": "result_counter", "at": f"register {COUNT}"},
            "alive": {"rule": "heartbeat", "at": "register 1"},
        },
    }
    return Settings.model_validate_json(json.dumps(given))


def run_line(settings: Settings, parts: int) -> tuple[list[tuple[int, PartResult]], dict[str, int]]:
    """Run a station for so many parts; return each with the moment of its verdict, and what its signals counted."""
    decided: list[tuple[int, PartResult]] = []
    enough, stop = threading.Event(), threading.Event()

    def note(one: Decided | DecidedPart) -> None:
        if isinstance(one, DecidedPart):
            decided.append((time.monotonic_ns(), one.part))
            if len(decided) >= parts:
                enough.set()

    with open_station(
        settings,
        load_bundles(settings),
        store=settings.store.path,
        live=True,
        instead=StandIns(publisher=MemoryPublisher()),
        watchers=Watchers([DirectObserver(note)]),
    ) as opened:
        thread = threading.Thread(target=opened.decider.run, args=(stop,), daemon=True)
        thread.start()
        enough.wait(parts)
        time.sleep(2 * AFTER_MS / 1000)  # the last pulses
        counts = opened.machine.told()["counts"]
        stop.set()
        thread.join(60)
    return decided, counts


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and the worst, rounded."""
    ordered = sorted(values)
    if len(ordered) < 2:
        return {"count": len(ordered)}
    return {
        "count": len(ordered),
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2),
        "worst": round(ordered[-1], 2),
    }


def figures(
    decided: list[tuple[int, PartResult]], parts: int, writes: list[list[Any]], counts: dict[str, int]
) -> dict[str, Any]:
    """Compare what was decided with what came to the PLC, in ms."""
    came: dict[int, int] = {}
    rises: list[int] = []
    for at_ns, code, address, values in writes:
        if code in {6, 16} and address <= COUNT < address + len(values):
            came.setdefault(values[COUNT - address], at_ns)
        elif code in {5, 15} and address == GATE and values[0]:
            rises.append(at_ns)
    seen = [(verdict_ns, part, came[k]) for k, (verdict_ns, part) in enumerate(decided[:parts], start=1) if k in came]
    due = [part.opened_ns + AFTER_MS * 1e6 for _, part in decided]
    errors = [min((rise - one for one in due), key=abs) / 1e6 for rise in rises]
    added = spread([(at_ns - verdict_ns) / 1e6 for verdict_ns, _, at_ns in seen])
    return {
        "parts": min(parts, len(decided)),
        "parts_whose_count_came": len(seen),
        "load_average": os.getloadavg()[0],
        "added_after_verdict_ms": added,
        "from_end_of_part_ms": spread([(at_ns - part.closed_ns) / 1e6 for _, part, at_ns in seen]),
        "from_begin_of_part_ms": spread([(at_ns - part.opened_ns) / 1e6 for _, part, at_ns in seen]),
        "pulse_off_its_time_ms": spread([abs(error) for error in errors]),
        "signals": counts,
        "target_added_p99_ms": ADDED_AT_MOST_MS,
        "reached": added.get("p99", float("inf")) <= ADDED_AT_MOST_MS,
    }


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=PARTS)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plc", action="store_true", help="be the PLC")
    given = parser.parse_args()
    if given.plc:
        asyncio.run(serve_plc(given.port))
        return
    command = [sys.executable, "-m", "benchmarks.outputs", "--plc", "--port", str(given.port)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as plc,
    ):
        assert plc.stdout is not None  # noqa: S101 - a pipe
        assert plc.stdout.readline().strip() == "ready"  # noqa: S101 - else there is nothing to measure
        decided, counts = run_line(settings_of(Path(folder) / "outbox.db", given.port), given.parts)
        told, _ = plc.communicate()
    text = json.dumps(figures(decided, given.parts, json.loads(told), counts), indent=2)
    print(text)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
