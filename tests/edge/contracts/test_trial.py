"""A trial of the broker leaves nothing behind, whatever it meets."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from edge.errors import PublishError
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.trial import try_broker
from tests.brokers import free_port
from tests.certificates import make_authority
from tests.edge.contracts.test_broker_secrets import tls_broker


def sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(
        str(link.readlink()).startswith("socket:") for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
    )


def test_a_trial_that_fails_to_shake_hands_leaves_no_socket(tmp_path: Path) -> None:
    """A certificate of another authority is told, and the connection is closed at once, not when memory is tidied."""
    theirs, ours = make_authority(tmp_path, "theirs"), make_authority(tmp_path, "ours")
    port = free_port()
    settings = BrokerSettings.model_validate({"port": port, "tls": {"ca_file": ours}})
    gc.disable()
    try:
        with tls_broker(tmp_path / "a", theirs, port):
            before = sockets()
            with pytest.raises(PublishError, match="certificate verify failed") as told:
                try_broker(settings)
            assert sockets() == before, told
    finally:
        gc.enable()
