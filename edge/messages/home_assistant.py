"""A station as Home Assistant discovers it: one retained message that says which entities there are, and where to read.

Every entity reads a topic of the station's own; none may command. Old values, and everything of a station that is
offline, are unavailable there and never stand as good (`expire_after`, `availability`). The payload is Home
Assistant's, without our envelope: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

import edge
from edge.alarms import AlarmRule
from edge.messages.writer import Identity
from edge.printable import as_json
from edge.records import Message
from edge.yaml_settings import StrictModel

KIND = "home-assistant"
_EXPIRE_AT_LEAST_S = 15
_MISSED = 3  # messages in a row after which an entity is unavailable


class HomeAssistantSettings(StrictModel):
    """The topics on which Home Assistant hears of devices. `prefix`: its discovery prefix."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = "homeassistant"


def topic_of(identity: Identity, settings: HomeAssistantSettings) -> str:
    """Return the topic at which a station is discovered; its id has only characters that Home Assistant takes."""
    return f"{settings.prefix}/device/{_object_id(identity)}/config"


def discovery(
    identity: Identity,
    settings: HomeAssistantSettings,
    *,
    cameras: Sequence[str],
    rules: Sequence[AlarmRule],
    health_every_s: float,
) -> Message:
    """Return the message that tells of a station. `health_every_s`: how often it says how it is."""
    own, root = _object_id(identity), identity.root
    expires_s = max(_EXPIRE_AT_LEAST_S, math.ceil(_MISSED * health_every_s))
    entities = {**_figures(root, expires_s), **_cameras(root, cameras, expires_s), **_alarms(root, rules)}
    body = {
        "device": {
            "identifiers": [own],
            "name": f"{identity.line} {identity.cell}",
            "manufacturer": "Linewatch",
            "model": identity.device,
            "sw_version": edge.__version__,
        },
        "origin": {"name": "linewatch", "sw_version": edge.__version__},
        "availability": [
            {
                "topic": f"{root}/status",
                "value_template": "{{ 'online' if value_json.body.status == 'online' else 'offline' }}",
            }
        ],
        "qos": 1,
        "components": {
            key: {**entity, "unique_id": f"{own}_{key}", "object_id": f"{own}_{key}"}
            for key, entity in entities.items()
        },
    }
    return _message(topic_of(identity, settings), as_json(body).encode())


def gone(topic: str) -> Message:
    """Return the message that takes a station out of Home Assistant again."""
    return _message(topic, b"")


def _message(topic: str, payload: bytes) -> Message:
    return Message(id=str(uuid.uuid4()), kind=KIND, topic=topic, payload=payload, retain=True)


def _object_id(identity: Identity) -> str:
    return f"linewatch_{hashlib.sha256(identity.root.encode()).hexdigest()[:16]}"


def _sensor(name: str, topic: str, value: str, expires_s: int, **more: Any) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "state_topic": topic,
        "value_template": f"{{{{ {value} }}}}",
        "expire_after": expires_s,
        **more,
    }


def _figures(root: str, expires_s: int) -> Mapping[str, dict[str, Any]]:
    counters, health = f"{root}/state/counters", f"{root}/state/health"
    counted = {"state_class": "total_increasing"}
    measured = {"state_class": "measurement", "entity_category": "diagnostic"}
    judged = "value_json.body.ok + value_json.body.ng"
    return {
        "state": {
            "platform": "sensor",
            "name": "State",
            "state_topic": f"{root}/status",
            "value_template": "{{ value_json.body.status }}",
        },
        "recipe": {
            "platform": "sensor",
            "name": "Recipe",
            "state_topic": f"{root}/state/recipe",
            "value_template": "{{ value_json.body.name }}",
        },
        "ok": _sensor("OK", counters, "value_json.body.ok", expires_s, **counted),
        "ng": _sensor("NG", counters, "value_json.body.ng", expires_s, **counted),
        "no_read": _sensor("NO_READ", counters, "value_json.body.no_read", expires_s, **counted),
        "yield": _sensor(
            "Yield",
            counters,
            f"(100 * value_json.body.ok / ({judged})) | round(2) if {judged} > 0 else None",
            expires_s,
            unit_of_measurement="%",
            state_class="measurement",
        ),
        "outbox": _sensor("Messages waiting", health, "value_json.body.outbox.pending", expires_s, **measured),
        "disk": _sensor(
            "Free disk",
            health,
            "value_json.body.disk.free_bytes",
            expires_s,
            device_class="data_size",
            unit_of_measurement="B",
            **measured,
        ),
    }


def _cameras(root: str, cameras: Sequence[str], expires_s: int) -> Mapping[str, dict[str, Any]]:
    return {
        f"camera_{name}": {
            "platform": "binary_sensor",
            "name": f"Camera {name}",
            "device_class": "problem",
            "state_topic": f"{root}/state/health",
            "value_template": (
                f"{{% set camera = value_json.body.cameras['{name}'] %}}"
                "{{ 'OFF' if camera.ready and camera.fault is none else 'ON' }}"
            ),
            "expire_after": expires_s,
        }
        for name in cameras
    }


def _alarms(root: str, rules: Sequence[AlarmRule]) -> Mapping[str, dict[str, Any]]:
    """Return an entity for each alarm: it is off where its message is empty, or only shelved."""
    return {
        f"alarm_{rule.id}": {
            "platform": "binary_sensor",
            "name": f"Alarm {rule.id}",
            "device_class": "problem",
            "state_topic": f"{root}/alarm/{rule.id}",
            "value_template": "{{ 'OFF' if value == '' or (value | from_json).body.state == 'normal' else 'ON' }}",
            "entity_category": "diagnostic",
        }
        for rule in rules
    }
