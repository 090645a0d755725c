"""A machine that speaks OPC UA, of asyncua on loopback, and certificates for both sides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from asyncua import Server, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typing_extensions import Self

from tests.brokers import HOST, free_port

SPACE = "urn:plc"
KINDS = {"Bad": ua.VariantType.Boolean, "Count": ua.VariantType.UInt16, "Id": ua.VariantType.String}
KINDS |= {"Part": ua.VariantType.Boolean, "Encoder": ua.VariantType.UInt32}


def make_certificate(folder: Path, name: str, *, days: int = 2, ago: int = 1) -> tuple[Path, Path]:
    """Make NAME.pem, which names its application and holds for `days`, from `ago` days before now, and NAME.key."""
    key = rsa.generate_private_key(65_537, 2048)
    begins = datetime.now(timezone.utc) - timedelta(days=ago)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:{name}"), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(names, critical=False)
        .add_extension(x509.KeyUsage(True, True, True, True, False, False, False, False, False), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return pem, secret


class PlcServer:
    """A server of asyncua whose nodes have these kinds."""

    def __init__(
        self,
        port: int = 0,
        certificate: tuple[Path, Path] | None = None,
        kinds: Mapping[str, ua.VariantType] = KINDS,
    ) -> None:
        self.url = f"opc.tcp://{HOST}:{port or free_port()}"
        self._certificate = certificate
        self._kinds = dict(kinds)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(240)  # it has thousands of nodes of its own to make
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(240)

    async def _run(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        policy = ua.SecurityPolicyType.NoSecurity
        if self._certificate is not None:
            await server.load_certificate(self._certificate[0])
            await server.load_private_key(self._certificate[1], format="pem")
            policy = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
        server.set_security_policy([policy])
        space = await server.register_namespace(SPACE)
        self.nodes = {}
        for name, kind in self._kinds.items():
            first = "" if kind is ua.VariantType.String else False if kind is ua.VariantType.Boolean else 0
            node = await server.nodes.objects.add_variable(ua.NodeId(name, space), f"{space}:{name}", first, kind)
            await node.set_writable()
            self.nodes[name] = node
        async with server:
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            while not self._stop.is_set():  # noqa: ASYNC110 - the event is of another thread
                await asyncio.sleep(0.02)

    def value(self, name: str) -> Any:
        """Return what a node holds."""
        return self.ask(self.nodes[name].read_value())

    def put(self, name: str, value: Any) -> None:
        """Set a node itself."""
        self.ask(self.nodes[name].write_value(ua.DataValue(ua.Variant(value, self._kinds[name]))))

    def ask(self, coroutine: Any) -> Any:
        """Do something in the server's own loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)


def files(own: tuple[Path, Path], peer: Path) -> dict[str, Any]:
    """Return the settings of certificates."""
    return {
        "security": "sign_and_encrypt",
        "certificate": own[0],
        "private_key": own[1],
        "peer_certificate": peer,
    }
