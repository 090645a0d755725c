"""A station beside each kind of machine: Modbus TCP and OPC UA, the machine that is asked and the machine that asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.outbox.reader import OutboxReader
from edge.records import Verdict
from tests.brokers import wait_for
from tests.edge.outputs.machine_line import PARTS, running, settings_of
from tests.edge.outputs.peers import PEERS, Peer, peer_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
OUTPUTS: dict[str, dict[str, Any]] = {
    "ready": {"rule": "ready"},
    "busy": {"rule": "busy"},
    "done": {"rule": "done"},
    "good": {"rule": "ok"},
    "bad": {"rule": "ng"},
    "unread": {"rule": "no_read"},
    "gate": {"rule": "pulse", "verdicts": ["ok", "ng", "no_read"], "after_counts": 1000, "width_ms": 60_000},
    "beat": {"rule": "heartbeat"},
    "count": {"rule": "result_counter"},
}
BITS = {Verdict.OK: (1, 0, 0), Verdict.NG: (0, 1, 0), Verdict.NO_READ: (0, 0, 1)}
INPUTS: dict[str, dict[str, Any]] = {
    "trigger": {"rule": "part", "mode": "handshake", "part_ms": 1000, "release_ms": 60_000},
    "zero": {"rule": "reset_counters"},
    "id": {"rule": "part_id"},
    "belt": {"rule": "encoder"},
    "product": {"rule": "product", "names": ["default"]},
}


def shake(peer: Peer, part_id: int, product: int) -> tuple[int, int, int]:
    """Have one part inspected, as a PLC does, and return the three bits that it reads at done."""
    wait_for(lambda: peer.get("ready") and not peer.get("done"))
    peer.put("id", part_id)
    peer.put("product", product)
    peer.put("trigger", 1)
    wait_for(lambda: peer.get("done"))
    bits = peer.get("good"), peer.get("bad"), peer.get("unread")
    peer.put("trigger", 0)
    wait_for(lambda: not peer.get("done"))
    return bits


@pytest.mark.parametrize("kind", PEERS)
def test_parts_verdicts_gate_and_counters_at_each_kind_of_machine(kind: str, tmp_path: Path) -> None:
    """Three parts are three, each with its verdict; the gate waits for the belt. The user plc begins to count at 0."""
    ids: list[str] = []
    with peer_of(kind, OUTPUTS, INPUTS) as peer:
        settings = settings_of(
            tmp_path / "a.db",
            defective=0.5,
            machine={**peer.machine, "tolerance_ms": 1000},
            outputs={name: {**rule, "at": peer.at(name)} for name, rule in OUTPUTS.items()},
            inputs={name: {**rule, "at": peer.at(name)} for name, rule in INPUTS.items()},
            parts={"trigger": "machine", **PARTS},
        )
        with running(settings, tmp_path / "a.db", ids=ids) as (opened, verdicts):
            read = [shake(peer, number, product) for number, product in ((501, 1), (502, 0), (503, 2))]
            wait_for(lambda: len(verdicts) == 3)
            assert read == [BITS[verdict] for verdict in verdicts]
            assert read[2] == (0, 0, 1)  # nobody knows that product
            assert (ids, peer.get("count")) == (["501", "502", "503"], 3)
            assert not peer.get("gate")
            peer.put("belt", 1000)
            wait_for(lambda: peer.get("gate"))
            first = peer.get("beat")
            wait_for(lambda: peer.get("beat") != first)
            assert opened.decider.counts.parts == 3
            peer.put("zero", 1)
            wait_for(lambda: opened.decider.counts.parts == 0)
            assert peer.get("count") == 3
    with OutboxReader(tmp_path / "a.db") as reader:
        commands = [row.entry for row in reader.journal_rows(200) if row.entry.kind == "command"]
    assert [(entry.user, entry.detail.split(":")[0]) for entry in commands] == [("plc", "reset-counters by plc")]
