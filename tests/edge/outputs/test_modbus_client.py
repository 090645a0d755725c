"""The outputs at a PLC that is asked: a real server of pymodbus, with all that goes wrong there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pymodbus.constants import ExcCodes

from edge.outputs.addresses import address_of
from edge.outputs.link_settings import ModbusSettings
from edge.outputs.modbus import Places
from edge.outputs.modbus_client import ModbusClient
from edge.records.outputs import OutputLate, OutputLost, OutputRestored
from tests.brokers import HOST, free_port, wait_for
from tests.edge.outputs.linked import Linked
from tests.edge.outputs.plc import Plc

MS = 1_000_000
PLACES = Places(
    {"good": address_of("modbus", "coil 0"), "bad": address_of("modbus", "coil 1")}
    | {"count": address_of("modbus", "register 5"), "gate": address_of("modbus", "coil 7")},
    {"part": address_of("modbus", "coil 20"), "id": address_of("modbus", "register 30")},
    {"id": 2},
)


@pytest.fixture
def plc() -> Iterator[Plc]:
    """Switch a PLC on."""
    with Plc() as plc:
        yield plc


def linked(port: int, **settings: int) -> Linked:
    """Return a client with what it told."""
    own = {"timeout_ms": 10_000, "retry_ms": 100, **settings}
    return Linked(lambda heard: ModbusClient(ModbusSettings(host=HOST, port=port, **own), PLACES, heard))


def test_levels_reach_the_plc_in_their_order(plc: Plc) -> None:
    """The bits of a part are written before its count, and neighbours in one request."""
    own = linked(plc.port)
    with own.link as link:
        wait_for(own.has(OutputRestored))
        link.set({"good": False, "bad": True, "count": 1})
        wait_for(lambda: plc.register(5) == 1)
        assert (plc.coil(0), plc.coil(1)) == (False, True)
        places = [(code, address, values) for _, code, address, values in plc.writes]
        assert places[:2] == [(15, 0, [0, 1]), (16, 5, [1])]


def test_inputs_are_read_words_and_all(plc: Plc) -> None:
    """A number of two registers has the upper one first."""
    plc.set_register(30, 2)
    plc.set_register(31, 7)
    own = linked(plc.port)
    with own.link:
        wait_for(lambda: len(own.readings) > 3)
        plc.set_coil(20, True)
        wait_for(lambda: own.readings[-1].values["part"] == 1)
        assert own.readings[-1].values == {"part": 1, "id": 2 * 65_536 + 7}


def test_a_plc_that_is_absent_at_the_start_is_told_and_found_later() -> None:
    """It is tried again; then it gets every level."""
    port = free_port()
    own = linked(port)
    with own.link as link:
        link.set({"bad": True, "count": 4})
        assert f"{HOST}:{port}: expected a PLC that listens" in own.why()
        with Plc(port) as plc:
            wait_for(own.has(OutputRestored))
            assert plc.coil(1)
            assert plc.register(5) == 4


def test_a_plc_that_goes_and_comes_back_forgets_nothing() -> None:
    """Its loss and its return are told, and forgotten values are written again."""
    with Plc() as plc:
        own = linked(plc.port)
        with own.link as link:
            link.set({"bad": True, "count": 9})
            wait_for(lambda: plc.register(5) == 9)
            plc.stop()
            wait_for(own.has(OutputLost))
            own.told.clear()
            plc.start()
            wait_for(own.has(OutputRestored))
            wait_for(lambda: plc.register(5) == 9 and plc.coil(1))


def test_a_plc_that_answers_late_is_lost(plc: Plc) -> None:
    """An answer after the time limit is no answer, and none is taken for that of another request."""
    own = linked(plc.port, timeout_ms=500)
    with own.link:
        wait_for(own.has(OutputRestored))
        plc.answers_after_s = 2.0
        assert "Modbus" in own.why()
        plc.answers_after_s = 0.0
        own.told.clear()
        wait_for(own.has(OutputRestored))


@pytest.mark.parametrize(
    ("code", "told"), [(ExcCodes.ILLEGAL_ADDRESS, "no such address"), (ExcCodes.DEVICE_BUSY, "it is busy")]
)
def test_an_exception_code_is_told_in_words(plc: Plc, code: ExcCodes, told: str) -> None:
    """The message names the place, the code and what to look at."""
    plc.refuses = code
    own = linked(plc.port)
    with own.link as link:
        link.set({"bad": True})
        why = own.why()
    assert told in why
    assert f"exception {code.value}" in why
    assert "coil" in why


def test_another_unit_is_told(plc: Plc) -> None:
    """A PLC without that unit refuses, or is silent; both are a loss."""
    own = linked(plc.port, unit=9, timeout_ms=1000)
    with own.link:
        assert "Modbus" in own.why()
        assert not own.has(OutputRestored)()


def test_what_is_due_goes_out_in_time_or_is_told(plc: Plc) -> None:
    """A pulse whose moment is over is not written; one whose answer came too late is told as such."""
    own = linked(plc.port)
    with own.link as link:
        wait_for(own.has(OutputRestored))
        link.set({"gate": True}, time.monotonic_ns() - 1)
        wait_for(own.has(OutputLate))
        assert not plc.coil(7)
        assert [event.switched for event in own.told if isinstance(event, OutputLate)] == [False]
        own.told.clear()
        plc.answers_after_s = 0.4
        time.sleep(0.5)
        link.set({"gate": True}, time.monotonic_ns() + 300 * MS)
        wait_for(own.has(OutputLate))


def test_the_end_writes_the_last_levels(plc: Plc) -> None:
    """The levels set before leaving are at the PLC afterwards."""
    own = linked(plc.port)
    with own.link as link:
        wait_for(own.has(OutputRestored))
        link.set({"bad": True})
        wait_for(lambda: plc.coil(1))
        link.set({"bad": False, "count": 12})
    assert not plc.coil(1)
    assert plc.register(5) == 12
