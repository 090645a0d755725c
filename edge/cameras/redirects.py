"""The detection of a network camera that sends viewers elsewhere, once its stream could not be had.

FFmpeg follows such an answer without a word. Its complaint is then about a place that nobody named.
"""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

from edge.cameras.addresses import Address
from edge.redacting import redacted

_WITHIN_S = 2.0
_BYTES_AT_MOST = 4096
_STATUS = re.compile(rb"(?:RTSP|HTTP)/\d\.\d (?P<status>3\d\d)\b")
_LOCATION = re.compile(rb"^location:[ \t]*(?P<location>[^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def sent_elsewhere(address: Address) -> str:
    """Say in one sentence where the camera sends its viewers, in plain RTSP or HTTP; nothing if it does not.

    It is asked without user and password. Takes two seconds at most.
    """
    if address.scheme not in {"rtsp", "http"} or address.port is None:
        return ""
    head = _answer(address).partition(b"\r\n\r\n")[0]
    status = _STATUS.match(head)
    if status is None and not head.startswith(b"REDIRECT "):
        return ""
    how = status["status"].decode() if status else "REDIRECT"
    place = f"{address.host}:{address.port}"
    found = _LOCATION.search(head)
    location = found["location"].decode("utf-8", "replace").strip() if found else ""
    if not location:
        return f"{place} sends viewers elsewhere ({how}) and does not say where: look for the address at the camera"
    return (
        f"{place} sends viewers on to {redacted(location)} ({how}), and no picture can be had there: set the address "
        "that the camera itself shows for its stream"
    )


def _answer(address: Address) -> bytes:
    """Ask for the stream and return what comes; nothing where nobody answers."""
    parts = urlsplit(address.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = f"[{address.host}]" if ":" in address.host else address.host
    asked = f"GET {path} HTTP/1.0\r\nHost: {host}:{address.port}\r\n\r\n"
    if address.scheme == "rtsp":
        asked = f"DESCRIBE rtsp://{host}:{address.port}{path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    ends_s, came = time.monotonic() + _WITHIN_S, b""
    try:
        with socket.create_connection((address.host, address.port), _WITHIN_S) as camera:
            camera.sendall(asked.encode("ascii", "replace"))
            while b"\r\n\r\n" not in came and len(came) < _BYTES_AT_MOST and (left_s := ends_s - time.monotonic()) > 0:
                camera.settimeout(left_s)
                piece = camera.recv(_BYTES_AT_MOST)
                if not piece:
                    break
                came += piece
    except (OSError, ValueError):
        pass
    return came
