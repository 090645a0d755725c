"""The way of most programs: paho, QoS 1, and the belief that it is enough.

It notes each event for which publish() returned, and counts on where its notes end.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from .setting import HOST, TOPICS


def main() -> None:
    """Publish until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("noted", type=Path)
    given = parser.parse_args()
    client = Client(CallbackAPIVersion.VERSION2, "naive", protocol=MQTTProtocolVersion.MQTTv5)
    client.connect_async(HOST, given.port, 2)
    client.loop_start()
    with given.noted.open("a+", encoding="ascii") as noted:
        noted.seek(0)
        number = sum(1 for _ in noted)
        while True:
            number += 1
            identifier = str(uuid.uuid4())
            body = {"id": identifier, "seq": number, "epoch": "naive", "body": {}}
            client.publish(f"{TOPICS}/event/result", json.dumps(body), 1)
            noted.write(f"{identifier}\n")
            noted.flush()
            time.sleep(1 / 120)


if __name__ == "__main__":
    main()
