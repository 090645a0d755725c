"""Outputs and inputs as nodes of OPC UA, in a thread of their own.

The link is a client of the machine, or its server.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from typing_extensions import Self

from edge.errors import SettingsError
from edge.outputs.input_settings import BITS
from edge.outputs.link import Heard, Link
from edge.outputs.link_settings import OpcUaSettings
from edge.outputs.opcua import NAMESPACE, as_kind, folder_of, identity_of, kind_of, private_key, vendor
from edge.records.outputs import Level, OutputRestored, Reading

_OPENS_WITHIN_S = 20.0
_REFRESH_S = 1.0


class OpcUaLink(Link):
    """The common base of client and server. `outputs`, `inputs`: the node and the rule of each signal."""

    ends_within_s = 4.0

    def __init__(
        self,
        settings: OpcUaSettings,
        outputs: Mapping[str, tuple[str, str]],
        inputs: Mapping[str, tuple[str, str]],
        heard: Heard = lambda _: None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(f"opc ua {settings.role}", heard, monotonic_ns)
        self._settings = settings
        self._outputs = dict(outputs)
        self._inputs = dict(inputs)
        self._ua = vendor("ua")
        self._identity = identity_of(settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def _awake(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._wake.set)

    @abstractmethod
    async def _write(self, levels: Mapping[str, Level]) -> None: ...

    @abstractmethod
    async def _values(self) -> dict[str, Any]: ...

    async def _turn(self) -> None:
        """Write what waits, read the inputs, and wait for more."""
        self._wake.clear()
        for levels, by_ns in self._pending.take():
            await self._batch(levels, by_ns)
        if self._inputs:
            await self._read()
        if not self._pending.some.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._settings.poll_ms / 1000)

    async def _batch(self, levels: Mapping[str, Level], by_ns: int | None) -> None:
        if self._late(levels, by_ns, switched=False):
            return
        self._show(levels)
        await self._write(levels)
        self._late(levels, by_ns, switched=True)

    async def _read(self) -> None:
        at_ns = self._monotonic_ns()
        read = await self._values()
        for name, value in read.items():
            if not isinstance(value, int):
                raise self._ua.UaError(f"inputs.{name}: expected a bit or a whole number, received {value!r:.60}")
        self._heard(Reading(at_ns, {name: int(value) for name, value in read.items()}))

    def _renew(self) -> None:
        """Read the certificates again: they may be renewed. Raises ValueError where one does not hold now."""
        self._identity = identity_of(self._settings)
        self._identity.require_valid()

    def _failed(self, why: object) -> None:
        told = str(why) or type(why).__name__
        self._lost(
            f"OPC UA {self._settings.url}: {told}. Check its power, its cable, machine.opcua.url, the nodes in "
            "outputs and inputs, and the certificates of both sides"
        )


class OpcUaClient(OpcUaLink):
    """The outputs at the machine's server. Its absence, late answers, unknown nodes and bad certificates are told."""

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._renew()
                asyncio.run(self._serve())
            except (self._ua.UaError, OSError, asyncio.TimeoutError, ValueError, SettingsError) as error:
                self._loop = None
                self._failed(error)
            if not self._stop.is_set():
                self._stop.wait(self._settings.retry_ms / 1000)

    async def _serve(self) -> None:
        client = vendor().Client(self._settings.url, timeout=self._settings.timeout_ms / 1000)
        client.application_uri = self._identity.uri
        if self._identity.own is not None and self._identity.peer is not None:
            await client.set_security(
                vendor("crypto.security_policies").SecurityPolicyBasic256Sha256,
                self._identity.own.der,
                vendor("crypto.uacrypto").CertProperties(*private_key(self._settings)),
                server_certificate=self._identity.peer.der,
                mode=self._ua.MessageSecurityMode.SignAndEncrypt,
            )
        await asyncio.wait_for(client.connect(), 5 * self._settings.timeout_ms / 1000)
        try:
            await self._talk(client)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(client.disconnect(), self._settings.timeout_ms / 1000)

    async def _talk(self, client: Any) -> None:
        self._client = client
        self._wake, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._written = {name: client.get_node(node) for name, (node, _) in self._outputs.items()}
        self._read_from = [client.get_node(node) for node, _ in self._inputs.values()]
        self._kinds = {name: await node.read_data_type_as_variant_type() for name, node in self._written.items()}
        self._fold()
        await self._write(dict(self._shown))
        if self._inputs:
            await self._read()
        self._happened.append(OutputRestored(self._monotonic_ns()))
        refresh_s = time.monotonic() + _REFRESH_S
        while not self._stop.is_set():
            await self._turn()
            if time.monotonic() >= refresh_s:  # also finds out that the server has gone
                refresh_s = time.monotonic() + _REFRESH_S
                await self._write(dict(self._shown))
        for levels, by_ns in self._pending.take():
            await self._batch(levels, by_ns)

    async def _write(self, levels: Mapping[str, Level]) -> None:
        if not levels:
            return
        values = [
            self._ua.DataValue(self._ua.Variant(as_kind(self._kinds[name].name, level), self._kinds[name]))
            for name, level in levels.items()
        ]
        await self._client.write_values([self._written[name] for name in levels], values)

    async def _values(self) -> dict[str, Any]:
        read = await self._client.read_values(self._read_from)
        return dict(zip(self._inputs, read, strict=True))


class OpcUaServer(OpcUaLink):
    """The outputs as nodes below the object VisionSystem, which a client reads; it may write the inputs, and no others.

    Entering raises SettingsError where it cannot listen. Certificates that do not hold are told, and read again.
    """

    def __enter__(self) -> Self:
        self._opened = threading.Event()
        self._error: str | None = None
        super().__enter__()
        self._opened.wait(_OPENS_WITHIN_S)
        if self._error is not None:
            raise SettingsError(self._error)
        return self

    def _run(self) -> None:
        while not self._stop.is_set() and self._error is None:
            try:
                self._renew()
                asyncio.run(self._serve())
            except (ValueError, SettingsError) as error:  # a certificate that may be renewed: the line goes on
                self._failed(error)
            except (self._ua.UaError, OSError) as error:
                self._failed(error)
                if not self._opened.is_set():
                    self._error = (
                        f"key machine.opcua: expected an address to listen at and certificates that hold, received "
                        f"{self._settings.url}: {error}"
                    )
            self._loop = None
            self._opened.set()
            self._stop.wait(self._settings.retry_ms / 1000)

    async def _serve(self) -> None:
        users = vendor("crypto.permission_rules")

        class Everybody:
            """The rule that everybody who is let in may read, and write what is writable."""

            def get_user(self, *_: Any, **__: Any) -> Any:
                return users.User(role=users.UserRole.User)

        server = vendor().Server(user_manager=Everybody())
        await server.init()
        server.set_endpoint(self._settings.url)
        server.set_server_name("Linewatch")
        await server.set_application_uri(self._identity.uri)
        await self._secure(server)
        await self._make_nodes(server)
        async with server:
            self._wake, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self._opened.set()
            await self._serve_until_stop(server)

    async def _secure(self, server: Any) -> None:
        kinds = self._ua.SecurityPolicyType
        peer = self._identity.peer
        if self._identity.own is None or peer is None:
            server.set_security_policy([kinds.NoSecurity])
            return
        await server.load_certificate(self._identity.own.der)
        secret, form = private_key(self._settings)
        await server.load_private_key(secret, format=form)
        server.set_security_policy([kinds.Basic256Sha256_SignAndEncrypt])
        encoding = vendor("crypto.uacrypto").der_from_x509
        refuse, codes = vendor("common.utils").ServiceError, self._ua.StatusCodes

        async def validate(certificate: Any, _application: Any) -> None:
            """Let the one peer in whose certificate the settings name, while it holds."""
            if encoding(certificate) != peer.der:
                raise refuse(codes.BadCertificateUntrusted)
            try:
                self._identity.require_valid()
            except ValueError as error:
                raise refuse(codes.BadCertificateTimeInvalid) from error

        server.set_certificate_validator(validate)

    async def _make_nodes(self, server: Any) -> None:
        ua = self._ua
        space = await server.register_namespace(NAMESPACE)
        objects: dict[tuple[str, ...], Any] = {}

        async def below(path: tuple[str, ...]) -> Any:
            if path not in objects:
                parent = await below(path[:-1]) if path[1:] else server.nodes.objects
                place = ua.NodeId("/".join(path), space)
                objects[path] = await parent.add_object(place, f"{space}:{path[-1]}")
            return objects[path]

        async def make(name: str, node: str, kind: Any, folder: tuple[str, ...]) -> Any:
            first = as_kind(kind.name, self._shown.get(name, 0))
            parent = await below(("VisionSystem", *folder))
            return await parent.add_variable(ua.NodeId(node, space), f"{space}:{node}", first, kind)

        self._fold()
        self._kinds = {name: getattr(ua.VariantType, kind_of(rule)) for name, (_, rule) in self._outputs.items()}
        self._written, self._taken = {}, {}
        for name, (node, rule) in self._outputs.items():
            self._written[name] = await make(name, node, self._kinds[name], folder_of(rule, output=True))
        for name, (node, rule) in self._inputs.items():
            kind = getattr(ua.VariantType, _input_kind(rule))
            self._taken[name] = await make("", node, kind, folder_of(rule, output=False))
            await self._taken[name].set_writable()

    async def _serve_until_stop(self, server: Any) -> None:
        """Show what is set, and tell whether a client is there."""
        reached: bool | None = None
        seen_ns = self._monotonic_ns()
        while not self._stop.is_set():
            await self._turn()
            now_ns = self._monotonic_ns()
            if server.bserver.clients:
                seen_ns = now_ns
                if reached is not True:
                    self._happened.append(OutputRestored(now_ns))
                reached = True
            elif now_ns - seen_ns > self._settings.silent_ms * 1_000_000 and reached is not False:
                reached = False
                self._failed(f"no client is there for {self._settings.silent_ms} ms")
        for levels, by_ns in self._pending.take():
            await self._batch(levels, by_ns)

    async def _write(self, levels: Mapping[str, Level]) -> None:
        for name, level in levels.items():
            kind = self._kinds[name]
            await self._written[name].write_value(self._ua.DataValue(self._ua.Variant(as_kind(kind.name, level), kind)))

    async def _values(self) -> dict[str, Any]:
        return {name: await node.read_value() for name, node in self._taken.items()}


def _input_kind(rule: str) -> str:
    return "Boolean" if rule in BITS else "UInt32"
