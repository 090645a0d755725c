"""A station that is a server of OPC UA: a real client reads what each part came to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua

from edge.outputs.opcua import NAMESPACE
from tests.brokers import HOST, free_port, listens, wait_for
from tests.edge.outputs.machine_line import running, settings_of
from tests.edge.outputs.opcua_plc import PlcServer, files, make_certificate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NAMES = ("ResultId", "ok", "ng", "no_read", "PartId", "InternalRecipeId", "CurrentState")
RULES = ("result_counter", "ok", "ng", "no_read", "part_id", "recipe", "state")


async def look(url: str, parts: int) -> dict[int, dict[str, Any]]:
    """Read all nodes at once, again and again, until so many parts were seen."""
    seen: dict[int, dict[str, Any]] = {}
    async with Client(url, timeout=120) as client:
        space = await client.get_namespace_index(NAMESPACE)
        nodes = [client.get_node(ua.NodeId(name, space)) for name in NAMES]
        while len(seen) < parts:
            count, *values = await client.read_values(nodes)
            up = any(value is True for value in values[:3])  # none is while a busy station stands still
            if count and up:  # a value that changes while it is read is read again
                seen[count] = dict(zip(NAMES[1:], values, strict=True))
            await asyncio.sleep(0.01)
    return seen


def test_a_client_reads_part_after_part(tmp_path: Path) -> None:
    """With each result id come that part's verdict, its id and its recipe, under the names of OPC 40100-1."""
    port = free_port()
    url = f"opc.tcp://{HOST}:{port}"
    outputs = {rule: {"rule": rule, "at": name} for name, rule in zip(NAMES, RULES, strict=True)}
    machine = {"link": "opcua", "opcua": {"role": "server", "url": url, "security": "none"}}
    settings = settings_of(tmp_path / "a.db", defective=0.4, machine=machine, outputs=outputs)
    ids: list[str] = []
    with running(settings, tmp_path / "a.db", ids=ids) as (_, verdicts):
        wait_for(lambda: verdicts and listens(port))
        seen = asyncio.run(look(url, 6))
    for count in sorted(seen)[:-1]:  # of each the last reading, before the next part
        one = seen[count]
        bits = {"OK": one["ok"], "NG": one["ng"], "NO_READ": one["no_read"]}
        assert [verdict for verdict, up in bits.items() if up] == [verdicts[count - 1].value]
        assert one["InternalRecipeId"] == "default"
        assert one["CurrentState"] in {"Ready", "SingleExecution"}
    assert {one["PartId"] for one in seen.values()} <= set(ids)


def test_a_certificate_that_is_over_is_an_alarm_and_the_line_goes_on(tmp_path: Path) -> None:
    """With the date, safe levels and verdicts; renewed in its file, it reaches the machine without a new start."""
    plc_files = make_certificate(tmp_path, "plc")
    own = files(make_certificate(tmp_path, "station", days=1, ago=3), plc_files[0])
    with PlcServer(certificate=plc_files) as plc:
        link = {
            "url": plc.url,
            "retry_ms": 200,
            "timeout_ms": 60_000,
            **{name: str(value) for name, value in own.items()},
        }
        outputs = {
            "ready": {"rule": "ready", "at": "ns=2;s=Bad"},
            "count": {"rule": "result_counter", "at": "ns=2;s=Count"},
        }
        machine = {"link": "opcua", "opcua": link}
        settings = settings_of(tmp_path / "a.db", machine=machine, outputs=outputs)
        with running(settings, tmp_path / "a.db") as (opened, verdicts):
            manager = opened.decider.recorder.alarms.manager
            wait_for(lambda: manager.shown("output-lost") and len(verdicts) >= 3)
            assert "station.pem: expected a certificate that holds now" in opened.machine.told()["lost"]
            assert opened.machine.told()["safe"]
            assert (plc.value("Bad"), plc.value("Count")) == (False, 0)
            make_certificate(tmp_path, "station")
            wait_for(lambda: plc.value("Bad") is True and plc.value("Count") > 3)
            wait_for(lambda: manager.states["output-lost"].condition.value == "returned")
