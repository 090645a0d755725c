"""Nodes of OPC UA: real clients and servers of asyncua on loopback, in both roles, with and without certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from edge.errors import SettingsError
from edge.outputs.link_settings import OpcUaSettings
from edge.outputs.opcua import NAMESPACE
from edge.outputs.opcua_link import OpcUaClient, OpcUaLink, OpcUaServer
from edge.records.outputs import OutputLate, OutputLost, OutputRestored
from tests.brokers import HOST, free_port, listens, wait_for
from tests.edge.outputs.linked import Linked
from tests.edge.outputs.opcua_plc import PlcServer, files, make_certificate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
OUTPUTS = {"bad": ("ns=2;s=Bad", "ng"), "count": ("ns=2;s=Count", "result_counter"), "id": ("ns=2;s=Id", "part_id")}
INPUTS = {"part": ("ns=2;s=Part", "part"), "belt": ("ns=2;s=Encoder", "encoder")}


REFUSED = {"timeout_ms": 2000}  # a client that is not let in need not be waited for


def linked(
    url: str,
    *,
    outputs: dict[str, tuple[str, str]] = OUTPUTS,
    inputs: dict[str, tuple[str, str]] = INPUTS,
    make: Callable[..., OpcUaLink] = OpcUaClient,
    **settings: Any,
) -> Linked:
    """Return a link with what it told."""
    own = {"security": "none", "retry_ms": 100, "timeout_ms": 30_000, "silent_ms": 500, **settings}
    return Linked(lambda heard: make(OpcUaSettings(url=url, **own), outputs, inputs, heard))


def test_a_client_writes_and_reads_the_machine_s_nodes() -> None:
    """Bits, numbers and texts, each in the type that the node has; and the inputs come back."""
    with PlcServer() as plc:
        own = linked(plc.url)
        with own.link as link:
            wait_for(own.has(OutputRestored))
            link.set({"bad": True, "count": 7, "id": "phone-000041"})
            wait_for(lambda: plc.value("Count") == 7)
            assert (plc.value("Bad"), plc.value("Id")) == (True, "phone-000041")
            plc.put("Part", True)
            plc.put("Encoder", 90_000)
            wait_for(lambda: own.readings[-1].values == {"part": 1, "belt": 90_000})
            link.set({"bad": False})
        assert plc.value("Bad") is False


def test_a_server_that_is_absent_goes_or_comes_back_is_told() -> None:
    """The link tries again without end, and then every level is there."""
    port = free_port()
    own = linked(f"opc.tcp://{HOST}:{port}")
    with own.link as link:
        link.set({"bad": True, "count": 3})
        assert "OPC UA" in own.why()
        with PlcServer(port) as plc:
            wait_for(own.has(OutputRestored))
            wait_for(lambda: plc.value("Count") == 3)
            own.told.clear()
        wait_for(own.has(OutputLost))
        own.told.clear()
        with PlcServer(port) as plc:
            wait_for(own.has(OutputRestored))
            wait_for(lambda: plc.value("Bad") is True)


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [({"bad": ("ns=2;s=Nobody", "ng")}, {}), ({"bad": ("no node", "ng")}, {}), ({}, {"part": ("ns=2;s=Id", "part")})],
)
def test_a_node_that_is_not_there_or_of_another_kind_is_told(
    outputs: dict[str, tuple[str, str]], inputs: dict[str, tuple[str, str]]
) -> None:
    """Neither ends the link."""
    with PlcServer() as plc:
        own = linked(plc.url, outputs=outputs, inputs=inputs)
        with own.link:
            assert "the nodes in outputs and inputs" in own.why()
            assert not own.has(OutputRestored)()


def test_a_late_pulse_is_not_written() -> None:
    """It is told in its place."""
    with PlcServer() as plc:
        own = linked(plc.url)
        with own.link as link:
            wait_for(own.has(OutputRestored))
            link.set({"bad": True}, time.monotonic_ns() - 1)
            wait_for(own.has(OutputLate))
        assert plc.value("Bad") is False


def test_a_client_signs_and_encrypts(tmp_path: Path) -> None:
    """With each other's certificates they speak; without encryption that server lets nobody in."""
    plc_files, own_files = make_certificate(tmp_path, "plc"), make_certificate(tmp_path, "station")
    with PlcServer(certificate=plc_files) as plc:
        own = linked(plc.url, **files(own_files, plc_files[0]))
        with own.link as link:
            link.set({"count": 5})
            wait_for(own.has(OutputRestored))
            wait_for(lambda: plc.value("Count") == 5)
        plain = linked(plc.url, **REFUSED)
        with plain.link:
            assert plain.why()
            assert not plain.has(OutputRestored)()


@pytest.mark.parametrize("whose", ["station", "plc"])
def test_a_client_refuses_expired_certificates(tmp_path: Path, whose: str) -> None:
    """Its own or the server's: nothing is written, and the date is told; renewed in its file, it serves."""
    old = {name: {"days": 1, "ago": 3} if name == whose else {} for name in ("plc", "station")}
    plc_files = make_certificate(tmp_path, "plc", **old["plc"])
    own_files = make_certificate(tmp_path, "station", **old["station"])
    with PlcServer(certificate=plc_files) as plc:
        own = linked(plc.url, **files(own_files, plc_files[0]), **REFUSED)
        with own.link as link:
            link.set({"count": 5})
            assert "expired on" in own.why()
            assert not own.has(OutputRestored)()
            assert plc.value("Count") == 0
            if whose == "station":
                make_certificate(tmp_path, "station")
                wait_for(lambda: plc.value("Count") == 5)


def test_a_client_refuses_a_server_of_another_certificate(tmp_path: Path) -> None:
    """The one in the settings is the only one that is trusted."""
    plc_files, own_files = make_certificate(tmp_path, "plc"), make_certificate(tmp_path, "station")
    other = make_certificate(tmp_path, "other")
    with PlcServer(certificate=plc_files) as plc:
        own = linked(plc.url, **files(own_files, other[0]), **REFUSED)
        with own.link:
            assert own.why()
            assert not own.has(OutputRestored)()


SERVED = {"bad": ("ng", "ng"), "count": ("ResultCounter", "result_counter"), "id": ("PartId", "part_id")}
SERVED |= {"state": ("CurrentState", "state")}
WRITTEN = {"part": ("PartPresent", "part"), "state": ("RecipeWish", "recipe")}


Steps = Callable[[Client, Callable[[str], Any]], Any]


async def _visit(url: str, steps: Steps, secure: Sequence[Any], timeout_s: float) -> Any:
    client = Client(url, timeout=timeout_s)
    if secure:
        client.application_uri = "urn:plc"
        await client.set_security(SecurityPolicyBasic256Sha256, *secure, mode=ua.MessageSecurityMode.SignAndEncrypt)
    async with client:
        space = await client.get_namespace_index(NAMESPACE)
        return await steps(client, lambda name: client.get_node(ua.NodeId(name, space)))


def visit(url: str, steps: Steps, secure: Sequence[Any] = (), timeout_s: float = 60) -> Any:
    """Be a client for a moment."""
    return asyncio.run(_visit(url, steps, secure, timeout_s))


@contextmanager
def serving(*, listening: bool = True, **settings: Any) -> Iterator[tuple[Linked, str]]:
    """Yield a server and its address, once it takes connections unless that is not to be."""
    port = free_port()
    url = f"opc.tcp://{HOST}:{port}"
    own = linked(url, outputs=SERVED, inputs=WRITTEN, make=OpcUaServer, role="server", **settings)
    with own.link:
        if listening:
            wait_for(lambda: listens(port))
        yield own, url


def test_a_client_reads_the_station_s_nodes_and_writes_inputs_alone() -> None:
    """An output cannot be written by others; the nodes stand where OPC 40100-1 has them."""

    async def steps(client: Client, node: Callable[[str], Any]) -> Any:
        await node("PartPresent").write_value(True)
        with pytest.raises(ua.UaStatusCodeError):
            await node("ng").write_value(False)
        space = node("ng").nodeid.NamespaceIndex
        names = {}
        for path in ("ResultManagement/Results/LastResult", "VisionStateMachine", "RecipeManagement", "Signals"):
            steps = [f"{space}:{step}" for step in ("VisionSystem", *path.split("/"))]
            below = await client.nodes.objects.get_child(steps)
            names[path] = {(await child.read_browse_name()).Name for child in await below.get_children()}
        return names, [await node(name).read_value() for name in ("ng", "ResultCounter", "PartId")]

    with serving() as (own, url):
        own.link.set({"bad": True, "count": 41, "id": "p-7"})
        wait_for(lambda: visit(url, read_count) == 41)
        names, values = visit(url, steps)
        assert values == [True, 41, "p-7"]
        assert names == {
            "ResultManagement/Results/LastResult": {"ng", "ResultCounter", "PartId"},
            "VisionStateMachine": {"CurrentState"},
            "RecipeManagement": {"RecipeWish"},
            "Signals": {"PartPresent"},
        }
        wait_for(lambda: own.readings and own.readings[-1].values == {"part": 1, "state": 0})


def test_a_server_tells_whether_a_client_is_there() -> None:
    """Nobody is a loss, and somebody ends it."""
    with serving() as (own, url):
        assert "no client is there" in own.why()
        seen = own.has(OutputRestored)

        async def stay(_client: Client, node: Callable[[str], Any]) -> None:
            while not seen():
                await node("ng").read_value()

        visit(url, stay)


async def read_count(_client: Client, node: Callable[[str], Any]) -> Any:
    """Read the counter."""
    return await node("ResultCounter").read_value()


def test_a_server_lets_in_whom_it_trusts(tmp_path: Path) -> None:
    """Signed and encrypted with the certificate that it knows; another one, or none, is refused."""
    own_files, plc_files = make_certificate(tmp_path, "station"), make_certificate(tmp_path, "plc")
    stranger = make_certificate(tmp_path, "stranger")
    with serving(**files(own_files, plc_files[0])) as (own, url):
        own.link.set({"count": 9})
        trusted = tuple(CertProperties(path, "pem") for path in plc_files)
        wait_for(lambda: visit(url, read_count, trusted) == 9)
        for refused in (tuple(CertProperties(path, "pem") for path in stranger), ()):
            with pytest.raises((ua.UaError, OSError, asyncio.TimeoutError)):
                visit(url, read_count, refused, timeout_s=5)


@pytest.mark.parametrize("whose", ["station", "plc"])
def test_a_server_waits_for_certificates_that_hold(tmp_path: Path, whose: str) -> None:
    """Its own or its client's are over: it lets nobody in, and says so; renewed in their files, it begins."""
    made = {name: make_certificate(tmp_path, name) for name in ("station", "plc")}
    make_certificate(tmp_path, whose, days=1, ago=3)
    with serving(listening=False, retry_ms=100, **files(made["station"], made["plc"][0])) as (own, url):
        own.link.set({"count": 9})
        assert "expired on" in own.why()
        with pytest.raises((ua.UaError, OSError, asyncio.TimeoutError)):
            visit(url, read_count, timeout_s=5)
        make_certificate(tmp_path, whose)

        def let_in() -> bool:
            try:
                secure = tuple(CertProperties(path, "pem") for path in made["plc"])
                return bool(visit(url, read_count, secure) == 9)
            except (ua.UaError, OSError, asyncio.TimeoutError):
                return False

        wait_for(let_in)


def test_certificates_that_are_none_are_refused_at_once(tmp_path: Path) -> None:
    """The key of the settings is named."""
    (tmp_path / "none.pem").write_text("no certificate")
    _, key = make_certificate(tmp_path, "own")
    with pytest.raises(SettingsError, match=r"key machine\.opcua\.certificate"):
        linked("opc.tcp://127.0.0.1:1", **files((tmp_path / "none.pem", key), tmp_path / "none.pem"))
